//! The steps of a check run: each is timed, counted, and remembered with the command that repeats it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::count::Tally;

/// What happened so far.
#[derive(Default)]
pub(crate) struct Report {
    steps: Vec<Step>,
    notes: Vec<String>,
}

struct Step {
    name: &'static str,
    again: String,
    took: Duration,
    tally: Tally,
    problem: Option<String>,
}

impl Report {
    /// Does one step, prints how it went, and goes on whatever happens. `again` repeats it by hand.
    /// Returns whether nothing in it failed.
    pub(crate) fn step(&mut self, name: &'static str, again: &str, work: impl FnOnce() -> Result<Tally>) -> bool {
        println!("\n=== {name}: {again}");
        let begin = Instant::now();
        let result = work();
        let took = begin.elapsed();
        let (tally, problem) = judge(result);
        match &problem {
            None => println!("=== {name}: ok, {:.1} s", took.as_secs_f32()),
            Some(problem) => println!("=== {name}: FAILED, {:.1} s: {problem}", took.as_secs_f32()),
        }
        self.steps.push(Step { name, again: again.to_owned(), took, tally, problem });
        self.steps.last().is_some_and(|step| step.problem.is_none())
    }

    /// Something that neither passed nor failed and must not be overlooked; repeated at the end.
    pub(crate) fn note(&mut self, note: String) {
        println!("note: {note}");
        self.notes.push(note);
    }

    /// Prints the times, the notes, what failed and how to repeat it, and as the last line the totals.
    pub(crate) fn finish(self) -> ExitCode {
        println!("\n=== time per step");
        for step in &self.steps {
            let mark = if step.problem.is_some() { "FAILED" } else { "ok" };
            println!("{:>8.1} s  {:<12} {mark}", step.took.as_secs_f32(), step.name);
        }
        println!("{:>8.1} s  altogether", self.steps.iter().map(|step| step.took).sum::<Duration>().as_secs_f32());
        for note in &self.notes {
            println!("\nnote: {note}");
        }
        for step in &self.steps {
            if let Some(problem) = &step.problem {
                println!("\n{} failed: {problem}\n    again: {}", step.name, step.again);
            }
        }
        let total = self.total();
        println!("\n{} passed, {} failed", total.passed, total.failed);
        if total.failed == 0 && total.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn total(&self) -> Tally {
        self.steps.iter().fold(Tally::default(), |sum, step| sum.plus(step.tally))
    }
}

/// A step that ended in an error counts as one failure, beside whatever it counted itself.
fn judge(result: Result<Tally>) -> (Tally, Option<String>) {
    match result {
        Ok(tally) if tally.failed == 0 => (tally, None),
        Ok(tally) => (tally, Some(format!("{} of {} failed", tally.failed, tally.passed + tally.failed))),
        Err(error) => (Tally::FAILED, Some(format!("{error:#}"))),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn an_error_counts_as_one_failure_and_the_rest_goes_on() {
        let mut report = Report::default();
        assert!(!report.step("one", "cargo one", || bail!("no disk")));
        assert!(report.step("two", "cargo two", || Ok(Tally { passed: 7, failed: 0 })));
        assert!(!report.step("three", "cargo three", || Ok(Tally { passed: 2, failed: 3 })));
        assert_eq!(report.total(), Tally { passed: 9, failed: 4 });
        assert_eq!(report.finish(), ExitCode::FAILURE);
    }

    #[test]
    fn a_run_in_which_nothing_ran_is_a_failure() {
        assert_eq!(Report::default().finish(), ExitCode::FAILURE);
    }
}
