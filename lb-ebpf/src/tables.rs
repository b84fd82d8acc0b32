//! The tables of the datapath as BPF maps. Declarations first, then the seam.
//!
//! The daemon may change what it writes at any time, field by field as seen from here; every
//! reader copes with an entry of a moment ago. Entries of hash maps may be removed, and reused
//! for another key, while a pointer to them is in hand (kernel/bpf/hashtab.c); the worst outcome
//! is that one packet's time is noted on a stranger's entry.

use core::intrinsics::{AtomicOrdering, atomic_or, atomic_xadd};

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_NOEXIST};
use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap, PerCpuArray};
use aya_ebpf::helpers::generated::bpf_jiffies64;
use aya_ebpf::macros::btf_map;
use lb_common::abi::{
    Address, Admission, DEFAULT_FLOWS, DEFAULT_PENDING_FLOWS, DEFAULT_PERSISTENCE, DEFAULT_TRANSLATED_FLOWS, Flow,
    FlowKey, Fragment, FragmentKey, MAX_FRAGMENTS, MAX_NEW_CLIENTS, MAX_POOLS, MAX_REASONS, MAX_SERVERS,
    MAX_SERVICE_PORTS, MAX_SERVICES, MAX_SOURCES, NO_SERVER, Opened, PLACES_PER_WORD, PORT_WORDS, Persistence,
    PersistenceKey, PortRanges, PortRangesKey, Reply, SCHEDULE_PLACES, Server, ServerCounters,
    ServerId, Service, ServiceId, ServicePortKey, Settings, Ticks, VIP_FILTER_WORDS, VerdictCounters, server_in_word,
};
use lb_common::datapath::{
    Binding, Entry, Full, Job, Next, Packet, Reason, Refusal, Tables, Tags, Verdict,
};

use crate::functions;

#[btf_map(name = "settings")]
static SETTINGS: Array<Settings, 1> = Array::new();
#[btf_map(name = "vip_filter")]
static VIP_FILTER: Array<u64, { VIP_FILTER_WORDS as usize }> = Array::new();
#[btf_map(name = "flows")]
static FLOWS: HashMap<FlowKey, Flow, { DEFAULT_FLOWS as usize }> = HashMap::new();
#[btf_map(name = "pending_flows")]
static PENDING_FLOWS: LruHashMap<FlowKey, Flow, { DEFAULT_PENDING_FLOWS as usize }> = LruHashMap::new();
#[btf_map(name = "reply_filter")]
static REPLY_FILTER: Array<u64, { VIP_FILTER_WORDS as usize }> = Array::new();
#[btf_map(name = "replies")]
static REPLIES: HashMap<FlowKey, Reply, { DEFAULT_TRANSLATED_FLOWS as usize }> = HashMap::new();
#[btf_map(name = "sources")]
static SOURCES: Array<Address, { MAX_SOURCES as usize }> = Array::new();
// Mapped into the daemon's memory, which clears bits as atomically as the program sets them.
#[btf_map(name = "source_ports")]
static SOURCE_PORTS: Array<u64, { (MAX_POOLS * PORT_WORDS) as usize }, { BPF_F_MMAPABLE as usize }> = Array::new();
#[btf_map(name = "service_ports")]
static SERVICE_PORTS: HashMap<ServicePortKey, ServiceId, { MAX_SERVICE_PORTS as usize }> = HashMap::new();
#[btf_map(name = "port_ranges")]
static PORT_RANGES: HashMap<PortRangesKey, PortRanges, { MAX_SERVICES as usize }> = HashMap::new();
#[btf_map(name = "services")]
static SERVICES: Array<Service, { MAX_SERVICES as usize }> = Array::new();
#[btf_map(name = "servers")]
static SERVERS: Array<Server, { MAX_SERVERS as usize }> = Array::new();
#[btf_map(name = "schedule")]
static SCHEDULE: Array<u64, { (SCHEDULE_PLACES / PLACES_PER_WORD) as usize }> = Array::new();
#[btf_map(name = "rotation")]
static ROTATION: Array<u32, { MAX_SERVICES as usize }> = Array::new();
#[btf_map(name = "persistence")]
static PERSISTENCE: HashMap<PersistenceKey, Persistence, { DEFAULT_PERSISTENCE as usize }> = HashMap::new();
#[btf_map(name = "new_clients")]
static NEW_CLIENTS: LruHashMap<PersistenceKey, Persistence, { MAX_NEW_CLIENTS as usize }> = LruHashMap::new();
#[btf_map(name = "fragments")]
static FRAGMENTS: LruHashMap<FragmentKey, Fragment, { MAX_FRAGMENTS as usize }> = LruHashMap::new();
#[btf_map(name = "opened")]
static OPENED: Array<Opened, { MAX_SERVERS as usize }> = Array::new();
#[btf_map(name = "closed")]
static CLOSED: Array<u64, { MAX_SERVERS as usize }> = Array::new();
#[btf_map(name = "admission")]
static ADMISSION: PerCpuArray<Admission, { MAX_SERVICES as usize }> = PerCpuArray::new();
#[btf_map(name = "job")]
static JOB: PerCpuArray<Job, 1> = PerCpuArray::new();
#[btf_map(name = "server_counters")]
static SERVER_COUNTERS: PerCpuArray<ServerCounters, { MAX_SERVERS as usize }> = PerCpuArray::new();
#[btf_map(name = "verdicts")]
static VERDICTS: PerCpuArray<VerdictCounters, { MAX_REASONS as usize }> = PerCpuArray::new();

