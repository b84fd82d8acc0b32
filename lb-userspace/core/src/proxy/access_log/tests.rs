//! Records in, lines out.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn connection() -> Record<'static> {
    Record {
        client: "172.26.11.7:51234".parse().unwrap(),
        date: "2026-02-06T12:14:14.655+01:00",
        service: "HL7",
        tls: false,
        pool: None,
        server: Some("IMS1"),
        times: Times {
            queue: Some(Duration::ZERO),
            connect: Some(Duration::from_micros(1900)),
            total: Duration::from_millis(5007),
        },
        received: 512,
        sent: 212,
        end: End::default(),
        service_connections: 3,
        server_connections: 1,
        retries: 0,
        http: None,
    }
}

fn request() -> Record<'static> {
    let http = Exchange {
        request: Some(Duration::from_millis(10)),
        response: Some(Duration::from_millis(69)),
        status: Some(200),
        rule: Some("api"),
        host: Some("www.example.org"),
        line: Some(("GET", "/api/v1?x=1", "HTTP/1.1")),
    };
    Record { service: "shop", tls: true, pool: Some("api"), server: Some("web1"), http: Some(http), ..connection() }
}

#[test]
fn lines_are_as_the_reference_shows_them() {
    let reference = include_str!("../../../../../docs/reference/access-log.md");
    let nothing = Record {
        server: None,
        times: Times { total: Duration::from_millis(10_000), ..Times::default() },
        end: End { cause: Cause::ClientTimeout, phase: Phase::Request },
        http: Some(Exchange { request: None, response: None, status: Some(408), rule: None, host: None, line: None }),
        pool: None,
        received: 14,
        ..request()
    };
    for record in [connection(), request(), nothing] {
        let line = line(&record);
        assert!(reference.lines().any(|shown| shown == line), "not in the reference: {line}");
    }
}

#[test]
fn every_letter_is_in_the_reference_and_stands_for_one_thing() {
    let reference = include_str!("../../../../../docs/reference/access-log.md");
    let sections: Vec<&str> = reference.split("\n## ").collect();
    let section = |name: &str| *sections.iter().find(|section| section.starts_with(name)).unwrap();
    let check = |letters: Vec<char>, text: &str| {
        for letter in &letters {
            assert!(text.contains(&format!("| `{letter}` |")), "{letter} is not in the reference");
        }
        let rows = text.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, letters.len(), "the reference has other letters");
        let different: std::collections::BTreeSet<char> = letters.iter().copied().collect();
        assert_eq!(different.len(), letters.len());
    };
    check(Cause::ALL.iter().map(|cause| cause.letter()).collect(), section("First letter"));
    check(Phase::ALL.iter().map(|phase| phase.letter()).collect(), section("Second letter"));
}

#[test]
fn nothing_in_a_request_can_break_the_line_or_forge_another() {
    let mut record = request();
    if let Some(http) = &mut record.http {
        http.line = Some(("GET", "/a\"\n172.26.11.9:1 [x] shop \u{e9}\\", "HTTP/1.1"));
        http.host = Some("a} {b");
    }
    record.service = "web shop";
    let line = line(&record);
    assert!(line.contains(" web\\x20shop~ "), "{line}");
    assert!(line.contains(" {a\\x7D\\x20\\x7Bb} "), "{line}");
    assert!(line.ends_with("\"GET /a\\x22\\x0A172.26.11.9:1 [x] shop \\xC3\\xA9\\x5C HTTP/1.1\""), "{line}");
}

#[test]
fn a_long_target_is_cut() {
    let target = "/".repeat(5000);
    let mut record = request();
    if let Some(http) = &mut record.http {
        http.line = Some(("GET", &target, "HTTP/2.0"));
    }
    let line = line(&record);
    assert!(line.ends_with("/... HTTP/2.0\""), "{line}");
    assert!(line.len() < MOST_TARGET + 200);
}

#[test]
fn one_of_so_many_is_written_and_every_error() {
    let mut sampling = Sampling::new(3);
    let taken: Vec<bool> = (0..7).map(|_| sampling.takes(false)).collect();
    assert_eq!(taken, [true, false, false, true, false, false, true]);
    assert!((0..10).all(|_| sampling.takes(true)));
    assert!(!sampling.takes(false), "errors do not count as the one");
    for all in [0, 1] {
        let mut sampling = Sampling::new(all);
        assert!((0..5).all(|_| sampling.takes(false)));
    }
}

#[test]
fn an_error_is_what_went_wrong_and_not_what_a_rule_says() {
    let with = |cause, status| {
        let mut record = request();
        record.end.cause = cause;
        if let Some(http) = &mut record.http {
            http.status = Some(status);
        }
        record.is_error()
    };
    assert!(!with(Cause::Normal, 200));
    assert!(!with(Cause::Normal, 404));
    assert!(with(Cause::Normal, 500));
    assert!(!with(Cause::Local, 403));
    assert!(!with(Cause::Local, 503));
    let others = Cause::ALL.iter().filter(|cause| !matches!(cause, Cause::Normal | Cause::Local));
    assert!(others.copied().all(|cause| with(cause, 200)));
    assert!(!connection().is_error());
}

proptest! {
    #[test]
    fn a_line_has_always_the_same_words(service in ".{1,20}", server in ".{1,20}", host in ".{0,20}", target in ".{0,80}") {
        let mut record = request();
        record.service = &service;
        record.server = Some(&server);
        if let Some(http) = &mut record.http {
            http.host = Some(&host);
            http.line = Some(("GET", &target, "HTTP/1.1"));
        }
        let line = line(&record);
        prop_assert!(line.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
        let (words, quoted) = line.split_once('"').unwrap();
        prop_assert_eq!(words.split(' ').count(), 12, "{}", line);
        prop_assert_eq!(quoted.matches('"').count(), 1);
    }
}
