//! Records that are kept, forgotten, and make room.

mod random;
mod threads;

use std::collections::BTreeSet;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(300);

fn second() -> Duration {
    Duration::from_secs(1)
}

fn token(number: u64) -> Key {
    Key::Token(number)
}

fn clients(capacity: usize) -> Clients<u32> {
    Clients::new(capacity, TIMEOUT)
}

fn address(text: &str) -> Key {
    Key::address(text.parse().expect("an address"), 24, 64)
}

#[test]
fn a_network_is_one_client_and_a_mapped_address_is_an_ipv4_address() {
    assert_eq!(address("198.51.100.7"), address("198.51.100.200"));
    assert_eq!(address("::ffff:198.51.100.7"), address("198.51.100.200"));
    assert_eq!(address("2001:db8:0:1::7"), address("2001:db8:0:1:ffff::"));
    assert_ne!(address("198.51.100.7"), address("198.51.101.7"));
    assert_ne!(address("2001:db8:0:1::7"), address("2001:db8:0:2::7"));
    assert_ne!(address("::"), address("0.0.0.0"));
    assert_ne!(Key::token(b"anna"), Key::token(b"bert"));
}

#[test]
fn a_record_lasts_until_it_was_not_used_for_longer_than_the_timeout() {
    let (clients, begin) = (clients(9), Instant::now());
    clients.remember(token(1), 7, begin);

    assert_eq!(clients.find(token(1), begin + TIMEOUT), Some(7), "and that was a use");
    assert_eq!(clients.find(token(1), begin + TIMEOUT * 2), Some(7));
    assert_eq!(clients.peek(token(1), begin + TIMEOUT * 3), Some(7), "and that was none");
    assert_eq!(clients.peek(token(1), begin + TIMEOUT * 3 + second()), None);
    assert_eq!(clients.find(token(1), begin + TIMEOUT * 3 + second()), None);
    assert!(clients.is_empty());
}

#[test]
fn a_long_connection_keeps_its_record_and_brings_none_back() {
    let (clients, begin) = (clients(9), Instant::now());
    clients.remember(token(1), 7, begin);
    let mut now = begin;
    for _ in 0..100 {
        now += clients.touch_interval();
        assert!(clients.touch(token(1), 7, now));
        assert_eq!(clients.sweep(now), HashMap::from([(7, 1)]));
    }
    assert!(!clients.touch(token(1), 8, now + TIMEOUT), "a connection to a server that it kept before");
    assert_eq!(clients.find(token(1), now + TIMEOUT + second()), None);

    clients.remember(token(1), 7, now);
    assert_eq!(clients.forget_server(7), 1);
    assert!(!clients.touch(token(1), 7, now), "an administrator has cleared it");
    assert_eq!(clients.peek(token(1), now), None);
}

#[test]
fn another_server_makes_another_record() {
    let (clients, begin) = (clients(9), Instant::now());
    clients.remember(token(1), 7, begin);
    clients.remember(token(1), 7, begin + second());
    assert_eq!(clients.list(begin + second()), [(token(1), 7, second(), Duration::ZERO)]);
    clients.remember(token(1), 8, begin + 2 * second());
    assert_eq!(clients.list(begin + 3 * second()), [(token(1), 8, second(), second())]);
}

#[test]
fn a_thread_whose_clock_is_behind_takes_nothing_away() {
    let (clients, begin) = (clients(9), Instant::now());
    let now = begin + TIMEOUT;
    clients.remember(token(1), 7, now);
    assert_eq!(clients.find(token(1), begin), Some(7));
    assert!(clients.touch(token(1), 7, begin));
    clients.remember(token(1), 7, begin);
    assert_eq!(clients.peek(token(1), now + TIMEOUT), Some(7));
}

#[test]
fn a_reload_changes_the_timeout_of_all_records() {
    let (clients, begin) = (clients(9), Instant::now());
    clients.remember(token(1), 7, begin);
    clients.set_timeout(second());
    assert_eq!((clients.peek(token(1), begin + second()), clients.timeout()), (Some(7), second()));
    assert_eq!(clients.peek(token(1), begin + 2 * second()), None);
    clients.set_timeout(Duration::MAX);
    assert_eq!(clients.peek(token(1), begin + TIMEOUT * 9), Some(7));
}

