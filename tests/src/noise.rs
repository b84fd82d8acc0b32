//! Frames that no well-behaved host sends: random, cut short, contradictory. The same seed gives
//! the same frames.

use std::net::{IpAddr, SocketAddr};

use crate::frame::{self, ETHERNET};

/// A small generator (xorshift64*, Vigna 2016): reproducible and without a dependency.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed other than 0.
    pub fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // The remainder is less than the bound, so it fits whatever the bound fits.
        usize::try_from(self.bits() % bound as u64).unwrap_or_default()
    }

    /// A random byte.
    pub fn byte(&mut self) -> u8 {
        self.bits().to_be_bytes()[0]
    }
}

/// Who the frames are for, and who they are said to be from.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// MAC of the balancer.
    pub to_mac: [u8; 6],
    /// MAC of the sender.
    pub from_mac: [u8; 6],
    /// The sender.
    pub client: IpAddr,
    /// A virtual service's address and port.
    pub service: SocketAddr,
}

impl Target {
    /// One hostile frame, of at least the length of an Ethernet header.
    pub fn frame(&self, random: &mut Random) -> Vec<u8> {
        let mut packet = self.packet(random);
        match random.below(7) {
            0 => packet = (0..random.below(200)).map(|_| random.byte()).collect(),
            1 => packet.truncate(random.below(packet.len())),
            2 => flip(&mut packet, random, 1),
            3 => flip(&mut packet, random, 8),
            4 => packet.extend((0..random.below(60)).map(|_| random.byte())),
            // Lengths that the headers claim and the frame does not have.
            5 => packet[2..6].iter_mut().for_each(|byte| *byte = random.byte()),
            _ => {}
        }
        let mut frame = frame::ethernet(self.to_mac, self.from_mac, &packet);
        match random.below(8) {
            // A tag (802.1Q), two tags, half a tag, and any ethertype at all.
            0 => drop(frame.splice(12..12, [0x81, 0x00, 0x00, random.byte()])),
            1 => drop(frame.splice(12..12, [0x88, 0xa8, 0, 7, 0x81, 0x00, 0, random.byte()])),
            2 => {
                frame.truncate(ETHERNET);
                frame[12..].copy_from_slice(&[0x81, 0x00]);
            }
            3 => frame[12..14].copy_from_slice(&[random.byte(), random.byte()]),
            _ => {}
        }
        frame
    }

    fn packet(&self, random: &mut Random) -> Vec<u8> {
        let client = SocketAddr::new(self.client, u16::from(random.byte()) * 257);
        let no_port = SocketAddr::new(self.service.ip(), 0);
        match random.below(7) {
            0 => frame::udp(client, no_port, &[0; 20]),
            1 => frame::udp(SocketAddr::new(self.client, 0), self.service, &[0; 20]),
            2 => frame::tcp(client, no_port, 1, 0x02),
            // Every combination of flags, most of them impossible.
            3 => frame::tcp(client, self.service, 1, random.byte()),
            4 => self.fragment(random),
            5 => frame::too_big(self.client, &frame::udp(self.service, client, &[0; 40]), u16::from(random.byte())),
            _ => frame::udp(client, self.service, &[0; 20]),
        }
    }

    /// Fragments with few identifications and any offset: they overlap, repeat and never complete.
    fn fragment(&self, random: &mut Random) -> Vec<u8> {
        let client = SocketAddr::new(self.client, 4_000);
        let mut packet = frame::udp(client, self.service, &[0; 64]);
        if self.client.is_ipv4() {
            packet[4..8].copy_from_slice(&[0, random.byte() & 3, random.byte() & 0x3f, random.byte() & 7]);
            packet[10..12].copy_from_slice(&[0, 0]);
            let sum = frame::checksum(&[&packet[..20]]);
            packet[10..12].copy_from_slice(&sum);
        } else {
            let next = std::mem::replace(&mut packet[6], 44);
            let header = [next, 0, 0, random.byte(), 0, 0, 0, random.byte() & 3];
            packet.splice(40..40, header);
            packet[5] += 8;
        }
        packet
    }
}

fn flip(packet: &mut [u8], random: &mut Random, times: usize) {
    for _ in 0..times {
        let at = random.below(packet.len());
        packet[at] ^= 1 << random.below(8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_long_enough_to_be_sent_and_the_same_for_the_same_seed() {
        for service in ["192.0.2.110:554", "[2001:db8::110]:554"] {
            let service: SocketAddr = service.parse().unwrap();
            let target = Target { to_mac: [2; 6], from_mac: [4; 6], client: service.ip(), service };
            let (mut one, mut two) = (Random::new(7), Random::new(7));
            for _ in 0..20_000 {
                let frame = target.frame(&mut one);
                assert!(frame.len() >= ETHERNET && frame.len() <= 1_514, "{} bytes", frame.len());
                assert_eq!(frame, target.frame(&mut two));
            }
        }
    }
}
