//! The decision about a packet that nobody sent: which way it would go, and what was found there.
//!
//! In: a made-up packet, and tables that are only read. Out: the verdict, and an [`Explanation`].
//! Absent: any change of a table. It is the very decision of [`forward`], over [`Explaining`].

use super::{
    Binding, Entry, Full, Job, Next, Packet, Reason, Refusal, Tables, Tags, Verdict, bind, decide, forward, open,
    outbound, outbound_error, restore, restore_error,
};
use crate::abi::{
    Address, Admission, Considered, Explanation, Flow, FlowKey, Fragment, FragmentKey, MAX_CONSIDERED, Persistence,
    PersistenceKey, PortRanges, PortRangesKey, Reply, Role, Server, ServerId, ServerState, Service, ServiceId,
    ServicePortKey, Settings, Ticks,
};

/// Tables of which it can be asked what they would do.
pub trait Peek: Tables + Sized {
    /// The turn that [`Tables::next_turn`] would give, which is not taken.
    fn turn(&self, service: ServiceId) -> u32;

    /// [`Part::run`], in whatever way suits the machine that runs it.
    fn part<P: Packet, N: Notes>(explaining: &Explaining<'_, Self, N>, part: Part, packet: &mut P) -> Next {
        part.run(explaining, packet)
    }
}

/// Where it is noted what was found.
pub trait Notes {
    /// Writes some of it.
    fn note(&self, write: impl FnOnce(&mut Explanation));

    /// The job of a packet that is explained. Not to be asked for twice at a time.
    fn job<R>(&self, work: impl FnOnce(&mut Job) -> R) -> Option<R>;
}

/// A part of the decision that the kernel program may have as a function of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// [`decide`].
    Decide,
    /// [`open`].
    Open,
    /// [`bind`].
    Bind,
    /// [`outbound`].
    Outbound,
    /// [`outbound_error`].
    OutboundError,
    /// [`restore`].
    Restore,
    /// [`restore_error`].
    RestoreError,
}

impl Part {
    /// What comes next; after the last part, the end.
    #[inline(always)]
    pub fn run<P: Packet, T: Peek, N: Notes>(self, tables: &Explaining<'_, T, N>, packet: &mut P) -> Next {
        match self {
            Self::Decide => decide(packet, tables),
            Self::Open => open(packet, tables),
            Self::Bind => match bind(packet, tables) {
                Ok(()) => Next::Outbound,
                Err(reason) => Next::End(Verdict::drop(reason)),
            },
            Self::Outbound => Next::End(outbound(packet, tables)),
            Self::OutboundError => Next::End(outbound_error(packet, tables)),
            Self::Restore => Next::End(restore(packet, tables)),
            Self::RestoreError => Next::End(restore_error(packet, tables)),
        }
    }
}

/// Tables that are read and not changed, and that note what was read.
pub struct Explaining<'t, T, N> {
    tables: &'t T,
    notes: &'t N,
}

impl<'t, T: Peek, N: Notes> Explaining<'t, T, N> {
    /// Reads `tables`, notes in `notes`.
    #[inline(always)]
    pub const fn new(tables: &'t T, notes: &'t N) -> Self {
        Self { tables, notes }
    }

    /// Decides about the frame, which is rewritten as it would be.
    #[inline(always)]
    pub fn explain<P: Packet>(&self, packet: &mut P) -> Verdict {
        let verdict = forward(packet, self);
        let now = self.tables.now();
        self.notes.note(|notes| {
            notes.now = now;
            notes.reason = verdict.reason as u32;
        });
        verdict
    }

    /// Runs a part that comes to an end.
    #[inline(always)]
    fn end<P: Packet>(&self, part: Part, packet: &mut P) -> Verdict {
        match T::part(self, part, packet) {
            Next::End(verdict) => verdict,
            // These parts know no other.
            _ => Verdict::drop(Reason::NoServer),
        }
    }

    /// Notes that something is there, and as what the server will be looked at that it names.
    #[inline(always)]
    fn found(&self, what: u32, role: Role, write: impl FnOnce(&mut Explanation)) {
        self.notes.note(|notes| {
            notes.found |= what;
            notes.role = role as u8;
            write(notes);
        });
    }

    /// Amends the server that was looked at last.
    #[inline(always)]
    fn last(&self, write: impl FnOnce(&mut Considered)) {
        self.notes.note(|notes| {
            let last = notes.considered.wrapping_sub(1) as usize;
            if last < MAX_CONSIDERED {
                write(&mut notes.servers[last]);
            }
        });
    }
}

/// An entry that is read and not changed.
pub struct Unchanged<E>(E);

impl<V, E: Entry<V>> Entry<V> for Unchanged<E> {
    #[inline(always)]
    fn read(&self) -> V {
        self.0.read()
    }

