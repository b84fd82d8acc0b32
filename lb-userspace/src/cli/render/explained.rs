//! Where a client's packet would go: the answer first, then how it came to it.

use lb_core::view::{CounterAction, Explained, StepKind};

use super::style::{Style, clean_line, width as columns, wrap};

/// The answer, and below it one paragraph for each step.
#[must_use]
pub fn explained(told: &Explained, width: usize, colour: bool) -> String {
    let Explained { client, vip, protocol, .. } = told;
    let head = format!("{client} -> {vip} over {protocol}: {}", receiver(told));
    let style = match told.action {
        CounterAction::Forward => Style::Green,
        CounterAction::Pass => Style::Yellow,
        CounterAction::Drop => Style::Red,
    };
    let mut out = format!("{}\n\n", style.paint(&clean_line(&head), colour));
    let label = StepKind::ALL.iter().map(|kind| columns(kind.word())).max().unwrap_or_default();
    let mut before = None;
    for step in &told.steps {
        // Further sentences about the same thing stand below the first.
        let word = if before == Some(step.about) { "" } else { step.about.word() };
        before = Some(step.about);
        let lines = wrap(&clean_line(&step.sentence), width.saturating_sub(label + 4).max(20));
        let indent = " ".repeat(label + 4);
        out.push_str(&Style::Bold.paint(&format!("  {word:label$}"), colour));
        out.push_str(&format!("  {}\n", lines.join(&format!("\n{indent}"))));
    }
    out
}

fn receiver(told: &Explained) -> String {
    match (&told.real_server, told.action) {
        (Some(server), _) => format!("{server} ({})", told.reason),
        (None, CounterAction::Drop) => format!("dropped ({})", told.reason),
        (None, _) => format!("no virtual service ({})", told.reason),
    }
}
