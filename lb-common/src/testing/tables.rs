//! Tables in memory. What the daemon writes are public maps; what the datapath writes is behind
//! cells, as it is behind pointers in the kernel.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::abi::{
    Address, Admission, DEFAULT_FLOWS, DEFAULT_PENDING_FLOWS, DEFAULT_PERSISTENCE, DEFAULT_TRANSLATED_FLOWS, Flow,
    FlowKey, Fragment, FragmentKey, MAX_FRAGMENTS, MAX_NEW_CLIENTS, Opened, PLACES_PER_WORD, Persistence,
    PersistenceKey, PortRanges, PortRangesKey, Reply, Server, ServerCounters, ServerId, Service, ServiceId,
    ServicePortKey, Settings, Ticks, VerdictCounters, filter_bit, server_in_word,
};
use crate::datapath::{Entry, Full, Job, Reason, Refusal, Tables};

/// Tables in memory, as many entries as the kernel's by default.
#[derive(Debug)]
pub struct MemTables {
    /// `settings`.
    pub settings: Settings,
    /// `vip_filter`.
    pub vip_filter: BTreeMap<u32, u64>,
    /// `reply_filter`.
    pub reply_filter: BTreeMap<u32, u64>,
    /// `sources`.
    pub sources: BTreeMap<u32, Address>,
    /// `service_ports`.
    pub service_ports: BTreeMap<ServicePortKey, ServiceId>,
    /// `port_ranges`.
    pub port_ranges: BTreeMap<PortRangesKey, PortRanges>,
    /// `services`.
    pub services: BTreeMap<ServiceId, Service>,
    /// `servers`.
    pub servers: BTreeMap<ServerId, Server>,
    /// `schedule`, by word.
    pub schedule: BTreeMap<u32, u64>,
    /// `closed`.
    pub closed: BTreeMap<ServerId, u64>,
    /// The clock.
    pub now: Cell<Ticks>,
    /// `flows`.
    pub flows: Shared<FlowKey, Flow>,
    /// `pending_flows`.
    pub pending_flows: Shared<FlowKey, Flow>,
    /// `replies`.
    pub replies: Shared<FlowKey, Reply>,
    /// `source_ports`.
    pub source_ports: RefCell<BTreeMap<u32, u64>>,
    /// `persistence`.
    pub persistence: Shared<PersistenceKey, Persistence>,
    /// `new_clients`.
    pub new_clients: Shared<PersistenceKey, Persistence>,
    /// `fragments`.
    pub fragments: Shared<FragmentKey, Fragment>,
    /// `opened`.
    pub opened: RefCell<BTreeMap<ServerId, Opened>>,
    /// `rotation`.
    pub rotation: RefCell<BTreeMap<ServiceId, u32>>,
    /// `admission`.
    pub admission: RefCell<BTreeMap<ServiceId, Admission>>,
    /// What is left to do with a packet.
    pub job: RefCell<Job>,
    /// `server_counters`.
    pub server_counters: RefCell<BTreeMap<ServerId, ServerCounters>>,
    /// `verdicts`.
    pub verdicts: RefCell<BTreeMap<Reason, VerdictCounters>>,
}

/// A table whose entries are shared with the datapath.
#[derive(Debug)]
pub struct Shared<K, V> {
    entries: RefCell<BTreeMap<K, Rc<RefCell<V>>>>,
    updates: Rc<Cell<u64>>,
    /// Most entries it holds.
    pub capacity: usize,
}

impl<K: Ord + Copy, V: Copy> Shared<K, V> {
    fn new(capacity: u32) -> Self {
        Self { entries: RefCell::default(), updates: Rc::default(), capacity: capacity as usize }
    }

    /// A copy of one entry.
    pub fn get(&self, key: &K) -> Option<V> {
        self.entries.borrow().get(key).map(|entry| *entry.borrow())
    }

    /// A copy of all entries, in the order of their keys.
    pub fn all(&self) -> Vec<(K, V)> {
        self.entries.borrow().iter().map(|(key, entry)| (*key, *entry.borrow())).collect()
    }

    /// Entries held.
    pub fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Changes one entry, if it is there.
    pub fn change(&self, key: &K, change: impl FnOnce(&mut V)) {
        if let Some(entry) = self.entries.borrow().get(key) {
            change(&mut entry.borrow_mut());
        }
    }

    /// How often the datapath has changed an entry in place.
    pub fn updates(&self) -> u64 {
        self.updates.get()
    }

    /// Forgets one entry.
    pub fn remove(&self, key: &K) {
        self.entries.borrow_mut().remove(key);
    }

    /// Forgets all entries.
    pub fn clear(&self) {
        self.entries.borrow_mut().clear();
    }

    fn entry(&self, key: &K) -> Option<MemEntry<V>> {
        self.entries
            .borrow()
            .get(key)
            .map(|entry| MemEntry { entry: Rc::clone(entry), updates: Rc::clone(&self.updates) })
    }

