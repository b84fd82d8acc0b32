//! Commands that end by themselves.

use std::io::{self, Write};

use clap::{CommandFactory, Parser};
use lb_core::view::{Connections, Events, HealthList, PersistenceList, ReloadReport, Status};

use super::{Cli, Exit, lbctl, no_terminal, run};
use crate::api::Limits;
use crate::api::tests::{Daemon, Directory, Reload, Script, health, status};

fn daemon() -> Daemon {
    Daemon::start(Script::default(), Limits::default())
}

#[test]
fn the_argument_tree_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn what_is_not_understood_is_usage() {
    let cases: &[&[&str]] = &[
        &[],
        &["stauts"],
        &["status", "--watch", "0"],
        &["connections", "--limit", "0"],
        &["connections", "--limit", "100001"],
        &["connections", "--state", "open"],
        &["connections", "--sort", "size"],
        &["connections", "--client", "somewhere"],
        &["connections", "--vip", "10.0.0.0/33"],
        &["connections", "--port", "0"],
        &["connections", "--port", "65536"],
        &["connections", "--protocol", "icmp"],
        &["connections", "--min-age", "soon"],
        &["connections", "--reverse", "yes"],
        &["persistence", "clear"],
        &["persistence", "clear", "--all", "--service", "web"],
        &["reload", "--force"],
        &["reload", "--confirm", "4s"],
        &["reload", "--confirm", "61m"],
        &["reload", "--confirm", "5500ms"],
        &["events", "--limit", "0"],
        &["confirm", "now"],
        &["completions", "abacus"],
    ];
    for arguments in cases {
        let error = Cli::try_parse_from(["lbctl"].iter().chain(*arguments)).unwrap_err();
        assert_eq!(error.exit_code(), Exit::Usage as i32, "{arguments:?}");
    }
}

#[test]
fn options_are_found_in_each_place_they_are_looked_for() {
    let cases: &[&[&str]] = &[
        &["--socket", "/x", "status"],
        &["status", "--socket", "/x"],
        &["status", "--watch"],
        &["status", "--watch", "5", "--json"],
        &["connections", "--vip", "10.0.0.0/8", "--port", "443", "--protocol", "UDP", "--state", "half-closed"],
        &["connections", "--min-age", "10m", "--max-age", "2h", "--min-idle", "90s", "--max-idle", "1h"],
        &["connections", "--sort", "expires", "--reverse", "--limit", "1"],
        &["persistence", "--service", "web"],
        &["persistence", "list", "--service", "web", "--client", "10.0.0.0/8"],
        &["persistence", "clear", "--service", "web", "--client", "2001:db8::/32"],
        &["persistence", "clear", "--client", "rdp:00000000000000ff"],
        &["persistence", "clear", "--all"],
        &["reload", "--confirm"],
        &["reload", "--confirm", "--json"],
        &["reload", "--confirm", "1h"],
        &["events", "--follow", "--service", "HL7", "--server", "IMS1", "--limit", "3", "--json"],
        &["health", "--service", "HL7", "--json"],
        &["stop", "--detach"],
        &["cert", "list", "--json"],
        &["cert", "self-signed", "a.example", "::1", "--out", "/etc/lb/certs/a", "--days", "30", "--key-type", "rsa"],
        &["cert", "csr", "a.example", "--out", "a", "--organization", "A", "--country", "DE", "--force"],
        &["cert", "import", "a.pfx", "b.pem", "--password-file", "-", "--out", "a"],
    ];
    for arguments in cases {
        Cli::try_parse_from(["lbctl"].iter().chain(*arguments)).unwrap();
    }
    let command = Cli::command();
    let socket = command.get_arguments().find(|argument| argument.get_id() == "socket").unwrap();
    assert_eq!(socket.get_env().unwrap(), "LB_SOCKET");
    assert_eq!(socket.get_default_values(), ["/run/lb/lbd.sock"]);
}

#[tokio::test]
async fn status_is_text_or_json() {
    let daemon = daemon();
    let (exit, out, err) = lbctl(&daemon.socket, &["status"]).await;
    assert_eq!((exit, err.as_str()), (Exit::Fine, ""));
    assert!(out.starts_with("lb1   lbd 0.1.0, up 7s"), "{out}");

    let (exit, out, _) = lbctl(&daemon.socket, &["status", "--json"]).await;
    assert_eq!((exit, serde_json::from_str::<Status>(&out).unwrap()), (Exit::Fine, status()));
}

