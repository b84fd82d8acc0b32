//! Frames of every kind that the datapath tells apart, and wrong ones made from them. From a seed:
//! the same seed gives the same frames.

use std::net::IpAddr;

use lb_common::testing::{PacketBuilder, Seen, SeenPacket};
use lb_common::wire::{ethernet, icmp, ipv6, protocol, tcp};

/// The VIPs of the frames.
pub const VIPS: [&str; 9] = [
    "192.168.94.110",
    "172.26.11.70",
    "fd00:94::110",
    "192.168.94.111",
    "192.168.94.112",
    "192.168.94.113",
    "192.168.94.114",
    "fd00:94::112",
    "fd00:94::113",
];

/// A VIP as an IPv6 destination that only looks like it (RFC 4291 §2.5.5.2).
const MAPPED: &str = "::ffff:192.168.94.110";

/// A reproducible source of numbers (xorshift64*, Vigna 2016): enough to choose, not to hide.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From a seed; zero is replaced.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// Any number.
    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % bound.max(1) as u64).unwrap_or(0)
    }

    /// One of `items`.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    fn port(&mut self, usual: &[u16]) -> u16 {
        if self.below(12) == 0 { u16::try_from(self.below(65_536)).unwrap_or(0) } else { self.pick(usual) }
    }
}

/// A frame as clients, routers and attackers send it.
#[must_use]
pub fn frame(dice: &mut Dice) -> Vec<u8> {
    let vip = if dice.below(40) == 0 { MAPPED } else { dice.pick(&VIPS) };
    let vip: IpAddr = vip.parse().expect("a literal address");
    // A LAND attack comes from the VIP itself.
    let client = if dice.below(400) == 0 { vip } else { client(dice, vip.is_ipv4()) };
    let ports =
        (dice.port(&[40_000, 40_001, 40_002, 40_003]), dice.port(&[104, 1935, 554, 50_000, 50_001, 65_535, 443]));
    let payload = vec![0xa5; 1 + dice.below(64)];
    let builder = match dice.below(12) {
        0..=5 => {
            let flags =
                dice.pick(&[tcp::SYN, tcp::ACK, tcp::ACK, tcp::ACK | tcp::FIN, tcp::RST, tcp::SYN | tcp::ACK, 0]);
            PacketBuilder::tcp((client, ports.0), (vip, ports.1), flags, &payload)
        }
        6..=8 => PacketBuilder::udp((client, ports.0), (vip, ports.1), &payload),
        9 => icmp_error(dice, client, vip, ports),
        10 => PacketBuilder::icmp(client, vip, if vip.is_ipv4() { 8 } else { 128 }, 0, 0x1234_0001, b"ping"),
        _ => PacketBuilder::new(client, vip, dice.pick(&[47, 50, 132, 89]), payload),
    };
    let frame = disguised(dice, builder, vip.is_ipv4());
    let frame = addressed(dice, frame);
    if dice.below(3) == 0 { mutated(dice, frame) } else { frame }
}

/// What comes back when `frame` has left: an answer of whoever got it, or a router's error about it. `None`
/// when the frame has no ports.
#[must_use]
pub fn answer(dice: &mut Dice, frame: &[u8]) -> Option<Vec<u8>> {
    let packet = Seen::read(frame)?.packet;
    if !matches!(packet.protocol, protocol::TCP | protocol::UDP) || packet.offset != 0 || packet.body.len() < 8 {
        return None;
    }
    let (from, to) = packet.ends();
    let is_v4 = from.0.is_ipv4();
    let builder = if dice.below(6) == 0 {
        error_about(dice, frame, &packet)
    } else if packet.protocol == protocol::TCP {
        let flags = dice.pick(&[tcp::SYN | tcp::ACK, tcp::ACK, tcp::ACK, tcp::ACK, tcp::ACK | tcp::FIN, tcp::RST]);
        PacketBuilder::tcp(to, from, flags, &vec![0x5a; dice.below(64)])
    } else {
        PacketBuilder::udp(to, from, &vec![0x5a; dice.below(64)])
    };
    let frame = disguised(dice, builder, is_v4);
    let frame = addressed(dice, frame);
    Some(if dice.below(6) == 0 { mutated(dice, frame) } else { frame })
}

/// An error that quotes the packet of a frame, or its begin.
fn error_about(dice: &mut Dice, frame: &[u8], packet: &SeenPacket) -> PacketBuilder {
    let headers = if packet.source.is_ipv4() { 20 } else { 40 };
    let network = frame.len() - headers - packet.extras.len() - packet.body.len();
    // Behind a tag or a fragment header, or before padding, this is nonsense: as it may come.
    let quoted = &frame[network.min(frame.len())..];
    let quoted = &quoted[..quoted.len().min(headers + 4 + dice.below(60))];
    let router = client(dice, packet.source.is_ipv4());
    let (kind, code) = if packet.source.is_ipv4() {
        dice.pick(&[(icmp::UNREACHABLE, 4), (icmp::UNREACHABLE, 3), (icmp::TIME_EXCEEDED, 0)])
    } else {
        dice.pick(&[(2, 0), (1, 4), (3, 0)])
    };
    PacketBuilder::icmp(router, packet.source, kind, code, 1280, quoted)
}

