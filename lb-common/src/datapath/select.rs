//! A real server for a packet that no flow knows: the service, then persistence, then the
//! scheduler.

use super::hash::{flow_hash, hash, high_half};
use super::{Entry, Reason, Tables, Verdict, held_server, is_spoofed};
use crate::abi::{
    Flow, FlowKey, NO_SERVER, Persistence, PersistenceKey, PortRangesKey, Scheduler, Server, ServerId, ServerState,
    Service, ServiceId, ServiceMode, ServicePortKey, Ticks,
};

/// Servers compared for the fewest connections. Up to this many the comparison is exact; beyond,
/// it is the best of a window that moves on with each new flow, at the same cost for any number.
const WINDOW: u32 = 4;

/// Places tried when a server cannot take the flow. A ring names a failed server until the daemon
/// has replaced it, milliseconds later; then the next place is another server with high probability.
const TRIES: u32 = 4;

/// What the first packet seen of a flow says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// It may be the first one.
    pub opens: bool,
    /// It ends the flow, so that a record is not worth while.
    pub closes: bool,
}

impl Arrival {
    /// As a number, to be handed to a function of the kernel program.
    #[inline(always)]
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        self.opens as u32 | (self.closes as u32) << 1
    }

    /// The inverse of [`Self::to_bits`].
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self { opens: bits & 1 != 0, closes: bits & 2 != 0 }
    }
}

/// Where a flow that nobody remembers goes, and why.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Its service.
    pub service: ServiceId,
    /// Its server; [`NO_SERVER`]: none, and the reason says what becomes of the packet.
    pub server: ServerId,
    /// Why.
    pub reason: Reason,
    /// Whether the flow is to be remembered; it is counted already.
    pub tracked: bool,
}

impl Placement {
    /// Not ours.
    pub const NOWHERE: Self = Self::refused(Reason::NoService);

    const fn refused(reason: Reason) -> Self {
        Self { service: 0, server: NO_SERVER, reason, tracked: false }
    }

    /// What becomes of a packet that has no server.
    #[inline(always)]
    pub(super) const fn refusal(&self) -> Verdict {
        if self.reason as u8 == Reason::NoService as u8 {
            Verdict::pass(self.reason)
        } else {
            Verdict::drop(self.reason)
        }
    }
}

/// A server that may take the flow, or the reason why there is none. Every field always has a
/// value: an `Option` of a pair would leave the other half undefined, and the verifier refuses to
/// see undefined registers moved.
#[derive(Clone, Copy)]
struct Candidate<'t> {
    id: ServerId,
    server: Option<&'t Server>,
    /// With no server: whether one was passed over because it is at its maximum.
    full: bool,
}

impl<'t> Candidate<'t> {
    const NONE: Self = Self { id: NO_SERVER, server: None, full: false };
}

/// Places a flow that nobody remembers, and counts it with its server if it is to be remembered.
///
/// Half of the datapath, and part of the step [`open`](super::open): what is placed is a packet, or what an
/// ICMP error quotes.
#[inline(always)]
pub fn place<T: Tables>(tables: &T, key: &FlowKey, arrival: Arrival) -> Placement {
    let Some((id, service)) = service(tables, key) else { return Placement::NOWHERE };
    if is_spoofed(key) {
        return Placement::refused(Reason::Spoofed);
    }
    let now = tables.now();
    let client = client(key, id, service);
    let admitted = !arrival.closes && admit(tables, id, service, now);
    let remembered = persistent(tables, &client, service, now);
    let (candidate, reason) = if remembered.server.is_some() {
        (remembered, Reason::Persistent)
    } else if admitted && arrival.opens {
        (schedule(tables, key, id, service, &client), Reason::Scheduled)
    } else {
        (first_available(tables, ring(key, service, &client), arrival.opens), Reason::Resumed)
    };
    let Some(server) = candidate.server else {
        return Placement::refused(if candidate.full { Reason::ServersFull } else { Reason::NoServer });
    };
    // A translated flow is nothing without a record: its replies would not find the way.
    if !admitted && service.mode != ServiceMode::DirectRouting as u8 {
        return Placement::refused(if arrival.closes { Reason::NoFlow } else { Reason::NewFlowLimit });
    }
    if admitted {
        tables.count_connection(candidate.id);
        if service.persistence_timeout != 0 && remembered.server.is_none() {
            tables.insert_new_client(&client, &record(candidate.id, server.generation, now));
        }
    }
    let reason = if admitted { reason } else { untracked(arrival) };
    Placement { service: id, server: candidate.id, reason, tracked: admitted }
}

/// A packet that ends a flow nobody remembers is not worth a record; any other without one came
/// when too many did.
#[inline(always)]
fn untracked(arrival: Arrival) -> Reason {
    if arrival.closes { Reason::Resumed } else { Reason::Untracked }
}

