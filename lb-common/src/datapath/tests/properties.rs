//! What holds for any frame and any order of frames.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::wire::ipv6;

/// Servers of every state, over both families, with persistence on one of them.
pub(super) fn world() -> MemTables {
    let mut scenario = scenario(Scheduler::WeightedLeastConnection, 5).persistent(300);
    scenario.servers[1].state = ServerState::Draining as u8;
    scenario.servers[2].state = ServerState::Down as u8;
    scenario.servers[3].max_connections = 3;
    and(tables(&scenario), Scenario::new(ip(VIP6), &[(1, 65_535)], &BOTH, Scheduler::Maglev, 3))
}

/// A frame of the kinds that the datapath tells apart.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let flags = select(vec![tcp::SYN, tcp::ACK, tcp::FIN | tcp::ACK, tcp::RST, tcp::SYN | tcp::ACK, 0]);
    let tags = select(vec![
        vec![],
        vec![(ethernet::TYPE_VLAN, 20)],
        vec![(ethernet::TYPE_SERVICE_VLAN, 30), (ethernet::TYPE_VLAN, 0xa014)],
    ]);
    let fragment = prop_oneof![3 => Just(None), 1 => (0..4_u16, any::<bool>()).prop_map(Some)];
    let shape = (any::<bool>(), 0..4_u8, 1..6_u16, flags, tags, fragment, 0..6_usize);
    shape.prop_map(|(v6, kind, port, flags, tags, fragment, extensions)| {
        let (client, vip) = if v6 { (ip(CLIENT6), ip(VIP6)) } else { (ip(CLIENT), ip(VIP)) };
        let mut builder = match kind {
            0 | 1 => PacketBuilder::tcp((client, port), (vip, PORT), flags, &[0x5a; 40]),
            2 => PacketBuilder::udp((client, port), (vip, PORT), &[0x5a; 40]),
            _ => {
                let reply = PacketBuilder::tcp((vip, PORT), (client, port), tcp::ACK, b"").packet();
                PacketBuilder::icmp(client, vip, 3, 0, 0, &reply)
            }
        };
        for (kind, control) in tags {
            builder = builder.tag(kind, control);
        }
        if v6 {
            builder = (0..extensions.saturating_sub(1)).fold(builder, |b, _| b.extension(ipv6::ROUTING, &[0; 6]));
        } else if extensions > 3 {
            builder = builder.options(&[1; 8]);
        }
        if let Some((offset, more)) = fragment {
            builder = builder.fragment(7, offset * 8, more);
        }
        builder.build()
    })
}

/// Such a frame with some bytes changed, and cut short or made longer.
pub(super) fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<Index>(), any::<u8>()), 0..4);
    (frames(), changes, prop_oneof![3 => Just(None), 1 => any::<Index>().prop_map(Some)], 0..20_usize).prop_map(
        |(mut frame, changes, cut, padding)| {
            for (at, byte) in changes {
                let at = at.index(frame.len());
                frame[at] = byte;
            }
            if let Some(cut) = cut {
                frame.truncate(cut.index(frame.len()));
            }
            frame.extend(std::iter::repeat_n(0, padding));
            frame
        },
    )
}

fn is_forward(verdict: Verdict) -> bool {
    verdict.reason.kind() == crate::datapath::Kind::Forward
}

/// Action and reason of a verdict always agree.
fn agrees(verdict: Verdict) -> bool {
    match verdict.action {
        Action::Pass => verdict.reason.kind() == crate::datapath::Kind::Pass,
        Action::Drop => verdict.reason.kind() == crate::datapath::Kind::Drop,
        Action::Transmit | Action::Redirect(_) => is_forward(verdict),
    }
}

