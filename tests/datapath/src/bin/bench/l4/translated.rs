//! `l4-nat` and `l4-snat`: their tables, their flows, and what is measured of them.
//!
//! A translated frame is written anew before each run, so rows of one flow are without the time that
//! this takes: the floor is measured both ways.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use lb_common::abi::{Address, Flow, FlowKey, Reply, Scheduler, Server};
use lb_common::datapath::{Reason, replies};
use lb_common::testing::{MemTables, PacketBuilder, Scenario};
use lb_common::wire::{protocol, tcp};
use lb_core::config::model::Limits;
use lb_datapath_tests::Rig;
use lb_datapath_tests::frames::TCP_AND_UDP;
use lb_datapath_tests::peers::{MILLION, VIP, empty, million};
use lb_datapath_tests::replay::{self, padded};

use super::rows::{Against, ENDLESS, Row, Work};

/// New flows between two times that the tables are emptied: fewer than the table of replies holds, and
/// a fiftieth of the ports of a pool.
pub(super) const MOST_NEW: u32 = 160_000;

const VIP_V6: &str = "fd00:94::110";
const SOURCE: [u8; 4] = [192, 168, 94, 2];
const SOURCE_V6: &str = "fd00:94::2";

/// Servers that a million flows from one source address need, and those of new flows.
const SERVERS_OF_MILLION: usize = (MILLION as usize) >> 16;
const SERVERS_OF_NEW: usize = 250;

/// How packets are translated.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Mode {
    Nat,
    SourceNat,
}

impl Mode {
    const BOTH: [Self; 2] = [Self::Nat, Self::SourceNat];

    const fn name(self) -> &'static str {
        match self {
            Self::Nat => "l4-nat",
            Self::SourceNat => "l4-snat",
        }
    }
}

/// Loads the programs, opens their flows, and says what is to be measured; the tables are numbered from
/// `first` on.
pub(super) fn build(first: usize) -> Result<(Vec<Rig>, Vec<Row>)> {
    let (mut stages, mut rows) = (Vec::new(), floors());
    for mode in Mode::BOTH {
        let mut rig = Rig::load(&format!("bench-{}", mode.name()), million_limits())?;
        rig.fill(&tables(mode))?;
        rows.extend(hot(&mut rig, mode, first + stages.len())?);
        rows.extend(of_million(&mut rig, mode, first + stages.len())?);
        stages.push(rig);
    }
    for mode in Mode::BOTH {
        let rig = Rig::load(&format!("bench-new-{}", mode.name()), Limits::default())?;
        rig.fill(&one(mode, SERVERS_OF_NEW))?;
        let row = row(format!("new flow, {}, {SERVERS_OF_NEW} servers", mode.name()), from_client(80, tcp::SYN));
        rows.push(Row { work: Work::Opened, tables: first + stages.len(), against: INSERTS, target: Some(1.1), ..row });
        stages.push(rig);
    }
    Ok((stages, rows))
}

const FLOOR: Against = Against::Row("floor");
const INSERTS: Against = Against::Row("bare inserts of a translated flow");
const BARE_FLOW: &str = "bare lookup of a flow, one of a million";
const BARE_REPLY: &str = "bare lookup of a reply, one of a million";
/// The floor with its frame written anew.
pub(super) const REPLAYED_FLOOR: &str = "floor, frame written anew";

fn row(name: String, frame: Vec<u8>) -> Row {
    Row {
        name,
        work: Work::Replayed(replay::SAME, 1),
        frame,
        tables: 0,
        against: Against::Nothing,
        target: None,
        without_replay: false,
        best: f64::INFINITY,
    }
}

/// What the others are divided by. The established flow of `l4-dr` is here a second time: that it costs
/// the same as where its frame is not written anew shows that the difference is right.
fn floors() -> Vec<Row> {
    let peer = |name: &str, work, frame| Row { work, ..row(name.to_owned(), frame) };
    let ack = || from_client(80, tcp::ACK);
    let million = u64::from(MILLION);
    let direct = row("l4-dr, established, hot, frame written anew".to_owned(), direct(tcp::ACK));
    let insert = "prototype: insert of a pending flow";
    let prototype = |name: &str, program| {
        let against = if name == insert { Against::Nothing } else { Against::Row(insert) };
        let work = Work::PeerReplayed(program, replay::CLIENTS, ENDLESS);
        Row { work, against, ..row(name.to_owned(), from_client(81, tcp::SYN)) }
    };
    vec![
        peer(REPLAYED_FLOOR, Work::PeerReplayed("floor", replay::SAME, 1), ack()),
        Row { against: FLOOR, target: Some(5.5), without_replay: true, ..direct },
        peer(BARE_FLOW, Work::PeerReplayed("bare_flow", replay::CLIENTS, million), ack()),
        peer(BARE_REPLY, Work::PeerReplayed("bare_reply", replay::TO_CLIENTS, million), answer()),
        peer("bare inserts of a translated flow", Work::PeerOpened, from_client(80, tcp::SYN)),
        prototype(insert, "bare_insert"),
        prototype("prototype: lookup in vain, insert", "miss_and_insert"),
        prototype("prototype: presence filter, insert", "filter_and_insert"),
    ]
}

