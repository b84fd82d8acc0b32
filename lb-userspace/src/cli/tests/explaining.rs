//! `lbctl explain` as it is typed.

use clap::Parser;
use lb_core::view::{ExplainQuery, Explained};

use super::{Cli, Exit, lbctl};
use crate::api::Limits;
use crate::api::tests::{Daemon, Script, explained};

#[test]
fn what_is_no_question_is_usage() {
    let cases: &[&[&str]] = &[
        &["explain"],
        &["explain", "10.1.2.3"],
        &["explain", "somebody", "10.0.0.100:80"],
        &["explain", "10.1.2.3", "10.0.0.100"],
        &["explain", "10.1.2.3", "10.0.0.100:80", "--protocol", "sctp"],
        &["explain", "10.1.2.3:0", "10.0.0.100:80"],
    ];
    for arguments in cases {
        let error = Cli::try_parse_from(["lbctl"].iter().chain(*arguments)).unwrap_err();
        assert_eq!(error.exit_code(), Exit::Usage as i32, "{arguments:?}");
    }
}

#[tokio::test]
async fn the_answer_is_text_or_json() {
    let daemon = Daemon::start(Script::default(), Limits::default());
    let (exit, out, err) = lbctl(&daemon.socket, &["explain", "10.1.2.3", "10.0.0.100:80"]).await;
    assert_eq!((exit, err.as_str()), (Exit::Fine, ""));
    assert!(out.starts_with("10.1.2.3:50000 -> 10.0.0.100:80 over TCP: IMS1 (scheduled)\n"), "{out}");
    let arguments = ["explain", "10.1.2.3:7", "10.0.0.100:80", "--protocol", "udp", "--json"];
    let (_, out, _) = lbctl(&daemon.socket, &arguments).await;
    let query = ExplainQuery::parse("client=10.1.2.3:7&vip=10.0.0.100:80&protocol=udp").unwrap();
    assert_eq!(serde_json::from_str::<Explained>(&out).unwrap(), explained(&query).unwrap());
}

#[tokio::test]
async fn what_cannot_be_answered_says_why() {
    let daemon = Daemon::start(Script::default(), Limits::default());
    let (exit, out, err) = lbctl(&daemon.socket, &["explain", "10.1.2.3", "[2001:db8::1]:80"]).await;
    assert_eq!((exit, out.as_str()), (Exit::Failed, ""));
    assert!(err.starts_with("error: 10.1.2.3 and 2001:db8::1 are not of one family"), "{err}");
    let (exit, _, err) = lbctl(&daemon.socket, &["explain", "10.1.2.3", "10.0.0.100:1"]).await;
    assert_eq!((exit, err.starts_with("error: the datapath cannot be asked")), (Exit::Failed, true), "{err}");
}
