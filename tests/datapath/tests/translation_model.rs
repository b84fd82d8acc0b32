//! Translated flows over any order of events, in the loaded program with the real control plane and sweep:
//! two live flows are never the same to a real server, and an answer reaches the client that asked.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result};
use lb_common::abi::{Flow, FlowKey, FlowState, Reply};
use lb_common::testing::{PacketBuilder, Seen};
use lb_common::wire::{protocol, tcp};
use lb_core::config::model::Limits;
use lb_core::control::answers;
use lb_datapath_tests::balancer::{Balancer, MILLION, datagram};
use lb_datapath_tests::frames::Dice;
use lb_datapath_tests::peers::Clients;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

const LIMITS: Limits = Limits {
    flows: 1 << 17,
    pending_flows: 1 << 10,
    translated_flows: 1 << 16,
    persistence: 1 << 10,
    new_flows_per_second: u32::MAX,
};

/// Few ports, one set of machines, several services: whatever can be taken for something else will be.
const SERVICES: &str = "
version: 1
node:
  interfaces: [{device: eth0}]
  source_ports: 2000-2063
virtual_services:
  - name: web
    address: 192.168.94.110
    ports: [80-83]
    protocol: tcp+udp
    health_check: {type: none}
    mode: l4-snat
    real_servers: [{name: a, address: 192.168.94.115, port: 8080}, {name: b, address: 192.168.94.116, port: 8080}]
  - name: vip
    address: 192.168.94.111
    ports: [80-83]
    protocol: tcp+udp
    health_check: {type: none}
    mode: l4-snat
    source_address: vip
    real_servers: [{name: a, address: 192.168.94.115}, {name: b, address: 192.168.94.116}]
  - name: nat
    address: 192.168.94.112
    ports: [80-83]
    protocol: tcp+udp
    health_check: {type: none}
    mode: l4-nat
    real_servers: [{name: a, address: 192.168.94.115}, {name: b, address: 192.168.94.116}]
  - name: again
    address: 192.168.94.113
    ports: [80-83]
    protocol: tcp+udp
    health_check: {type: none}
    mode: l4-nat
    scheduler: source-hash
    real_servers: [{name: a, address: 192.168.94.115}, {name: b, address: 192.168.94.116}]
";

const ONE_SERVICE: &str = "
version: 1
node:
  interfaces: [{device: eth0}]
virtual_services:
  - name: nat
    address: 192.168.94.110
    ports: [80]
    protocol: udp
    mode: l4-nat
    health_check: {type: none}
    real_servers: [{name: a, address: 192.168.94.115, port: 8080}]
";

type End = (IpAddr, u16);

/// The ends of a packet to a real server, and its protocol.
type Outside = (End, End, u8);

/// The ends of a client's packet.
type Inside = (End, End);

/// Flags of TCP with how often they are sent.
const FLAGS: [u8; 10] = [
    tcp::SYN,
    tcp::SYN,
    tcp::SYN,
    tcp::ACK,
    tcp::ACK,
    tcp::ACK,
    tcp::ACK | tcp::FIN,
    tcp::ACK | tcp::FIN,
    tcp::RST,
    tcp::ACK,
];

struct Model {
    balancer: Balancer,
    dice: Dice,
    /// Who was last seen to send so to a real server.
    owners: BTreeMap<Outside, Inside>,
    /// What real servers were sent.
    sent: Vec<Outside>,
    answered: u64,
    unanswered: u64,
    swept: u64,
}

impl Model {
    fn packet(&mut self, from: End, to: End, udp: bool) -> Vec<u8> {
        let flags = self.dice.pick(&FLAGS);
        if udp { PacketBuilder::udp(from, to, b"text") } else { PacketBuilder::tcp(from, to, flags, b"text") }.build()
    }

    /// A client sends something; now and then it is one of the real servers.
    fn ask(&mut self) -> Result<()> {
        let low = u8::try_from(self.dice.below(20))?;
        let client = if self.dice.below(10) == 0 { [192, 168, 94, 115 + low % 2] } else { [10, 7, 0, low + 1] };
        let vip = [192, 168, 94, 110 + u8::try_from(self.dice.below(4))?];
        let ports = (self.dice.pick(&[40_000, 40_001, 2_050]), self.dice.pick(&[80, 81, 82, 83]));
        let udp = self.dice.below(3) == 0;
        let ends = ((IpAddr::from(client), ports.0), (IpAddr::from(vip), ports.1));
        let frame = self.packet(ends.0, ends.1, udp);
        let outcome = self.balancer.rig.run(&frame)?;
        if !matches!(outcome.action, 3 | 4) {
            return Ok(());
        }
        let seen = Seen::read(&outcome.frame).context("a packet")?.packet;
        assert!(seen.header_is_right && seen.body_is_right());
        let (from, to) = seen.ends();
        let outside = (from, to, seen.protocol);
        self.sent.push(outside);
        let before = self.owners.get(&outside).copied().filter(|before| *before != ends);
        if let Some(before) = before {
            let both = self.is_live(before, outside)? && self.is_live(ends, outside)?;
            assert!(!both, "{before:?} and {ends:?} are both {from:?} to {to:?}");
        }
        // A last packet of a flow that is over asks for nothing.
        if before.is_none() || self.is_live(ends, outside)? {
            self.owners.insert(outside, ends);
        }
        Ok(())
    }

    /// Whether the flow of these ends is in the tables, not over, and goes out so.
    fn is_live(&self, inside: Inside, outside: Outside) -> Result<bool> {
        let key = flow_key(inside, outside.2);
        let flow = self.balancer.rig.table("flows")?.get(&key)?;
        let roster = self.balancer.control.roster();
        Ok(flow.is_some_and(|flow| {
            is_open(&flow) && roster.replies_to(&key, &flow) == Some(flow_key(outside_in(outside), outside.2))
        }))
    }

