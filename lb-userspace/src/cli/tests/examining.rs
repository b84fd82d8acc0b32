//! `doctor`.

use clap::Parser;
use lb_core::view::Examination;

use super::{Cli, Exit, lbctl, run, small_terminal};
use crate::api::Limits;
use crate::api::tests::{Daemon, Directory, Script, finding};
use crate::cli::render;

fn daemon() -> Daemon {
    Daemon::start(Script::default(), Limits::default())
}

#[tokio::test]
async fn findings_are_told_by_the_exit_status_too() {
    let daemon = daemon();
    let (exit, out, err) = lbctl(&daemon.socket, &["doctor"]).await;
    assert_eq!((exit, err.as_str()), (Exit::Failed, ""), "no progress where there is no terminal");
    assert_eq!(out, render::examination(&finding(), usize::MAX, false));
    let (exit, out, err) = lbctl(&daemon.socket, &["doctor", "web", "--json"]).await;
    assert_eq!((exit, err.as_str()), (Exit::Failed, ""));
    assert_eq!(serde_json::from_str::<Examination>(&out).unwrap(), finding());
    let (exit, out, err) = lbctl(&daemon.socket, &["doctor", "wbe"]).await;
    assert_eq!((exit, out.as_str(), err.as_str()), (Exit::Failed, "", "error: there is no virtual service wbe\n"));
}

#[tokio::test]
async fn without_a_daemon_it_says_so() {
    let directory = Directory::new();
    let (exit, out, err) = lbctl(&directory.socket(), &["doctor"]).await;
    assert_eq!((exit, out.as_str()), (Exit::Unreachable, ""));
    assert!(err.starts_with("error: lbd is not running"), "{err}");
}

#[tokio::test]
async fn a_terminal_shows_how_far_it_is_on_one_line() {
    let daemon = daemon();
    let cli = Cli::try_parse_from(["lbctl", "--socket", daemon.socket.to_str().unwrap(), "doctor"]).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    run(cli, small_terminal, &mut out, &mut err).await;
    let shown = String::from_utf8(err).unwrap();
    assert_eq!(shown, "\r\x1b[K1 of 2: a question\r\x1b[K2 of 2: a question\r\x1b[K");
}
