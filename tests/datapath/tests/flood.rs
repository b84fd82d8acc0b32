//! Floods of clients that do not exist, and what must not suffer from them: established flows, the
//! memory of the tables, the servers' connection counts. The loaded program, over tables that the
//! control plane wrote and the sweep cleans.

use std::time::Instant;

use anyhow::{Context, Result};
use lb_common::abi::FlowKey;
use lb_common::datapath::Reason;
use lb_common::wire::protocol;
use lb_core::config::model::Limits;
use lb_datapath_tests::balancer::{Balancer, MILLION, TICK, WINDOW, datagram, syn};

/// Flows that must survive, each the work of two packets.
const ESTABLISHED: u32 = 10_000;

const UNLIMITED: Limits = Limits {
    flows: 1 << 20,
    pending_flows: 1 << 17,
    translated_flows: 1 << 18,
    persistence: 1 << 10,
    new_flows_per_second: u32::MAX,
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
    mode: l4-dr
    health_check: {type: none}
    real_servers:
      - {name: one, address: 192.168.94.115}
      - {name: two, address: 192.168.94.116}
      - {name: three, address: 192.168.94.117}
      - {name: four, address: 192.168.94.118}
";

#[test]
fn a_flood_of_new_clients_costs_no_established_flow_and_no_memory() -> Result<()> {
    let mut balancer = Balancer::start("flood", CONFIGURATION, UNLIMITED)?;
    let established = balancer.establish(ESTABLISHED)?;
    let (flows, memory) = (balancer.flows()?, balancer.rig.memory()?);
    assert_eq!(flows.len(), established.len());

    for frame in [syn(), datagram()] {
        let each = balancer.flood(&frame, 0, MILLION)?;
        println!("{each:?} for each new client");
    }

    let pending = balancer.pending()?.len();
    assert!(pending <= UNLIMITED.pending_flows as usize, "{pending} pending flows");
    assert!(pending > UNLIMITED.pending_flows as usize / 2, "the flood filled nothing: {pending} pending flows");
    assert_eq!(balancer.flows()?, flows);
    balancer.still_served(&established)?;
    assert_eq!(balancer.rig.memory()?, memory);
    let new = u64::from(ESTABLISHED) + 2 * u64::from(MILLION);
    assert_eq!(balancer.count(Reason::Scheduled)?, new);
    assert_eq!(balancer.count(Reason::Pending)?, u64::from(ESTABLISHED));
    let counters: Vec<_> =
        balancer.servers().into_iter().map(|server| balancer.rig.server_counters(server)).collect::<Result<_>>()?;
    assert_eq!(counters.iter().map(|c| c.flows).sum::<u64>(), new);
    assert_eq!(counters.iter().map(|c| c.packets).sum::<u64>(), balancer.sent);
    Ok(())
}

#[test]
fn above_the_limit_new_clients_are_forwarded_without_a_record() -> Result<()> {
    let limits = Limits::default();
    let mut balancer = Balancer::start("limit", CONFIGURATION, limits)?;
    let established = balancer.establish(ESTABLISHED)?;
    let flows = balancer.flows()?;
    let before = (balancer.count(Reason::Scheduled)?, balancer.rig.now()?);

    balancer.flood(&syn(), 0, MILLION)?;

    let ticks = u64::from(balancer.rig.now()?.wrapping_sub(before.1)) + 1;
    let recorded = balancer.count(Reason::Scheduled)? - before.0;
    let untracked = balancer.count(Reason::Untracked)?;
    assert_eq!(recorded + untracked, u64::from(MILLION));
    let most = ticks * u64::from(limits.new_flows_per_second) * TICK.as_secs();
    assert!(recorded <= most, "{recorded} new flows were recorded in {ticks} ticks, more than {most}");
    assert!(untracked > 0, "a million clients in {ticks} ticks are no flood");
    println!("{recorded} recorded, {untracked} not, within {ticks} ticks");
    assert_eq!(balancer.flows()?, flows);
    balancer.still_served(&established)
}

#[test]
fn a_sweep_removes_exactly_the_idle_flows() -> Result<()> {
    const TALKING: u32 = 30 * WINDOW;
    let mut balancer = Balancer::start("sweep", CONFIGURATION, UNLIMITED)?;
    let established = balancer.establish(ESTABLISHED)?;
    balancer.converse(TALKING)?;
    let now = balancer.rig.now()?;
    let mut flows = balancer.rig.flows()?;
    assert_eq!(flows.len(), (TALKING + ESTABLISHED) as usize);
    // A third has been quiet for as long as is allowed, a third for a tick longer.
    let roster = balancer.control.roster();
    for (number, (key, flow)) in flows.iter_mut().enumerate().filter(|(_, (key, _))| key.protocol == protocol::UDP) {
        let allowed = roster.flow_timeout(key, flow);
        flow.last_seen = match number % 3 {
            0 => now.wrapping_sub(allowed),
            1 => now.wrapping_sub(allowed + 1),
            _ => now,
        };
    }
    let (keys, entries): (Vec<_>, Vec<_>) = flows.iter().copied().unzip();
    balancer.rig.table("flows")?.set_many(&keys, &entries)?;
    let is_idle = |number: usize, key: &FlowKey| key.protocol == protocol::UDP && number % 3 == 1;
    let expected: Vec<_> =
        flows.iter().enumerate().filter(|(number, (key, _))| !is_idle(*number, key)).map(|(_, flow)| *flow).collect();

    let begin = Instant::now();
    let swept = balancer.tables.sweep(&roster, now)?;
    let time = begin.elapsed();

    println!("{:?} for a million flows", time * 1_000_000 / (TALKING + ESTABLISHED));
    assert_eq!(swept.flows_removed, (flows.len() - expected.len()) as u64);
    assert_eq!(balancer.rig.flows()?, expected);
    assert_eq!(balancer.connections()?, balancer.recount()?);
    balancer.still_served(&established)
}

#[test]
fn connection_counts_are_right_after_every_sweep_of_any_flood() -> Result<()> {
    const TALKING: u32 = 4 * WINDOW;
    let mut balancer = Balancer::start("drift", CONFIGURATION, UNLIMITED)?;
    let established = balancer.establish(ESTABLISHED)?;
    let roster = balancer.control.roster();
    for _ in 0..3 {
        // Most of these are pushed out before anybody counts them.
        balancer.flood(&syn(), 0, MILLION)?;
        balancer.converse(TALKING)?;
        let now = balancer.rig.now()?;
        let swept = balancer.tables.sweep(&roster, now)?;
        assert_eq!(balancer.connections()?, balancer.recount()?);
        let half_open = swept.counts.half_open.values().sum::<u64>();
        assert_eq!(half_open, balancer.pending()?.len() as u64, "a flood is seen by its half-open flows");
        assert!(half_open > 0, "nobody is left of a million");

        // As if all had been quiet for an hour: what is left is what was established.
        let swept = balancer.tables.sweep(&roster, now.wrapping_add(3600))?;
        assert_eq!(swept.entries[..2], [u64::from(ESTABLISHED), 0]);
        assert_eq!(balancer.connections()?, balancer.recount()?);
        assert_eq!(balancer.connections()?.values().sum::<u64>(), u64::from(ESTABLISHED));
    }
    balancer.still_served(&established)
}

#[test]
fn under_pressure_a_sweep_forgets_half_open_flows_early_and_no_others() -> Result<()> {
    let mut balancer = Balancer::start("pressed", CONFIGURATION, UNLIMITED)?;
    let established = balancer.establish(ESTABLISHED)?;
    balancer.flood(&syn(), 0, WINDOW)?;
    let (flows, pending, now) = (balancer.flows()?, balancer.pending()?.len(), balancer.rig.now()?);
    assert_eq!(pending, WINDOW as usize);
    let roster = balancer.control.roster();
    let in_a_while = now.wrapping_add(5);

    balancer.tables.sweep(&roster, in_a_while)?;
    assert_eq!(balancer.pending()?.len(), pending, "there is time to answer");
    let swept = balancer.tables.sweep(&roster.pressed(), in_a_while)?;

    assert_eq!((swept.flows_removed, swept.counts.half_open.len()), (u64::from(WINDOW), 0));
    assert_eq!((balancer.pending()?.len(), balancer.flows()?), (0, flows));
    balancer.still_served(&established)
}

#[test]
fn a_full_flow_table_turns_nobody_away() -> Result<()> {
    const ROOM: u32 = 6_000;
    const CLIENTS: u32 = 10_000;
    let mut balancer = Balancer::start("full", CONFIGURATION, Limits { flows: ESTABLISHED + ROOM, ..UNLIMITED })?;
    let established = balancer.establish(ESTABLISHED)?;
    balancer.converse(CLIENTS)?;
    let flows = balancer.flows()?;
    assert_eq!(flows.len(), (ESTABLISHED + ROOM) as usize);
    let left_out = u64::from(CLIENTS - ROOM);
    assert_eq!(balancer.count(Reason::FlowTableFull)?, left_out);
    assert_eq!(balancer.pending()?.len() as u64, left_out);

    let (further, server) = balancer.open(ESTABLISHED)?;
    for _ in 0..3 {
        assert_eq!(balancer.send(&further)?, server, "a flow without room was moved");
    }
    balancer.flood(&datagram(), 0, CLIENTS)?;

    assert_eq!(balancer.count(Reason::FlowTableFull)?, 2 * left_out + 4);
    assert_eq!(balancer.count(Reason::Established)?, u64::from(ROOM));
    assert_eq!(balancer.flows()?, flows);
    assert_eq!(balancer.pending()?.len() as u64, left_out + 1);
    balancer.still_served(&established).context("in the full table")
}
