use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::view::Transport;

fn pool(number: u32, in_use: u64) -> Pool {
    let (service, server) = ("RAS".to_owned(), format!("GW{number}"));
    Pool { number, service, server, shared_with: None, protocol: Transport::Udp, in_use, size: 31_744 }
}

fn flows(entries: u64) -> Table {
    Table {
        name: "flows",
        limit: "flows",
        entries,
        capacity: 1_000,
        half_open: true,
        when_full: "new ones are forwarded without being remembered",
    }
}

fn limit(service: Option<&str>, beyond: u64) -> Limit {
    let number = u32::from(service.is_some());
    Limit { number, service: service.map(str::to_owned), per_second: 50_000, refuses: service.is_some(), beyond }
}

/// The machine and a time that passes.
struct Watched {
    capacity: Capacity,
    begin: Instant,
    now: Instant,
}

impl Watched {
    fn new() -> Self {
        let begin = Instant::now();
        Self { capacity: Capacity::default(), begin, now: begin }
    }

    fn at(&mut self, seconds: u64) -> &mut Self {
        self.now = self.begin + Duration::from_secs(seconds);
        self
    }

    /// Severities and sentences.
    fn read(&mut self, reading: &Reading) -> Vec<(Severity, String)> {
        let told = self.capacity.read(reading, self.now);
        assert!(told.iter().all(|happening| happening.kind == EventKind::Capacity));
        told.into_iter().map(|happening| (happening.severity, happening.sentence)).collect()
    }

    fn pools(&mut self, pools: &[Pool]) -> Vec<(Severity, String)> {
        self.read(&Reading { pools: pools.to_vec(), ..Reading::default() })
    }
}

#[test]
fn source_ports_are_told_of_from_80_percent_on_and_again_when_there_are_enough() {
    let mut watched = Watched::new();
    assert_eq!(watched.at(0).pools(&[pool(2, 25_395)]), []);
    assert_eq!(watched.capacity.problems(), [] as [&str; 0]);

    let told = watched.at(1).pools(&[pool(2, 25_396)]);
    let sentence = "80 % of its 31,744 source ports for UDP are in use; when all are, its new flows are refused";
    assert_eq!(told, [(Severity::Warning, sentence.to_owned())]);
    assert_eq!(
        watched.capacity.problems(),
        [
            "virtual service RAS, real server GW2: 80 % of its 31,744 source ports for UDP are in use; when they run out, \
          new flows are refused: add real servers, widen `node.source_ports`, shorten `defaults.flow_timeouts.udp`"
        ]
    );
    assert_eq!(watched.at(90).pools(&[pool(2, 23_000)]), [], "72 % is not enough");
    let told = watched.at(91).pools(&[pool(2, 22_000)]);
    let sentence = "only 22,000 of its 31,744 source ports for UDP are in use again";
    assert_eq!(told, [(Severity::Info, sentence.to_owned())]);
    assert_eq!(watched.capacity.problems(), [] as [&str; 0]);
}

#[test]
fn an_event_about_a_real_server_names_it() {
    let reading = Reading { pools: vec![pool(2, 31_744)], ..Reading::default() };
    let told = Capacity::default().read(&reading, Watched::new().now);
    let names = (told[0].service.as_deref(), told[0].server.as_deref());
    assert_eq!(names, (Some("RAS"), Some("GW2")));
}

#[test]
fn ports_that_two_services_share_are_named_once_with_both() {
    let shared = Pool { shared_with: Some("Web".to_owned()), ..pool(2, 31_000) };
    let mut watched = Watched::new();
    watched.at(0).pools(&[shared]);
    let problems = watched.capacity.problems();
    let remedy = ", or give it and virtual service Web, which shares them, a `source_address` each";
    assert!(problems.len() == 1 && problems[0].contains(remedy), "{problems:?}");
}

