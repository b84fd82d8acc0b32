//! Questions to the network in frames of our own: who answers for an address, does a real server take
//! packets for the VIP, do its answers pass this machine.
//!
//! In: a device, or the path to a real server, and addresses. Out: what was answered. Absent: what should
//! have been, and who is to be asked.
//!
//! Frames go out through packet sockets, past the kernel's routes, neighbours and firewall, to the MAC of
//! the real server: the way the datapath sends what clients send. Answers are heard the same way, whatever
//! the kernel makes of them; it would discard the answer of a real server that comes from a VIP which this
//! machine has too.
//!
//! - `neighbour`, `question`, `packet`, `filter`: frames and their meaning, pure;
//! - `conversation`: the questions of one probe; takes back every connection it began to open;
//! - `line`: the socket.
//!
//! Each question is sent three times, spread over the wait, because frames get lost. A probe opens one
//! socket and holds no more than one frame; many may run at the same time.

mod conversation;
mod error;
mod filter;
mod line;
mod neighbour;
mod packet;
mod question;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::time::Duration;

use lb_core::config::model::Protocol;
use tokio::time::{Instant, timeout_at};

use conversation::{Asked, Conversation, Counts, answer, ask_for};
pub use error::ProbeError;
use filter::Tags;
use line::{Hears, Line};
use neighbour::WhoHas;
use packet::Ends;
use question::Answer;

/// A device that Ethernet frames are sent on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// For sentences.
    pub name: String,
    /// Its number.
    pub ifindex: u32,
    /// Its own address.
    pub mac: [u8; 6],
}

/// How frames get to a real server: as the datapath's do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The physical one (or bond) under a VLAN device.
    pub device: Device,
    /// Of the device that the route leaves by; a VLAN device may have its own.
    pub source_mac: [u8; 6],
    /// Of the real server, or of the gateway to it.
    pub destination_mac: [u8; 6],
    /// VLAN id of the outer tag; 0: untagged.
    pub outer_vlan: u16,
    /// VLAN id of the inner tag; 0: at most one tag.
    pub inner_vlan: u16,
}

/// Whether a real server takes packets for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// It does, and it answers.
    Answered,
    /// It does, and says that nobody listens on the port, or that a firewall forbids it.
    Refused,
    /// Nothing came back.
    Silent,
}

/// Whether what a real server answers passes this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComesBack {
    /// An answer reached our device, addressed to our MAC.
    Here,
    /// None did.
    NotHere,
}