    fn insert_new(&self, key: &K, value: &V) -> Result<(), Refusal> {
        if self.entries.borrow().contains_key(key) {
            return Err(Refusal::Exists);
        }
        self.insert(key, value).map_err(|Full| Refusal::Full)
    }

    /// Makes an entry, or replaces the one of the same key.
    ///
    /// # Errors
    /// [`Full`], and nothing has changed.
    pub fn insert(&self, key: &K, value: &V) -> Result<(), Full> {
        let mut entries = self.entries.borrow_mut();
        if entries.len() >= self.capacity && !entries.contains_key(key) {
            return Err(Full);
        }
        entries.insert(*key, Rc::new(RefCell::new(*value)));
        Ok(())
    }

    /// As an LRU table: there is always room. Which entry goes is the kernel's affair; here it is
    /// the lowest key.
    fn insert_anyway(&self, key: &K, value: &V) {
        if self.insert(key, value).is_err() {
            self.entries.borrow_mut().pop_first();
            let _room_was_made = self.insert(key, value);
        }
    }
}

/// An entry in place.
#[derive(Debug)]
pub struct MemEntry<V> {
    entry: Rc<RefCell<V>>,
    updates: Rc<Cell<u64>>,
}

impl<V: Copy> Entry<V> for MemEntry<V> {
    fn read(&self) -> V {
        *self.entry.borrow()
    }

    fn with<R>(&self, look: impl FnOnce(&V) -> R) -> R {
        look(&self.entry.borrow())
    }

    fn update(&self, change: impl FnOnce(&mut V)) {
        self.updates.set(self.updates.get() + 1);
        change(&mut self.entry.borrow_mut());
    }
}

impl Default for MemTables {
    fn default() -> Self {
        Self {
            settings: Settings {
                new_flows_per_tick: u32::MAX,
                first_source_port: 1024,
                last_source_port: 32_767,
                ..Settings::default()
            },
            vip_filter: BTreeMap::new(),
            reply_filter: BTreeMap::new(),
            sources: BTreeMap::new(),
            service_ports: BTreeMap::new(),
            port_ranges: BTreeMap::new(),
            services: BTreeMap::new(),
            servers: BTreeMap::new(),
            schedule: BTreeMap::new(),
            closed: BTreeMap::new(),
            now: Cell::new(1000),
            flows: Shared::new(DEFAULT_FLOWS),
            pending_flows: Shared::new(DEFAULT_PENDING_FLOWS),
            replies: Shared::new(DEFAULT_TRANSLATED_FLOWS),
            source_ports: RefCell::default(),
            persistence: Shared::new(DEFAULT_PERSISTENCE),
            new_clients: Shared::new(MAX_NEW_CLIENTS),
            fragments: Shared::new(MAX_FRAGMENTS),
            opened: RefCell::default(),
            rotation: RefCell::default(),
            admission: RefCell::default(),
            job: RefCell::default(),
            server_counters: RefCell::default(),
            verdicts: RefCell::default(),
        }
    }
}

impl MemTables {
    /// Sets the filter's bit of a VIP.
    pub fn add_vip(&mut self, vip: crate::abi::Address) {
        let (word, bit) = filter_bit(&vip);
        *self.vip_filter.entry(word).or_default() |= bit;
    }

    /// Sets the filter's bit of a real server whose replies are translated.
    pub fn add_translated(&mut self, server: Address) {
        let (word, bit) = filter_bit(&server);
        *self.reply_filter.entry(word).or_default() |= bit;
    }

    /// How many frames met this end.
    pub fn verdicts_of(&self, reason: Reason) -> u64 {
        self.verdicts.borrow().get(&reason).map_or(0, |counters| counters.packets)
    }
}

impl Tables for MemTables {
    type Flow = MemEntry<Flow>;
    type Reply = MemEntry<Reply>;
    type Persistence = MemEntry<Persistence>;

    fn job<R>(&self, work: impl FnOnce(&mut Job) -> R) -> Option<R> {
        Some(work(&mut self.job.borrow_mut()))
    }

    fn now(&self) -> Ticks {
        self.now.get()
    }

    fn settings(&self) -> Option<&Settings> {
        Some(&self.settings)
    }

    fn vip_filter(&self, word: u32) -> u64 {
        self.vip_filter.get(&word).copied().unwrap_or(0)
    }

    fn reply_filter(&self, word: u32) -> u64 {
        self.reply_filter.get(&word).copied().unwrap_or(0)
    }

    fn flow(&self, key: &FlowKey) -> Option<Self::Flow> {
        self.flows.entry(key)
    }

    fn insert_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Full> {
        self.flows.insert(key, flow)
    }

    fn insert_new_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Refusal> {
        self.flows.insert_new(key, flow)
    }

    fn pending_flow(&self, key: &FlowKey) -> Option<Self::Flow> {
        self.pending_flows.entry(key)
    }

