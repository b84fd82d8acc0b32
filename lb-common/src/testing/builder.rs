//! Builds frames with correct lengths and checksums, and wrong ones where asked.

use std::net::IpAddr;

use crate::wire::{ethernet, ipv6, protocol, tcp};

/// A frame in the making: link layer, addresses, protocol, payload.
#[derive(Clone, Debug)]
pub struct PacketBuilder {
    tags: Vec<(u16, u16)>,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    transport: Vec<u8>,
    options: Vec<u8>,
    extensions: Vec<(u8, Vec<u8>)>,
    fragment: Option<(u32, u16, bool)>,
}

impl PacketBuilder {
    /// A packet of IP `protocol` with `transport` as its payload. Both addresses are of one family.
    #[must_use]
    pub fn new(source: IpAddr, destination: IpAddr, protocol: u8, transport: Vec<u8>) -> Self {
        assert_eq!(source.is_ipv4(), destination.is_ipv4(), "one packet is of one family");
        let (tags, options, extensions) = (Vec::new(), Vec::new(), Vec::new());
        Self { tags, source, destination, protocol, transport, options, extensions, fragment: None }
    }

    /// A TCP segment.
    #[must_use]
    pub fn tcp(source: (IpAddr, u16), destination: (IpAddr, u16), flags: u8, payload: &[u8]) -> Self {
        let mut segment = ports(source.1, destination.1);
        segment.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend_from_slice(payload);
        debug_assert!(segment.len() >= tcp::HEADER);
        Self::new(source.0, destination.0, protocol::TCP, segment).with_checksum(16)
    }

    /// A UDP datagram.
    #[must_use]
    pub fn udp(source: (IpAddr, u16), destination: (IpAddr, u16), payload: &[u8]) -> Self {
        let mut datagram = ports(source.1, destination.1);
        let length = u16::try_from(8 + payload.len()).expect("a datagram is at most 65,535 bytes");
        datagram.extend_from_slice(&length.to_be_bytes());
        datagram.extend_from_slice(&[0, 0]);
        datagram.extend_from_slice(payload);
        Self::new(source.0, destination.0, protocol::UDP, datagram).with_checksum(6)
    }

    /// An ICMP or ICMPv6 message, by the family of the addresses. `rest` is the second word of the
    /// header: an MTU, or identifier and sequence number.
    #[must_use]
    pub fn icmp(source: IpAddr, destination: IpAddr, kind: u8, code: u8, rest: u32, body: &[u8]) -> Self {
        let mut message = vec![kind, code, 0, 0];
        message.extend_from_slice(&rest.to_be_bytes());
        message.extend_from_slice(body);
        if source.is_ipv6() {
            return Self::new(source, destination, protocol::ICMPV6, message).with_checksum(2);
        }
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        Self::new(source, destination, protocol::ICMP, message)
    }

    /// Adds a VLAN tag inside the ones added before.
    #[must_use]
    pub fn tag(mut self, kind: u16, control: u16) -> Self {
        self.tags.push((kind, control));
        self
    }

