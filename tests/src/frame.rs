//! Frames as the tests read and write them, written apart from the product's own codec.
//!
//! In: bytes, or addresses and a payload. Out: [`Seen`], or a frame with right checksums. Ethernet
//! II, IPv4 (RFC 791), IPv6 (RFC 8200), UDP (RFC 768), TCP (RFC 9293), ICMP (RFC 792, RFC 4443).

mod quoted;

use std::net::{IpAddr, SocketAddr};

pub use quoted::{Quoted, hop_limit, quoted, quotes, wrong_checksum};

/// Length of an Ethernet II header.
pub const ETHERNET: usize = 14;
/// Protocol numbers.
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// IPv6 fragment header.
const FRAGMENT: u8 = 44;
/// ICMPv6.
pub const ICMPV6: u8 = 58;

/// What the headers of a frame say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Destination MAC.
    pub to_mac: [u8; 6],
    /// Source MAC.
    pub from_mac: [u8; 6],
    /// IP source.
    pub source: IpAddr,
    /// IP destination.
    pub destination: IpAddr,
    /// Transport protocol.
    pub protocol: u8,
    /// Fragment offset in bytes; 0 for a whole datagram or a first fragment.
    pub fragment_offset: u16,
    /// Where the transport header begins.
    pub transport: usize,
    /// Source and destination port, of TCP and UDP and not of a later fragment.
    pub ports: Option<(u16, u16)>,
}

/// Reads a frame; `None` when it is not IP or is cut short.
pub fn see(frame: &[u8]) -> Option<Seen> {
    let ethertype = u16::from_be_bytes(frame.get(12..14)?.try_into().ok()?);
    let packet = &frame[ETHERNET..];
    let (source, destination, protocol, header, fragment_offset) = match ethertype {
        0x0800 => {
            let header = usize::from(packet.first()? & 0xf) * 4;
            let offset = (u16::from_be_bytes(packet.get(6..8)?.try_into().ok()?) & 0x1fff) * 8;
            let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
            let destination: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            (IpAddr::from(source), IpAddr::from(destination), packet[9], header, offset)
        }
        0x86dd => {
            let source: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            let destination: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            let (mut protocol, mut header, mut offset) = (packet[6], 40, 0);
            if protocol == FRAGMENT {
                protocol = *packet.get(40)?;
                offset = u16::from_be_bytes(packet.get(42..44)?.try_into().ok()?) & 0xfff8;
                header = 48;
            }
            (IpAddr::from(source), IpAddr::from(destination), protocol, header, offset)
        }
        _ => return None,
    };
    let transport = ETHERNET + header;
    let has_ports = fragment_offset == 0 && matches!(protocol, TCP | UDP);
    let ports = frame.get(transport..transport + 4).filter(|_| has_ports);
    Some(Seen {
        to_mac: frame[..6].try_into().ok()?,
        from_mac: frame[6..12].try_into().ok()?,
        source,
        destination,
        protocol,
        fragment_offset,
        transport,
        ports: ports.map(|b| (u16::from_be_bytes([b[0], b[1]]), u16::from_be_bytes([b[2], b[3]]))),
    })
}

/// An IP packet around `payload`; `source` and `destination` must be of one family.
///
/// # Panics
/// When the families differ or the payload is longer than a packet.
pub fn ip(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a payload fits a packet");
    let mut packet = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = vec![0x45, 0];
            header.extend((length + 20).to_be_bytes());
            header.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
            header.extend(source.octets());
            header.extend(destination.octets());
            let sum = checksum(&[&header]);
            header[10..12].copy_from_slice(&sum);
            header
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut header = vec![0x60, 0, 0, 0];
            header.extend(length.to_be_bytes());
            header.extend([protocol, 64]);
            header.extend(source.octets());
            header.extend(destination.octets());
            header
        }
        _ => panic!("{source} and {destination} are of different families"),
    };
    packet.extend(payload);
    packet
}