#[test]
fn a_fill_that_swings_is_told_once_a_minute_but_is_known_at_once() {
    let mut watched = Watched::new();
    let mut told = 0;
    for second in 0..600 {
        let full = second % 2 == 0;
        told += watched.at(second).pools(&[pool(2, if full { 31_744 } else { 0 })]).len();
        assert_eq!(watched.capacity.problems().len(), usize::from(full), "{second}");
        assert_eq!(watched.capacity.is_pressed(), full, "{second}");
    }
    // One a minute about the pool, one a minute about the pressure.
    assert!((2..=22).contains(&told), "{told}");
}

#[test]
fn a_thousand_pools_that_fill_up_together_are_told_of_a_few_at_a_time_the_fullest_first() {
    let mut watched = Watched::new();
    let pools: Vec<_> = (1..=1_000).map(|number| pool(number, 31_744 - u64::from(number))).collect();
    let mut all = Vec::new();
    for second in 0..200 {
        let told = watched.at(second).pools(&pools);
        let pools = told.iter().filter(|(_, sentence)| sentence.contains("source ports")).count();
        assert!(pools <= EVENTS, "{pools} at once");
        all.push(pools);
    }
    assert_eq!(all.iter().sum::<usize>(), 1_000);
    let problems = watched.capacity.problems();
    assert_eq!(problems.len(), NAMED + 1);
    assert!(problems[0].contains("real server GW1:"), "{}", problems[0]);
    assert!(problems[NAMED].starts_with("992 more real servers"), "{}", problems[NAMED]);
}

#[test]
fn flows_without_a_port_are_told_at_the_beginning_and_at_the_end() {
    let mut watched = Watched::new();
    let reading = |refused, used| Reading { ports_refused: refused, pools: vec![pool(2, used)], ..Reading::default() };
    assert_eq!(watched.at(0).read(&reading(7_000, 24_000)), [], "before anybody looked");
    let told = watched.at(1).read(&reading(7_001, 24_000));
    let sentence = "new flows of l4-snat are refused, because their real server has no source port left; the fullest are \
                    those of virtual service RAS, real server GW2: 75 % of its 31,744 source ports for UDP are in use";
    assert_eq!(told, [(Severity::Warning, sentence.to_owned())]);
    for second in 2..40 {
        assert_eq!(watched.at(second).read(&reading(7_000 + second, 24_000)), [], "{second}");
        let problems = watched.capacity.problems();
        assert!(problems.len() == 1 && problems[0].starts_with("source ports of l4-snat run out"), "{problems:?}");
    }
    assert_eq!(watched.at(68).read(&reading(7_039, 0)), []);
    let told = watched.at(69).read(&reading(7_039, 0));
    let sentence = "source ports suffice again; 39 packets of new flows were dropped for want of one";
    assert_eq!(told, [(Severity::Info, sentence.to_owned())]);
    assert_eq!(watched.capacity.problems(), [] as [&str; 0]);
}

#[test]
fn new_flows_beyond_a_limit_are_a_problem_while_they_come() {
    let mut watched = Watched::new();
    let reading =
        |service, all| Reading { limits: vec![limit(Some("Web"), service), limit(None, all)], ..Reading::default() };
    assert_eq!(watched.at(0).read(&reading(5, 5)), []);
    let told = watched.at(1).read(&reading(9, 5));
    let sentence = "more new flows arrive than the 50,000 per second that one CPU records; those beyond it are refused";
    assert_eq!(told, [(Severity::Warning, sentence.to_owned())]);
    assert_eq!(
        watched.capacity.problems(),
        [
            "virtual service Web gets more new flows than the 50,000 per second that one CPU records, 4 until now; those \
          beyond it are refused: if clients need more, raise `new_flows_per_second` of the service"
        ]
    );
    let told = watched.at(20).read(&reading(9, 6));
    assert!(told[0].1.ends_with("those beyond it are forwarded without being remembered"), "{told:?}");
    assert_eq!(watched.capacity.problems().len(), 2);
    let told = watched.at(31).read(&reading(9, 6));
    assert_eq!(told, [(Severity::Info, "its new flows are within their limit again; 4 were beyond it".to_owned())]);
    let told = watched.at(50).read(&reading(9, 6));
    let sentence = "the new flows of this machine are within their limit again; 1 were beyond it";
    assert_eq!(told, [(Severity::Info, sentence.to_owned())]);
}

