//! A question to an address, and what answers it. Pure.
//!
//! In: ends, ports, numbers nobody can guess; later, received packets. Out: the packet that asks, and
//! what an answer says. Absent: sockets, time, and how many questions make a probe.

use lb_common::wire::{be16, ethernet, icmp as icmp_wire, ipv4, ipv6, protocol, tcp, udp};

use super::filter::{self, Field, LAST_WORD};
use super::packet::{Ends, Packet, field};
use crate::health::ping::icmp::{self, Echo, Family};

/// A packet that its receiver answers if it takes it for its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) ends: Ends,
    pub(super) asks: Asks,
}

/// What asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// A SYN.
    Tcp { ports: Ports, sequence: u32 },
    /// A datagram without payload: what any server has to bear.
    Udp { ports: Ports },
    /// An ICMP echo request.
    Echo(Echo),
}

/// Ours, and the one that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) source: u16,
    pub(super) destination: u16,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// SYN and ACK: somebody listens.
    Connection,
    /// RST: nobody does.
    Reset,
    /// A datagram.
    Datagram,
    /// The reply to an echo request.
    Echo,
    /// The asked address itself says that it does not deliver: no such port, or a firewall forbids it.
    Undelivered,
}

impl Question {
    /// The packet that asks.
    pub(super) fn packet(&self, hop_limit: u8) -> Vec<u8> {
        match self.asks {
            Asks::Tcp { ports, sequence } => {
                // Some firewalls drop a SYN that names no segment size.
                let segment = [&segment(ports, sequence, SYN_WORDS, tcp::SYN)[..], &SEGMENT_SIZE_OPTION].concat();
                self.ends.packet(hop_limit, protocol::TCP, &segment)
            }
            Asks::Udp { ports } => {
                let datagram = [ports.bytes(), [0, UDP_HEADER, 0, 0]].concat();
                self.ends.packet(hop_limit, protocol::UDP, &datagram)
            }
            Asks::Echo(echo) => self.ends.packet(hop_limit, self.echo_protocol(), &icmp::request(self.family(), echo)),
        }
    }

    /// The packet that takes a SYN back, whether or not it was answered: RFC 9293 section 3.10.7.4, RFC
    /// 5961 section 3.2: the sequence number is the one that the server expects next.
    pub(super) fn reset(&self, hop_limit: u8) -> Option<Vec<u8>> {
        let Asks::Tcp { ports, sequence } = self.asks else { return None };
        let segment = segment(ports, sequence.wrapping_add(1), HEADER_WORDS, tcp::RST);
        Some(self.ends.packet(hop_limit, protocol::TCP, &segment))
    }

    /// What every answer has, for the socket's filter.
    pub(super) fn fields(&self) -> Vec<Field> {
        let (source, destination) = match self.ends {
            Ends::V4 { from, to } => ((ipv4::SOURCE, to.into()), (ipv4::DESTINATION, from.into())),
            Ends::V6 { from, to } => (
                (ipv6::SOURCE + LAST_WORD, filter::last_word(to)),
                (ipv6::DESTINATION + LAST_WORD, filter::last_word(from)),
            ),
        };
        [source, destination].map(|(at, value)| Field { at: ethernet::HEADER + at, value }).into()
    }

    /// What `packet` answers to this question; `None`: it answers another one, or none.
    pub(super) fn answer(&self, packet: &Packet<'_>) -> Option<Answer> {
        if packet.ends != self.ends.reversed() {
            return None;
        }
        if packet.protocol == self.echo_protocol() {
            return self.echo_reply(packet.transport).or_else(|| self.undelivered(packet.transport));
        }
        let ports = Ports::parse(packet.transport)?;
        match self.asks {
            Asks::Tcp { ports: asked, sequence } if packet.protocol == protocol::TCP && ports == asked.reversed() => {
                let acknowledged = field(packet.transport, 8).map(u32::from_be_bytes)?;
                let [flags] = field(packet.transport, tcp::DATA_OFFSET + 1)?;
                if acknowledged != sequence.wrapping_add(1) || flags & tcp::ACK == 0 {
                    return None;
                }
                match (flags & tcp::RST != 0, flags & tcp::SYN != 0) {
                    (true, _) => Some(Answer::Reset),
                    (false, true) => Some(Answer::Connection),
                    (false, false) => None,
                }
            }
            Asks::Udp { ports: asked } if packet.protocol == protocol::UDP && ports == asked.reversed() => {
                Some(Answer::Datagram)
            }
            Asks::Tcp { .. } | Asks::Udp { .. } | Asks::Echo(_) => None,
        }
    }