fn million_limits() -> Limits {
    Limits { translated_flows: MILLION, ..Limits::default() }
}

fn tables(mode: Mode) -> MemTables {
    let mut tables = one(mode, SERVERS_OF_MILLION);
    let service = Scenario::new(v6(VIP_V6), &[(80, 80)], &TCP_AND_UDP, Scheduler::WeightedLeastConnection, 2);
    let service = match mode {
        Mode::Nat => service.nat(),
        Mode::SourceNat => service.source_nat(20, v6(SOURCE_V6)),
    };
    service.install(&mut tables, 2, 1000, 1024);
    tables
}

pub(super) fn one(mode: Mode, servers: usize) -> MemTables {
    let mut tables = MemTables::default();
    let service = Scenario::new(VIP.into(), &[(80, 80)], &TCP_AND_UDP, Scheduler::WeightedLeastConnection, servers);
    let service = match mode {
        Mode::Nat => service.nat(),
        Mode::SourceNat => service.source_nat(1, SOURCE.into()),
    };
    service.install(&mut tables, 1, 1, 0);
    tables
}

/// One flow of each family and protocol, in both directions.
fn hot(rig: &mut Rig, mode: Mode, tables: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (family, client, vip) in
        [("IPv4", IpAddr::from([10, 200, 0, 1]), IpAddr::from(VIP)), ("IPv6", v6("fd00:7::1"), v6(VIP_V6))]
    {
        for (name, protocol) in [("TCP", protocol::TCP), ("UDP", protocol::UDP)] {
            let key = FlowKey {
                client: client.into(),
                vip: vip.into(),
                client_port: 40_000,
                vip_port: 80,
                protocol,
                ..FlowKey::default()
            };
            let replies = open(rig, &key)?.1;
            let frames = [("to the server", &key, Reason::Established), ("to the client", &replies, Reason::Reply)];
            for (direction, key, reason) in frames {
                let name = format!("{}, established, hot, {family} {name} {direction}", mode.name());
                let frame = frame(key, tcp::ACK);
                expect(rig, &frame, reason).with_context(|| name.clone())?;
                let row = row(name, frame);
                rows.push(Row { tables, against: FLOOR, target: Some(7.0), without_replay: true, ..row });
            }
        }
    }
    Ok(rows)
}

/// A million flows like one that is opened, in both directions.
fn of_million(rig: &mut Rig, mode: Mode, tables: usize) -> Result<Vec<Row>> {
    let now = rig.now()?;
    let (keys, _) = million(now);
    let template = keys.last().context("a million is more than none")?;
    // Another port: its place is wanted for a flow of the million.
    let template = FlowKey { client_port: 1, ..*template };
    let (flow, _) = open(rig, &template)?;
    let made = (0..).zip(&keys).map(|(number, key)| {
        let server = 1 + if mode == Mode::Nat { 0 } else { number >> 16 };
        let source_port = if mode == Mode::Nat { 0 } else { low(number) };
        (key, Flow { server, source_port, last_seen: now, created: now, ..flow })
    });
    let (mut flows, mut reply_keys, mut entries) = (Vec::new(), Vec::new(), Vec::new());
    let servers = one(mode, SERVERS_OF_MILLION).servers;
    let (_, reply) = remembered(rig, &template, &flow)?;
    for (key, flow) in made {
        let server = servers.get(&flow.server).context("a server of the million")?;
        reply_keys.push(reply_key(mode, key, server, &flow));
        let reply = Reply { client: key.client, client_port: key.client_port, server: flow.server, ..reply };
        entries.push(reply);
        flows.push(flow);
    }
    rig.table("flows")?.set_many(&keys, &flows).context("filling the flow table")?;
    rig.table("replies")?.set_many(&reply_keys, &entries).context("filling the table of replies")?;
    let million = u64::from(MILLION);
    let to_client = if mode == Mode::Nat { replay::TO_CLIENTS } else { replay::TO_PORTS };
    // Not the very first: port 0 is none, here and for fifteen others of the million.
    let first_reply = frame(reply_keys.get(1).context("a million is more than none")?, tcp::ACK);
    expect(rig, &frame(&keys[0], tcp::ACK), Reason::Established).context("the first of a million")?;
    expect(rig, &first_reply, Reason::Reply).context("the reply to the first of a million")?;
    let one = |direction: &str, frame, by, against| Row {
        work: Work::Replayed(by, million),
        tables,
        against: Against::Row(against),
        target: Some(1.0),
        ..row(format!("{}, one of a million, {direction}", mode.name()), frame)
    };
    Ok(vec![
        one("to the server", from_client(80, tcp::ACK), replay::CLIENTS, BARE_FLOW),
        one("to the client", first_reply, to_client, BARE_REPLY),
    ])
}

