//! A client and a real server that talk through a translated service.

use super::*;
use crate::abi::FlowState;
use crate::testing::{OTHER_DEVICE, Seen, checksum};
use crate::wire::ipv6;

/// The balancer's own addresses, which `l4-snat` puts in the place of the client.
pub(super) const SOURCE: &str = "192.168.94.1";
pub(super) const SOURCE6: &str = "fd00:94::1";
/// Number of the source address.
pub(super) const NUMBER: u32 = 1;
/// The port of real servers that have one of their own.
pub(super) const OWN_PORT: u16 = 8080;
/// How frames of [`PacketBuilder`] are addressed.
pub(super) const BALANCER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
pub(super) const CLIENT_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];

/// What is told apart when a conversation is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub v6: bool,
    pub udp: bool,
    /// `l4-snat`, else `l4-nat`.
    pub snat: bool,
    /// The real servers have a port of their own.
    pub own_port: bool,
}

pub(super) const TCP: Kind = Kind { v6: false, udp: false, snat: true, own_port: true };
pub(super) const UDP: Kind = Kind { udp: true, ..TCP };
pub(super) const NAT: Kind = Kind { snat: false, ..TCP };

/// All of them.
pub(super) fn kinds() -> impl Iterator<Item = Kind> {
    let bit = |number: u8, at: u8| number >> at & 1 != 0;
    (0..16).map(move |n| Kind { v6: bit(n, 0), udp: bit(n, 1), snat: bit(n, 2), own_port: bit(n, 3) })
}

impl Kind {
    pub(super) fn scenario(self, servers: usize) -> Scenario {
        let scenario = Scenario::new(self.vip(), &[(PORT, PORT)], &BOTH, Scheduler::WeightedRoundRobin, servers);
        let mut scenario = if self.snat { scenario.source_nat(NUMBER, self.source()) } else { scenario.nat() };
        for server in &mut scenario.servers {
            // Not where the clients are.
            server.ifindex = OTHER_DEVICE;
            server.port = if self.own_port { OWN_PORT } else { 0 };
        }
        scenario
    }

    pub(super) fn tables(self, servers: usize) -> MemTables {
        tables(&self.scenario(servers))
    }

    pub(super) fn vip(self) -> IpAddr {
        ip(if self.v6 { VIP6 } else { VIP })
    }

    pub(super) fn client(self) -> IpAddr {
        ip(if self.v6 { CLIENT6 } else { CLIENT })
    }

    pub(super) fn source(self) -> IpAddr {
        ip(if self.v6 { SOURCE6 } else { SOURCE })
    }

    pub(super) fn router(self) -> IpAddr {
        ip(if self.v6 { "fd00:99::1" } else { "10.99.0.1" })
    }

    pub(super) fn protocol(self) -> u8 {
        if self.udp { protocol::UDP } else { protocol::TCP }
    }

    pub(super) fn server_port(self) -> u16 {
        if self.own_port { OWN_PORT } else { PORT }
    }

    /// A packet between these ends; of UDP, the flags do not matter.
    pub(super) fn packet(self, from: (IpAddr, u16), to: (IpAddr, u16), flags: u8, payload: &[u8]) -> PacketBuilder {
        if self.udp { PacketBuilder::udp(from, to, payload) } else { PacketBuilder::tcp(from, to, flags, payload) }
    }

    /// What the client sends from this port.
    pub(super) fn request(self, port: u16, flags: u8, payload: &[u8]) -> PacketBuilder {
        self.packet((self.client(), port), (self.vip(), PORT), flags, payload)
    }

    /// What the real server sends that has got this.
    pub(super) fn answer(self, got: &Seen, flags: u8, payload: &[u8]) -> PacketBuilder {
        let (client, server) = got.packet.ends();
        self.packet(server, client, flags, payload)
    }

    pub(super) fn key(self, port: u16) -> FlowKey {
        let (client, vip) = (Address::from(self.client()), Address::from(self.vip()));
        let protocol = self.protocol();
        FlowKey { client, vip, client_port: port, vip_port: PORT, protocol, spare8: 0, spare16: 0 }
    }

    /// Types and codes: too big, time exceeded, port unreachable.
    pub(super) const fn errors(self) -> [(u8, u8); 3] {
        if self.v6 { [(2, 0), (3, 0), (1, 4)] } else { [(3, 4), (11, 0), (3, 3)] }
    }
}

/// An ICMP error about this packet, of a type and code.
pub(super) fn icmp_error(from: IpAddr, to: IpAddr, kind: (u8, u8), quoted: &[u8]) -> PacketBuilder {
    PacketBuilder::icmp(from, to, kind.0, kind.1, 1400, quoted)
}

