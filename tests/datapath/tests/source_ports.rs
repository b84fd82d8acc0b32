//! Source ports, handed out by two CPUs at once to clients of one real server, and given back by the
//! sweep: nobody gets what another has, and nothing is lost. Needs root, and two CPUs.

use std::collections::BTreeSet;
use std::thread;

use anyhow::{Context, Result, ensure};
use lb_common::abi::{FlowKey, Reply};
use lb_common::datapath::Reason;
use lb_common::testing::Seen;
use lb_core::config::model::Limits;
use lb_core::control::answers;
use lb_datapath_tests::balancer::{Balancer, MILLION, SOURCE, syn};
use lb_datapath_tests::peers::Clients;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Ports handed out at least.
const CLAIMS: u32 = MILLION;

/// New clients of a CPU within a round; two of them are 9 of 10 ports.
const EACH: u32 = 14_000;

/// How many of these are sent one by one, so that their frames can be read.
const READ: u32 = 200;

/// Runs of frames within a CPU's part of a round.
const RUNS: u32 = 4;

const LIMITS: Limits = Limits {
    flows: 1 << 17,
    pending_flows: 1 << 10,
    translated_flows: 1 << 16,
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
    mode: l4-snat
    health_check: {type: none}
    real_servers:
      - {name: one, address: 192.168.94.115, port: 8080}
";

/// Opens this CPU's part of the clients of a round; the source ports of those whose frames were read.
fn open(cpu: usize, clients: &mut Clients, first: u32) -> Result<Vec<u16>> {
    stay_on(cpu)?;
    let mut seen = Vec::new();
    // From the whole of the round. To begin a run of many frames takes the kernel tens of milliseconds.
    let some = (EACH - READ) / RUNS;
    let mut turn = u64::from(first);
    for _ in 0..RUNS {
        clients.take_turns(&syn(), MILLION.into(), turn, some)?;
        turn += u64::from(some);
        for _ in 0..READ / RUNS {
            let frame = clients.take_turn(&syn(), MILLION.into(), turn)?;
            turn += 1;
            let ((source, port), _) = Seen::read(&frame).context("a packet")?.packet.ends();
            ensure!(source == std::net::IpAddr::from(SOURCE), "from {source}");
            seen.push(port);
        }
    }
    Ok(seen)
}

fn stay_on(cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).context("this needs two CPUs")
}

#[test]
fn two_cpus_hand_out_a_million_ports_and_none_twice() -> Result<()> {
    let mut balancer = Balancer::start("ports", CONFIGURATION, LIMITS)?;
    let program = balancer.rig.xdp()?.fd()?.try_clone()?;
    let roster = balancer.control.roster();
    let (mut one, mut other) = (Clients::load()?, Clients::load()?);
    one.aim(&program)?;
    other.aim(&program)?;
    let (mut claimed, mut rounds, mut first) = (0, 0, 0);
    while claimed < CLAIMS {
        let begin = first;
        let (read, others) = thread::scope(|scope| {
            let one = scope.spawn(|| open(0, &mut one, begin));
            let other = scope.spawn(|| open(1, &mut other, begin + EACH));
            // Sweeps meanwhile take no port from anybody.
            let mut last = Ok(());
            while !(one.is_finished() && other.is_finished()) {
                last = balancer.rig.now().and_then(|now| Ok(balancer.tables.sweep(&roster, now).map(|_| ())?));
            }
            last.and_then(|()| Ok((one.join().expect("no panic")?, other.join().expect("no panic")?)))
        })?;
        let opened = each(&mut balancer, &read, &others).with_context(|| format!("round {rounds}"))?;
        claimed += opened;
        (rounds, first) = (rounds + 1, first + 2 * EACH);
        balancer.sent += u64::from(2 * EACH);

        // As if all had been quiet for an hour. The first sweep finds the ports without an owner, the second
        // gives them back.
        let later = balancer.rig.now()?.wrapping_add(3600);
        let swept = balancer.tables.sweep(&roster, later)?;
        assert_eq!((swept.flows_removed, swept.entries[4]), (u64::from(opened), 0));
        assert_eq!(swept.ports.values().sum::<u32>(), opened, "kept for a sweep");
        let swept = balancer.tables.sweep(&roster, later)?;
        assert_eq!(swept.ports.values().sum::<u32>(), 0, "ports are lost after round {rounds}");
    }
    let words = balancer.rig.entries::<u32, u64>("source_ports")?;
    assert!(words.iter().all(|(_, bits)| *bits == 0), "bits without an owner");
    assert_eq!(balancer.count(Reason::Scheduled)?, u64::from(claimed), "and every frame was one of these");
    println!("{claimed} ports in {rounds} rounds");
    Ok(())
}

/// Whether each of the flows of a round has a port and an entry of replies of its own. How many there are.
fn each(balancer: &mut Balancer, one: &[u16], other: &[u16]) -> Result<u32> {
    let roster = balancer.control.roster();
    let flows = balancer.rig.flows()?;
    let replies: Vec<(FlowKey, Reply)> = balancer.rig.entries("replies")?;
    assert_eq!(replies.len(), flows.len());
    let ports: BTreeSet<u16> = flows.iter().map(|(_, flow)| flow.source_port).collect();
    assert_eq!(ports.len(), flows.len(), "a port twice");
    assert!(ports.iter().all(|port| (1024..=32_767).contains(port)));
    for (key, flow) in &flows {
        let of = roster.replies_to(key, flow).context("of l4-snat")?;
        let at = replies.binary_search_by_key(&of, |(key, _)| *key).ok().context("a flow without replies")?;
        assert!(answers(&replies[at].1, key, flow), "replies to somebody else");
    }
    let read: BTreeSet<u16> = one.iter().chain(other).copied().collect();
    assert_eq!(read.len(), one.len() + other.len(), "two frames left by one port");
    assert!(read.is_subset(&ports));
    Ok(u32::try_from(flows.len())?)
}
