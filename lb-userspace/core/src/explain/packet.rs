//! The packet that is asked about: the first of a connection, or one from the middle of it.

use std::net::IpAddr;

use lb_common::wire::{protocol, tcp};

use crate::view::Transport;

/// Whether the packet may be the first of its flow. Every datagram may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    First,
    Middle,
}

/// Length of the headers, which is all there is: bytes of IPv4, TCP and UDP.
const IPV4: u16 = 20;
const TCP: u16 = 20;
const UDP: u16 = 8;

/// Far from its end, so that it is forwarded.
const HOPS: u8 = 64;

/// An Ethernet frame without payload. Both addresses are of one family. Checksums stay zero: the
/// datapath checks none, and the frame goes nowhere.
pub(super) fn frame(client: (IpAddr, u16), vip: (IpAddr, u16), transport: Transport, place: Place) -> Vec<u8> {
    let (number, length) = match transport {
        Transport::Tcp => (protocol::TCP, TCP),
        Transport::Udp => (protocol::UDP, UDP),
    };
    // From and to nobody: locally administered addresses (IEEE 802 §8.4.2).
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    match (client.0, vip.0) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame.extend([8, 0, 0x45, 0]);
            frame.extend((IPV4 + length).to_be_bytes());
            frame.extend([0, 0, 0, 0, HOPS, number, 0, 0]);
            frame.extend(from.octets().into_iter().chain(to.octets()));
        }
        (from, to) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([number, HOPS]);
            frame.extend(v6(from).into_iter().chain(v6(to)));
        }
    }
    frame.extend(client.1.to_be_bytes().into_iter().chain(vip.1.to_be_bytes()));
    match transport {
        Transport::Tcp => {
            let flags = if place == Place::First { tcp::SYN } else { tcp::ACK };
            frame.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        }
        Transport::Udp => {
            frame.extend(UDP.to_be_bytes());
            frame.extend([0, 0]);
        }
    }
    frame
}

fn v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}
