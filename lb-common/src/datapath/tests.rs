//! The datapath over tables in memory: what becomes of a frame, what the frame becomes, and what
//! is remembered. Facts of one frame are rows; what takes several frames is a claim with a name.

mod bind;
mod conversation;
mod counters;
mod explain;
mod flood;
mod flow;
mod fragment;
mod icmp;
mod parse;
mod persistence;
mod properties;
mod refusal;
mod reply;
mod rewrite;
mod schedule;
mod translate;
mod truncation;

use std::net::IpAddr;

use super::{Action, Reason, Verdict, forward};
use crate::abi::{Address, Flow, FlowKey, Persistence, PersistenceKey, Scheduler, ServerId, ServerState};
use crate::testing::{DEVICE, MemPacket, MemTables, PacketBuilder, Scenario};
use crate::wire::{ethernet, protocol, tcp};

const VIP: &str = "192.168.94.110";
const VIP6: &str = "fd00:94::110";
const CLIENT: &str = "10.7.0.1";
const CLIENT6: &str = "fd00:7::1";
const PORT: u16 = 80;
const BOTH: [u8; 2] = [protocol::TCP, protocol::UDP];

/// Number of the only service of a [`scenario`], and of its first server.
const SERVICE: u32 = 3;
const FIRST: ServerId = 10;
/// Where its schedules begin.
const PLACES: u32 = 16;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("a literal address")
}

/// A service at [`VIP`]:80 over both protocols.
fn scenario(scheduler: Scheduler, servers: usize) -> Scenario {
    Scenario::new(ip(VIP), &[(PORT, PORT)], &BOTH, scheduler, servers)
}

fn tables(scenario: &Scenario) -> MemTables {
    let mut tables = MemTables::default();
    scenario.install(&mut tables, SERVICE, FIRST, PLACES);
    tables
}

/// Number of the first server of [`and`] services.
const SECOND: ServerId = 20;

/// Adds a service whose servers have MAC addresses of their own.
fn and(mut tables: MemTables, mut scenario: Scenario) -> MemTables {
    for server in &mut scenario.servers {
        server.destination_mac[1] = 0xee;
    }
    scenario.install(&mut tables, SERVICE + 1, SECOND, 2 * PLACES);
    tables
}

/// A service of each family, of one server each.
fn both_families() -> MemTables {
    let second = Scenario::new(ip(VIP6), &[(PORT, PORT)], &BOTH, Scheduler::Maglev, 1);
    and(tables(&scenario(Scheduler::Maglev, 1)), second)
}

fn run(tables: &MemTables, frame: &[u8]) -> (Verdict, Vec<u8>) {
    let mut packet = MemPacket::new(frame, DEVICE);
    let verdict = forward(&mut packet, tables);
    (verdict, packet.frame().to_vec())
}

fn reason(tables: &MemTables, frame: &[u8]) -> Reason {
    run(tables, frame).0.reason
}

/// The server that a frame was sent to, by the MAC address of its next hop, and why.
fn sent(tables: &MemTables, frame: &[u8]) -> (ServerId, Reason) {
    let (verdict, frame) = run(tables, frame);
    assert!(matches!(verdict.action, Action::Transmit | Action::Redirect(_)), "{verdict:?}");
    let server = tables.servers.iter().find(|(_, server)| server.destination_mac == frame[..6]);
    (*server.expect("the MAC address of a server").0, verdict.reason)
}

fn server_of(tables: &MemTables, frame: &[u8]) -> ServerId {
    sent(tables, frame).0
}

/// A segment from the client's port to the service.
fn segment(port: u16, flags: u8) -> Vec<u8> {
    segment_from(CLIENT, port, flags)
}

fn segment_from(client: &str, port: u16, flags: u8) -> Vec<u8> {
    PacketBuilder::tcp((ip(client), port), (ip(VIP), PORT), flags, b"payload").build()
}

fn syn(port: u16) -> Vec<u8> {
    segment(port, tcp::SYN)
}

fn ack(port: u16) -> Vec<u8> {
    segment(port, tcp::ACK)
}

/// A datagram from the client's port to the service.
fn datagram(port: u16) -> Vec<u8> {
    PacketBuilder::udp((ip(CLIENT), port), (ip(VIP), PORT), b"payload").build()
}

fn key(protocol: u8, client_port: u16) -> FlowKey {
    let (client, vip) = (Address::from(ip(CLIENT)), Address::from(ip(VIP)));
    FlowKey { client, vip, client_port, vip_port: PORT, protocol, spare8: 0, spare16: 0 }
}

/// The flow of the client's port in `flows`.
fn flow(tables: &MemTables, port: u16) -> Option<Flow> {
    tables.flows.get(&key(protocol::TCP, port))
}

/// The flow of the client's port in `pending_flows`.
fn pending(tables: &MemTables, port: u16) -> Option<Flow> {
    tables.pending_flows.get(&key(protocol::TCP, port))
}

fn client_key(client: &str) -> PersistenceKey {
    PersistenceKey { client: Address::from(ip(client)), service: SERVICE }
}

fn record(tables: &MemTables) -> Option<Persistence> {
    tables.persistence.get(&client_key(CLIENT))
}

/// As the daemon does when a check fails or an administrator halts: the state and another generation.
fn cut(tables: &mut MemTables, server: ServerId) {
    let entry = tables.servers.get_mut(&server).expect("a server of the scenario");
    entry.state = ServerState::Down as u8;
    entry.generation += 1;
}

fn drain(tables: &mut MemTables, server: ServerId) {
    tables.servers.get_mut(&server).expect("a server of the scenario").state = ServerState::Draining as u8;
}

fn tick(tables: &MemTables, ticks: u32) {
    tables.now.set(tables.now.get().wrapping_add(ticks));
}

/// A SYN and an ACK: an established flow, and its server.
fn establish(tables: &MemTables, port: u16) -> ServerId {
    let server = server_of(tables, &syn(port));
    assert_eq!(sent(tables, &ack(port)), (server, Reason::Pending));
    server
}

/// Offset of the IP header of an untagged frame.
const NETWORK: usize = ethernet::HEADER;

/// `frame` with other bytes at `at`.
fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}
