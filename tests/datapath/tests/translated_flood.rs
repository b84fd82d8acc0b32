//! Floods of clients that do not exist at services that translate: each costs a port and two entries, so
//! limits bound them, and the sweep takes back what they got. Needs root.

use anyhow::{Context, Result};
use lb_common::abi::{FlowKey, FlowState, Reply};
use lb_common::datapath::Reason;
use lb_common::testing::{PacketBuilder, Seen};
use lb_common::wire::tcp;
use lb_core::config::model::Limits;
use lb_datapath_tests::balancer::{Balancer, MILLION, TICK, datagram, segment, syn};
use lb_datapath_tests::frames::{Dice, answer, frame};

/// Flows that must survive.
const ESTABLISHED: u32 = 1_000;

/// Source ports of a pool.
const PORTS: u64 = 32_767 - 1024 + 1;

const FLOWS: u32 = 1 << 17;

const LIMITS: Limits = Limits {
    flows: FLOWS,
    pending_flows: 1 << 14,
    translated_flows: FLOWS,
    persistence: 1 << 10,
    new_flows_per_second: 4_000,
};

const CONFIGURATION: &str = "
version: 1
node:
  interfaces: [{device: eth0}]
virtual_services:
  - name: web
    address: 192.168.94.110
    ports: [80]
    protocol: tcp+udp
    mode: l4-snat
    health_check: {type: none}
    real_servers:
      - {name: one, address: 192.168.94.115, port: 8080}
      - {name: two, address: 192.168.94.116, port: 8080}
  - name: hl7
    address: 192.168.94.111
    ports: [2575]
    mode: l4-nat
    health_check: {type: none}
    real_servers:
      - {name: ims1, address: 192.168.94.117}
      - {name: ims2, address: 192.168.94.118}
";

/// A packet of a client of the other service.
fn hl7(client: u32, flags: u8) -> Vec<u8> {
    let [_, _, high, low] = client.to_be_bytes();
    PacketBuilder::tcp(([172, 21, high, low].into(), 30_000), ([192, 168, 94, 111].into(), 2575), flags, &[0; 6])
        .build()
}

/// Sends a client's packet and the real server's answer to it, which must reach the client.
fn exchange(balancer: &mut Balancer, frame: &[u8], flags: u8) -> Result<()> {
    let asked = Seen::read(frame).context("a packet")?.packet;
    let (client, vip) = asked.ends();
    let there = balancer.rig.run(frame)?;
    assert!(matches!(there.action, 3 | 4), "a client's packet was not forwarded");
    let got = Seen::read(&there.frame).context("a packet")?.packet;
    assert!(got.header_is_right && got.body_is_right());
    let (from, server) = got.ends();
    let back = balancer.rig.run(&PacketBuilder::tcp(server, from, flags, b"answer").build())?;
    balancer.sent += 2;
    assert!(matches!(back.action, 3 | 4), "an answer was not forwarded");
    let seen = Seen::read(&back.frame).context("a packet")?;
    assert!(seen.packet.header_is_right && seen.packet.body_is_right());
    assert_eq!((seen.packet.ends(), &seen.destination_mac[..]), ((vip, client), &frame[6..12]));
    Ok(())
}

/// A client of each service.
fn both(client: u32, flags: u8) -> [Vec<u8>; 2] {
    [segment(client, flags), hl7(client, flags)]
}