/// The MAC addresses that answer for `address` on the segment of `device`, without the device's own, in
/// order. A VLAN device asks in its VLAN. Takes the whole `wait`, because several may answer.
///
/// ARP for IPv4, neighbour discovery for IPv6. With a `source` who is asked may remember it, and our MAC
/// with it; without, nobody learns anything, and some machines answer only one of the two.
///
/// # Errors
/// When nothing could be asked, or too much was heard.
pub async fn who_answers(
    device: &Device,
    address: IpAddr,
    source: Option<IpAddr>,
    wait: Duration,
) -> Result<Vec<[u8; 6]>, ProbeError> {
    let question = WhoHas::new(device.mac, address, source);
    let question = question.ok_or_else(|| families(address, source.unwrap_or(address)))?;
    let line = Line::open(device, Hears::Device, &filter::program(&question.fields(), Tags::None))?;
    let mut macs = BTreeSet::new();
    ask(&line, &[question.frame()], address, wait, |frame| {
        macs.extend(question.answer(frame));
        if macs.len() < MOST_MACS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .await?;
    Ok(macs.into_iter().collect())
}

/// Whether the real server at the end of `path` takes packets for `vip`, which `source` (an address of this
/// machine) asks. Any answer to TCP, or to UDP, ends the wait; an answer to the echo request that goes with
/// a datagram counts when nothing else has come by its end.
///
/// A machine that does not have the VIP may forward what is for it, to where the VIP is: here. So every
/// question is asked twice: with a hop limit that ends at the real server; and, because it may hand packets
/// on to a container, with one that goes further, of which only answers from its own MAC count.
///
/// The real server has to find `source`, and Linux may ask for its MAC with the VIP as the sender, which a
/// machine that has the VIP does not answer. It knows it from health checks, or when [`comes_back`] was
/// asked before with `source`.
///
/// # Errors
/// When nothing could be asked, or too much was heard.
pub async fn accepts(
    path: &Path,
    vip: IpAddr,
    port: u16,
    protocol: Protocol,
    source: IpAddr,
    wait: Duration,
) -> Result<Acceptance, ProbeError> {
    let ends = Ends::new(source, vip).ok_or_else(|| families(vip, source))?;
    let both = [(NEXT_HOP_ONLY, Counts::Anyones), (HOP_LIMIT, Counts::From(path.destination_mac))];
    let asked = ask_for(ends, Some(port), protocol, &both);
    let mut echoed = false;
    let own_answer = converse(path, Hears::Machine, &asked, vip, wait, |answer| match answer {
        Answer::Connection | Answer::Datagram => ControlFlow::Break(Acceptance::Answered),
        Answer::Reset | Answer::Undelivered => ControlFlow::Break(Acceptance::Refused),
        Answer::Echo => {
            echoed = true;
            ControlFlow::Continue(())
        }
    })
    .await?;
    let otherwise = if echoed { Acceptance::Answered } else { Acceptance::Silent };
    Ok(own_answer.unwrap_or(otherwise))
}

/// Whether what `server` answers to `from` reaches the device of `path`, addressed to our MAC. `from` is an
/// address far away (RFC 5737, RFC 3849), so that the answer goes to the real server's gateway; without a
/// `port` an echo request asks.
///
/// A real server may be silent to strangers: ask first with an address of this machine. This machine's
/// kernel forwards an answer that comes here, if it forwards at all.
///
/// # Errors
/// When nothing could be asked, or too much was heard.
pub async fn comes_back(
    path: &Path,
    server: IpAddr,
    port: Option<u16>,
    protocol: Protocol,
    from: IpAddr,
    wait: Duration,
) -> Result<ComesBack, ProbeError> {
    let ends = Ends::new(from, server).ok_or_else(|| families(server, from))?;
    let counts = Counts::To([path.device.mac, path.source_mac]);
    let asked = ask_for(ends, port, protocol, &[(HOP_LIMIT, counts)]);
    let came = converse(path, Hears::Device, &asked, server, wait, |_| ControlFlow::Break(())).await?;
    Ok(came.map_or(ComesBack::NotHere, |()| ComesBack::Here))
}

/// Asks along the path until `judge` has heard enough, at most for `wait`.
async fn converse<T>(
    path: &Path,
    hears: Hears,
    asked: &[Asked],
    address: IpAddr,
    wait: Duration,
    mut judge: impl FnMut(Answer) -> ControlFlow<T>,
) -> Result<Option<T>, ProbeError> {
    let fields = asked.first().map(|asked| asked.question.fields()).unwrap_or_default();
    let line = Line::open(&path.device, hears, &filter::program(&fields, Tags::Any))?;
    let conversation = Conversation::new(&line, path, asked);
    ask(&line, &conversation.frames(), address, wait, |frame| match answer(asked, frame) {
        Some(answer) => judge(answer),
        None => ControlFlow::Continue(()),
    })
    .await
}

/// Sends the frames, and again, and gives what comes in to `heard` until it breaks off or `wait` is over.
async fn ask<T>(
    line: &Line,
    frames: &[Vec<u8>],
    address: IpAddr,
    wait: Duration,
    mut heard: impl FnMut(&[u8]) -> ControlFlow<T>,
) -> Result<Option<T>, ProbeError> {
    let begin = Instant::now();
    let mut buffer = [0; LOOKED_AT];
    let mut count = 0;
    for round in 1..=ROUNDS {
        for frame in frames {
            line.send(frame).await?;
        }
        let end = begin + wait * round / ROUNDS;
        // What has come is read before the clock is asked, so that a busy machine misses nothing; a socket
        // that always has something comes to its limit.
        while let Ok(received) = timeout_at(end, line.receive(&mut buffer)).await {
            if let ControlFlow::Break(enough) = heard(received?) {
                return Ok(Some(enough));
            }
            count += 1;
            if count == MOST_FRAMES {
                return Err(ProbeError::TooBusy { address, limit: MOST_FRAMES });
            }
        }
    }
    Ok(None)
}

const fn families(address: IpAddr, source_address: IpAddr) -> ProbeError {
    ProbeError::Families { address, source_address }
}

/// How often each question is sent.
const ROUNDS: u32 = 3;
/// Ends at the next machine, which takes what is its own and may not pass on the rest.
const NEXT_HOP_ONLY: u8 = 1;
const HOP_LIMIT: u8 = 64;
/// Of a frame: the longest headers, and what an ICMP error quotes of them.
const LOOKED_AT: usize = 512;
/// What one probe looks at, past the filter: a second of a busy server's traffic.
const MOST_FRAMES: u32 = 100_000;
/// More than a segment with two holders of an address needs, to see what is wrong there.
const MOST_MACS: usize = 64;
