//! Which server a client keeps beyond one flow.

use super::*;

const TIMEOUT: u32 = 300;

/// Servers take turns, so that only a record explains why a client stays.
fn persistent(servers: usize) -> Scenario {
    scenario(Scheduler::WeightedRoundRobin, servers).persistent(TIMEOUT)
}

fn to_port(client: &str, protocol: u8, port: u16) -> Vec<u8> {
    match protocol {
        protocol::TCP => PacketBuilder::tcp((ip(client), 4000), (ip(VIP), port), tcp::SYN, b"").build(),
        _ => PacketBuilder::udp((ip(client), 4000), (ip(VIP), port), b"").build(),
    }
}

#[test]
fn all_ports_and_both_protocols_of_a_client_go_to_one_server() {
    for scheduler in [Scheduler::WeightedLeastConnection, Scheduler::WeightedRoundRobin, Scheduler::Maglev] {
        let ports = [(554, 554), (1935, 1935), (50_000, 65_535)];
        let scenario = Scenario::new(ip(VIP), &ports, &BOTH, scheduler, 4).persistent(TIMEOUT);
        let tables = tables(&scenario);
        let clients = ["10.7.0.1", "10.7.0.2", "10.7.0.3", "10.7.0.4", "10.7.0.5"];
        for client in clients {
            let (server, reason) = sent(&tables, &to_port(client, protocol::TCP, 554));
            assert_eq!(reason, Reason::Scheduled);
            for port in [554, 1935, 50_000, 65_535] {
                for protocol in BOTH {
                    assert_eq!(server_of(&tables, &to_port(client, protocol, port)), server, "{scheduler:?} {port}");
                }
            }
        }
        assert_eq!(tables.new_clients.len(), clients.len(), "one record for each client");
    }
}

#[test]
fn a_record_is_of_one_service_only() {
    let other = Scenario::new(ip(VIP), &[(81, 81)], &BOTH, Scheduler::WeightedRoundRobin, 2).persistent(TIMEOUT);
    let tables = and(tables(&persistent(2)), other);
    server_of(&tables, &syn(9));
    assert_eq!(sent(&tables, &to_port(CLIENT, protocol::TCP, 81)), (SECOND, Reason::Scheduled));
}

#[test]
fn clients_of_one_network_share_a_record() {
    let mut scenario = persistent(4);
    let mut mask = [0xff; 16];
    mask[15] = 0xf0;
    scenario.client_mask = Address::v6(mask);
    let tables = tables(&scenario);
    let from = |client| segment_from(client, 9, tcp::SYN);

    let server = server_of(&tables, &from("10.7.0.16"));
    assert_eq!(sent(&tables, &from("10.7.0.31")), (server, Reason::Persistent));
    assert_eq!(sent(&tables, &from("10.7.0.32")).1, Reason::Scheduled);
    assert_eq!(tables.new_clients.all()[0].0, client_key("10.7.0.16"));
}

#[test]
fn a_client_is_confirmed_when_it_answers() {
    let tables = tables(&persistent(3));
    let server = server_of(&tables, &syn(9));
    let key = client_key(CLIENT);
    let new = tables.new_clients.get(&key).expect("a record of a new client");
    assert_eq!((new.server, new.generation, new.last_used), (server, 1, tables.now.get()));
    assert_eq!(record(&tables), None);

    server_of(&tables, &ack(9));
    assert_eq!((record(&tables), tables.new_clients.get(&key)), (Some(new), None));
    assert_eq!(sent(&tables, &syn(10)), (server, Reason::Persistent));
    assert!(tables.new_clients.is_empty(), "it is no new client any more");
}

