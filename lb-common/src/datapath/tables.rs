//! The seam between the datapath and its tables: BPF maps in the kernel, maps in memory in tests.

use super::bind::bind;
use super::decide;
use super::hop::Tags;
use super::job::{Job, Next};
use super::open::open;
use super::packet::Packet;
use super::reply;
use super::translate::{self, Binding};
use super::verdict::{Reason, Verdict};
use crate::abi::{
    Address, Admission, Flow, FlowKey, Fragment, FragmentKey, Persistence, PersistenceKey, PortRanges, PortRangesKey,
    Reply, Server, ServerId, Service, ServiceId, ServicePortKey, Settings, Ticks,
};

/// A table has no room for another entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Why a new entry was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is one of this key.
    Exists,
    /// There is no room.
    Full,
}

/// An entry in place, shared with other CPUs: fields are read and written one by one.
pub trait Entry<T> {
    /// A copy of the entry.
    fn read(&self) -> T;
    /// Looks at the entry where it is.
    fn with<R>(&self, look: impl FnOnce(&T) -> R) -> R;
    /// Changes fields in place.
    fn update(&self, change: impl FnOnce(&mut T));
}

/// What the datapath looks up, remembers and counts. See [`crate::abi`] for the tables by name.
pub trait Tables {
    /// A flow in place.
    type Flow: Entry<Flow>;
    /// What replies become, in place.
    type Reply: Entry<Reply>;
    /// A persistence record in place.
    type Persistence: Entry<Persistence>;

    /// Decides about a packet: [`decide`], called in whatever way suits the machine that runs it.
    fn decide<P: Packet>(&self, packet: &mut P) -> Next
    where
        Self: Sized,
    {
        decide(packet, self)
    }

    /// Places a packet whose flow nobody remembers: [`open`], likewise.
    fn open<P: Packet>(&self, packet: &mut P) -> Next
    where
        Self: Sized,
    {
        open(packet, self)
    }

    /// Begins a translated flow: [`bind`], likewise.
    ///
    /// # Errors
    /// As there.
    fn bind<P: Packet>(&self, packet: &mut P) -> Result<(), Reason>
    where
        Self: Sized,
    {
        bind(packet, self)
    }

    /// Rewrites a packet towards its real server: [`translate::outbound`], likewise.
    fn outbound<P: Packet>(&self, packet: &mut P) -> Verdict
    where
        Self: Sized,
    {
        translate::outbound(packet, self)
    }

    /// Rewrites an ICMP error towards a real server: [`translate::outbound_error`], likewise.
    fn outbound_error<P: Packet>(&self, packet: &mut P) -> Verdict
    where
        Self: Sized,
    {
        translate::outbound_error(packet, self)
    }

    /// Turns a packet of a real server into one of the VIP: [`reply::restore`], likewise.
    fn restore<P: Packet>(&self, packet: &mut P) -> Verdict
    where
        Self: Sized,
    {
        reply::restore(packet, self)
    }

    /// Turns an ICMP error about a packet to a real server into one of the VIP:
    /// [`reply::restore_error`], likewise.
    fn restore_error<P: Packet>(&self, packet: &mut P) -> Verdict
    where
        Self: Sized,
    {
        reply::restore_error(packet, self)
    }

    /// Takes a client's packet into account for its replies: [`reply::follow`], likewise.
    fn follow<P: Packet>(&self, packet: &P, key: &FlowKey, to: (ServerId, Binding), tags: Tags, ended: u32) -> u32
    where
        Self: Sized,
    {
        reply::follow(packet, self, key, to, tags, ended)
    }

    /// This CPU's job. Not to be asked for twice at a time.
    fn job<R>(&self, work: impl FnOnce(&mut Job) -> R) -> Option<R>;

    /// Now, coarsely.
    fn now(&self) -> Ticks;
    /// What the whole datapath goes by.
    fn settings(&self) -> Option<&Settings>;
    /// One word of `vip_filter`.
    fn vip_filter(&self, word: u32) -> u64;

    /// One word of `reply_filter`.
    fn reply_filter(&self, word: u32) -> u64;

