//! Fragments: the first one carries the ports and is placed like any packet; the rest follow it.

use super::parse::{Header, Link};
use super::{Packet, Reason, Route, Tables, Verdict, deliver, held_server};
use crate::abi::{Fragment, FragmentKey};
use crate::wire::protocol;

/// Where the following fragments of this datagram go.
#[inline(always)]
pub(super) fn remember<T: Tables>(tables: &T, header: &Header, route: &Route<'_>) {
    tables.insert_fragment(&key(header), &Fragment { server: route.id, generation: route.server.generation });
}

/// A fragment that is not the first. One whose first was not seen goes to the kernel: it may
/// belong to a port that the balancer itself serves, and there it is held, bounded, and forgotten.
#[inline(always)]
pub(super) fn forward<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    link: &Link,
    header: &Header,
) -> Result<Verdict, Verdict> {
    // RFC 1858 §4: a TCP fragment at offset 8 overwrites the flags that the first one showed.
    if header.protocol == protocol::TCP && header.fragment.offset == 8 {
        return Err(Verdict::drop(Reason::FragmentOverlap));
    }
    let unknown = Verdict::pass(Reason::FragmentUnknown);
    let fragment = tables.fragment(&key(header)).ok_or(unknown)?;
    let server = held_server(tables, fragment.server, fragment.generation).ok_or(unknown)?;
    deliver(packet, tables, link, &Route { id: fragment.server, server, reason: Reason::Fragment, new_flow: false })
}

#[inline(always)]
fn key(header: &Header) -> FragmentKey {
    FragmentKey {
        source: header.source,
        destination: header.destination,
        identification: header.identification,
        protocol: header.protocol,
        spare8: 0,
        spare16: 0,
    }
}
