//! Fragments: the first one carries the ports and is placed like any packet; the rest follow it.

use super::at::At;
use super::flow::binding;
use super::job::{self, Next};
use super::parse::{Header, Link};
use super::{Entry, Packet, Reason, Route, Tables, Verdict, deliver, held_server};
use crate::abi::{FlowKey, Fragment, FragmentKey, Server, ServerId, ServiceMode};
use crate::wire::protocol;

/// Number of no server: the datagram comes from a real server.
const FROM_SERVER: ServerId = 0;

/// Where the following fragments of this datagram go.
#[inline(always)]
pub(super) fn remember<T: Tables>(tables: &T, flow: &FlowKey, identification: u32, route: &Route<'_>) {
    insert(tables, flow, identification, route.id, route.server.generation);
}

/// The same for a datagram of a real server, whose addresses are restored.
#[inline(always)]
pub(super) fn remember_reply<T: Tables>(tables: &T, flow: &FlowKey, identification: u32) {
    insert(tables, flow, identification, FROM_SERVER, 0);
}

#[inline(always)]
fn insert<T: Tables>(tables: &T, flow: &FlowKey, identification: u32, server: ServerId, generation: u32) {
    let key = FragmentKey {
        source: flow.client,
        destination: flow.vip,
        identification,
        protocol: flow.protocol,
        spare8: 0,
        spare16: 0,
    };
    let fragment = Fragment { server, generation, source_port: flow.client_port, destination_port: flow.vip_port };
    tables.insert_fragment(&key, &fragment);
}

/// A fragment that is not the first. One whose first was not seen goes to the kernel: it may
/// belong to a port that the balancer itself serves, and there it is held, bounded, and forgotten.
#[inline(always)]
pub(super) fn forward<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    link: &Link,
    header: &Header,
) -> Result<Next, Verdict> {
    // RFC 1858 §4: a TCP fragment at offset 8 overwrites the flags that the first one showed.
    if header.protocol == protocol::TCP && header.fragment.offset == 8 {
        return Err(header.concern.refuse(Reason::FragmentOverlap));
    }
    let unknown = Verdict::pass(Reason::FragmentUnknown);
    let fragment = tables.fragment(&key(header)).ok_or(unknown)?;
    let flow = FlowKey {
        client: header.source,
        vip: header.destination,
        client_port: fragment.source_port,
        vip_port: fragment.destination_port,
        protocol: header.protocol,
        spare8: 0,
        spare16: 0,
    };
    let at = At::new(link, header, 0);
    if fragment.server == FROM_SERVER {
        return Ok(job::note(tables, Next::Restore, |job| {
            job.key = flow;
            job.at = at;
            job.tags = link.tags();
        }));
    }
    let server = held_server(tables, fragment.server, fragment.generation).ok_or(unknown)?;
    let mut route = Route::of(fragment.server, server, Reason::Fragment);
    if is_translated(server) {
        // The binding stands in the flow alone.
        let entry = tables.flow(&flow).ok_or(unknown)?;
        let (id, generation, binding) = entry.with(|flow| (flow.server, flow.generation, binding(flow)));
        if id != fragment.server || generation != fragment.generation {
            return Err(unknown);
        }
        route.binding = binding;
    }
    Ok(deliver(packet, tables, &flow, at, link.tags(), &route))
}

#[inline(always)]
const fn is_translated(server: &Server) -> bool {
    server.mode != ServiceMode::DirectRouting as u8
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