    /// A flow whose client has answered, or that is translated.
    fn flow(&self, key: &FlowKey) -> Option<Self::Flow>;
    /// Remembers such a flow, replacing one of the same key.
    ///
    /// # Errors
    /// [`Full`], and nothing is remembered.
    fn insert_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Full>;
    /// Remembers such a flow, if none of the same key is known.
    ///
    /// # Errors
    /// Why not, and nothing has changed.
    fn insert_new_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Refusal>;
    /// A flow of which one packet was seen.
    fn pending_flow(&self, key: &FlowKey) -> Option<Self::Flow>;
    /// Remembers such a flow; the least recently used one may go.
    fn insert_pending_flow(&self, key: &FlowKey, flow: &Flow);
    /// Forgets such a flow.
    fn remove_pending_flow(&self, key: &FlowKey);

    /// What the replies to a translated flow become.
    fn reply(&self, key: &FlowKey) -> Option<Self::Reply>;
    /// Remembers that, if nothing of the same key is known.
    ///
    /// # Errors
    /// Why not, and nothing has changed.
    fn insert_reply(&self, key: &FlowKey, reply: &Reply) -> Result<(), Refusal>;
    /// Forgets that.
    fn remove_reply(&self, key: &FlowKey);
    /// A source address of `l4-snat`, by its number.
    fn source(&self, number: u32) -> Option<&Address>;
    /// One word of `source_ports`.
    fn source_ports(&self, word: u32) -> u64;
    /// Sets bits in it, atomically; what was set before.
    fn claim_source_port(&self, word: u32, bits: u64) -> u64;

    /// The service of a single port.
    fn service_port(&self, key: &ServicePortKey) -> Option<ServiceId>;
    /// The port ranges of a VIP.
    fn port_ranges(&self, key: &PortRangesKey) -> Option<&PortRanges>;
    /// A service.
    fn service(&self, id: ServiceId) -> Option<&Service>;
    /// A server.
    fn server(&self, id: ServerId) -> Option<&Server>;
    /// The server at one place of the schedules.
    fn scheduled(&self, place: u32) -> ServerId;
    /// Counts the turns of a service, from any number, wrapping.
    fn next_turn(&self, service: ServiceId) -> u32;

    /// The record of a client whose flow was answered.
    fn persistence(&self, key: &PersistenceKey) -> Option<Self::Persistence>;
    /// Makes such a record, replacing one of the same key.
    ///
    /// # Errors
    /// [`Full`], and nothing is recorded.
    fn insert_persistence(&self, key: &PersistenceKey, record: &Persistence) -> Result<(), Full>;
    /// The record of a client of which one packet was seen.
    fn new_client(&self, key: &PersistenceKey) -> Option<Self::Persistence>;
    /// Makes such a record; the least recently used one may go.
    fn insert_new_client(&self, key: &PersistenceKey, record: &Persistence);
    /// Forgets such a record.
    fn remove_new_client(&self, key: &PersistenceKey);

    /// Where the fragments of a datagram go.
    fn fragment(&self, key: &FragmentKey) -> Option<Fragment>;
    /// Remembers that; the least recently used one may go.
    fn insert_fragment(&self, key: &FragmentKey, fragment: &Fragment);

    /// Live connections of a server.
    fn connections(&self, server: ServerId) -> u64;
    /// Counts one more.
    fn count_connection(&self, server: ServerId);
    /// Whether the server was found full, and not yet below its low mark.
    fn full(&self, server: ServerId) -> bool;
    /// Remembers that.
    fn set_full(&self, server: ServerId, full: bool);

    /// This CPU's account of new flows: of a service, or, by number 0, of all.
    fn admission<R>(&self, service: ServiceId, account: impl FnOnce(&mut Admission) -> R) -> Option<R>;
    /// Counts a frame to a server.
    fn count_server(&self, server: ServerId, bytes: u32, new_flow: bool);
    /// Counts a frame from a server.
    fn count_reply(&self, server: ServerId, bytes: u32);
    /// Counts a frame by its verdict.
    fn count_verdict(&self, reason: Reason, bytes: u32);
}