#[tokio::test]
async fn listings_take_their_filters_to_the_daemon() {
    let daemon = daemon();
    let (_, out, _) = lbctl(&daemon.socket, &["connections", "--server", "w1", "--client", "10.0.0.0/8"]).await;
    assert!(out.contains("10.0.0.1:4001") && out.ends_with("\n1 connection.\n"), "{out}");
    let (_, out, _) = lbctl(&daemon.socket, &["connections", "--state", "closing"]).await;
    assert_eq!(out, "No connection matches.\n");
    let asked = ["connections", "--json", "--max-idle", "1500ms", "--protocol", "tcp", "--vip", "10.0.9.9"];
    let (_, out, _) =
        lbctl(&daemon.socket, &[&asked[..], &["--port", "80", "--sort", "idle", "--reverse"]].concat()).await;
    let json: Connections = serde_json::from_str(&out).unwrap();
    let idles: Vec<u64> = json.connections.iter().map(|flow| flow.idle_seconds).collect();
    assert_eq!((json.total, idles), (2, vec![1, 0]));
    let (exit, _, err) = lbctl(&daemon.socket, &["connections", "--min-age", "2m", "--max-age", "1m"]).await;
    assert_eq!(
        (exit, err.as_str()),
        (Exit::Failed, "error: min_age 120 is above max_age 60, so no flow could match\n")
    );
    let (_, out, _) = lbctl(&daemon.socket, &["connections", "--json", "--limit", "2"]).await;
    let json: Connections = serde_json::from_str(&out).unwrap();
    assert_eq!((json.total, json.shown), (3, 2));

    let (_, out, _) = lbctl(&daemon.socket, &["persistence"]).await;
    assert!(out.ends_with("\n3 persistence records.\n"), "{out}");
    let (_, out, _) = lbctl(&daemon.socket, &["persistence", "list", "--client", "172.26.11.2", "--json"]).await;
    assert_eq!(serde_json::from_str::<PersistenceList>(&out).unwrap().total, 1);
}

#[tokio::test]
async fn clearing_says_how_many_were_forgotten() {
    let daemon = daemon();
    let cases: &[(&[&str], &str)] = &[
        (&["persistence", "clear", "--all"], "3 persistence records were forgotten.\n"),
        (&["persistence", "clear", "--client", "172.26.11.1"], "1 persistence record was forgotten.\n"),
        (&["persistence", "clear", "--service", "web"], "No persistence record matches; nothing was forgotten.\n"),
        (
            &["persistence", "clear", "--service", "shop"],
            "No persistence record matches; nothing was forgotten.\nshop keeps its clients by a cookie: they have it \
             themselves, and lbd records nothing of them.\n",
        ),
    ];
    for (arguments, sentence) in cases {
        let (exit, out, _) = lbctl(&daemon.socket, arguments).await;
        assert_eq!((exit, out.as_str()), (Exit::Fine, *sentence));
    }
}

