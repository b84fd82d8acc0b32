//! A real server for a packet that no flow knows: the service, then persistence, then the
//! scheduler.

use super::parse::Transport;
use super::{Entry, Reason, Tables, Verdict, held_server, is_spoofed};
use crate::abi::{
    Address, Flow, FlowKey, FlowState, Persistence, PersistenceKey, PortRangesKey, Scheduler, Server, ServerId,
    ServerState, Service, ServiceId, ServiceMode, ServicePortKey, Ticks,
};

/// Servers compared for the fewest connections. Up to this many the comparison is exact; beyond,
/// it is the best of a window that moves on with each new flow, at the same cost for any number.
const WINDOW: u32 = 4;

/// Places tried when a server cannot take the flow. A ring names a failed server until the daemon
/// has replaced it, milliseconds later; then the next place is another server with high probability.
const TRIES: u32 = 8;

/// The outcome for a new flow.
pub(super) struct Placement<'t> {
    pub flow: Flow,
    pub server: &'t Server,
    pub reason: Reason,
    /// Whether the flow is to be remembered and counted.
    pub tracked: bool,
}

/// Why no server was found.
#[derive(Clone, Copy)]
enum Refusal {
    None,
    Full,
}

impl From<Refusal> for Verdict {
    fn from(refusal: Refusal) -> Self {
        Self::drop(match refusal {
            Refusal::None => Reason::NoServer,
            Refusal::Full => Reason::ServersFull,
        })
    }
}

/// Places a new flow.
#[inline(always)]
pub(super) fn place<'t, T: Tables>(
    tables: &'t T,
    key: &FlowKey,
    transport: &Transport,
    now: Ticks,
) -> Result<Placement<'t>, Verdict> {
    let (id, service) = service(tables, key).ok_or(Verdict::pass(Reason::NoService))?;
    if is_spoofed(key) {
        return Err(Verdict::drop(Reason::Spoofed));
    }
    let client = client(key, id, service);
    let remembered = persistent(tables, &client, service, now);
    let admitted = !transport.closes() && admit(tables, now);
    let (chosen, reason) = match remembered {
        Some(chosen) if admitted => (chosen, Reason::Persistent),
        Some(chosen) => (chosen, untracked(transport)),
        None if admitted && transport.opens() => (schedule(tables, key, id, service, &client)?, Reason::Scheduled),
        None if admitted => (by_ring(tables, key, service, &client)?, Reason::Resumed),
        None => (by_ring(tables, key, service, &client)?, untracked(transport)),
    };
    let (server_id, server) = chosen;
    let flow = Flow {
        service: id,
        server: server_id,
        generation: server.generation,
        last_seen: now,
        created: now,
        state: FlowState::Pending as u8,
        ..Flow::default()
    };
    Ok(Placement { flow, server, reason, tracked: admitted })
}

/// A packet that ends a flow nobody remembers is not worth a record; any other without one came
/// when too many did.
#[inline(always)]
fn untracked(transport: &Transport) -> Reason {
    if transport.closes() { Reason::Resumed } else { Reason::Untracked }
}

/// The server of a flow that has no record, as far as it can be told without one.
#[inline(always)]
pub(super) fn without_record<'t, T: Tables>(tables: &'t T, key: &FlowKey) -> Option<(ServerId, &'t Server)> {
    let (id, service) = service(tables, key)?;
    let client = client(key, id, service);
    match persistent(tables, &client, service, tables.now()) {
        Some(chosen) => Some(chosen),
        None => by_ring(tables, key, service, &client).ok(),
    }
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
    let ranges = tables.port_ranges(&PortRangesKey { vip: key.vip, protocol: key.protocol, spare: [0; 3] })?;
    let mut i = 0;
    while i < ranges.ranges.len() {
        let range = &ranges.ranges[i];
        if i as u32 >= ranges.count || key.vip_port < range.first {
            return None;
        }
        if key.vip_port <= range.last {
            return Some(range.service);
        }
        i += 1;
    }
    None
}