#[test]
fn a_record_holds_to_the_last_tick_of_its_timeout_and_not_beyond() {
    // The second row passes over the wrap of the tick counter.
    for start in [1000, u32::MAX - TIMEOUT / 2, u32::MAX, u32::MAX - TIMEOUT] {
        for confirmed in [false, true] {
            for (age, holds) in [(0, true), (1, true), (TIMEOUT - 1, true), (TIMEOUT, true), (TIMEOUT + 1, false)] {
                let tables = tables(&persistent(3));
                tables.now.set(start);
                server_of(&tables, &syn(9));
                if confirmed {
                    server_of(&tables, &ack(9));
                }
                tick(&tables, age);
                let (server, reason) = sent(&tables, &syn(10));
                let expected = if holds { (FIRST, Reason::Persistent) } else { (FIRST + 1, Reason::Scheduled) };
                assert_eq!((server, reason), expected, "from {start}, age {age}, confirmed {confirmed}");
            }
        }
    }
}

#[test]
fn a_record_of_the_tick_to_come_is_no_age_at_all() {
    let tables = tables(&persistent(3));
    establish(&tables, 9);
    tables.now.set(tables.now.get() - 1);
    assert_eq!(sent(&tables, &syn(10)), (FIRST, Reason::Persistent), "another CPU was a moment ahead");
}

#[test]
fn each_new_flow_prolongs_the_record() {
    let tables = tables(&persistent(3));
    establish(&tables, 9);
    for port in 10..20 {
        tick(&tables, TIMEOUT);
        assert_eq!(sent(&tables, &syn(port)), (FIRST, Reason::Persistent));
        assert_eq!(record(&tables).expect("the record").last_used, tables.now.get());
    }
}

#[test]
fn a_long_flow_prolongs_the_record_of_its_client() {
    let tables = tables(&persistent(3));
    establish(&tables, 9);
    for _ in 0..5 {
        tick(&tables, TIMEOUT);
        assert_eq!(sent(&tables, &ack(9)), (FIRST, Reason::Established));
        assert_eq!(record(&tables).expect("the record").last_used, tables.now.get());
    }
    assert_eq!(sent(&tables, &syn(10)), (FIRST, Reason::Persistent));
}

#[test]
fn a_flow_does_not_prolong_the_record_of_another_server() {
    let tables = tables(&persistent(3));
    establish(&tables, 9);
    tables.persistence.change(&client_key(CLIENT), |record| record.server = FIRST + 2);
    let before = record(&tables);
    tick(&tables, 1);
    server_of(&tables, &ack(9));
    assert_eq!(record(&tables), before);
}

#[test]
fn a_draining_server_keeps_its_persistent_clients() {
    let mut tables = tables(&persistent(3));
    establish(&tables, 9);
    server_of(&tables, &segment_from("10.7.0.2", 9, tcp::SYN));
    drain(&mut tables, FIRST);
    drain(&mut tables, FIRST + 1);
    assert_eq!(sent(&tables, &syn(10)), (FIRST, Reason::Persistent), "a confirmed one");
    assert_eq!(sent(&tables, &segment_from("10.7.0.2", 10, tcp::SYN)), (FIRST + 1, Reason::Persistent), "a new one");
    for client in ["10.7.0.3", "10.7.0.4", "10.7.0.5"] {
        assert_eq!(sent(&tables, &segment_from(client, 9, tcp::SYN)), (FIRST + 2, Reason::Scheduled));
    }
}

#[test]
fn the_clients_of_a_server_that_is_down_go_to_another_and_stay_there() {
    for confirmed in [false, true] {
        let mut tables = tables(&persistent(4));
        server_of(&tables, &syn(9));
        if confirmed {
            server_of(&tables, &ack(9));
        }
        cut(&mut tables, FIRST);

        let (server, reason) = sent(&tables, &syn(10));
        assert_eq!(reason, Reason::Scheduled, "confirmed: {confirmed}");
        assert_ne!(server, FIRST);
        // Nobody has answered yet, and the old record is not swept yet.
        for port in 11..30 {
            assert_eq!(sent(&tables, &syn(port)), (server, Reason::Persistent), "port {port}, confirmed: {confirmed}");
        }
        server_of(&tables, &ack(10));
        assert_eq!(record(&tables).expect("a record").server, server);
        assert_eq!(sent(&tables, &syn(30)), (server, Reason::Persistent));
    }
}