#[tokio::test]
async fn a_reload_ends_as_it_went() {
    let (exit, out, _) = lbctl(&daemon().socket, &["reload"]).await;
    assert_eq!(exit, Exit::Fine);
    assert_eq!(out, "The new configuration is in force.\n  - virtual service HL7 is new\n");
    let (_, out, _) = lbctl(&daemon().socket, &["reload", "--json"]).await;
    assert_eq!(serde_json::from_str::<ReloadReport>(&out).unwrap().changes.len(), 1);

    let invalid = Daemon::start(Script { reload: Reload::Invalid, ..Script::default() }, Limits::default());
    let (exit, out, err) = lbctl(&invalid.socket, &["reload"]).await;
    assert_eq!((exit, out.as_str()), (Exit::InvalidConfiguration, ""));
    assert_eq!(
        err,
        "error[E014]: port translation is not possible in l4-dr\n\nerror: the configuration is not valid; the one in \
         force stays\n"
    );
    let (exit, out, _) = lbctl(&invalid.socket, &["reload", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((exit, &json["diagnostics"][0]["code"]), (Exit::InvalidConfiguration, &"E014".into()));

    let failed = Daemon::start(Script { reload: Reload::Failed, ..Script::default() }, Limits::default());
    let (exit, _, err) = lbctl(&failed.socket, &["reload"]).await;
    assert_eq!((exit, err.as_str()), (Exit::Failed, "error: cannot read /etc/lb/lb.yaml: permission denied\n"));
}

#[tokio::test]
async fn a_reload_to_be_confirmed_says_how() {
    let daemon = Daemon::start(Script { pending: true, ..Script::default() }, Limits::default());
    let (exit, out, _) = lbctl(&daemon.socket, &["reload", "--confirm", "2m"]).await;
    assert_eq!(exit, Exit::Fine);
    assert!(out.ends_with("\nIt is rolled back in 120 s unless you run: lbctl confirm\n"), "{out}");
    let (_, out, _) = lbctl(&daemon.socket, &["reload", "--confirm"]).await;
    assert!(out.contains("in 60 s"), "{out}");

    let (exit, out, _) = lbctl(&daemon.socket, &["confirm"]).await;
    assert_eq!((exit, out.as_str()), (Exit::Fine, "the configuration stays in force.\n"));
    let (exit, out, _) = lbctl(&daemon.socket, &["rollback", "--json"]).await;
    assert_eq!(
        (exit, out.lines().nth(1).unwrap()),
        (Exit::Fine, "  \"sentence\": \"the configuration before is in force again\"")
    );
}

#[tokio::test]
async fn nothing_to_be_confirmed_is_a_failure() {
    for command in ["confirm", "rollback"] {
        let (exit, out, err) = lbctl(&daemon().socket, &[command]).await;
        assert_eq!((exit, out.as_str()), (Exit::Failed, ""));
        assert_eq!(err, "error: no configuration waits to be confirmed\n");
    }
}

#[tokio::test]
async fn events_are_lines_or_json() {
    let daemon = daemon();
    let (exit, out, err) = lbctl(&daemon.socket, &["events", "--server", "IMS1"]).await;
    assert_eq!((exit, err.as_str(), out.lines().count()), (Exit::Fine, "", 1));
    assert!(out.ends_with("  warning  HL7/IMS1  IMS1 of HL7 is down\n"), "{out}");
    let (_, out, _) = lbctl(&daemon.socket, &["events", "--limit", "1"]).await;
    assert!(out.ends_with("IMS2 of HL7 is up\n") && out.lines().count() == 1, "{out}");
    let (_, out, _) = lbctl(&daemon.socket, &["events", "--json"]).await;
    let json: Events = serde_json::from_str(&out).unwrap();
    assert_eq!((json.last, json.events.len()), (8, 2));
    let (exit, out, _) = lbctl(&daemon.socket, &["events", "--service", "nobody"]).await;
    assert_eq!((exit, out.as_str()), (Exit::Fine, "No event matches.\n"));
}

#[tokio::test]
async fn health_is_a_table_or_json() {
    let daemon = daemon();
    let (exit, out, _) = lbctl(&daemon.socket, &["health"]).await;
    assert!(exit == Exit::Fine && out.contains("HL7/IMS2") && out.contains("✓✗✗"), "{out}");
    let (_, out, _) = lbctl(&daemon.socket, &["health", "--json"]).await;
    assert_eq!(serde_json::from_str::<HealthList>(&out).unwrap(), health());
    let (_, out, _) = lbctl(&daemon.socket, &["health", "--service", "nobody"]).await;
    assert_eq!(out, "No health check matches.\n");
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_exit_4_and_how_to_start_it() {
    let daemon = daemon();
    let (exit, out, _) = lbctl(&daemon.socket, &["stop"]).await;
    assert!(exit == Exit::Fine && out.contains("goes on forwarding"), "{out}");
    daemon.server.await.unwrap();
    let (exit, out, err) = lbctl(&daemon.socket, &["status"]).await;
    assert_eq!((exit, out.as_str()), (Exit::Unreachable, ""));
    assert!(err.starts_with("error: lbd is not running") && err.contains("systemctl start lbd"), "{err}");
}

#[tokio::test]
async fn completions_need_no_daemon() {
    let directory = Directory::new();
    for shell in ["bash", "zsh", "fish"] {
        let (exit, out, _) = lbctl(&directory.socket(), &["completions", shell]).await;
        assert!(exit == Exit::Fine && out.contains("persistence") && out.contains("detach"), "{shell}");
    }
}

#[tokio::test]
async fn each_command_that_is_shown_has_a_manual_page() {
    let directory = Directory::new();
    let pages = directory.socket().with_file_name("man");
    let (exit, out, err) = lbctl(&directory.socket(), &["manual", "--directory", pages.to_str().unwrap()]).await;
    assert_eq!((exit, out.as_str(), err.as_str()), (Exit::Fine, "", ""));
    let mut written: Vec<String> =
        std::fs::read_dir(&pages).unwrap().map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    written.sort();
    let shown = Cli::command();
    let mut wanted: Vec<String> = shown
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| format!("lbctl-{}.1", command.get_name()))
        .chain(
            [
                "lbctl.1",
                "lbctl-cert-csr.1",
                "lbctl-cert-import.1",
                "lbctl-cert-list.1",
                "lbctl-cert-self-signed.1",
                "lbctl-config-show.1",
                "lbctl-persistence-clear.1",
                "lbctl-persistence-list.1",
            ]
            .map(Into::into),
        )
        .collect();
    wanted.sort();
    assert_eq!(written, wanted);
    let drain = std::fs::read_to_string(pages.join("lbctl-drain.1")).unwrap();
    for text in ["\\-\\-wait", "SERVICE/SERVER", "\\-\\-socket", ".TH lbctl-drain 1"] {
        assert!(drain.contains(text), "{text} is missing in\n{drain}");
    }
}

/// A pipe whose reader has gone.
struct Closed(io::ErrorKind);

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_failure_but_a_full_disk_is() {
    let daemon = daemon();
    for (kind, exit, said) in
        [(io::ErrorKind::BrokenPipe, Exit::Fine, 0), (io::ErrorKind::StorageFull, Exit::Failed, 1)]
    {
        let cli = Cli::try_parse_from(["lbctl", "status", "--socket", daemon.socket.to_str().unwrap()]).unwrap();
        let mut err = Vec::new();
        assert_eq!(run(cli, no_terminal, &mut Closed(kind), &mut err).await, exit);
        assert_eq!(String::from_utf8(err).unwrap().lines().count(), said);
    }
}