#[inline(always)]
fn client(key: &FlowKey, service_id: ServiceId, service: &Service) -> PersistenceKey {
    PersistenceKey { client: key.client.masked(&service.client_mask), service: service_id }
}

/// The server that the client keeps: a confirmed record, else a fresh one.
#[inline(always)]
fn persistent<'t, T: Tables>(
    tables: &'t T,
    client: &PersistenceKey,
    service: &Service,
    now: Ticks,
) -> Option<(ServerId, &'t Server)> {
    if service.persistence_timeout == 0 {
        return None;
    }
    let entry = match tables.persistence(client) {
        Some(entry) => entry,
        None => tables.new_client(client)?,
    };
    let record = entry.read();
    if now.wrapping_sub(record.last_used) > service.persistence_timeout {
        return None;
    }
    let server = held_server(tables, record.server, record.generation)?;
    if record.last_used != now {
        entry.update(|record| record.last_used = now);
    }
    Some((record.server, server))
}

/// Remembers where a new client went, until it answers.
#[inline(always)]
pub(super) fn remember_new_client<T: Tables>(tables: &T, key: &FlowKey, flow: &Flow) {
    let Some(service) = tables.service(flow.service) else { return };
    if service.persistence_timeout != 0 {
        tables.insert_new_client(&client(key, flow.service, service), &record(flow));
    }
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
            return;
        }
    }
    if tables.insert_persistence(&client, &record(flow)).is_ok() {
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
fn record(flow: &Flow) -> Persistence {
    Persistence {
        server: flow.server,
        generation: flow.generation,
        last_used: flow.last_seen,
        created: flow.last_seen,
    }
}

/// Whether this CPU may record one more new flow within this tick.
#[inline(always)]
fn admit<T: Tables>(tables: &T, now: Ticks) -> bool {
    let Some(settings) = tables.settings() else { return true };
    let limit = settings.new_flows_per_tick;
    tables
        .admission(|account| {
            if account.tick != now {
                account.tick = now;
                account.flows = 0;
            }
            if account.flows >= limit {
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
) -> Result<(ServerId, &'t Server), Refusal> {
    match Scheduler::from_u8(service.scheduler) {
        Scheduler::WeightedLeastConnection => least_connection(tables, id, service),
        Scheduler::WeightedRoundRobin => round_robin(tables, id, service),
        Scheduler::SourceHash => ring(tables, service, hash(&key.client, 0)),
        Scheduler::Maglev => by_ring(tables, key, service, client),
    }
}

/// The server with the fewest connections for its weight among the next few of the turn list.
#[inline(always)]
fn least_connection<'t, T: Tables>(
    tables: &'t T,
    id: ServiceId,
    service: &Service,
) -> Result<(ServerId, &'t Server), Refusal> {
    let size = service.turns_size;
    if size == 0 {
        return Err(Refusal::None);
    }
    let mut best: Option<(ServerId, &Server, u64)> = None;
    let mut refusal = Refusal::None;
    let mut turn = tables.next_turn(id) % size;
    for i in 0..WINDOW {
        if i >= size {
            break;
        }
        let candidate = tables.scheduled(service.turns_base.wrapping_add(turn));
        turn = if turn + 1 >= size { 0 } else { turn + 1 };
        let Some(server) = available(tables, candidate) else { continue };
        let connections = tables.connections(candidate);
        if is_full(tables, candidate, server, connections) {
            refusal = Refusal::Full;
            continue;
        }
        // a/b < c/d as a*d < c*b; one is added so that of two idle servers the heavier one wins.
        let better = match best {
            None => true,
            Some((_, other, fewest)) => {
                (connections + 1) * u64::from(other.weight) < (fewest + 1) * u64::from(server.weight)
            }
        };
        if better {
            best = Some((candidate, server, connections));
        }
    }
    match best {
        Some((id, server, _)) => Ok((id, server)),
        None => Err(refusal),
    }
}

#[inline(always)]
fn round_robin<'t, T: Tables>(
    tables: &'t T,
    id: ServiceId,
    service: &Service,
) -> Result<(ServerId, &'t Server), Refusal> {
    if service.turns_size == 0 {
        return Err(Refusal::None);
    }
    let turn = tables.next_turn(id) % service.turns_size;
    first_available(tables, service.turns_base, service.turns_size, turn)
}

/// Without regard to what happened before: every CPU, the peer of a pair, and a later packet of
/// the same flow come to the same server. A service with persistence hashes the client, so that
/// all ports and both protocols agree.
#[inline(always)]
fn by_ring<'t, T: Tables>(
    tables: &'t T,
    key: &FlowKey,
    service: &Service,
    client: &PersistenceKey,
) -> Result<(ServerId, &'t Server), Refusal> {
    let by_client = service.persistence_timeout != 0;
    let hash = if by_client {
        hash(&client.client, 0)
    } else if service.scheduler == Scheduler::SourceHash as u8 {
        hash(&key.client, 0)
    } else {
        flow_hash(key)
    };
    ring(tables, service, hash)
}

#[inline(always)]
fn ring<'t, T: Tables>(tables: &'t T, service: &Service, hash: u32) -> Result<(ServerId, &'t Server), Refusal> {
    if service.ring_size == 0 {
        return Err(Refusal::None);
    }
    // The high half of hash * size is a place below size, without a division.
    let place = (u64::from(hash) * u64::from(service.ring_size) >> 32) as u32;
    first_available(tables, service.ring_base, service.ring_size, place)
}

