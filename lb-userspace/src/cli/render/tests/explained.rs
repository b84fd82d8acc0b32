//! Where a client would go, as a terminal shows it.

use lb_core::view::{CounterAction, ExplainQuery, Explained};

use super::expect;
use crate::api::tests::explained;
use crate::cli::render;

fn told() -> Explained {
    explained(&ExplainQuery::parse("client=10.1.2.3&vip=10.0.0.100:80").unwrap()).unwrap()
}

#[test]
fn the_answer_comes_first_and_each_step_below_it() {
    expect("explained.txt", &render::explained(&told(), usize::MAX, false));
}

#[test]
fn long_sentences_stay_in_their_column_and_commands_to_the_terminal_are_harmless() {
    let text = render::explained(&told(), 80, true);
    expect("explained_narrow.txt", &text);
    assert!(!text.contains("\x1b[2J"));
}

#[test]
fn nobody_is_said_by_what_becomes_of_the_packet() {
    let nobody = Explained { real_server: None, ..told() };
    let head = |action, reason: &str| {
        let told = Explained { action, reason: reason.into(), ..nobody.clone() };
        render::explained(&told, usize::MAX, false).lines().next().map(str::to_owned)
    };
    let expected = "10.1.2.3:50000 -> 10.0.0.100:80 over TCP: dropped (no-server)";
    assert_eq!(head(CounterAction::Drop, "no-server").as_deref(), Some(expected));
    let expected = "10.1.2.3:50000 -> 10.0.0.100:80 over TCP: no virtual service (not-vip)";
    assert_eq!(head(CounterAction::Pass, "not-vip").as_deref(), Some(expected));
}
