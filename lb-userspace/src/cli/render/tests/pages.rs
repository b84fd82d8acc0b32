//! Whole pages.

use std::time::Duration;

use lb_core::view::{
    Connection, Connections, FlowState, HealthList, HealthState, LinkState, Mode, PersistenceList, PersistenceQuery,
    PersistenceRecord, ReloadReport, ReloadResult, Sample, ServerState, Severity, SourcePorts, Status, StopReport,
    Transport, service_state,
};

use super::expect;
use super::fixtures::{NOW, administered, bad_day, good_day, server, service};
use crate::cli::render::{self, Earlier};

#[test]
fn a_good_day_is_a_table_and_nothing_else() {
    expect("good_day.txt", &render::status(&good_day(), NOW, 160, false));
}

#[test]
fn colour_adds_nothing_but_colour() {
    let plain = render::status(&bad_day(), NOW, 120, false);
    let coloured = render::status(&bad_day(), NOW, 120, true);
    expect("bad_day_in_colour.txt", &coloured);
    // An escape ends with its first letter.
    let parts = coloured.split('\x1b').enumerate();
    let stripped: String =
        parts.map(|(index, part)| if index == 0 { part } else { part.split_once('m').unwrap().1 }).collect();
    assert_eq!(stripped, plain);
}

#[test]
fn a_bad_day_says_what_is_wrong_and_what_to_do() {
    expect("bad_day.txt", &render::status(&bad_day(), NOW, 140, false));
}

#[test]
fn orders_are_shown_with_who_gave_them_and_when() {
    let text = render::status(&administered(), NOW, usize::MAX, false);
    expect("administered.txt", &text);
    assert!(text.contains("rolled back in 42 s unless you run: lbctl confirm"));
    // A clock that was set back is no reason to show nonsense.
    assert!(render::status(&administered(), 0, usize::MAX, false).contains("drained by alice (uid 0) 0s ago"));
}

#[test]
fn on_a_narrow_terminal_reasons_get_lines_of_their_own() {
    let text = render::status(&bad_day(), NOW, 80, false);
    expect("bad_day_narrow.txt", &text);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("last good 2026-03-02 03:10:44 UTC"), "a reason lost its end");
}

#[test]
fn without_a_terminal_each_server_stays_on_its_line() {
    let text = render::status(&bad_day(), NOW, usize::MAX, false);
    let line = text.lines().find(|line| line.contains("HT2")).unwrap();
    assert!(line.contains("down") && line.ends_with("03:10:44 UTC"), "{line}");
}

#[test]
fn the_hint_names_the_cause_before_its_effects() {
    let hint = |status: &Status| {
        let text = render::status(status, NOW, usize::MAX, false);
        text.lines().last().unwrap().strip_prefix("Hint: ").map(str::to_owned)
    };
    let mut status = good_day();
    assert_eq!(hint(&status), None);

    status.tables[1].entries = 250_000;
    assert_eq!(
        hint(&status).unwrap(),
        "the table of persistence is at least 80 % full; raise node.limits.persistence in the configuration."
    );
    status.tables[1].name = "virtual_services".into();
    assert_eq!(hint(&status).unwrap(), "the table of virtual services is at least 80 % full.");
    status.tables[1].name = "persistence".into();

    status.virtual_services[0].real_servers[1].state = ServerState::Down;
    assert!(
        hint(&status).unwrap().starts_with("HT2 of Harmonic_Traffic is down; clients are sent to those that are up.")
    );

    let hl7 = &mut status.virtual_services[1];
    hl7.real_servers[0].state = ServerState::Halted;
    (hl7.state, hl7.reason) = service_state(&hl7.real_servers);
    assert!(hint(&status).unwrap().starts_with("HL7 answers no client: no real server takes new clients: 1 halted."));

    status.interfaces[1].state = LinkState::Down;
    assert!(hint(&status).unwrap().starts_with("eth1 has no link: "));

    status.problems = vec!["eth1 fell back to generic XDP: the driver has none.".into()];
    assert!(hint(&status).unwrap().starts_with("mend the problems above first"));
    expect("problems.txt", &render::status(&status, NOW, 100, false));
}