/// The IP packet of a frame, without the link header.
fn network(frame: &[u8]) -> &[u8] {
    let tags = frame[12..].chunks(4).take_while(|tag| matches!(tag[..2], [0x81, 0x00] | [0x88, 0xa8])).count();
    &frame[NETWORK + tags * ethernet::TAG..]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn arbitrary_bytes_never_panic(frame in vec(any::<u8>(), 0..200)) {
        let (verdict, out) = run(&world(), &frame);
        prop_assert!(agrees(verdict));
        prop_assert!(is_forward(verdict) || out == frame);
    }

    #[test]
    fn arbitrary_bytes_behind_good_addresses_never_panic(v6 in any::<bool>(), rest in vec(any::<u8>(), 60..160)) {
        let mut frame = rest;
        if v6 {
            frame[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
            frame[NETWORK + 24..NETWORK + 40].copy_from_slice(&Address::from(ip(VIP6)).octets);
        } else {
            frame[12..14].copy_from_slice(&[0x08, 0x00]);
            frame[NETWORK] = 0x40 | frame[NETWORK] & 0x0f;
            frame[NETWORK + 16..NETWORK + 20].copy_from_slice(&Address::from(ip(VIP)).octets[12..]);
        }
        let (verdict, out) = run(&world(), &frame);
        prop_assert!(agrees(verdict));
        prop_assert!(is_forward(verdict) || out == frame);
    }

    #[test]
    fn a_forwarded_frame_differs_from_its_input_in_the_link_header_only(frames in vec(mutated(), 1..20)) {
        let tables = world();
        for frame in frames {
            let (verdict, out) = run(&tables, &frame);
            prop_assert!(agrees(verdict));
            if !is_forward(verdict) {
                prop_assert_eq!(&out, &frame);
                continue;
            }
            prop_assert_eq!(network(&out), network(&frame));
            if network(&frame).len() + NETWORK == frame.len() {
                // No tags before or after: the addresses, and nothing else.
                prop_assert_eq!(&out[12..], &frame[12..]);
            }
        }
    }

    #[test]
    fn the_same_frames_on_the_same_tables_have_the_same_outcome(frames in vec(mutated(), 1..30)) {
        let (one, other) = (world(), world());
        for frame in frames {
            prop_assert_eq!(run(&one, &frame), run(&other, &frame));
        }
        prop_assert_eq!(one.flows.all(), other.flows.all());
        prop_assert_eq!(one.pending_flows.all(), other.pending_flows.all());
        prop_assert_eq!(one.persistence.all(), other.persistence.all());
        prop_assert_eq!(&*one.verdicts.borrow(), &*other.verdicts.borrow());
    }

    #[test]
    fn every_frame_is_counted_once(frames in vec(mutated(), 1..30)) {
        let tables = world();
        let bytes: usize = frames.iter().map(Vec::len).sum();
        for frame in &frames {
            run(&tables, frame);
        }
        let verdicts = tables.verdicts.borrow();
        prop_assert_eq!(verdicts.values().map(|counters| counters.packets).sum::<u64>(), frames.len() as u64);
        prop_assert_eq!(verdicts.values().map(|counters| counters.bytes).sum::<u64>(), bytes as u64);
        let servers: u64 = tables.server_counters.borrow().values().map(|counters| counters.packets).sum();
        let forwarded: u64 = verdicts.iter().filter(|(r, _)| r.kind() == crate::datapath::Kind::Forward).map(|(_, c)| c.packets).sum();
        prop_assert_eq!(servers, forwarded);
    }

    #[test]
    fn a_flow_keeps_its_server_while_the_server_holds(
        scheduler in select(vec![Scheduler::WeightedLeastConnection, Scheduler::WeightedRoundRobin, Scheduler::SourceHash, Scheduler::Maglev]),
        persistence in select(vec![0, 300]),
        steps in vec((1..9_u16, any::<bool>(), 0..3_u32, 0..16_u32), 1..100),
    ) {
        let mut tables = tables(&scenario(scheduler, 6).persistent(persistence));
        let mut homes = std::collections::BTreeMap::new();
        for (port, udp, ticks, event) in steps {
            tick(&tables, ticks);
            match event {
                0 => drain(&mut tables, FIRST + u32::from(port) % 3),
                1 => {
                    let lost = FIRST + u32::from(port) % 3;
                    cut(&mut tables, lost);
                    homes.retain(|_, server| *server != lost);
                }
                _ => {}
            }
            let frame = match (udp, homes.contains_key(&(port, udp))) {
                (true, _) => datagram(port),
                (false, true) => ack(port),
                (false, false) => syn(port),
            };
            let server = server_of(&tables, &frame);
            prop_assert_eq!(*homes.entry((port, udp)).or_insert(server), server);
        }
    }

    #[test]
    fn with_persistence_all_flows_of_a_client_share_a_server(
        steps in vec((0..4_u8, 1..6_u16, any::<bool>(), 0..50_u32, 0..20_u32), 1..100),
    ) {
        let mut tables = tables(&scenario(Scheduler::WeightedRoundRobin, 6).persistent(10_000));
        let mut homes = std::collections::BTreeMap::new();
        for (host, port, udp, ticks, event) in steps {
            tick(&tables, ticks);
            if event == 0 {
                let lost = FIRST + u32::from(port) % 3;
                cut(&mut tables, lost);
                homes.retain(|_, server| *server != lost);
            }
            let client = IpAddr::from([10, 7, 0, host]);
            let frame = if udp {
                PacketBuilder::udp((client, port), (ip(VIP), PORT), b"").build()
            } else {
                let flags = if event % 2 == 0 { tcp::SYN } else { tcp::ACK };
                PacketBuilder::tcp((client, port), (ip(VIP), PORT), flags, b"").build()
            };
            let server = server_of(&tables, &frame);
            prop_assert_eq!(*homes.entry(host).or_insert(server), server, "client {}", client);
        }
    }
}

/// A reproducible source of numbers (xorshift64*, Vigna 2016).
fn numbers(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

#[test]
fn the_hash_spreads_flows_evenly_over_the_servers() {
    const FLOWS: u32 = 100_000;
    let mut tables = tables(&scenario(Scheduler::Maglev, 8));
    tables.settings.new_flows_per_tick = 0;
    let frame = syn(9);
    let mut number = numbers(0x1b);
    let mut spread = std::collections::BTreeMap::new();
    for _ in 0..FLOWS {
        let [a, b, c, d, high, low, ..] = number().to_be_bytes();
        let frame = with(frame.clone(), NETWORK + 12, &[a, b, c, d]);
        let frame = with(frame, NETWORK + 20, &[high, low | 1]);
        *spread.entry(server_of(&tables, &frame)).or_insert(0_u32) += 1;
    }
    let even = FLOWS / 8;
    assert!(spread.len() == 8 && spread.values().all(|flows| flows.abs_diff(even) <= even / 20), "{spread:?}");
}