/// How many bits of the jiffies are below a tick; the loader sets it for the kernel's HZ.
#[unsafe(no_mangle)]
static TICK_SHIFT: u8 = 8;

/// The maps of this program.
pub struct Maps;

/// An entry of a hash map.
pub struct MapEntry<V>(*mut V);

impl<V: Copy> Entry<V> for MapEntry<V> {
    #[inline(always)]
    fn read(&self) -> V {
        // SAFETY: the pointer came from a lookup that succeeded in this run of the program; the
        // kernel keeps the memory until the run ends (RCU).
        unsafe { self.0.read() }
    }

    #[inline(always)]
    fn with<R>(&self, look: impl FnOnce(&V) -> R) -> R {
        // SAFETY: as in `read`.
        look(unsafe { &*self.0 })
    }

    #[inline(always)]
    fn update(&self, change: impl FnOnce(&mut V)) {
        // SAFETY: as in `read`; no other reference to the entry exists in this run.
        change(unsafe { &mut *self.0 });
    }
}

/// A place in an array whose entries live as long as the map.
#[inline(always)]
pub(crate) fn element<T>(place: Option<*mut T>) -> Option<&'static mut T> {
    // SAFETY: array entries are never freed, and the caller asks for one place once per use.
    place.map(|pointer| unsafe { &mut *pointer })
}

/// What an insertion that must not replace anything came to.
#[inline(always)]
fn refusal(error: i32) -> Refusal {
    if error == -EEXIST { Refusal::Exists } else { Refusal::Full }
}

/// There is an entry of this key (errno-base.h).
const EEXIST: i32 = 17;

impl Tables for Maps {
    type Flow = MapEntry<Flow>;
    type Reply = MapEntry<Reply>;
    type Persistence = MapEntry<Persistence>;

    #[inline(always)]
    fn decide<P: Packet>(&self, packet: &mut P) -> Next {
        functions::decide(packet.context())
    }

    #[inline(always)]
    fn open<P: Packet>(&self, packet: &mut P) -> Next {
        functions::open(packet.context())
    }

    #[inline(always)]
    fn bind<P: Packet>(&self, packet: &mut P) -> Result<(), Reason> {
        functions::bind(packet.context())
    }

    #[inline(always)]
    fn outbound<P: Packet>(&self, packet: &mut P) -> Verdict {
        functions::outbound(packet.context())
    }

    #[inline(always)]
    fn outbound_error<P: Packet>(&self, packet: &mut P) -> Verdict {
        functions::outbound_error(packet.context())
    }

    #[inline(always)]
    fn restore<P: Packet>(&self, packet: &mut P) -> Verdict {
        functions::restore(packet.context())
    }

    #[inline(always)]
    fn restore_error<P: Packet>(&self, packet: &mut P) -> Verdict {
        functions::restore_error(packet.context())
    }

    #[inline(always)]
    fn follow<P: Packet>(&self, packet: &P, key: &FlowKey, to: (ServerId, Binding), tags: Tags, ended: u32) -> u32 {
        functions::follow(packet.context(), key, to, tags, ended)
    }

    #[inline(always)]
    fn job<R>(&self, work: impl FnOnce(&mut Job) -> R) -> Option<R> {
        element(JOB.get_ptr_mut(0)).map(work)
    }