#[inline(always)]
fn first_available<T: Tables>(
    tables: &T,
    base: u32,
    size: u32,
    mut place: u32,
) -> Result<(ServerId, &Server), Refusal> {
    let mut refusal = Refusal::None;
    for _ in 0..TRIES {
        let candidate = tables.scheduled(base.wrapping_add(place));
        if let Some(server) = available(tables, candidate) {
            if server.max_connections == 0 || !is_full(tables, candidate, server, tables.connections(candidate)) {
                return Ok((candidate, server));
            }
            refusal = Refusal::Full;
        }
        place = if place + 1 >= size { 0 } else { place + 1 };
    }
    Err(refusal)
}

/// The server if it takes new clients.
#[inline(always)]
fn available<T: Tables>(tables: &T, id: ServerId) -> Option<&Server> {
    let server = tables.server(id)?;
    if server.state == ServerState::Active as u8 && server.ifindex != 0 { Some(server) } else { None }
}

/// Full from the maximum on, until it has fallen below the low mark.
#[inline(always)]
fn is_full<T: Tables>(tables: &T, id: ServerId, server: &Server, connections: u64) -> bool {
    if server.max_connections == 0 {
        return false;
    }
    let was_full = tables.full(id);
    let mark = if was_full && server.min_connections != 0 { server.min_connections } else { server.max_connections };
    let full = connections >= u64::from(mark);
    if full != was_full {
        tables.set_full(id, full);
    }
    full
}

/// Mixes two words at a time by multiplication; the high half of the product depends on every bit.
#[inline(always)]
fn mix(hash: u64, a: u32, b: u32) -> u64 {
    let product = (hash ^ (u64::from(a) | u64::from(b) << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ product >> 32
}

#[inline(always)]
fn hash(address: &Address, seed: u64) -> u32 {
    let [a, b, c, d] = address.words();
    // The low half is the well-mixed one after the fold of `mix`; one more round spreads it.
    (mix(mix(seed, a, b), c, d).wrapping_mul(0xff51_afd7_ed55_8ccd) >> 32) as u32
}

#[inline(always)]
fn flow_hash(key: &FlowKey) -> u32 {
    let ports = u32::from(key.client_port) << 16 | u32::from(key.vip_port);
    let vip = hash(&key.vip, u64::from(key.protocol));
    hash(&key.client, mix(u64::from(vip), ports, 0))
}
