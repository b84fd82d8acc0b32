//! ICMP errors: what they say, and the packet that they quote (RFC 792, RFC 4443 §3).
//!
//! In: a frame. Out: [`Quoted`], with every checksum that can be checked.

use std::net::IpAddr;

use super::{ETHERNET, ICMP, ICMPV6, Seen, TCP, UDP, checksum, octets, see};

/// An ICMP error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// The packet that the error is in.
    pub outer: Seen,
    /// Type and code.
    pub kind: (u8, u8),
    /// What "too big" says: bytes that fit.
    pub mtu: u32,
    /// The quoted packet, framed; its MACs are zero. It may be cut short.
    pub packet: Vec<u8>,
    /// What its headers say.
    pub inner: Seen,
}

/// Reads an ICMP error; `None` when the frame is none.
pub fn quoted(frame: &[u8]) -> Option<Quoted> {
    let outer = see(frame)?;
    let message = frame.get(outer.transport..)?;
    let kind = (*message.first()?, *message.get(1)?);
    let is_error = match outer.protocol {
        // Destination unreachable, time exceeded, parameter problem.
        ICMP => matches!(kind.0, 3 | 11 | 12),
        ICMPV6 => kind.0 < 128,
        _ => false,
    };
    let mtu = message.get(4..8)?.try_into().ok().map(u32::from_be_bytes)?;
    let mut packet = vec![0; ETHERNET];
    packet[12..14].copy_from_slice(&frame[12..14]);
    packet.extend(message.get(8..)?);
    let inner = see(&packet).filter(|_| is_error)?;
    Some(Quoted { outer, kind, mtu: if outer.protocol == ICMP { mtu & 0xffff } else { mtu }, packet, inner })
}

/// The hop limit of a frame's packet (IPv4: time to live).
pub fn hop_limit(frame: &[u8]) -> Option<u8> {
    let version = frame.get(ETHERNET)? >> 4;
    frame.get(ETHERNET + if version == 4 { 8 } else { 7 }).copied()
}

/// A sentence when a checksum of the frame's packet is wrong: of IPv4's header, and of TCP, UDP or ICMP if
/// the packet is there as a whole.
pub fn wrong_checksum(frame: &[u8]) -> Option<String> {
    let seen = see(frame)?;
    let packet = &frame[ETHERNET..];
    let header = seen.transport - ETHERNET;
    let (length, fragment) = match seen.source {
        IpAddr::V4(_) => {
            let got = packet.get(..header)?;
            if checksum(&[got]) != [0, 0] {
                return Some(format!("the header of {seen:?} has a wrong checksum"));
            }
            (usize::from(u16::from_be_bytes([packet[2], packet[3]])), (packet[6] & 0x3f, packet[7]) != (0, 0))
        }
        IpAddr::V6(_) => (usize::from(u16::from_be_bytes([packet[4], packet[5]])) + 40, header > 40),
    };
    let payload = packet.get(header..length).filter(|_| !fragment)?;
    if seen.protocol == UDP && seen.source.is_ipv4() && payload.get(6..8) == Some(&[0, 0]) {
        return None;
    }
    let pseudo = match seen.protocol {
        TCP | UDP | ICMPV6 => {
            let length = u32::try_from(payload.len()).ok()?.to_be_bytes();
            [octets(&seen.source), octets(&seen.destination), length.to_vec(), vec![0, 0, 0, seen.protocol]].concat()
        }
        ICMP => Vec::new(),
        _ => return None,
    };
    (checksum(&[&pseudo, payload]) != [0, 0]).then(|| format!("{seen:?} has a wrong checksum"))
}

/// Whether a quoted packet is this one, apart from what a router changes, from where it was cut, and from
/// TCP's checksum: it is beyond the 8 bytes that every error quotes (RFC 792), so who translates an
/// error leaves it.
pub fn quotes(quoted: &Quoted, sent: &[u8]) -> bool {
    let transport = quoted.inner.transport - ETHERNET;
    let tcp = if quoted.inner.protocol == TCP { transport + 16..transport + 18 } else { 0..0 };
    let masked = |frame: &[u8]| -> Option<Vec<u8>> {
        let mut packet = frame.get(ETHERNET..)?.to_vec();
        let changing: &[usize] = if packet.first()? >> 4 == 4 { &[8, 10, 11] } else { &[7] };
        for at in changing.iter().copied().chain(tcp.clone()) {
            // One that is beyond the cut is not there to be compared.
            if let Some(byte) = packet.get_mut(at) {
                *byte = 0;
            }
        }
        Some(packet)
    };
    let (Some(quoted), Some(sent)) = (masked(&quoted.packet), masked(sent)) else { return false };
    sent.starts_with(&quoted)
}

#[cfg(test)]
mod tests {
    use super::super::{ethernet, too_big, udp};
    use super::*;

    #[test]
    fn an_error_quotes_the_packet_that_was_sent_and_no_other() {
        for (from, to) in [("192.0.2.1:7", "192.0.2.2:9"), ("[2001:db8::1]:7", "[2001:db8::2]:9")] {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            let mut sent = ethernet([2; 6], [4; 6], &udp(from, to, &[5; 1400]));
            let error = ethernet([2; 6], [4; 6], &too_big(to.ip(), &sent[ETHERNET..], 1280));
            assert_eq!((wrong_checksum(&sent), wrong_checksum(&error)), (None, None));
            let quoted = quoted(&error).unwrap();
            assert_eq!((quoted.mtu, quoted.inner.ports), (1280, Some((7, 9))));
            assert_eq!(hop_limit(&sent), Some(64));
            assert!(quotes(&quoted, &sent));
            let port = quoted.inner.transport;
            sent[port] ^= 1;
            assert!(!quotes(&quoted, &sent));
            assert!(wrong_checksum(&sent).is_some(), "another port has another checksum");
        }
    }
}
