//! What `lbctl doctor` finds out: facts are gathered, others are asked, all beside the control loop.
//!
//! In: what the control loop knows. Out: lines of progress, then what was found. What is asked and what
//! it means is decided by [`lb_core::doctor`].

mod asking;
mod ethtool;
mod machine;
pub mod probe;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use lb_core::doctor::{Asked, Facts, Known, Machine, Question, examine, questions};
use lb_core::view::{DoctorLine, Progress};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// Questions that are asked at a time. Each is a packet or three and a packet socket.
const AT_A_TIME: usize = 32;

/// No examination takes longer; what was not asked by then is said.
const DEADLINE: Duration = Duration::from_secs(40);

/// Examines the network, and tells `lines` how far it is and what came of it. Ends early when nobody
/// listens any more.
pub async fn run(known: Known, lines: mpsc::Sender<DoctorLine>) {
    tokio::select! {
        () = tell(known, &lines) => {}
        () = lines.closed() => {}
    }
}

async fn tell(known: Known, lines: &mpsc::Sender<DoctorLine>) {
    let dropped = settings::reverse_path_drops();
    let mut facts = Facts::default();
    match machine::read(&known).await {
        Ok(machine) => {
            facts.machine = machine;
            let questions = questions(&known, &facts.machine);
            ask_all(questions, &mut facts, lines).await;
            facts.reverse_path_drops =
                settings::reverse_path_drops().zip(dropped).map_or(0, |(after, before)| after.saturating_sub(before));
        }
        Err(error) => facts.untold.push(format!("this machine: {error}")),
    }
    // Who does not listen any more has no use for it.
    let _ = lines.send(DoctorLine::Result(examine(&known, &facts))).await;
}

async fn ask_all(questions: Vec<Question>, facts: &mut Facts, lines: &mpsc::Sender<DoctorLine>) {
    let total = questions.len() as u64;
    let deadline = Instant::now() + DEADLINE;
    let machine = Arc::new(facts.machine.clone());
    let mut waiting = questions.into_iter().enumerate();
    let mut under_way: JoinSet<(usize, Asked)> = JoinSet::new();
    let mut asked: Vec<(usize, Asked)> = Vec::new();
    loop {
        while under_way.len() < AT_A_TIME
            && let Some((number, question)) = waiting.next()
        {
            let machine: Arc<Machine> = Arc::clone(&machine);
            under_way.spawn(async move {
                let answer = asking::ask(&question, &machine).await;
                (number, Asked { question, answer })
            });
        }
        let Ok(Some(ended)) = timeout_at(deadline, under_way.join_next()).await else { break };
        // One that panicked is missing below, and told.
        let Ok((number, answered)) = ended else { continue };
        let progress = Progress { done: asked.len() as u64 + 1, total, what: answered.question.subject() };
        asked.push((number, answered));
        // A line that finds no room is replaced by the next one.
        let _ = lines.try_send(DoctorLine::Progress(progress));
    }
    let missing = total - asked.len() as u64;
    if missing > 0 {
        facts.untold.push(format!(
            "{missing} of {total} questions had no answer within {} seconds; examine one virtual service at a time: \
             `lbctl doctor SERVICE`",
            DEADLINE.as_secs()
        ));
    }
    // In the order of the questions, so that two examinations of the same network read the same.
    asked.sort_by_key(|(number, _)| *number);
    facts.asked = asked.into_iter().map(|(_, asked)| asked).collect();
}