    fn insert_pending_flow(&self, key: &FlowKey, flow: &Flow) {
        self.pending_flows.insert_anyway(key, flow);
    }

    fn remove_pending_flow(&self, key: &FlowKey) {
        self.pending_flows.remove(key);
    }

    fn reply(&self, key: &FlowKey) -> Option<Self::Reply> {
        self.replies.entry(key)
    }

    fn insert_reply(&self, key: &FlowKey, reply: &Reply) -> Result<(), Refusal> {
        self.replies.insert_new(key, reply)
    }

    fn end(&self, reply: &Self::Reply, sides: u32) -> u32 {
        reply.update(|reply| reply.ended |= sides);
        reply.with(|reply| reply.ended)
    }

    fn remove_reply(&self, key: &FlowKey) {
        self.replies.remove(key);
    }

    fn source(&self, number: u32) -> Option<&Address> {
        self.sources.get(&number)
    }

    fn source_ports(&self, word: u32) -> u64 {
        self.source_ports.borrow().get(&word).copied().unwrap_or(0)
    }

    fn claim_source_port(&self, word: u32, bits: u64) -> u64 {
        let mut words = self.source_ports.borrow_mut();
        let word = words.entry(word).or_default();
        let before = *word;
        *word |= bits;
        before
    }

    fn service_port(&self, key: &ServicePortKey) -> Option<ServiceId> {
        self.service_ports.get(key).copied()
    }

    fn port_ranges(&self, key: &PortRangesKey) -> Option<&PortRanges> {
        self.port_ranges.get(key)
    }

    fn service(&self, id: ServiceId) -> Option<&Service> {
        self.services.get(&id)
    }

    fn server(&self, id: ServerId) -> Option<&Server> {
        self.servers.get(&id)
    }

    fn scheduled(&self, place: u32) -> ServerId {
        let word = self.schedule.get(&(place / PLACES_PER_WORD)).copied().unwrap_or(0);
        server_in_word(word, place)
    }

    fn next_turn(&self, service: ServiceId) -> u32 {
        let mut rotation = self.rotation.borrow_mut();
        let turn = rotation.entry(service).or_default();
        let now = *turn;
        *turn = turn.wrapping_add(1);
        now
    }

    fn persistence(&self, key: &PersistenceKey) -> Option<Self::Persistence> {
        self.persistence.entry(key)
    }

    fn insert_persistence(&self, key: &PersistenceKey, record: &Persistence) -> Result<(), Full> {
        self.persistence.insert(key, record)
    }

    fn new_client(&self, key: &PersistenceKey) -> Option<Self::Persistence> {
        self.new_clients.entry(key)
    }

    fn insert_new_client(&self, key: &PersistenceKey, record: &Persistence) {
        self.new_clients.insert_anyway(key, record);
    }

    fn remove_new_client(&self, key: &PersistenceKey) {
        self.new_clients.remove(key);
    }

    fn fragment(&self, key: &FragmentKey) -> Option<Fragment> {
        self.fragments.get(key)
    }

    fn insert_fragment(&self, key: &FragmentKey, fragment: &Fragment) {
        self.fragments.insert_anyway(key, fragment);
    }

    fn connections(&self, server: ServerId) -> u64 {
        let opened = self.opened.borrow().get(&server).map_or(0, |opened| opened.flows);
        opened.saturating_sub(self.closed.get(&server).copied().unwrap_or(0))
    }

    fn count_connection(&self, server: ServerId) {
        self.opened.borrow_mut().entry(server).or_default().flows += 1;
    }

    fn full(&self, server: ServerId) -> bool {
        self.opened.borrow().get(&server).is_some_and(|opened| opened.full != 0)
    }

    fn set_full(&self, server: ServerId, full: bool) {
        self.opened.borrow_mut().entry(server).or_default().full = u32::from(full);
    }

    fn admission<R>(&self, service: ServiceId, account: impl FnOnce(&mut Admission) -> R) -> Option<R> {
        Some(account(self.admission.borrow_mut().entry(service).or_default()))
    }

    fn count_server(&self, server: ServerId, bytes: u32, new_flow: bool) {
        let mut counters = self.server_counters.borrow_mut();
        let counters = counters.entry(server).or_default();
        counters.packets += 1;
        counters.bytes += u64::from(bytes);
        counters.flows += u64::from(new_flow);
    }

    fn count_reply(&self, server: ServerId, bytes: u32) {
        let mut counters = self.server_counters.borrow_mut();
        let counters = counters.entry(server).or_default();
        counters.reply_packets += 1;
        counters.reply_bytes += u64::from(bytes);
    }

    fn count_verdict(&self, reason: Reason, bytes: u32) {
        let mut verdicts = self.verdicts.borrow_mut();
        let counters = verdicts.entry(reason).or_default();
        counters.packets += 1;
        counters.bytes += u64::from(bytes);
    }
}