/// The virtual service of a flow: a single port, else a range.
#[inline(always)]
fn service<'t, T: Tables>(tables: &'t T, key: &FlowKey) -> Option<(ServiceId, &'t Service)> {
    let single = ServicePortKey { vip: key.vip, port: key.vip_port, protocol: key.protocol, spare: 0 };
    let id = match tables.service_port(&single) {
        Some(id) => id,
        None => in_ranges(tables, key)?,
    };
    let service = tables.service(id)?;
    if ServiceMode::from_u8(service.mode) as u8 == ServiceMode::None as u8 { None } else { Some((id, service)) }
}

#[inline(always)]
fn in_ranges<T: Tables>(tables: &T, key: &FlowKey) -> Option<ServiceId> {
    let ranges = tables.port_ranges(&PortRangesKey { vip: key.vip, protocol: key.protocol, spare8: 0, spare16: 0 })?;
    for (range, number) in ranges.ranges.iter().zip(0..) {
        if number >= ranges.count || key.vip_port < range.first {
            return None;
        }
        if key.vip_port <= range.last {
            return Some(range.service);
        }
    }
    None
}

#[inline(always)]
fn client(key: &FlowKey, service_id: ServiceId, service: &Service) -> PersistenceKey {
    PersistenceKey { client: key.client.masked(&service.client_mask), service: service_id }
}

/// The server that the client keeps: a confirmed record, else a fresh one. A confirmed record that
/// ran out, or whose server is gone, stays until the daemon's sweep; a client that was placed anew
/// meanwhile is found among the new ones.
#[inline(always)]
fn persistent<'t, T: Tables>(tables: &'t T, client: &PersistenceKey, service: &Service, now: Ticks) -> Candidate<'t> {
    if service.persistence_timeout == 0 {
        return Candidate::NONE;
    }
    if let Some(entry) = tables.persistence(client) {
        let confirmed = recorded(tables, &entry, service, now);
        if confirmed.server.is_some() {
            return confirmed;
        }
    }
    match tables.new_client(client) {
        Some(entry) => recorded(tables, &entry, service, now),
        None => Candidate::NONE,
    }
}

/// The server of a record, if both are still good.
#[inline(always)]
fn recorded<'t, T: Tables>(tables: &'t T, entry: &T::Persistence, service: &Service, now: Ticks) -> Candidate<'t> {
    let record = entry.read();
    // Signed: another CPU may have noted the next tick already, and that is no age at all.
    if now.wrapping_sub(record.last_used).cast_signed() > service.persistence_timeout.cast_signed() {
        return Candidate::NONE;
    }
    let server = held_server(tables, record.server, record.generation);
    if server.is_some() && record.last_used != now {
        entry.update(|record| record.last_used = now);
    }
    Candidate { id: record.server, server, full: false }
}

/// The client has answered: its record is kept from now on.
#[inline(always)]
pub(super) fn confirm_client<T: Tables>(tables: &T, key: &FlowKey, flow: &Flow) {
    let Some(service) = tables.service(flow.service) else { return };
    if service.persistence_timeout == 0 {
        return;
    }
    let client = client(key, flow.service, service);
    if let Some(entry) = tables.persistence(&client) {
        let known = entry.read();
        if known.server == flow.server && known.generation == flow.generation {
            // It may have run out: the client was then placed here a second time, by chance.
            entry.update(|record| record.last_used = flow.last_seen);
            return;
        }
    }
    let record = record(flow.server, flow.generation, flow.last_seen);
    if tables.insert_persistence(&client, &record).is_ok() {
        tables.remove_new_client(&client);
    }
}

/// A long flow keeps its client's record alive.
#[inline(always)]
pub(super) fn touch_client<T: Tables>(tables: &T, key: &FlowKey, flow: &Flow, now: Ticks) {
    let Some(service) = tables.service(flow.service) else { return };
    if service.persistence_timeout == 0 {
        return;
    }
    if let Some(entry) = tables.persistence(&client(key, flow.service, service)) {
        entry.update(|record| {
            if record.server == flow.server {
                record.last_used = now;
            }
        });
    }
}

#[inline(always)]
fn record(server: ServerId, generation: u32, now: Ticks) -> Persistence {
    Persistence { server, generation, last_used: now, created: now }
}

/// Whether this CPU may record one more new flow within this tick, of this service and at all. A flood
/// at one service leaves the others their share.
#[inline(always)]
fn admit<T: Tables>(tables: &T, id: ServiceId, service: &Service, now: Ticks) -> bool {
    let Some(settings) = tables.settings() else { return true };
    within(tables, id, service.new_flows_per_tick, now) && within(tables, 0, settings.new_flows_per_tick, now)
}