/// Opens the flows that must survive, of both services. Over several ticks: limits go for everybody.
fn establish(balancer: &mut Balancer) -> Result<()> {
    for client in 0..ESTABLISHED {
        if client % 500 == 0 {
            let tick = balancer.rig.now()?;
            while balancer.rig.now()? == tick {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
        for frame in both(client, tcp::SYN) {
            exchange(balancer, &frame, tcp::SYN | tcp::ACK)?;
        }
    }
    still_served(balancer)
}

/// Every flow that must survive goes on, both ways.
fn still_served(balancer: &mut Balancer) -> Result<()> {
    let (established, replies) = (balancer.count(Reason::Established)?, balancer.count(Reason::Reply)?);
    for client in 0..ESTABLISHED {
        for frame in both(client, tcp::ACK) {
            exchange(balancer, &frame, tcp::ACK)?;
        }
    }
    assert_eq!(balancer.count(Reason::Established)? - established, 2 * u64::from(ESTABLISHED));
    assert_eq!(balancer.count(Reason::Reply)? - replies, 2 * u64::from(ESTABLISHED));
    Ok(())
}

/// Established flows in the tables, and all of them.
fn flows(balancer: &Balancer) -> Result<(usize, usize)> {
    let flows = balancer.rig.flows()?;
    let replies: Vec<(FlowKey, Reply)> = balancer.rig.entries("replies")?;
    assert_eq!(replies.len(), flows.len(), "each flow has an entry of its replies");
    Ok((flows.iter().filter(|(_, flow)| flow.state == FlowState::Established as u8).count(), flows.len()))
}

/// Sweeps as the daemon does under pressure, when the flood has been over for a few seconds, until the
/// ports are back.
fn take_back(balancer: &Balancer, now: u32) -> Result<()> {
    let roster = balancer.control.roster().pressed();
    let swept = balancer.tables.sweep(&roster, now.wrapping_add(4))?;
    assert_eq!(swept.entries[0], 2 * u64::from(ESTABLISHED), "what is left is what was answered");
    let swept = balancer.tables.sweep(&roster, now.wrapping_add(4))?;
    assert_eq!(swept.ports.values().sum::<u32>(), ESTABLISHED, "ports in use");
    assert_eq!((swept.entries[0], swept.entries[4]), (2 * u64::from(ESTABLISHED), 2 * u64::from(ESTABLISHED)));
    assert_eq!(balancer.connections()?, balancer.recount()?);
    Ok(())
}

#[test]
fn a_flood_within_limits_costs_no_established_flow_and_its_ports_come_back() -> Result<()> {
    let mut balancer = Balancer::start("nat-flood", CONFIGURATION, LIMITS)?;
    establish(&mut balancer)?;
    let memory = balancer.rig.memory()?;
    let (scheduled, begin) = (balancer.count(Reason::Scheduled)?, balancer.rig.now()?);

    for frame in [syn(), datagram()] {
        let each = balancer.flood(&frame, 0, MILLION)?;
        println!("{each:?} for each new client");
    }

    let now = balancer.rig.now()?;
    let ticks = u64::from(now.wrapping_sub(begin)) + 1;
    let (recorded, refused) = (balancer.count(Reason::Scheduled)? - scheduled, balancer.count(Reason::NewFlowLimit)?);
    let established = balancer.count(Reason::Established)? - 2 * u64::from(ESTABLISHED);
    // A client of the first flood that got a flow has none over UDP yet, and none sends twice.
    assert_eq!((recorded + refused, established), (2 * u64::from(MILLION), 0));
    let most = ticks * u64::from(LIMITS.new_flows_per_second) * TICK.as_secs();
    assert!(recorded > 0 && recorded <= most, "{recorded} in {ticks} ticks, more than {most}");
    println!("{recorded} recorded, {refused} refused, within {ticks} ticks");
    assert_eq!(flows(&balancer)?, (2 * ESTABLISHED as usize, 2 * ESTABLISHED as usize + usize::try_from(recorded)?));
    assert_eq!(balancer.rig.memory()?, memory);
    still_served(&mut balancer)?;
    take_back(&balancer, now)?;
    still_served(&mut balancer)
}

#[test]
fn a_flood_without_limits_ends_with_the_ports_and_leaves_the_other_service_alone() -> Result<()> {
    let limits = Limits { new_flows_per_second: u32::MAX, ..LIMITS };
    let mut balancer = Balancer::start("nat-ports", CONFIGURATION, limits)?;
    establish(&mut balancer)?;

    balancer.flood(&syn(), 0, MILLION)?;

    let (_, all) = flows(&balancer)?;
    let exhausted = balancer.count(Reason::SourcePortsExhausted)?;
    let opened = u64::from(MILLION) - exhausted;
    assert_eq!(all as u64, 2 * u64::from(ESTABLISHED) + opened);
    let ports = opened + u64::from(ESTABLISHED);
    assert!(ports <= 2 * PORTS && ports > 2 * PORTS * 99 / 100, "{ports} of {} ports", 2 * PORTS);
    still_served(&mut balancer)?;
    exchange(&mut balancer, &hl7(ESTABLISHED, tcp::SYN), tcp::SYN | tcp::ACK)?;
    exchange(&mut balancer, &hl7(ESTABLISHED, tcp::RST), tcp::RST)?;
    // The one that has just been refused is over: gone with the others.
    let now = balancer.rig.now()?;
    let roster = balancer.control.roster().pressed();
    balancer.tables.sweep(&roster, now.wrapping_add(4))?;
    let swept = balancer.tables.sweep(&roster, now.wrapping_add(4))?;
    assert_eq!(swept.ports.values().sum::<u32>(), ESTABLISHED, "ports in use");
    still_served(&mut balancer)?;
    // Who was turned away is served.
    let before = balancer.count(Reason::Scheduled)?;
    balancer.flood(&syn(), MILLION / 2, 10_000)?;
    assert_eq!(balancer.count(Reason::Scheduled)? - before, 10_000);
    Ok(())
}

#[test]
fn garbage_and_answers_to_it_are_counted_each_and_hurt_nobody() -> Result<()> {
    const FRAMES: usize = 100_000;
    let limits = Limits { new_flows_per_second: u32::MAX, ..LIMITS };
    let mut balancer = Balancer::start("nat-garbage", CONFIGURATION, limits)?;
    establish(&mut balancer)?;
    let mut dice = Dice::new(0x5eed);
    let mut left: Vec<Vec<u8>> = Vec::new();
    for number in 0..FRAMES {
        let answered =
            if left.is_empty() || number % 2 == 0 { None } else { answer(&mut dice, &left[number % left.len()]) };
        let mut frame = answered.unwrap_or_else(|| frame(&mut dice));
        if number % 3 == 0 {
            // To the services, in whatever words.
            let to: [u8; 6] = if number % 2 == 0 { [192, 168, 94, 110, 0, 80] } else { [192, 168, 94, 111, 10, 15] };
            if frame.len() >= 38 && frame[12..14] == [8, 0] {
                frame[30..34].copy_from_slice(&to[..4]);
                frame[36..38].copy_from_slice(&to[4..]);
            }
        }
        if number % 7 == 0 {
            let begin = 14.min(frame.len());
            for byte in &mut frame[begin..] {
                if dice.below(8) == 0 {
                    *byte = dice.roll().to_le_bytes()[0];
                }
            }
        }
        let outcome = balancer.rig.run(&frame)?;
        balancer.sent += 1;
        if matches!(outcome.action, 3 | 4) {
            if left.len() < 500 { left.push(outcome.frame) } else { left[number % 500] = outcome.frame }
        } else {
            assert_eq!(outcome.frame, frame, "what is not forwarded is as it came");
        }
    }
    let verdicts = balancer.verdicts()?;
    for reason in [Reason::Scheduled, Reason::Reply, Reason::ReplyError, Reason::NoFlow, Reason::BadLength] {
        assert!(verdicts[reason.name()] > 0, "no frame was {}: {verdicts:?}", reason.name());
    }
    still_served(&mut balancer)?;
    let now = balancer.rig.now()?;
    let roster = balancer.control.roster();
    for _ in 0..2 {
        balancer.tables.sweep(&roster, now.wrapping_add(3600 * 24))?;
    }
    let words = balancer.rig.entries::<u32, u64>("source_ports")?;
    assert!(words.iter().all(|(_, bits)| *bits == 0), "bits without an owner");
    assert_eq!(flows(&balancer)?, (0, 0));
    Ok(())
}