#[test]
fn rows_show_half_open_flows_in_a_flood_and_source_ports_of_snat() {
    let mut status = good_day();
    let gateway = &mut status.virtual_services[1];
    (gateway.mode, gateway.half_open) = (Mode::Snat, 99);
    let ports = |protocol, in_use| SourcePorts { protocol, in_use, size: 31_744 };
    gateway.real_servers[0].source_ports = vec![ports(Transport::Tcp, 120), ports(Transport::Udp, 29_000)];
    let page = |status: &Status| render::status(status, NOW, usize::MAX, false);
    let text = page(&status);
    let row = "answers ping; source ports in use: 120 of 31,744 (TCP), 29,000 of 31,744 (UDP)\n";
    assert!(text.contains(row), "{text}");
    assert!(!text.contains("half-open"), "a few are always there: {text}");

    status.virtual_services[1].half_open = 1_500;
    let text = page(&status);
    assert!(text.contains("weighted-least-connection, 1,500 half-open flows\n"), "{text}");
    status.virtual_services[1].connections = 3_001;
    assert!(!page(&status).contains("half-open"), "most of its flows are answered");

    status.tables[0].name = "replies".into();
    status.tables[0].entries = 1_000_000;
    let text = page(&status);
    assert!(text.ends_with("raise node.limits.translated_flows in the configuration.\n"), "{text}");
}

#[test]
fn a_machine_without_services_says_so() {
    let mut status = good_day();
    status.virtual_services.clear();
    status.configuration.services = 0;
    expect("no_services.txt", &render::status(&status, NOW, 100, false));
}

#[test]
fn rates_are_differences_over_the_time_between() {
    let before = good_day();
    let mut now = good_day();
    now.virtual_services[0].packets += 3_000;
    now.virtual_services[0].real_servers[0].packets += 1_501;
    // Started again: the count is below what it was.
    now.virtual_services[1].packets = 10;
    now.virtual_services.push(service(
        "new",
        "10.0.0.1",
        "80",
        vec![server("n1", "10.0.0.2", None, ServerState::Up, "")],
    ));
    now.counters[1].packets = 50;
    let earlier = Earlier { status: &before, elapsed: Duration::from_millis(1_500) };
    expect("rates.txt", &render::status_since(&now, Some(&earlier), NOW, 160, false));

    let at_once = Earlier { status: &before, elapsed: Duration::ZERO };
    let text = render::status_since(&now, Some(&at_once), NOW, 160, false);
    assert!(text.contains("Packets/s"), "a difference over no time is no rate, and no panic");
}

#[test]
fn names_and_reasons_cannot_command_the_terminal() {
    let mut status = good_day();
    status.virtual_services[0].name = "eve\x1b[2J\u{202e}".into();
    status.virtual_services[0].real_servers[0].reason = "said \"\x07\r\n\x1b]0;x\x07\"".into();
    status.problems = vec!["a\x1bb".into()];
    let text = render::status(&status, NOW, 160, false);
    assert!(!text.chars().any(|c| c.is_control() && c != '\n' || c == '\u{202e}'), "{text:?}");
}

#[test]
fn no_width_and_no_text_is_too_odd_to_be_shown() {
    let mut status = bad_day();
    let nasty = "放射線科\u{301}\u{200d}\u{fffd}🏥, e\0";
    status.virtual_services[0].ports = nasty.repeat(4);
    status.virtual_services[1].name = nasty.into();
    status.virtual_services[1].real_servers[0].reason = nasty.repeat(9);
    status.tables[0].name = nasty.into();
    status.problems = vec![nasty.repeat(20)];
    for width in (0..250).chain([usize::MAX]) {
        assert!(render::status(&status, NOW, width, width % 2 == 0).contains("HT5"));
    }
}