fn low(number: u32) -> u16 {
    u16::try_from(number & 0xffff).unwrap_or(0)
}

fn reply_key(mode: Mode, key: &FlowKey, server: &Server, flow: &Flow) -> FlowKey {
    let source = Address::v4(SOURCE);
    replies(key, server, if mode == Mode::Nat { None } else { Some((&source, flow.source_port)) })
}

/// Opens a flow with two packets: its entry, and the key of its replies.
fn open(rig: &mut Rig, key: &FlowKey) -> Result<(Flow, FlowKey)> {
    for flags in [tcp::SYN, tcp::ACK] {
        ensure!(rig.run(&frame(key, flags))?.action >= 3, "a frame of the bench was not forwarded");
    }
    let flow = rig.table::<FlowKey, Flow>("flows")?.get(key)?.context("the flow is not known")?;
    Ok((flow, remembered(rig, key, &flow)?.0))
}

/// The entry of the replies to a flow.
fn remembered(rig: &Rig, key: &FlowKey, flow: &Flow) -> Result<(FlowKey, Reply)> {
    let server = rig.table::<u32, Server>("servers")?.get(&flow.server)?.context("a flow without a server")?;
    let source = rig.table::<u32, Address>("sources")?.get(&flow.source)?.context("no such source address")?;
    let source = if flow.source == 0 { None } else { Some((&source, flow.source_port)) };
    let replies = replies(key, &server, source);
    let reply = rig.table::<FlowKey, Reply>("replies")?.get(&replies)?.context("the replies are not known")?;
    Ok((replies, reply))
}

/// Checks that a frame takes the path that its row is named for.
fn expect(rig: &mut Rig, frame: &[u8], reason: Reason) -> Result<()> {
    let before = rig.verdicts()?;
    let action = rig.run(frame)?.action;
    let mut ends = rig.verdicts()?.into_iter().zip(before).filter(|((_, after), (_, before))| after != before);
    let end = ends.next().map(|((end, _), _)| end);
    ensure!(action >= 3 && end == Some(reason), "XDP action {action}, {end:?} and not {reason:?}: {frame:02x?}");
    Ok(())
}

/// Forgets the flows that were opened: how many there were.
pub(super) fn forget(rig: &Rig) -> Result<usize> {
    let flows = empty(&rig.table::<FlowKey, Flow>("flows")?)?;
    let replies = empty(&rig.table::<FlowKey, Reply>("replies")?)?;
    ensure!(flows == replies, "{flows} flows have {replies} entries for their replies");
    let ports = rig.table::<u32, u64>("source_ports")?;
    let words: Vec<u32> = (0..ports.capacity()).collect();
    ports.set_many(&words, &vec![0; words.len()])?;
    Ok(flows)
}

fn frame(key: &FlowKey, flags: u8) -> Vec<u8> {
    let (from, to) = ((key.client.into(), key.client_port), (key.vip.into(), key.vip_port));
    padded(|payload| match key.protocol {
        protocol::TCP => PacketBuilder::tcp(from, to, flags, payload),
        _ => PacketBuilder::udp(from, to, payload),
    })
}

/// A frame to the VIP, from whoever the replay makes the client.
pub(super) fn from_client(port: u16, flags: u8) -> Vec<u8> {
    padded(|payload| PacketBuilder::tcp(([10, 0, 0, 1].into(), 1), (VIP.into(), port), flags, payload))
}

/// The hot flow of `l4-dr`.
fn direct(flags: u8) -> Vec<u8> {
    padded(|payload| PacketBuilder::tcp(([10, 200, 0, 1].into(), 40_000), (VIP.into(), 80), flags, payload))
}

/// A frame of a real server to whoever the replay makes the client.
fn answer() -> Vec<u8> {
    padded(|payload| {
        let server = lb_datapath_tests::peers::SERVER.into();
        PacketBuilder::tcp((server, 80), ([10, 0, 0, 1].into(), 1), tcp::ACK, payload)
    })
}

fn v6(text: &str) -> IpAddr {
    text.parse().unwrap_or(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED))
}
