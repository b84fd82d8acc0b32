//! Keys of tickets over time.

use std::time::{Duration, SystemTime};

use crate::proxy::tls::Tickets;

const HOUR: u64 = 3600;
const ASKED: [u8; 32] = [7; 32];

fn at(hours: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 * HOUR + hours * HOUR)
}

#[test]
fn a_ticket_is_accepted_for_twelve_hours_whenever_it_was_issued() {
    for issued in 0..6 {
        let tickets = Tickets::new(at(0)).expect("tickets");
        tickets.rotate(at(issued)).expect("rotated");
        let ticket = tickets.seal(b"a session", &ASKED).expect("a ticket");
        for hour in issued..issued + 12 {
            tickets.rotate(at(hour)).expect("rotated");
            assert_eq!(tickets.open(&ticket, &ASKED).as_deref(), Some(&b"a session"[..]), "{issued} {hour}");
        }
        tickets.rotate(at(18)).expect("rotated");
        assert_eq!(tickets.open(&ticket, &ASKED), None, "{issued}");
    }
}

#[test]
fn keys_of_a_service_that_nobody_used_for_days_are_forgotten() {
    let tickets = Tickets::new(at(0)).expect("tickets");
    let ticket = tickets.seal(b"a session", &ASKED).expect("a ticket");
    tickets.rotate(at(48)).expect("rotated");
    assert_eq!(tickets.open(&ticket, &ASKED), None);
    let exported = tickets.export();
    let again = Tickets::import(&exported, at(120)).expect("tickets");
    assert_eq!(again.export().len(), exported.len(), "the new key alone");
}

#[test]
fn a_clock_that_is_set_back_costs_a_rotation_and_no_session() {
    let tickets = Tickets::new(at(100)).expect("tickets");
    let ticket = tickets.seal(b"a session", &ASKED).expect("a ticket");
    for _ in 0..10 {
        tickets.rotate(at(1)).expect("rotated");
    }
    assert_eq!(tickets.open(&ticket, &ASKED).as_deref(), Some(&b"a session"[..]));
}

#[test]
fn a_ticket_that_was_tampered_with_opens_nothing() {
    let tickets = Tickets::new(at(0)).expect("tickets");
    let ticket = tickets.seal(b"a session", &ASKED).expect("a ticket");
    assert_eq!(tickets.open(&ticket, &[8; 32]), None, "another listener");
    for place in 0..ticket.len() {
        let mut tampered = ticket.clone();
        tampered[place] ^= 1;
        assert_eq!(tickets.open(&tampered, &ASKED), None, "byte {place}");
        assert_eq!(tickets.open(&ticket[..place], &ASKED), None, "cut at {place}");
    }
    assert_ne!(tickets.seal(b"a session", &ASKED).expect("another"), ticket);
}

#[test]
fn what_is_no_export_is_refused_and_says_so() {
    let exported = Tickets::new(at(0)).expect("tickets").export();
    let mut other_version = exported.to_vec();
    other_version[0] = 9;
    let mut too_many = exported.to_vec();
    for _ in 0..8 {
        too_many.extend_from_slice(&exported[1..]);
    }
    for bytes in [&[][..], &[1], &exported[..20], &other_version, &too_many] {
        let refused = Tickets::import(bytes, at(0)).expect_err("refused");
        assert!(refused.contains("cannot be read"), "{refused}");
    }
    assert!(!format!("{:?}", Tickets::new(at(0))).contains("secret"));
}