#[test]
fn columns_are_aligned_by_display_width() {
    let mut status = good_day();
    status.virtual_services[1].name = "放射線科".into();
    expect("wide_names.txt", &render::status(&status, NOW, 160, false));
}

fn flow(number: u16) -> Connection {
    Connection {
        virtual_service: "Harmonic_Traffic".into(),
        real_server: Some(format!("HT{}", number % 2 + 1)),
        protocol: if number == 3 { Transport::Udp } else { Transport::Tcp },
        client: ([192, 168, 94, 20], 50_000 + number).into(),
        vip: ([192, 168, 94, 110], 554).into(),
        source: None,
        destination: None,
        state: if number == 3 { FlowState::Udp } else { FlowState::Established },
        age_seconds: 4_000 * u64::from(number),
        idle_seconds: u64::from(number),
        expires_seconds: 7_200 - u64::from(number),
        bytes: None,
        reply_bytes: None,
    }
}

#[test]
fn connections_are_a_table_with_a_total() {
    let first = Connections { connections: (0..3).map(flow).collect(), total: 1_000_000, shown: 3 };
    expect("connections_cut.txt", &render::connections(&first, 160, false));
    let all = Connections { connections: (0..4).map(flow).collect(), total: 4, shown: 4 };
    assert!(render::connections(&all, 160, false).ends_with("\n\n4 connections.\n"));
    assert_eq!(render::connections(&Connections::default(), 160, false), "No connection matches.\n");
}

#[test]
fn translated_flows_show_what_their_real_server_sees() {
    let translated = Connection {
        source: Some(([192, 168, 110, 1], 1024).into()),
        destination: Some(([192, 168, 110, 70], 8080).into()),
        state: FlowState::HalfClosed,
        ..flow(1)
    };
    let list = Connections { connections: vec![flow(0), translated], total: 2, shown: 2 };
    expect("connections_translated.txt", &render::connections(&list, 200, false));
}

#[test]
fn proxied_connections_show_their_bytes_and_may_have_no_real_server() {
    let proxied = Connection {
        destination: Some(([192, 168, 110, 70], 8080).into()),
        bytes: Some(512),
        reply_bytes: Some(1_048_576),
        ..flow(1)
    };
    let resting = Connection { real_server: None, destination: None, state: FlowState::Pending, ..proxied.clone() };
    let list = Connections { connections: vec![flow(0), proxied, resting], total: 3, shown: 3 };
    expect("connections_proxied.txt", &render::connections(&list, 200, false));
}

#[test]
fn persistence_records_are_a_table_with_a_total() {
    let record = |client: &str, confirmed| PersistenceRecord {
        virtual_service: "DS_DICOM".into(),
        client: client.parse().unwrap(),
        real_server: "DS1".into(),
        age_seconds: 90_000,
        idle_seconds: 60,
        expires_seconds: 240,
        confirmed,
    };
    let records = [record("172.26.11.0/24", true), record("2001:db8::7", false), record("rdp:00c0ffee00c0ffee", true)];
    let all = PersistenceQuery::default().select(records.into_iter());
    expect("persistence.txt", &render::persistence(&all, 160, false));
    assert_eq!(render::persistence(&PersistenceList::default(), 160, false), "No persistence record matches.\n");
    let shop = PersistenceList { by_cookie: vec!["shop".to_owned()], ..PersistenceList::default() };
    let sentence = "No persistence record matches.\nshop keeps its clients by a cookie: they have it themselves, and lbd \
                    records nothing of them.\n";
    assert_eq!(render::persistence(&shop, 160, false), sentence);
}