    /// IPv4 options, padded to a multiple of four bytes.
    #[must_use]
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self.options.resize(options.len().div_ceil(4) * 4, 0);
        self
    }

    /// Adds an IPv6 extension header; `body` is what follows its first two bytes, padded.
    #[must_use]
    pub fn extension(mut self, kind: u8, body: &[u8]) -> Self {
        self.extensions.push((kind, body.to_vec()));
        self
    }

    /// Makes the packet a fragment: `payload` replaces its transport bytes from `offset` on.
    #[must_use]
    pub fn fragment(mut self, identification: u32, offset: u16, more: bool) -> Self {
        assert_eq!(offset % 8, 0, "fragments begin at multiples of 8 bytes");
        self.fragment = Some((identification, offset, more));
        self
    }

    /// All fragments of the packet with at most `size` payload bytes each (a multiple of 8).
    #[must_use]
    pub fn fragments(&self, identification: u32, size: usize) -> Vec<Vec<u8>> {
        let count = self.transport.len().div_ceil(size);
        (0..count)
            .map(|i| {
                let mut part = self.clone();
                let end = self.transport.len().min((i + 1) * size);
                part.transport = self.transport[i * size..end].to_vec();
                let offset = u16::try_from(i * size).expect("an offset fits 16 bits");
                part.fragment(identification, offset, i + 1 < count).build()
            })
            .collect()
    }

    /// The frame.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut frame = vec![0x02, 0, 0, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0x02];
        for (kind, control) in &self.tags {
            frame.extend_from_slice(&kind.to_be_bytes());
            frame.extend_from_slice(&control.to_be_bytes());
        }
        let kind = if self.source.is_ipv4() { ethernet::TYPE_IPV4 } else { ethernet::TYPE_IPV6 };
        frame.extend_from_slice(&kind.to_be_bytes());
        frame.extend(self.packet());
        frame
    }

    /// The IP packet alone, as an ICMP error quotes it.
    #[must_use]
    pub fn packet(&self) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let (identification, offset, more) = self.fragment.unwrap_or((0x1234, 0, false));
                let header = 20 + self.options.len();
                let mut packet = vec![0x40 | u8::try_from(header / 4).expect("at most 15 words"), 0];
                packet.extend_from_slice(&length(header + self.transport.len()));
                packet.extend_from_slice(&u16::try_from(identification).expect("16 bits in IPv4").to_be_bytes());
                packet.extend_from_slice(&((offset / 8) | (u16::from(more) << 13)).to_be_bytes());
                packet.extend_from_slice(&[64, self.protocol, 0, 0]);
                packet.extend_from_slice(&source.octets());
                packet.extend_from_slice(&destination.octets());
                packet.extend_from_slice(&self.options);
                let sum = checksum(&packet);
                packet[10..12].copy_from_slice(&sum.to_be_bytes());
                packet.extend_from_slice(&self.transport);
                packet
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut chain = self.extensions.clone();
                if let Some((identification, offset, more)) = self.fragment {
                    let mut body = (offset | u16::from(more)).to_be_bytes().to_vec();
                    body.extend_from_slice(&identification.to_be_bytes());
                    chain.push((ipv6::FRAGMENT, body));
                }
                let mut payload = Vec::new();
                for (i, (kind, body)) in chain.iter().enumerate() {
                    let next = chain.get(i + 1).map_or(self.protocol, |(kind, _)| *kind);
                    let size = (2 + body.len()).div_ceil(8) * 8;
                    let units = u8::try_from(size / 8 - 1).expect("at most 256 units");
                    payload.extend_from_slice(&[next, if *kind == ipv6::FRAGMENT { 0 } else { units }]);
                    payload.extend_from_slice(body);
                    payload.resize(payload.len() + size - 2 - body.len(), 0);
                }
                payload.extend_from_slice(&self.transport);
                let mut packet = vec![0x60, 0, 0, 0];
                packet.extend_from_slice(&length(payload.len()));
                packet.extend_from_slice(&[chain.first().map_or(self.protocol, |(kind, _)| *kind), 64]);
                packet.extend_from_slice(&source.octets());
                packet.extend_from_slice(&destination.octets());
                packet.extend(payload);
                packet
            }
            _ => unreachable!("checked in `new`"),
        }
    }

    /// Fills in the transport checksum at `at`, over the pseudo header (RFC 9293 §3.1, RFC 8200 §8.1).
    fn with_checksum(mut self, at: usize) -> Self {
        let mut covered = match (self.source, self.destination) {
            (IpAddr::V4(s), IpAddr::V4(d)) => [s.octets(), d.octets()].concat(),
            (IpAddr::V6(s), IpAddr::V6(d)) => [s.octets(), d.octets()].concat(),
            _ => unreachable!("checked in `new`"),
        };
        covered.extend_from_slice(&[0, self.protocol]);
        covered.extend_from_slice(&length(self.transport.len()));
        covered.extend_from_slice(&self.transport);
        let sum = checksum(&covered);
        // RFC 768: a computed zero is sent as all ones.
        let sum = if sum == 0 && self.protocol == protocol::UDP { 0xffff } else { sum };
        self.transport[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        self
    }
}

fn ports(source: u16, destination: u16) -> Vec<u8> {
    [source.to_be_bytes(), destination.to_be_bytes()].concat()
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).expect("an IP length fits 16 bits").to_be_bytes()
}

/// The Internet checksum (RFC 1071) of `bytes`.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| (u32::from(pair[0]) << 8) | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded above")
}