/// A UDP datagram in an IP packet.
pub fn udp(source: SocketAddr, destination: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut datagram = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
    let length = u16::try_from(data.len() + 8).expect("data fits a datagram");
    datagram.extend(length.to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(data);
    seal(source.ip(), destination.ip(), UDP, &mut datagram, 6);
    if datagram[6..8] == [0, 0] {
        // RFC 768: zero would mean that there is no checksum.
        datagram[6..8].copy_from_slice(&[0xff, 0xff]);
    }
    ip(source.ip(), destination.ip(), UDP, &datagram)
}

/// A TCP segment without data in an IP packet. `flags` as on the wire: 0x02 is SYN, 0x10 ACK.
pub fn tcp(source: SocketAddr, destination: SocketAddr, sequence: u32, flags: u8) -> Vec<u8> {
    let mut segment = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
    segment.extend(sequence.to_be_bytes());
    segment.extend([0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    seal(source.ip(), destination.ip(), TCP, &mut segment, 16);
    ip(source.ip(), destination.ip(), TCP, &segment)
}

/// What a router says when `packet` is longer than the next link takes: "fragmentation needed"
/// (RFC 1191) or "packet too big" (RFC 4443 §3.2), addressed to the packet's source.
///
/// # Panics
/// When `packet` is not an IP packet.
pub fn too_big(router: IpAddr, packet: &[u8], mtu: u16) -> Vec<u8> {
    let mut framed = vec![0; ETHERNET];
    framed[12..14].copy_from_slice(if packet[0] >> 4 == 4 { &[0x08, 0x00] } else { &[0x86, 0xdd] });
    framed.extend(packet);
    let sender = see(&framed).expect("an IP packet").source;
    let (protocol, kind, quoted) = if sender.is_ipv4() { (ICMP, [3, 4], 28) } else { (ICMPV6, [2, 0], 1232) };
    let mut message = kind.to_vec();
    message.extend([0; 4]);
    message.extend(mtu.to_be_bytes());
    message.extend(&packet[..packet.len().min(quoted)]);
    if sender.is_ipv4() {
        let sum = checksum(&[&message]);
        message[2..4].copy_from_slice(&sum);
    } else {
        seal(router, sender, protocol, &mut message, 2);
    }
    ip(router, sender, protocol, &message)
}

/// Puts an Ethernet header before an IP packet.
pub fn ethernet(to: [u8; 6], from: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let ethertype = if packet.first().is_some_and(|first| first >> 4 == 6) { [0x86, 0xdd] } else { [0x08, 0x00] };
    [&to[..], &from, &ethertype, packet].concat()
}

/// Fills in the checksum with its pseudo header (RFC 9293 §3.1, RFC 8200 §8.1).
fn seal(source: IpAddr, destination: IpAddr, protocol: u8, payload: &mut [u8], at: usize) {
    let length = u32::try_from(payload.len()).expect("a payload fits a packet").to_be_bytes();
    let addresses: Vec<u8> = [source, destination].iter().flat_map(octets).collect();
    let sum = checksum(&[&addresses, &length, &[0, 0, 0, protocol], payload]);
    payload[at..at + 2].copy_from_slice(&sum);
}

fn octets(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The Internet checksum (RFC 1071); every part but the last has an even length.
pub fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 = words.map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [_, _, high, low] = (!sum).to_be_bytes();
    [high, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_datagram_reads_back() {
        for (from, to) in [("192.0.2.1:7", "192.0.2.2:9"), ("[2001:db8::1]:7", "[2001:db8::2]:9")] {
            let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
            let seen = see(&ethernet([2; 6], [4; 6], &udp(from, to, b"hello"))).unwrap();
            assert_eq!((seen.source, seen.destination, seen.protocol), (from.ip(), to.ip(), UDP));
            assert_eq!(seen.ports, Some((7, 9)));
        }
    }

    #[test]
    fn the_checksum_is_that_of_a_known_header() {
        // The example of RFC 1071 §3.
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), [0x22, 0x0d]);
    }

    #[test]
    fn an_error_goes_back_to_the_sender() {
        let packet = udp("192.0.2.70:104".parse().unwrap(), "192.0.2.1:999".parse().unwrap(), &[0; 100]);
        let seen = see(&ethernet([2; 6], [4; 6], &too_big("192.0.2.254".parse().unwrap(), &packet, 1400))).unwrap();
        assert_eq!((seen.destination, seen.protocol), ("192.0.2.70".parse::<IpAddr>().unwrap(), ICMP));
    }
}