    /// A real server answers something that it once got.
    fn answer(&mut self) -> Result<()> {
        if self.owners.is_empty() {
            return Ok(());
        }
        let which = self.dice.below(self.owners.len());
        let (outside, owner) =
            self.owners.iter().nth(which).map(|(outside, owner)| (*outside, *owner)).context("one")?;
        let (from, to, protocol) = outside;
        let frame = self.packet(to, from, protocol == protocol::UDP);
        let live = self.is_live(owner, outside)?;
        let outcome = self.balancer.rig.run(&frame)?;
        if matches!(outcome.action, 3 | 4) {
            let seen = Seen::read(&outcome.frame).context("a packet")?.packet;
            assert!(seen.header_is_right && seen.body_is_right());
            assert_eq!(seen.ends(), (owner.1, owner.0), "an answer to {from:?} reached somebody else");
            self.answered += 1;
        } else {
            assert!(!live, "the answer to a live flow was not forwarded: {outside:?} of {owner:?}");
            self.unanswered += 1;
        }
        Ok(())
    }

    fn sweep(&mut self) -> Result<()> {
        let later = self.dice.pick(&[0, 0, 0, 3, 3, 40, 130, 700, 4_000]);
        let roster = self.balancer.control.roster();
        let roster = if self.dice.below(3) == 0 { roster.pressed() } else { roster };
        let now = self.balancer.rig.now()?.wrapping_add(later);
        self.swept += self.balancer.tables.sweep(&roster, now)?.flows_removed;
        every_flow_has_its_replies(&self.balancer)
    }
}

fn flow_key((client, vip): Inside, protocol: u8) -> FlowKey {
    FlowKey {
        client: client.0.into(),
        vip: vip.0.into(),
        client_port: client.1,
        vip_port: vip.1,
        protocol,
        ..FlowKey::default()
    }
}

/// As the real server's packets name it.
fn outside_in((from, to, _): Outside) -> Inside {
    (to, from)
}

/// In `l4-nat` one that is over gives way to the client's next by another VIP.
fn is_open(flow: &Flow) -> bool {
    flow.state != FlowState::Closing as u8
}

/// No two flows are the same to a real server, because each has replies of its own.
fn every_flow_has_its_replies(balancer: &Balancer) -> Result<()> {
    let roster = balancer.control.roster();
    let replies: Vec<(FlowKey, Reply)> = balancer.rig.entries("replies")?;
    let mut taken = std::collections::BTreeSet::new();
    for (key, flow) in balancer.rig.flows()?.into_iter().filter(|(_, flow)| is_open(flow)) {
        let of = roster.replies_to(&key, &flow).context("a translated flow")?;
        assert!(taken.insert(of), "two flows are answered by {of:?}");
        let at = replies.binary_search_by_key(&of, |(key, _)| *key);
        let at = at.ok().with_context(|| format!("a flow without replies: {key:?} {flow:?}"))?;
        assert!(answers(&replies[at].1, &key, &flow), "{key:?} {flow:?} {:?}", replies[at]);
    }
    Ok(())
}

#[test]
fn an_answer_reaches_the_client_that_asked_whatever_happened_before() -> Result<()> {
    const EVENTS: usize = 60_000;
    let balancer = Balancer::start("model", SERVICES, LIMITS)?;
    let dice = Dice::new(0x0dd5);
    let mut model =
        Model { balancer, dice, owners: BTreeMap::new(), sent: Vec::new(), answered: 0, unanswered: 0, swept: 0 };
    for _ in 0..EVENTS {
        match model.dice.below(600) {
            0 => model.sweep()?,
            1..=300 => model.ask()?,
            _ => model.answer()?,
        }
    }
    let (yes, no, swept) = (model.answered, model.unanswered, model.swept);
    println!("{yes} answered, {no} not, {swept} flows swept: {:?}", model.balancer.rig.verdicts()?);
    assert!(yes > 5_000 && no > 100 && swept > 1_000, "{yes} answered, {no} not, {swept} flows swept");
    Ok(())
}

#[test]
fn a_client_that_comes_back_while_its_flow_is_swept_keeps_its_replies() -> Result<()> {
    const CLIENTS: u32 = 20_000;
    let mut balancer = Balancer::start("comeback", ONE_SERVICE, LIMITS)?;
    let mut clients = Clients::load()?;
    clients.aim(&balancer.rig.xdp()?.fd()?.try_clone()?)?;
    let roster = balancer.control.roster();
    let mut removed = 0;
    for round in 0..4 {
        let over = AtomicBool::new(false);
        thread::scope(|scope| -> Result<()> {
            let sender = scope.spawn(|| -> Result<()> {
                let mut cpus = CpuSet::new();
                cpus.set(1)?;
                sched_setaffinity(Pid::from_raw(0), &cpus).context("this needs two CPUs")?;
                while !over.load(Ordering::Relaxed) {
                    clients.take_turns(&datagram(), MILLION.into(), 0, CLIENTS)?;
                }
                Ok(())
            });
            for _ in 0..4 {
                let later = balancer.rig.now()?.wrapping_add(3600);
                removed += balancer.tables.sweep(&roster, later)?.flows_removed;
            }
            over.store(true, Ordering::Relaxed);
            sender.join().expect("no panic")
        })?;
        every_flow_has_its_replies(&balancer).with_context(|| format!("round {round}"))?;
    }
    assert!(removed > u64::from(CLIENTS), "{removed} flows were swept");
    Ok(())
}