#[test]
fn what_is_meant_is_forgotten_and_nothing_else() {
    let (clients, now) = (clients(10_000), Instant::now());
    for number in 0..900 {
        clients.remember(token(number), (number % 3) as u32, now);
    }
    assert_eq!(clients.forget_server(1), 300);
    assert_eq!(clients.forget_if(|client, server| *server == 0 && *client < token(300)), 100);
    assert_eq!(clients.sweep(now), HashMap::from([(0, 200), (2, 300)]));
    assert_eq!(clients.forget_server(1), 0);
    for number in 0..900 {
        let expected = match number % 3 {
            0 if number >= 300 => Some(0),
            2 => Some(2),
            _ => None,
        };
        assert_eq!(clients.find(token(number), now), expected, "client {number}");
    }
}

#[test]
fn the_least_recently_used_of_a_few_makes_room() {
    for capacity in [1, 2, 7, 8, 9, 100_u32] {
        let (clients, begin) = (clients(capacity as usize), Instant::now());
        for number in 0..=capacity {
            clients.remember(token(number.into()), 7, begin + second() * number);
        }
        assert_eq!((clients.len(), clients.evicted()), (capacity as usize, 1), "capacity {capacity}");
        assert_eq!(clients.peek(token(capacity.into()), begin + TIMEOUT), Some(7), "the one that came last is there");
        if capacity < 16 {
            assert_eq!(clients.peek(token(0), begin), None, "all of so few were looked at");
        }
    }
}

#[test]
fn clients_that_come_back_outlive_a_flood_of_such_as_do_not() {
    let (clients, mut now) = (clients(1024), Instant::now());
    for number in 0..100 {
        clients.remember(token(number), 7, now);
    }
    for stranger in 0..50_000 {
        now += Duration::from_millis(1);
        clients.remember(token(1_000_000 + stranger), 8, now);
        if stranger % 100 == 0 {
            let lost = (0..100).filter(|number| clients.find(token(*number), now).is_none()).count();
            assert_eq!(lost, 0, "after {stranger} strangers");
        }
    }
    assert_eq!((clients.len(), clients.evicted()), (1024, 50_000 + 100 - 1024));
}

#[test]
fn shards_fill_up_together() {
    let clients = clients(262_144);
    let now = Instant::now();
    for number in 0..230_000 {
        clients.remember(token(number), 7, now);
    }
    // A shard gets 3594 of them, give or take 60, and has room for 4096.
    assert_eq!((clients.len() as u64 + clients.evicted(), clients.shards.len()), (230_000, 64));
    assert_eq!(clients.evicted(), 0, "at 88 % nobody has to go");
}

#[test]
fn records_go_from_one_daemon_to_the_next_as_text() {
    let (old, begin) = (clients(100), Instant::now());
    old.remember(address("198.51.100.7"), 7, begin);
    old.remember(Key::token(b"anna"), 8, begin + 40 * second());
    old.remember(address("2001:db8::7"), 9, begin);
    assert!(old.touch(address("198.51.100.7"), 7, begin + 100 * second()));
    let exported = old.export(begin + 250 * second());
    let text = serde_json::to_string(&exported).expect("plain records");

    // The clock of another machine, or of this one after a start.
    let (new, now) = (clients(100), begin + 9999 * second());
    let records: Vec<Record<u32>> = serde_json::from_str(&text).expect("plain records");
    assert_eq!(new.import(records, now), 3);

    let list = |clients: &Clients<u32>, now| clients.list(now).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(list(&new, now), list(&old, begin + 250 * second()));
    assert_eq!(new.find(address("2001:db8::7"), now + 51 * second()), None);
    assert_eq!(new.find(address("198.51.100.7"), now + 150 * second()), Some(7));
}

#[test]
fn what_comes_from_elsewhere_takes_nothing_away_and_fits() {
    let now = Instant::now();
    let record = |number, idle_ms| Record { client: token(number), server: 7, age_ms: idle_ms, idle_ms };
    let here = clients(100);
    here.remember(token(1), 8, now);
    let too_old = milliseconds(TIMEOUT) + 1;
    assert_eq!(here.import(vec![record(1, 0), record(2, too_old), record(3, u64::MAX), record(4, 0)], now), 1);
    assert_eq!([1, 2, 3, 4].map(|number| here.peek(token(number), now)), [Some(8), None, None, Some(7)]);

    let small = clients(8);
    assert_eq!(small.import((0..20).map(|number| record(number, number * 1000)).collect(), now), 20);
    let kept: BTreeSet<Key> = small.list(now).into_iter().map(|(client, ..)| client).collect();
    assert_eq!(kept, (0..8).map(token).collect(), "those that were used last");
    assert_eq!(small.evicted(), 12);
}