/// Runs a frame that comes in by `device`.
pub(super) fn run_by(tables: &MemTables, device: u32, frame: &[u8]) -> (Verdict, Vec<u8>) {
    let mut packet = MemPacket::new(frame, device);
    let verdict = forward(&mut packet, tables);
    (verdict, packet.frame().to_vec())
}

/// A frame from a client, as it reaches the real server.
pub(super) fn to_server(tables: &MemTables, frame: &[u8]) -> Seen {
    let (verdict, out) = run(tables, frame);
    assert_eq!(verdict.action, Action::Redirect(OTHER_DEVICE), "{verdict:?}");
    judged(frame, &out)
}

/// A frame from a real server, as it reaches the client.
pub(super) fn to_client(tables: &MemTables, frame: &[u8]) -> Seen {
    let (verdict, out) = run_by(tables, OTHER_DEVICE, frame);
    assert_eq!(verdict.action, Action::Redirect(DEVICE), "{verdict:?}");
    judged(frame, &out)
}

/// What left, with what holds for every translated frame: right checksums, one hop less, and nothing else
/// touched.
pub(super) fn judged(before: &[u8], after: &[u8]) -> Seen {
    let (old, new) = (Seen::read(before).expect("a packet"), Seen::read(after).expect("a packet still"));
    let (was, is) = (&old.packet, &new.packet);
    assert!(is.header_is_right, "header checksum: {after:02x?}");
    let is_whole = is.offset == 0 && !is.more;
    assert!(!is_whole || is.body_is_right(), "checksum {:?}: {before:02x?} became {after:02x?}", is.checksum());
    assert_eq!(is.hop_limit, was.hop_limit - 1, "one hop less");
    assert_eq!((is.protocol, is.offset, is.more, &is.extras), (was.protocol, was.offset, was.more, &was.extras));
    assert_eq!(is.body.len(), was.body.len());
    if is.offset != 0 {
        assert_eq!(is.body, was.body, "a later fragment has no ports");
    } else if !matches!(is.protocol, protocol::ICMP | protocol::ICMPV6) {
        assert_eq!(is.untouchable(), was.untouchable(), "nothing behind the ports");
    }
    let trailer = |frame: &[u8], seen: &Seen| frame.len() - ethernet::HEADER - seen.tags.len() * ethernet::TAG;
    assert_eq!(trailer(before, &old), trailer(after, &new), "padding stays");
    new
}

/// `frame`, untagged, with another hop limit.
pub(super) fn with_hops(frame: Vec<u8>, hops: u8) -> Vec<u8> {
    if frame[NETWORK] >> 4 == 6 {
        return with(frame, NETWORK + ipv6::HOP_LIMIT_WORD + 3, &[hops]);
    }
    let frame = with(with(frame, NETWORK + 8, &[hops]), NETWORK + 10, &[0, 0]);
    let length = usize::from(frame[NETWORK] & 0x0f) * 4;
    let sum = checksum(&frame[NETWORK..NETWORK + length]);
    with(frame, NETWORK + 10, &sum.to_be_bytes())
}

/// `frame` with other MAC addresses: to, from.
pub(super) fn with_macs(frame: Vec<u8>, to: [u8; 6], from: [u8; 6]) -> Vec<u8> {
    with(with(frame, 0, &to), 6, &from)
}

/// The IP packet of an untagged frame.
pub(super) fn packet_of(frame: &[u8]) -> &[u8] {
    &frame[NETWORK..]
}

/// The state of the flow of the client's port 9, from which [`client`] sends.
pub(super) fn state(tables: &MemTables, kind: Kind) -> FlowState {
    FlowState::from_u8(tables.flows.get(&kind.key(9)).expect("the flow").state)
}

/// A packet of the client, as the real server gets it.
pub(super) fn client(tables: &MemTables, kind: Kind, flags: u8) -> Seen {
    to_server(tables, &kind.request(9, flags, b"").build())
}

/// An answer of the real server that got this.
pub(super) fn server(tables: &MemTables, kind: Kind, got: &Seen, flags: u8) {
    to_client(tables, &kind.answer(got, flags, b"").build());
}

pub(super) fn tcp_kinds() -> impl Iterator<Item = Kind> {
    kinds().filter(|kind| !kind.udp)
}

/// Ports marked in use, over all pools.
pub(super) fn ports(tables: &MemTables) -> u32 {
    tables.source_ports.borrow().values().map(|word| word.count_ones()).sum()
}