#[test]
fn a_number_that_another_service_gets_and_a_count_that_begins_anew_are_no_flood() {
    let mut watched = Watched::new();
    let reading = |service, beyond| Reading { limits: vec![limit(Some(service), beyond)], ..Reading::default() };
    assert_eq!(watched.at(0).read(&reading("Web", 5)), []);
    assert_eq!(watched.at(1).read(&reading("Mail", 900)), []);
    assert_eq!(watched.at(2).read(&reading("Mail", 0)), []);
    assert_eq!(watched.at(3).read(&reading("Mail", 1)).len(), 1);
}

#[test]
fn half_open_flows_are_forgotten_early_while_what_they_hold_runs_out() {
    let tables = |entries| Reading { tables: vec![flows(entries)], ..Reading::default() };
    let mut watched = Watched::new();
    assert_eq!(watched.at(0).read(&tables(899)), []);
    assert!(!watched.capacity.is_pressed());
    let told: Vec<_> = watched.at(1).read(&tables(900)).into_iter().map(|(_, sentence)| sentence).collect();
    assert_eq!(
        told,
        [
            "table flows is 90 % full, with 900 of 1,000 entries; when it is full, new ones are forwarded without being \
             remembered",
            sentence::PRESSED,
        ]
    );
    assert!(watched.capacity.is_pressed());
    assert_eq!(
        watched.capacity.problems(),
        ["table flows holds 900 of 1000 entries; when it is full, new ones are forwarded without being remembered: \
          raise `node.limits.flows`; flows whose client has not answered yet are forgotten after about 2 s meanwhile"]
    );
    watched.at(90).read(&tables(800));
    assert!(watched.capacity.is_pressed(), "80 % is not enough");
    let told = watched.at(91).read(&tables(799));
    assert_eq!(told.iter().filter(|(severity, _)| *severity == Severity::Info).count(), 2, "{told:?}");
    assert!(!watched.capacity.is_pressed());
}

#[test]
fn a_table_without_half_open_flows_presses_nobody() {
    let table = Table { half_open: false, ..flows(1_000) };
    let mut watched = Watched::new();
    assert_eq!(watched.at(0).read(&Reading { tables: vec![table], ..Reading::default() }).len(), 1);
    assert!(!watched.capacity.is_pressed());
    assert!(!watched.capacity.problems()[0].contains("forgotten"));
}

proptest! {
    #[test]
    fn events_of_one_subject_take_turns_and_nothing_is_kept_of_what_is_gone(
        steps in proptest::collection::vec((0u64..200, 0u64..110, 0u64..3, any::<bool>()), 1..60)
    ) {
        let mut watched = Watched::new();
        let (mut second, mut beyond, mut worse) = (0, 0, None);
        for (pause, percent, grows, there) in steps {
            second += pause;
            beyond += grows;
            let reading = Reading {
                tables: vec![flows(percent * 10)],
                pools: vec![pool(4, percent * 317)],
                limits: there.then(|| limit(Some("Web"), beyond)).into_iter().collect(),
                ..Reading::default()
            };
            watched.at(second);
            let told = watched.capacity.read(&reading, watched.now);
            for happening in told.iter().filter(|happening| happening.server.is_some()) {
                prop_assert_ne!(worse.replace(happening.severity), Some(happening.severity), "told twice");
            }
            prop_assert!(worse != Some(Severity::Info) || second > 0, "an end without a beginning");
            prop_assert_eq!(watched.capacity.limits.len(), usize::from(there));
        }
    }
}