    fn echo_reply(&self, message: &[u8]) -> Option<Answer> {
        let Asks::Echo(asked) = self.asks else { return None };
        (icmp::reply(self.family(), message)? == asked).then_some(Answer::Echo)
    }

    /// RFC 792, RFC 4443 section 3.1: an error quotes the packet it is about.
    fn undelivered(&self, message: &[u8]) -> Option<Answer> {
        let [unreachable, _time_exceeded] = self.family().error_types();
        if *message.first()? != unreachable {
            return None;
        }
        let quoted = Packet::parse(message.get(icmp_wire::HEADER..)?)?;
        (quoted.ends == self.ends && self.is_quoted(&quoted)?).then_some(Answer::Undelivered)
    }

    /// By the eight bytes of it that are always quoted.
    fn is_quoted(&self, quoted: &Packet<'_>) -> Option<bool> {
        let ports = Ports::parse(quoted.transport)?;
        let second = field(quoted.transport, 4).map(u32::from_be_bytes)?;
        Some(match self.asks {
            Asks::Tcp { ports: asked, sequence } => {
                quoted.protocol == protocol::TCP && ports == asked && second == sequence
            }
            Asks::Udp { ports: asked } => quoted.protocol == protocol::UDP && ports == asked,
            Asks::Echo(echo) => {
                quoted.protocol == self.echo_protocol()
                    && *quoted.transport.first()? == self.family().request_type()
                    && second == u32::from(echo.ident) << 16 | u32::from(echo.sequence)
            }
        })
    }

    const fn family(&self) -> Family {
        match self.ends {
            Ends::V4 { .. } => Family::V4,
            Ends::V6 { .. } => Family::V6,
        }
    }

    const fn echo_protocol(&self) -> u8 {
        match self.ends {
            Ends::V4 { .. } => protocol::ICMP,
            Ends::V6 { .. } => protocol::ICMPV6,
        }
    }
}

impl Ports {
    fn parse(transport: &[u8]) -> Option<Self> {
        Some(Self { source: field(transport, 0).map(be16)?, destination: field(transport, 2).map(be16)? })
    }

    const fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source }
    }

    const fn bytes(self) -> [u8; 4] {
        let ([a, b], [c, d]) = (self.source.to_be_bytes(), self.destination.to_be_bytes());
        [a, b, c, d]
    }
}

/// A TCP header; the checksum is filled in with the addresses.
fn segment(ports: Ports, sequence: u32, words: u8, flags: u8) -> Vec<u8> {
    let window = [0xff, 0xff];
    [&ports.bytes()[..], &sequence.to_be_bytes(), &[0; 4], &[words << 4, flags], &window, &[0; 4]].concat()
}

/// Lengths of TCP headers in words of four bytes, without and with [`SEGMENT_SIZE_OPTION`].
const HEADER_WORDS: u8 = 5;
const SYN_WORDS: u8 = 6;
/// RFC 9293 section 3.7.1: 1,220 bytes fit any IPv6 path.
const SEGMENT_SIZE_OPTION: [u8; 4] = [2, 4, 0x04, 0xc4];
const UDP_HEADER: u8 = 8;
const _: () = assert!(udp::HEADER == UDP_HEADER as usize && tcp::HEADER == HEADER_WORDS as usize * 4);