    #[inline(always)]
    fn with<R>(&self, look: impl FnOnce(&V) -> R) -> R {
        self.0.with(look)
    }

    #[inline(always)]
    fn update(&self, _change: impl FnOnce(&mut V)) {}
}

impl<T: Peek, N: Notes> Tables for Explaining<'_, T, N> {
    type Flow = Unchanged<T::Flow>;
    type Reply = Unchanged<T::Reply>;
    type Persistence = Unchanged<T::Persistence>;

    #[inline(always)]
    fn decide<P: Packet>(&self, packet: &mut P) -> Next {
        T::part(self, Part::Decide, packet)
    }

    #[inline(always)]
    fn open<P: Packet>(&self, packet: &mut P) -> Next {
        self.notes.note(|notes| notes.found |= Explanation::PLACED);
        T::part(self, Part::Open, packet)
    }

    #[inline(always)]
    fn bind<P: Packet>(&self, packet: &mut P) -> Result<(), Reason> {
        match T::part(self, Part::Bind, packet) {
            Next::End(verdict) => Err(verdict.reason),
            _ => Ok(()),
        }
    }

    #[inline(always)]
    fn outbound<P: Packet>(&self, packet: &mut P) -> Verdict {
        self.end(Part::Outbound, packet)
    }

    #[inline(always)]
    fn outbound_error<P: Packet>(&self, packet: &mut P) -> Verdict {
        self.end(Part::OutboundError, packet)
    }

    #[inline(always)]
    fn restore<P: Packet>(&self, packet: &mut P) -> Verdict {
        self.end(Part::Restore, packet)
    }

    #[inline(always)]
    fn restore_error<P: Packet>(&self, packet: &mut P) -> Verdict {
        self.end(Part::RestoreError, packet)
    }

    /// It changes the entry of the replies, and nothing about this packet.
    #[inline(always)]
    fn follow<P: Packet>(
        &self,
        _packet: &P,
        _key: &FlowKey,
        _to: (ServerId, Binding),
        _tags: Tags,
        _ended: u32,
    ) -> u32 {
        0
    }

    #[inline(always)]
    fn job<R>(&self, work: impl FnOnce(&mut Job) -> R) -> Option<R> {
        self.notes.job(work)
    }

    #[inline(always)]
    fn now(&self) -> Ticks {
        self.tables.now()
    }

    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        self.tables.settings()
    }

    #[inline(always)]
    fn vip_filter(&self, word: u32) -> u64 {
        self.tables.vip_filter(word)
    }

    #[inline(always)]
    fn reply_filter(&self, word: u32) -> u64 {
        self.tables.reply_filter(word)
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey) -> Option<Self::Flow> {
        let entry = self.tables.flow(key)?;
        self.found(Explanation::FLOW, Role::Flow, |notes| notes.flow = entry.read());
        Some(Unchanged(entry))
    }

    #[inline(always)]
    fn insert_flow(&self, _key: &FlowKey, _flow: &Flow) -> Result<(), Full> {
        Ok(())
    }

    #[inline(always)]
    fn insert_new_flow(&self, key: &FlowKey, _flow: &Flow) -> Result<(), Refusal> {
        if self.tables.flow(key).is_some() { Err(Refusal::Exists) } else { Ok(()) }
    }

    #[inline(always)]
    fn pending_flow(&self, key: &FlowKey) -> Option<Self::Flow> {
        let entry = self.tables.pending_flow(key)?;
        self.found(Explanation::PENDING_FLOW, Role::Flow, |notes| notes.flow = entry.read());
        Some(Unchanged(entry))
    }

    #[inline(always)]
    fn insert_pending_flow(&self, _key: &FlowKey, _flow: &Flow) {}

    #[inline(always)]
    fn remove_pending_flow(&self, _key: &FlowKey) {}

    #[inline(always)]
    fn reply(&self, key: &FlowKey) -> Option<Self::Reply> {
        let entry = self.tables.reply(key)?;
        self.found(Explanation::REPLY, Role::Flow, |notes| entry.with(|reply| notes.reply = *reply));
        Some(Unchanged(entry))
    }

    #[inline(always)]
    fn insert_reply(&self, key: &FlowKey, _reply: &Reply) -> Result<(), Refusal> {
        if self.tables.reply(key).is_some() {
            return Err(Refusal::Exists);
        }
        self.notes.note(|notes| {
            notes.source_port = key.vip_port;
            notes.found |= Explanation::BOUND;
        });
        Ok(())
    }

    #[inline(always)]
    fn remove_reply(&self, _key: &FlowKey) {}

    #[inline(always)]
    fn source(&self, number: u32) -> Option<&Address> {
        let source = self.tables.source(number)?;
        self.notes.note(|notes| {
            notes.source = *source;
            notes.found |= Explanation::SOURCE;
        });
        Some(source)
    }

    #[inline(always)]
    fn source_ports(&self, word: u32) -> u64 {
        self.tables.source_ports(word)
    }

    /// As if: the bits that are set stay as they are.
    #[inline(always)]
    fn claim_source_port(&self, word: u32, _bits: u64) -> u64 {
        self.tables.source_ports(word)
    }

    #[inline(always)]
    fn service_port(&self, key: &ServicePortKey) -> Option<ServiceId> {
        self.tables.service_port(key)
    }

    #[inline(always)]
    fn port_ranges(&self, key: &PortRangesKey) -> Option<&PortRanges> {
        self.tables.port_ranges(key)
    }

    #[inline(always)]
    fn service(&self, id: ServiceId) -> Option<&Service> {
        let service = self.tables.service(id)?;
        self.notes.note(|notes| {
            notes.service = id;
            notes.found |= Explanation::SERVICE;
        });
        Some(service)
    }

    #[inline(always)]
    fn server(&self, id: ServerId) -> Option<&Server> {
        let server = self.tables.server(id);
        self.notes.note(|notes| {
            let next = notes.considered as usize;
            if next < MAX_CONSIDERED {
                let considered = &mut notes.servers[next];
                considered.server = id;
                considered.role = notes.role;
                match server {
                    Some(server) => {
                        considered.generation = server.generation;
                        considered.weight = server.weight;
                        considered.ifindex = server.ifindex;
                        considered.max_connections = server.max_connections;
                        considered.state = server.state;
                    }
                    None => considered.state = ServerState::Down as u8,
                }
                notes.considered += 1;
            }
        });
        server
    }

    #[inline(always)]
    fn scheduled(&self, place: u32) -> ServerId {
        let server = self.tables.scheduled(place);
        self.found(0, Role::Candidate, |notes| {
            let next = notes.considered as usize;
            if next < MAX_CONSIDERED {
                notes.servers[next].place = place;
            }
        });
        server
    }

    #[inline(always)]
    fn next_turn(&self, service: ServiceId) -> u32 {
        let turn = self.tables.turn(service);
        self.found(Explanation::TURN, Role::Candidate, |notes| notes.turn = turn);
        turn
    }

    #[inline(always)]
    fn persistence(&self, key: &PersistenceKey) -> Option<Self::Persistence> {
        let entry = self.tables.persistence(key)?;
        self.found(Explanation::CONFIRMED, Role::Confirmed, |notes| notes.confirmed = entry.read());
        Some(Unchanged(entry))
    }

    #[inline(always)]
    fn insert_persistence(&self, _key: &PersistenceKey, _record: &Persistence) -> Result<(), Full> {
        Ok(())
    }

    #[inline(always)]
    fn new_client(&self, key: &PersistenceKey) -> Option<Self::Persistence> {
        let entry = self.tables.new_client(key)?;
        self.found(Explanation::NEW_CLIENT, Role::NewClient, |notes| notes.new_client = entry.read());
        Some(Unchanged(entry))
    }

    #[inline(always)]
    fn insert_new_client(&self, _key: &PersistenceKey, _record: &Persistence) {}

    #[inline(always)]
    fn remove_new_client(&self, _key: &PersistenceKey) {}

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<Fragment> {
        self.tables.fragment(key)
    }

    #[inline(always)]
    fn insert_fragment(&self, _key: &FragmentKey, _fragment: &Fragment) {}

    #[inline(always)]
    fn connections(&self, server: ServerId) -> u64 {
        let connections = self.tables.connections(server);
        self.last(|last| last.connections = connections);
        connections
    }

    /// Whoever is counted is the one.
    #[inline(always)]
    fn count_connection(&self, _server: ServerId) {
        self.found(0, Role::Chosen, |_| {});
    }

    #[inline(always)]
    fn full(&self, server: ServerId) -> bool {
        let full = self.tables.full(server);
        self.last(|last| last.full = u8::from(full));
        full
    }

    /// Not remembered, but noted: it is why the server is passed over, or is no longer.
    #[inline(always)]
    fn set_full(&self, _server: ServerId, full: bool) {
        self.last(|last| last.full = u8::from(full));
    }

    /// Asked for one more, as if.
    #[inline(always)]
    fn admission<R>(&self, service: ServiceId, account: impl FnOnce(&mut Admission) -> R) -> Option<R> {
        self.tables.admission(service, |admission| {
            let mut copy = *admission;
            account(&mut copy)
        })
    }

    #[inline(always)]
    fn count_server(&self, server: ServerId, _bytes: u32, _new_flow: bool) {
        self.notes.note(|notes| {
            notes.server = server;
            notes.found |= Explanation::DELIVERED;
        });
    }

    #[inline(always)]
    fn count_reply(&self, server: ServerId, _bytes: u32) {
        self.notes.note(|notes| notes.server = server);
    }

    #[inline(always)]
    fn count_verdict(&self, _reason: Reason, _bytes: u32) {}
}