#[test]
fn health_checks_are_a_table_with_their_last_probes() {
    let mut list = crate::api::tests::health();
    let mut waits = list.checks[1].clone();
    (waits.server, waits.check, waits.state) = ("IMS3".into(), "https /admin/status".into(), HealthState::Checking);
    (waits.successes, waits.rise, waits.failures, waits.last_good_seconds) = (3, 8, 0, None);
    waits.reason = "answered 200 OK".into();
    waits.shared_with = vec!["PACS/P1".into(), "RIS/R1".into()];
    waits.history = (0..14).map(|at| Sample { ago_ms: at * 4_000, good: at < 3, took_ms: 0.417 }).collect();
    let mut shaky = list.checks[0].clone();
    (shaky.server, shaky.failures, shaky.fall, shaky.port) = ("IMS4".into(), 1, 3, None);
    shaky.check = "ping".into();
    let mut unchecked = list.checks[0].clone();
    (unchecked.server, unchecked.state, unchecked.check) = ("IMS5".into(), HealthState::Unchecked, "none".into());
    (unchecked.port, unchecked.last_good_seconds, unchecked.reason) = (None, None, "it is not checked".into());
    unchecked.history.clear();
    list.checks.extend([waits, shaky, unchecked]);
    expect("health.txt", &render::health(&list, 160, false));
    expect("health_narrow.txt", &render::health(&list, 80, false));
    assert_eq!(render::health(&HealthList::default(), 80, true), "No health check matches.\n");
}

#[test]
fn an_event_is_a_line_in_local_time() {
    let east = chrono::FixedOffset::east_opt(2 * 3600).unwrap();
    let mut event = crate::api::tests::event(0, "IMS1", "IMS1 of HL7 is down: connection refused");
    assert_eq!(
        render::event(&event, &east, false),
        "2026-11-21 05:12:09  warning  HL7/IMS1  IMS1 of HL7 is down: connection refused\n"
    );
    event.severity = Severity::Info;
    event.by = Some("alice".into());
    event.server = None;
    assert_eq!(
        render::event(&event, &chrono::Utc, false),
        "2026-11-21 03:12:09  info     HL7  IMS1 of HL7 is down: connection refused (by alice)\n"
    );
    event.service = None;
    event.sentence = "a\nb\x1b[2J".into();
    event.at_ms = u64::MAX;
    assert_eq!(
        render::event(&event, &chrono::Utc, false),
        "18446744073709551615 ms after 1970  info     a b\u{fffd}[2J (by alice)\n"
    );
}

#[test]
fn a_reload_and_a_stop_say_what_they_mean() {
    let mut report = ReloadReport {
        result: ReloadResult::Applied,
        changes: vec!["virtual service HL7 is new".into(), "HT2 of Harmonic_Traffic: weight 50, was 100".into()],
        warnings: vec!["the check of NFS uses port 111, the first one".into()],
        confirm_within_seconds: None,
    };
    assert_eq!(
        render::reload(&report),
        "The new configuration is in force.\n  - virtual service HL7 is new\n  - HT2 of Harmonic_Traffic: weight 50, was 100\n"
    );
    assert_eq!(render::warnings(&report), "warning: the check of NFS uses port 111, the first one\n");
    report.result = ReloadResult::Unchanged;
    assert_eq!(render::reload(&report), "Nothing to do: the configuration in force is the same.\n");
    assert!(render::stop(StopReport { detach: true }).contains("no longer answered"));
    assert!(render::stop(StopReport { detach: false }).contains("goes on forwarding"));
}

#[test]
fn a_finding_says_what_where_why_and_what_to_type() {
    let found = crate::api::tests::finding();
    expect("finding.txt", &render::examination(&found, 80, false));
    // A command is there to be copied: it is broken by the terminal, if at all.
    let narrow = render::examination(&found, 40, false);
    for command in &found.findings[0].fix[0].commands {
        assert!(narrow.contains(&format!("\n    {command}\n")), "{narrow}");
    }
    assert!(render::examination(&found, 80, true).contains("\x1b[31mproblem: vip-answered\x1b[0m"));
    let healthy = lb_core::view::Examination { asked: 4, ..Default::default() };
    assert_eq!(
        render::examination(&healthy, 80, true),
        "Nothing wrong was found; 4 questions of the network were answered.\n"
    );
}
