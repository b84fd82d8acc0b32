//! Numbers, bounds and selections of the log of events.

use super::*;

fn about(service: &str, sentence: &str) -> Happening {
    Happening {
        kind: EventKind::Health,
        severity: Severity::Info,
        service: Some(service.to_owned()),
        server: None,
        by: None,
        sentence: sentence.to_owned(),
    }
}

fn ids(events: &Events) -> Vec<u64> {
    events.events.iter().map(|event| event.id).collect()
}

#[test]
fn events_are_numbered_from_one_and_the_oldest_make_room() {
    let mut log = Log::with_limit(3);
    for at in 0..5 {
        log.push(at, about("web", "up"));
    }
    let all = log.select(&EventsQuery::default());
    assert_eq!((ids(&all), all.oldest, all.last), (vec![3, 4, 5], 3, 5));
}

#[test]
fn a_query_gets_the_latest_that_match_the_oldest_first() {
    let mut log = Log::default();
    for at in 0..6 {
        log.push(at, about(if at % 2 == 0 { "web" } else { "dns" }, "up"));
    }
    let web = EventsQuery { service: Some("web".to_owned()), limit: 2, ..EventsQuery::default() };
    assert_eq!(ids(&log.select(&web)), [3, 5]);
    let later = EventsQuery { after: Some(5), ..EventsQuery::default() };
    assert_eq!(ids(&log.select(&later)), [6]);
    assert!(log.any(&later));
    assert!(!log.any(&EventsQuery { after: Some(6), ..EventsQuery::default() }));
}

#[test]
fn numbers_go_on_after_a_restart_and_what_is_out_of_order_is_left_out() {
    let mut before = Log::default();
    for at in 0..3 {
        before.push(at, about("web", "up"));
    }
    let mut kept: Vec<Event> = before.iter().cloned().collect();
    kept.push(kept[0].clone());
    let mut log = Log::default();
    log.resume(kept);
    assert_eq!(log.push(9, about("web", "down")).id, 4);
    assert_eq!(ids(&log.select(&EventsQuery::default())), [1, 2, 3, 4]);
}
