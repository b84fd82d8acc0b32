//! The seam between the datapath and its tables: BPF maps in the kernel, maps in memory in tests.

use super::select::{Arrival, Placement, place};
use super::verdict::Reason;
use crate::abi::{
    Admission, Flow, FlowKey, Fragment, FragmentKey, Persistence, PersistenceKey, PortRanges, PortRangesKey, Server,
    ServerId, Service, ServiceId, ServicePortKey, Settings, Ticks,
};

/// A table has no room for another entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// An entry in place, shared with other CPUs: fields are read and written one by one.
pub trait Entry<T> {
    /// A copy of the entry.
    fn read(&self) -> T;
    /// Changes fields in place.
    fn update(&self, change: impl FnOnce(&mut T));
}

/// What the datapath looks up, remembers and counts. See [`crate::abi`] for the tables by name.
pub trait Tables {
    /// A flow in place.
    type Flow: Entry<Flow>;
    /// A persistence record in place.
    type Persistence: Entry<Persistence>;

    /// Places a flow that nobody remembers: [`place`], called in whatever way suits the machine that
    /// runs it.
    fn place(&self, key: &FlowKey, arrival: Arrival) -> Placement
    where
        Self: Sized,
    {
        place(self, key, arrival)
    }

    /// Now, coarsely.
    fn now(&self) -> Ticks;
    /// What the whole datapath goes by.
    fn settings(&self) -> Option<&Settings>;
    /// One word of `vip_filter`.
    fn vip_filter(&self, word: u32) -> u64;

    /// A flow whose client has answered.
    fn flow(&self, key: &FlowKey) -> Option<Self::Flow>;
    /// Remembers such a flow, replacing one of the same key.
    ///
    /// # Errors
    /// [`Full`], and nothing is remembered.
    fn insert_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Full>;
    /// A flow of which one packet was seen.
    fn pending_flow(&self, key: &FlowKey) -> Option<Self::Flow>;
    /// Remembers such a flow; the least recently used one may go.
    fn insert_pending_flow(&self, key: &FlowKey, flow: &Flow);
    /// Forgets such a flow.
    fn remove_pending_flow(&self, key: &FlowKey);

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

    /// This CPU's account of new flows.
    fn admission<R>(&self, account: impl FnOnce(&mut Admission) -> R) -> Option<R>;
    /// Counts a frame to a server.
    fn count_server(&self, server: ServerId, bytes: u32, new_flow: bool);
    /// Counts a frame by its verdict.
    fn count_verdict(&self, reason: Reason, bytes: u32);
}