#[test]
fn a_client_whose_record_ran_out_is_kept_together_from_its_next_packet_on() {
    let tables = tables(&persistent(4));
    establish(&tables, 9);
    tick(&tables, TIMEOUT + 1);

    let (server, reason) = sent(&tables, &syn(10));
    assert_eq!(reason, Reason::Scheduled);
    for port in 11..20 {
        assert_eq!(sent(&tables, &syn(port)), (server, Reason::Persistent), "port {port}");
    }
}

#[test]
fn a_record_that_ran_out_is_good_again_when_its_client_is_placed_there_again() {
    let tables = tables(&persistent(1));
    establish(&tables, 9);
    tick(&tables, TIMEOUT + 1);

    assert_eq!(sent(&tables, &syn(10)), (FIRST, Reason::Scheduled));
    server_of(&tables, &ack(10));

    assert_eq!(record(&tables).expect("the record").last_used, tables.now.get());
    assert_eq!(sent(&tables, &syn(11)), (FIRST, Reason::Persistent));
}

#[test]
fn a_flow_that_was_cut_takes_its_client_along() {
    let mut tables = tables(&persistent(4));
    for _ in 0..2 {
        server_of(&tables, &datagram(9));
    }
    cut(&mut tables, FIRST);

    let server = server_of(&tables, &datagram(9));
    assert_ne!(server, FIRST);
    assert_eq!(sent(&tables, &datagram(9)), (server, Reason::Established));
    assert_eq!(record(&tables).expect("a confirmed record").server, server);
    tick(&tables, TIMEOUT);
    server_of(&tables, &datagram(9));
    tick(&tables, TIMEOUT);
    assert_eq!(sent(&tables, &datagram(10)), (server, Reason::Persistent), "the flow prolonged it");
}

#[test]
fn a_full_persistence_table_forwards_and_keeps_the_client_as_a_new_one() {
    let mut tables = tables(&persistent(3));
    tables.persistence.capacity = 1;
    establish(&tables, 9);
    let other = "10.7.0.2";
    let server = server_of(&tables, &segment_from(other, 9, tcp::SYN));

    assert_eq!(sent(&tables, &segment_from(other, 9, tcp::ACK)), (server, Reason::Pending));
    assert_eq!(tables.persistence.len(), 1);
    assert!(tables.new_clients.get(&client_key(other)).is_some());
    assert_eq!(sent(&tables, &segment_from(other, 10, tcp::SYN)), (server, Reason::Persistent));
}

#[test]
fn a_service_without_persistence_remembers_nobody() {
    let tables = tables(&scenario(Scheduler::WeightedRoundRobin, 3));
    for port in 1..10 {
        establish(&tables, port);
    }
    assert!(tables.persistence.is_empty() && tables.new_clients.is_empty());
}

#[test]
fn a_client_of_the_ring_keeps_its_server_without_any_record() {
    let remembers = tables(&scenario(Scheduler::Maglev, 5).persistent(TIMEOUT));
    for low in 0..200_u8 {
        let client = format!("10.7.3.{low}");
        let forgot = tables(&scenario(Scheduler::Maglev, 5).persistent(TIMEOUT));
        let server = server_of(&remembers, &to_port(&client, protocol::TCP, PORT));
        assert_eq!(server_of(&forgot, &to_port(&client, protocol::UDP, PORT)), server, "{client}");
        assert_eq!(server_of(&forgot, &segment_from(&client, 7, tcp::ACK)), server, "{client}");
    }
}

#[test]
fn a_server_that_is_back_under_another_generation_gets_a_record_of_its_own() {
    let mut tables = tables(&persistent(1));
    establish(&tables, 9);
    tables.servers.get_mut(&FIRST).expect("the server").generation = 2;
    assert_eq!(sent(&tables, &syn(10)), (FIRST, Reason::Scheduled));
    server_of(&tables, &ack(10));
    assert_eq!(record(&tables).expect("the record").generation, 2);
    assert_eq!(sent(&tables, &syn(11)), (FIRST, Reason::Persistent));
}
