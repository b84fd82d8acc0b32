//! Frames and their meaning. What goes over a wire is in `tests/probes.rs`.

mod conversation;
mod neighbour;
mod packet;
mod question;

use proptest::prelude::*;

use super::packet::Ends;
use super::question::{Asks, Ports, Question};
use crate::health::ping::icmp::Echo;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn ends(from: &str, to: &str) -> Ends {
    Ends::new(from.parse().unwrap(), to.parse().unwrap()).unwrap()
}

fn families() -> [Ends; 2] {
    [ends("192.0.2.1", "192.0.2.9"), ends("2001:db8::1", "2001:db8::9")]
}

const PORTS: Ports = Ports { source: 61_234, destination: 80 };

/// One of each kind.
fn kinds() -> [Asks; 3] {
    [
        Asks::Tcp { ports: PORTS, sequence: 0xffff_ffff },
        Asks::Udp { ports: PORTS },
        Asks::Echo(Echo { ident: 0x1234, sequence: 0x5678, token: 0x0102_0304_0506_0708 }),
    ]
}

fn questions() -> impl Iterator<Item = Question> {
    families().into_iter().flat_map(|ends| kinds().map(|asks| Question { ends, asks }))
}

/// Few values, so that two of them are often nearly the same.
fn any_question() -> impl Strategy<Value = Question> {
    let ends = (any::<bool>(), 1..3u8, 1..3u8).prop_map(|(v4, from, to)| {
        let network = if v4 { "192.0.2." } else { "2001:db8::" };
        super::tests::ends(&format!("{network}{from}"), &format!("{network}{to}"))
    });
    let number = || 1..3u16;
    let asks = (0..3, number(), number(), number()).prop_map(|(kind, a, b, c)| {
        let ports = Ports { source: a, destination: b };
        match kind {
            0 => Asks::Tcp { ports, sequence: c.into() },
            1 => Asks::Udp { ports },
            _ => Asks::Echo(Echo { ident: a, sequence: b, token: c.into() }),
        }
    });
    (ends, asks).prop_map(|(ends, asks)| Question { ends, asks })
}
