//! Fills tables by hand, for tests of the datapath alone: rings are the servers in turn, with no
//! regard to weight. The daemon's own tables come from `lb_core::tables`.

use std::net::IpAddr;

use super::MemTables;
use crate::abi::{
    Address, PLACES_PER_WORD, PortRange, PortRangesKey, Scheduler, Server, ServerId, ServerState, Service, ServiceId,
    ServiceMode, ServicePortKey, schedule_word,
};

/// Interface on which frames of a scenario arrive, and by which its servers are reached: loopback,
/// where BPF_PROG_TEST_RUN says that frames come from.
pub const DEVICE: u32 = 1;

/// Another interface, for servers that are reached by it.
pub const OTHER_DEVICE: u32 = 2;

/// A virtual service in the making.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The VIP.
    pub vip: IpAddr,
    /// Inclusive ranges.
    pub ports: Vec<(u16, u16)>,
    /// IP protocol numbers.
    pub protocols: Vec<u8>,
    /// Its scheduler.
    pub scheduler: Scheduler,
    /// Ticks; 0: none.
    pub persistence_timeout: u32,
    /// Clients are remembered under this mask.
    pub client_mask: Address,
    /// How packets get to the real servers.
    pub mode: ServiceMode,
    /// `l4-snat`: the source address, which gets this number and the pools from it on.
    pub source: Option<(u32, IpAddr)>,
    /// Its real servers.
    pub servers: Vec<Server>,
}

impl Scenario {
    /// A service with `servers` servers of weight 1, reached by [`DEVICE`].
    #[must_use]
    pub fn new(vip: IpAddr, ports: &[(u16, u16)], protocols: &[u8], scheduler: Scheduler, servers: usize) -> Self {
        Self {
            vip,
            ports: ports.to_vec(),
            protocols: protocols.to_vec(),
            scheduler,
            persistence_timeout: 0,
            client_mask: Address::v6([0xff; 16]),
            mode: ServiceMode::DirectRouting,
            source: None,
            servers: (0..servers).map(|number| server(number, vip)).collect(),
        }
    }

    /// Rewrites the destination.
    #[must_use]
    pub fn nat(mut self) -> Self {
        self.mode = ServiceMode::Nat;
        self
    }

    /// Rewrites source and destination. The servers' pools are numbered from `number * 64` on.
    #[must_use]
    pub fn source_nat(mut self, number: u32, source: IpAddr) -> Self {
        self.mode = ServiceMode::SourceNat;
        self.source = Some((number, source));
        self
    }

    /// Remembers clients for so many ticks.
    #[must_use]
    pub fn persistent(mut self, ticks: u32) -> Self {
        self.persistence_timeout = ticks;
        self
    }

    /// Writes the service into `tables` under number `id`; its servers get numbers from
    /// `first_server` on and its places in `schedule` begin at `places`, a multiple of four.
    pub fn install(&self, tables: &mut MemTables, id: ServiceId, first_server: ServerId, places: u32) {
        assert_eq!(places % PLACES_PER_WORD, 0, "words hold four places");
        let vip = Address::from(self.vip);
        tables.add_vip(vip);
        for &protocol in &self.protocols {
            for &(first, last) in &self.ports {
                if first == last {
                    tables.service_ports.insert(ServicePortKey { vip, port: first, protocol, spare: 0 }, id);
                } else {
                    let ranges =
                        tables.port_ranges.entry(PortRangesKey { vip, protocol, spare8: 0, spare16: 0 }).or_default();
                    ranges.ranges[ranges.count as usize] = PortRange { first, last, service: id };
                    ranges.count += 1;
                }
            }
        }
        let mut ids = Vec::new();
        if let Some((number, source)) = self.source {
            tables.sources.insert(number, Address::from(source));
        }
        let source = self.source.map_or(0, |(number, _)| number);
        for ((number, index), server) in (first_server..).zip(0..).zip(&self.servers) {
            if self.mode != ServiceMode::DirectRouting {
                tables.add_translated(server.address);
            }
            let pool = source * 64 + 2 * index;
            tables.servers.insert(number, Server { service: id, mode: self.mode as u8, source, pool, ..*server });
            ids.push(number);
        }
        let size = u32::try_from(ids.len()).expect("few servers");
        for (word, four) in ids.chunks(PLACES_PER_WORD as usize).enumerate() {
            let place = |i: usize| four.get(i).copied().unwrap_or(crate::abi::NO_SERVER);
            let word = places / PLACES_PER_WORD + u32::try_from(word).expect("few words");
            tables.schedule.insert(word, schedule_word([place(0), place(1), place(2), place(3)]));
        }
        let service = Service {
            client_mask: self.client_mask,
            ring_base: places,
            ring_size: size,
            turns_base: places,
            turns_size: size,
            persistence_timeout: self.persistence_timeout,
            mode: self.mode as u8,
            scheduler: self.scheduler as u8,
            spare: 0,
            new_flows_per_tick: u32::MAX,
        };
        tables.services.insert(id, service);
    }
}

/// An active server of weight 1 with MAC addresses of its own.
fn server(index: usize, vip: IpAddr) -> Server {
    let [high, low] = u16::try_from(index).expect("few servers").to_be_bytes();
    Server {
        generation: 1,
        ifindex: DEVICE,
        destination_mac: [0x06, 0, 0, 0, high, low],
        source_mac: [0x02, 0, 0, 0, 0, 0x01],
        state: ServerState::Active as u8,
        weight: 1,
        address: match vip {
            IpAddr::V4(_) => Address::v4([10, 1, high, low]),
            IpAddr::V6(_) => {
                Address::from(IpAddr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, u16::from_be_bytes([high, low]) + 1]))
            }
        },
        ..Server::default()
    }
}
