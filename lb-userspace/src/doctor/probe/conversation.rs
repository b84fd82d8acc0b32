//! The questions of one probe, asked together along one path.
//!
//! In: what is to be asked, and frames. Out: frames, and which answer came. Absent: waiting.

use std::hash::{BuildHasher, RandomState};

use lb_core::config::model::Protocol;

use super::Path;
use super::line::Line;
use super::packet::{Ends, Frame};
use super::question::{Answer, Asks, Ports, Question};
use crate::health::ping::icmp::Echo;

/// A question, how far it goes, and whose answer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) question: Question,
    pub(super) hop_limit: u8,
    pub(super) counts: Counts,
}

/// Whose answer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    /// Whatever frame brings it.
    Anyones,
    /// In a frame from this MAC.
    From([u8; 6]),
    /// In a frame to one of these.
    To([[u8; 6]; 2]),
}

/// Ends every connection that it began to open, whatever became of the probe.
#[derive(Debug)]
pub(super) struct Conversation<'a> {
    line: &'a Line,
    path: &'a Path,
    asked: &'a [Asked],
}

impl<'a> Conversation<'a> {
    pub(super) const fn new(line: &'a Line, path: &'a Path, asked: &'a [Asked]) -> Self {
        Self { line, path, asked }
    }

    /// What asks.
    pub(super) fn frames(&self) -> Vec<Vec<u8>> {
        let frame =
            |asked: &Asked| self.path.frame(asked.question.ends.ether_type(), &asked.question.packet(asked.hop_limit));
        self.asked.iter().map(frame).collect()
    }
}

impl Drop for Conversation<'_> {
    fn drop(&mut self) {
        // Also where no answer was seen: it may come, or have gone elsewhere.
        for asked in self.asked {
            if let Some(reset) = asked.question.reset(asked.hop_limit) {
                self.line.send_or_lose(&self.path.frame(asked.question.ends.ether_type(), &reset));
            }
        }
    }
}

/// What a received frame answers to one of the questions.
pub(super) fn answer(asked: &[Asked], frame: &[u8]) -> Option<Answer> {
    let frame = Frame::parse(frame)?;
    let packet = frame.packet()?;
    asked.iter().filter(|asked| asked.counts.count(&frame)).find_map(|asked| asked.question.answer(&packet))
}

impl Counts {
    fn count(self, frame: &Frame<'_>) -> bool {
        match self {
            Self::Anyones => true,
            Self::From(mac) => frame.source == mac,
            Self::To(macs) => macs.contains(&frame.destination),
        }
    }
}

/// The questions of a protocol to a port, asked in each of some ways. A datagram may be ignored, so an echo
/// request goes with it; without a port it goes alone.
pub(super) fn ask_for(ends: Ends, port: Option<u16>, protocol: Protocol, ways: &[(u8, Counts)]) -> Vec<Asked> {
    let mut random = Random::new();
    let mut asked = Vec::new();
    for (hop_limit, counts) in ways.iter().copied() {
        let mut ports = || port.map(|destination| Ports { source: random.port(), destination });
        let tcp = if protocol == Protocol::Udp { None } else { ports() };
        let udp = if protocol == Protocol::Tcp { None } else { ports() };
        let echo = udp.is_some() || port.is_none();
        let asks = [
            tcp.map(|ports| Asks::Tcp { ports, sequence: random.word() }),
            udp.map(|ports| Asks::Udp { ports }),
            echo.then(|| Asks::Echo(random.echo())),
        ];
        asked.extend(asks.into_iter().flatten().map(|asks| Asked {
            question: Question { ends, asks },
            hop_limit,
            counts,
        }));
    }
    asked
}

/// Numbers that cannot be guessed, so that only who received a question can answer it.
struct Random {
    keys: RandomState,
    count: u16,
}

impl Random {
    fn new() -> Self {
        Self { keys: RandomState::new(), count: 0 }
    }

    /// One that no flow has: the first ports are for the flows of services, the kernel's own begin at 32768.
    /// Another one each time.
    fn port(&mut self) -> u16 {
        self.count = self.count.wrapping_add(1);
        let [a, b, ..] = self.keys.hash_one("port").to_be_bytes();
        let below = u16::from_be_bytes([a, b]) % PORTS;
        FIRST_PORT + (below + self.count % PORTS) % PORTS
    }

    fn word(&self) -> u32 {
        let [a, b, c, d, ..] = self.token().to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    fn echo(&mut self) -> Echo {
        self.count = self.count.wrapping_add(1);
        let [a, b, c, d, ..] = self.token().to_be_bytes();
        Echo { ident: u16::from_be_bytes([a, b]), sequence: u16::from_be_bytes([c, d]), token: self.token() }
    }

    fn token(&self) -> u64 {
        self.keys.hash_one(("token", self.count))
    }
}

/// Above the kernel's own (ip_local_port_range of Linux, 32768 to 60999).
const FIRST_PORT: u16 = 61_000;
const PORTS: u16 = u16::MAX - FIRST_PORT + 1;