#[inline(always)]
fn within<T: Tables>(tables: &T, id: ServiceId, limit: u32, now: Ticks) -> bool {
    tables
        .admission(id, |account| {
            if account.tick != now {
                account.tick = now;
                account.flows = 0;
            }
            if account.flows >= limit {
                account.beyond += 1;
                return false;
            }
            account.flows += 1;
            true
        })
        .unwrap_or(true)
}

#[inline(always)]
fn schedule<'t, T: Tables>(
    tables: &'t T,
    key: &FlowKey,
    id: ServiceId,
    service: &Service,
    client: &PersistenceKey,
) -> Candidate<'t> {
    match Scheduler::from_u8(service.scheduler) {
        Scheduler::WeightedLeastConnection => least_connection(tables, id, service),
        Scheduler::WeightedRoundRobin => first_available(tables, next_turn(tables, id, service), true),
        Scheduler::SourceHash | Scheduler::Maglev => first_available(tables, ring(key, service, client), true),
    }
}

/// The server with the fewest connections for its weight among the next few of the turn list.
#[inline(always)]
fn least_connection<'t, T: Tables>(tables: &'t T, id: ServiceId, service: &Service) -> Candidate<'t> {
    let size = service.turns_size;
    let mut best = Candidate::NONE;
    if size == 0 {
        return best;
    }
    // No server yet: as if one with endless connections, so that the first one wins.
    let (mut fewest, mut weight) = (u64::from(u32::MAX), 1);
    let mut turn = tables.next_turn(id) % size;
    for i in 0..WINDOW {
        if i >= size {
            break;
        }
        let candidate = tables.scheduled(service.turns_base.wrapping_add(turn));
        turn = if turn + 1 >= size { 0 } else { turn + 1 };
        let Some(server) = available(tables, candidate) else { continue };
        if is_full(tables, candidate, server) {
            best.full = true;
            continue;
        }
        let connections = tables.connections(candidate);
        // a/b < c/d as a*d < c*b; one is added so that of two idle servers the heavier one wins.
        if (connections + 1) * weight < fewest * u64::from(server.weight) {
            best.id = candidate;
            best.server = Some(server);
            fewest = connections + 1;
            weight = u64::from(server.weight);
        }
    }
    best
}

/// Part of `schedule`, and the place in it to begin with.
#[derive(Clone, Copy)]
struct Places {
    base: u32,
    size: u32,
    first: u32,
}

/// The turn list of the service, from its next turn on.
#[inline(always)]
fn next_turn<T: Tables>(tables: &T, id: ServiceId, service: &Service) -> Places {
    let (base, size) = (service.turns_base, service.turns_size);
    Places { base, size, first: tables.next_turn(id) % size.max(1) }
}

/// The ring of the service, from the hash of the flow or of its client on. Nothing that happened
/// before matters: every CPU, the peer of a pair, and a later packet of the same flow come to the
/// same server. A service with persistence hashes the client, so that all ports and both protocols
/// agree.
#[inline(always)]
fn ring(key: &FlowKey, service: &Service, client: &PersistenceKey) -> Places {
    let hash = if service.persistence_timeout != 0 {
        hash(&client.client, 0)
    } else if service.scheduler == Scheduler::SourceHash as u8 {
        hash(&key.client, 0)
    } else {
        flow_hash(key)
    };
    // The high half of hash * size is a place below size, without a division.
    let first = high_half(u64::from(hash) * u64::from(service.ring_size));
    Places { base: service.ring_base, size: service.ring_size, first }
}

/// The first server that takes the flow. Limits are for new flows: a packet from the middle of one
/// belongs where the others went.
#[inline(always)]
fn first_available<T: Tables>(tables: &T, places: Places, is_new: bool) -> Candidate<'_> {
    let mut candidate = Candidate::NONE;
    let mut place = places.first;
    for _ in 0..TRIES {
        if place >= places.size {
            break;
        }
        let id = tables.scheduled(places.base.wrapping_add(place));
        if let Some(server) = available(tables, id) {
            if !is_new || !is_full(tables, id, server) {
                return Candidate { id, server: Some(server), full: false };
            }
            candidate.full = true;
        }
        place = if place + 1 >= places.size { 0 } else { place + 1 };
    }
    candidate
}

/// The server if it takes new clients.
#[inline(always)]
fn available<T: Tables>(tables: &T, id: ServerId) -> Option<&Server> {
    let server = tables.server(id)?;
    if server.state == ServerState::Active as u8 && server.ifindex != 0 { Some(server) } else { None }
}

/// Full from the maximum on, until it has fallen below the low mark.
#[inline(always)]
fn is_full<T: Tables>(tables: &T, id: ServerId, server: &Server) -> bool {
    if server.max_connections == 0 {
        return false;
    }
    let was_full = tables.full(id);
    let mark = if was_full && server.min_connections != 0 { server.min_connections } else { server.max_connections };
    let full = tables.connections(id) >= u64::from(mark);
    if full != was_full {
        tables.set_full(id, full);
    }
    full
}