/// Another sender, a group for a receiver, the last hop.
fn addressed(dice: &mut Dice, mut frame: Vec<u8>) -> Vec<u8> {
    frame[11] = dice.pick(&[2, 2, 2, 3, 4]);
    match dice.below(80) {
        0 => frame[0] |= 1,
        1 => {
            let hop_limit = ethernet::HEADER + if frame[ethernet::HEADER] >> 4 == 4 { 8 } else { 7 };
            frame[hop_limit] = 1;
        }
        _ => {}
    }
    frame
}

fn client(dice: &mut Dice, v4: bool) -> IpAddr {
    let low = dice.below(200);
    let text = if v4 { format!("10.7.{}.{}", low / 100, low % 100 + 1) } else { format!("fd00:7::{low:x}") };
    text.parse().expect("an address of its family")
}

/// An error about what a real server sent from the VIP to the client; sometimes about a fragment of
/// it, and sometimes of the wrong family.
fn icmp_error(dice: &mut Dice, client: IpAddr, vip: IpAddr, ports: (u16, u16)) -> PacketBuilder {
    let router = client;
    let mut sent = if dice.below(2) == 0 {
        PacketBuilder::tcp((vip, ports.1), (client, ports.0), tcp::ACK, &[0; 32])
    } else {
        PacketBuilder::udp((vip, ports.1), (client, ports.0), &[0; 32])
    };
    if dice.below(4) == 0 {
        sent = sent.fragment(7, dice.pick(&[0, 0, 8]), true);
    }
    let (kind, code) = if vip.is_ipv4() { (dice.pick(&[icmp::UNREACHABLE, 5, 11]), 4) } else { (2, 0) };
    if dice.below(8) == 0 {
        let foreign = if vip.is_ipv4() { protocol::ICMPV6 } else { protocol::ICMP };
        let message = [&[kind, code, 0, 0, 0, 0, 5, 0], sent.packet().as_slice()].concat();
        return PacketBuilder::new(router, vip, foreign, message);
    }
    PacketBuilder::icmp(router, vip, kind, code, 1280, &sent.packet())
}

/// Tags, options, extension headers, fragments.
fn disguised(dice: &mut Dice, mut builder: PacketBuilder, v4: bool) -> Vec<u8> {
    match dice.below(8) {
        0 => builder = builder.tag(ethernet::TYPE_VLAN, 0x2000 | 20),
        1 => builder = builder.tag(ethernet::TYPE_SERVICE_VLAN, 30).tag(ethernet::TYPE_VLAN, 20),
        _ => {}
    }
    if dice.below(6) == 0 {
        if v4 {
            builder = builder.options(&[0x94, 4, 0, 0, 1, 1, 1]);
        } else {
            for _ in 0..=dice.below(5) {
                let kind = dice.pick(&[ipv6::HOP_BY_HOP, ipv6::ROUTING, ipv6::DESTINATION_OPTIONS]);
                builder = builder.extension(kind, &vec![0; 6 + 8 * dice.below(3)]);
            }
        }
    }
    if dice.below(5) == 0 {
        let size = dice.pick(&[8, 16, 24, 32]);
        let identification = u32::try_from(dice.below(64)).unwrap_or(0);
        let fragments = builder.fragments(identification, size);
        let which = dice.below(fragments.len());
        return fragments[which].clone();
    }
    builder.build()
}

/// Wrong in a few bytes, cut short, or with something behind it.
fn mutated(dice: &mut Dice, mut frame: Vec<u8>) -> Vec<u8> {
    match dice.below(4) {
        0 => frame.truncate(ethernet::HEADER + dice.below(frame.len().saturating_sub(ethernet::HEADER) + 1)),
        1 => frame.extend(std::iter::repeat_n(0, dice.below(40))),
        _ => {
            for _ in 0..=dice.below(4) {
                let at = 12 + dice.below(frame.len().min(80) - 12);
                frame[at] =
                    if dice.below(2) == 0 { frame[at] ^ (1 << dice.below(8)) } else { dice.roll().to_le_bytes()[0] };
            }
        }
    }
    frame
}

/// The protocols of a virtual service over TCP and UDP.
pub const TCP_AND_UDP: [u8; 2] = [protocol::TCP, protocol::UDP];