    #[inline(always)]
    fn now(&self) -> Ticks {
        // SAFETY: a volatile read of a static that the loader replaces; see `log`.
        let shift = unsafe { core::ptr::read_volatile(&raw const TICK_SHIFT) };
        // SAFETY: the helper takes nothing and returns a number.
        (unsafe { bpf_jiffies64() } >> (shift & 63)) as Ticks
    }

    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        SETTINGS.get(0)
    }

    #[inline(always)]
    fn vip_filter(&self, word: u32) -> u64 {
        VIP_FILTER.get(word).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn reply_filter(&self, word: u32) -> u64 {
        REPLY_FILTER.get(word).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey) -> Option<Self::Flow> {
        FLOWS.get_ptr_mut(key).map(MapEntry)
    }

    #[inline(always)]
    fn insert_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Full> {
        FLOWS.insert(key, flow, 0).map_err(|_| Full)
    }

    #[inline(always)]
    fn insert_new_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Refusal> {
        FLOWS.insert(key, flow, u64::from(BPF_NOEXIST)).map_err(refusal)
    }

    #[inline(always)]
    fn pending_flow(&self, key: &FlowKey) -> Option<Self::Flow> {
        PENDING_FLOWS.get_ptr_mut(key).map(MapEntry)
    }

    #[inline(always)]
    fn insert_pending_flow(&self, key: &FlowKey, flow: &Flow) {
        // An LRU map refuses only when every entry is being replaced at this moment; the flow then
        // goes by the ring until its next packet.
        let _ = PENDING_FLOWS.insert(key, flow, 0);
    }

    #[inline(always)]
    fn remove_pending_flow(&self, key: &FlowKey) {
        // It may have been pushed out meanwhile: gone either way.
        let _ = PENDING_FLOWS.remove(key);
    }

    #[inline(always)]
    fn reply(&self, key: &FlowKey) -> Option<Self::Reply> {
        REPLIES.get_ptr_mut(key).map(MapEntry)
    }

    #[inline(always)]
    fn insert_reply(&self, key: &FlowKey, reply: &Reply) -> Result<(), Refusal> {
        REPLIES.insert(key, reply, u64::from(BPF_NOEXIST)).map_err(refusal)
    }

    #[inline(always)]
    fn remove_reply(&self, key: &FlowKey) {
        // The daemon's sweep may have been faster.
        let _ = REPLIES.remove(key);
    }

    #[inline(always)]
    fn source(&self, number: u32) -> Option<&Address> {
        SOURCES.get(number)
    }

    #[inline(always)]
    fn source_ports(&self, word: u32) -> u64 {
        // All ports of a pool that does not exist are in use.
        SOURCE_PORTS.get(word).copied().unwrap_or(u64::MAX)
    }

    #[inline(always)]
    fn claim_source_port(&self, word: u32, bits: u64) -> u64 {
        let Some(word) = SOURCE_PORTS.get_ptr_mut(word) else { return u64::MAX };
        // SAFETY: a valid, aligned element of an array map; the kernel and the daemon change it
        // atomically only. As for `next_turn`, a relaxed operation would not return the old value.
        unsafe { atomic_or::<u64, u64, { AtomicOrdering::AcqRel }>(word, bits) }
    }

    #[inline(always)]
    fn service_port(&self, key: &ServicePortKey) -> Option<ServiceId> {
        // SAFETY: the value is copied at once.
        unsafe { SERVICE_PORTS.get(key) }.copied()
    }

    #[inline(always)]
    fn port_ranges(&self, key: &PortRangesKey) -> Option<&PortRanges> {
        // SAFETY: the daemon replaces whole elements; one being read stays until this run ends, and
        // if it is reused meanwhile, a port of a service that just changed is looked up wrongly once.
        unsafe { PORT_RANGES.get(key) }
    }

    #[inline(always)]
    fn service(&self, id: ServiceId) -> Option<&Service> {
        SERVICES.get(id)
    }

    #[inline(always)]
    fn server(&self, id: ServerId) -> Option<&Server> {
        SERVERS.get(id)
    }

    #[inline(always)]
    fn scheduled(&self, place: u32) -> ServerId {
        match SCHEDULE.get(place / PLACES_PER_WORD) {
            Some(word) => server_in_word(*word, place),
            None => NO_SERVER,
        }
    }

    #[inline(always)]
    fn next_turn(&self, service: ServiceId) -> u32 {
        let Some(turn) = ROTATION.get_ptr_mut(service) else { return 0 };
        // SAFETY: a valid, aligned element of an array map; all writers are atomic. LLVM compiles a
        // relaxed addition to an instruction that does not return the old value.
        unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::AcqRel }>(turn, 1) }
    }

    #[inline(always)]
    fn persistence(&self, key: &PersistenceKey) -> Option<Self::Persistence> {
        PERSISTENCE.get_ptr_mut(key).map(MapEntry)
    }

    #[inline(always)]
    fn insert_persistence(&self, key: &PersistenceKey, record: &Persistence) -> Result<(), Full> {
        PERSISTENCE.insert(key, record, 0).map_err(|_| Full)
    }

    #[inline(always)]
    fn new_client(&self, key: &PersistenceKey) -> Option<Self::Persistence> {
        NEW_CLIENTS.get_ptr_mut(key).map(MapEntry)
    }

    #[inline(always)]
    fn insert_new_client(&self, key: &PersistenceKey, record: &Persistence) {
        // As for pending flows: without a record the ring of the client decides again.
        let _ = NEW_CLIENTS.insert(key, record, 0);
    }

    #[inline(always)]
    fn remove_new_client(&self, key: &PersistenceKey) {
        let _ = NEW_CLIENTS.remove(key);
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<Fragment> {
        // SAFETY: the value is copied at once.
        unsafe { FRAGMENTS.get(key) }.copied()
    }

    #[inline(always)]
    fn insert_fragment(&self, key: &FragmentKey, fragment: &Fragment) {
        // As for pending flows; the later fragments are then counted as unknown.
        let _ = FRAGMENTS.insert(key, fragment, 0);
    }

    #[inline(always)]
    fn connections(&self, server: ServerId) -> u64 {
        let opened = OPENED.get(server).map_or(0, |opened| opened.flows);
        opened.saturating_sub(CLOSED.get(server).copied().unwrap_or(0))
    }

    #[inline(always)]
    fn count_connection(&self, server: ServerId) {
        if let Some(opened) = OPENED.get_ptr_mut(server) {
            // SAFETY: a valid, aligned element of an array map; all writers are atomic.
            unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(&raw mut (*opened).flows, 1) };
        }
    }

    #[inline(always)]
    fn full(&self, server: ServerId) -> bool {
        OPENED.get(server).is_some_and(|opened| opened.full != 0)
    }

    #[inline(always)]
    fn set_full(&self, server: ServerId, full: bool) {
        if let Some(opened) = OPENED.get_ptr_mut(server) {
            // SAFETY: a valid element; one field is written, and the last writer wins.
            unsafe { (*opened).full = u32::from(full) };
        }
    }

    #[inline(always)]
    fn admission<R>(&self, service: ServiceId, account: impl FnOnce(&mut Admission) -> R) -> Option<R> {
        element(ADMISSION.get_ptr_mut(service)).map(account)
    }

    #[inline(always)]
    fn count_server(&self, server: ServerId, bytes: u32, new_flow: bool) {
        crate::trace::server(server);
        if let Some(counters) = element(SERVER_COUNTERS.get_ptr_mut(server)) {
            counters.packets += 1;
            counters.bytes += u64::from(bytes);
            if new_flow {
                counters.flows += 1;
            }
        }
    }

    #[inline(always)]
    fn count_reply(&self, server: ServerId, bytes: u32) {
        if let Some(counters) = element(SERVER_COUNTERS.get_ptr_mut(server)) {
            counters.reply_packets += 1;
            counters.reply_bytes += u64::from(bytes);
        }
        crate::trace::server(server);
    }

    #[inline(always)]
    fn count_verdict(&self, reason: Reason, bytes: u32) {
        if let Some(counters) = element(VERDICTS.get_ptr_mut(reason as u32)) {
            counters.packets += 1;
            counters.bytes += u64::from(bytes);
        }
        #[cfg(feature = "next")]
        next::count();
    }
}

/// What the program of the feature `next` has more than the one that ships, at the end of the file,
/// where no line of the latter's debug information moves.
#[cfg(feature = "next")]
mod next {
    use aya_ebpf::btf_maps::PerCpuArray;
    use aya_ebpf::macros::btf_map;

    use super::element;

    /// Frames of whatever verdict: a table that an upgrade brings.
    #[btf_map(name = "next_frames")]
    static FRAMES: PerCpuArray<u64, 1> = PerCpuArray::new();

    #[inline(always)]
    pub(super) fn count() {
        if let Some(frames) = element(FRAMES.get_ptr_mut(0)) {
            *frames += 1;
        }
    }
}
