//! From the configuration and the state of each real server to the content of the kernel tables.
//!
//! In: [`Config`], [`ServerInput`]s, the numbers in use. Out: [`Wanted`]. Absent: services of
//! layer 7, which a proxy serves, and where a schedule is placed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lb_common::abi::{
    self, ABI_VERSION, Address, MAX_PORT_RANGES, MAX_SERVICE_PORTS, PLACES_PER_WORD, SCHEDULE_PLACES, ServerId,
    Service, ServiceMode, Settings,
};
use thiserror::Error;

use super::expiry::ticks;
use super::ids::{Ids, IdsError};
use super::leaver::{self, Leaver};
use super::ports::{Ports, ports};
use super::roster::{FALLBACK, Roster, identities};
use super::translation::{POOLS_PER_KEY, expect_replies, service_mode};
use super::wanted::{Schedule, ServerInput, ServerKey, Wanted};
use crate::config::model::{Config, Fallback, Persistence, PersistenceBy, Scheduler, VirtualService};
use crate::schedule::Member;
use crate::schedule::ring::{ring, ring_size};
use crate::schedule::turns::{each_once, weighted_turns};

/// Why a configuration does not fit into the kernel tables.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CompileError {
    /// Too many services or servers.
    #[error(transparent)]
    Ids(#[from] IdsError),
    /// Too many ranges on one VIP.
    #[error(
        "{vip} has {ranges} port ranges for {protocol} over all its virtual services, and there can be {max}; \
         join ranges, or list ports one by one",
        max = MAX_PORT_RANGES
    )]
    TooManyRanges {
        /// The VIP.
        vip: IpAddr,
        /// "TCP" or "UDP".
        protocol: &'static str,
        /// How many there are.
        ranges: usize,
    },
    /// Too many single ports, or too many VIPs with ranges.
    #[error("there are {count} {things} over all virtual services, and there can be {max}; write them as ranges",
        max = MAX_SERVICE_PORTS)]
    TooManyPorts {
        /// "single ports" or "VIPs with port ranges".
        things: &'static str,
        /// How many there are.
        count: usize,
    },
    /// Two services want the same port.
    #[error("port {port} of {vip} is used twice; give it to one virtual service only")]
    PortTaken {
        /// The VIP.
        vip: IpAddr,
        /// The port.
        port: u16,
    },
    /// A real server has the name that the fallback server gets.
    #[error(
        "virtual service {service}: a real server cannot be called \"{name}\" beside a fallback server; \
         give it another name",
        name = FALLBACK
    )]
    FallbackName {
        /// The service.
        service: String,
    },
    /// The schedules do not fit.
    #[error(
        "the schedules of all virtual services need {places} places, and there are {max}; \
         use fewer real servers, or weights with a common divisor (100 and 50 rather than 101 and 50)",
        max = MAX_PLACES
    )]
    TooManyPlaces {
        /// How many are needed.
        places: u32,
    },
}

/// Half of the table, because a new schedule is written beside the old one.
const MAX_PLACES: u32 = SCHEDULE_PLACES / 2;

/// Compiles configurations, and keeps the schedules: what has not changed costs nothing.
#[derive(Clone, Debug, Default)]
pub struct Compiler {
    schedules: BTreeMap<String, (Inputs, Arc<Schedule>)>,
    computed: u64,
}

/// All that a schedule depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Inputs {
    scheduler: Scheduler,
    ring_size: u32,
    members: Vec<Member>,
}

/// Compiles once, without a memory; see [`Compiler::compile`].
///
/// # Errors
///
/// See [`Compiler::compile`].
pub fn compile(
    config: &Config,
    states: &BTreeMap<ServerKey, ServerInput>,
    ids: &mut Ids,
    tick: Duration,
) -> Result<Wanted, CompileError> {
    Compiler::default().compile(config, states, ids, tick)
}

impl Compiler {
    /// [`Self::compile_with`] nobody who leaves.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn compile(
        &mut self,
        config: &Config,
        states: &BTreeMap<ServerKey, ServerInput>,
        ids: &mut Ids,
        tick: Duration,
    ) -> Result<Wanted, CompileError> {
        self.compile_with(config, states, &[], ids, tick)
    }

    /// What the kernel tables should hold for the layer 4 services of this configuration. A server
    /// without an input is not yet checked, so it is down. `tick` is the length of one tick of the
    /// datapath's clock. The leavers are none of the configuration's servers.
    ///
    /// # Errors
    ///
    /// The configuration does not fit; then `ids` is as it was.
    pub fn compile_with(
        &mut self,
        config: &Config,
        states: &BTreeMap<ServerKey, ServerInput>,
        leavers: &[Leaver],
        ids: &mut Ids,
        tick: Duration,
    ) -> Result<Wanted, CompileError> {
        let mut numbers = ids.clone();
        let forwarded = |service: &&VirtualService| service_mode(service.mode).is_some();
        let services: Vec<&VirtualService> = config.virtual_services.iter().filter(forwarded).collect();
        let names: BTreeSet<&str> = services.iter().map(|service| service.name.as_str()).collect();
        let leaving = leavers.iter().map(|leaver| &leaver.identity);
        let kept: BTreeSet<&str> =
            leaving.clone().map(|identity| identity.service.as_str()).chain(names.clone()).collect();
        let identities = services.iter().copied().flat_map(identities);
        numbers.keep(&kept, &identities.chain(leaving.cloned()).collect());

        let numbered: Vec<_> = services
            .into_iter()
            .map(|service| Ok((numbers.service(&service.name)?, service)))
            .collect::<Result<_, CompileError>>()?;
        let Ports { filter, service_ports, port_ranges } = ports(&numbered)?;
        let settings = settings(config, tick);
        let mut wanted = Wanted { settings, filter, service_ports, port_ranges, ..Wanted::default() };
        for (id, service) in numbered {
            nobody_is_called_fallback(service)?;
            let roster = Roster::new(id, service, states, &mut numbers)?;
            let (members, off_duty) = roster.on_and_off_duty();
            let schedule = self.schedule(service, members);
            wanted.off_duty.extend(off_duty);
            wanted.services.insert(id, entry(service, &schedule, config, tick));
            wanted.schedules.insert(id, schedule);
            wanted.service_numbers.insert(service.name.clone(), id);
            for (key, server, entry) in roster.into_entries() {
                expect_replies(&entry, &mut wanted.reply_filter);
                wanted.servers.insert(server, entry);
                wanted.server_numbers.insert(key, server);
            }
        }
        leaver::add(&mut wanted, leavers, &mut numbers)?;
        let in_use = |number: fn(&abi::Server) -> u32| wanted.servers.values().map(number).collect();
        numbers.keep_sources(&in_use(|server| server.source), &in_use(|server| server.pool / POOLS_PER_KEY));
        wanted.sources = numbers.sources().collect();
        for (id, generation) in numbers.retired() {
            wanted.servers.insert(id, abi::Server { generation, ..abi::Server::default() });
        }
        the_schedules_fit(&wanted)?;
        self.schedules.retain(|name, _| names.contains(name.as_str()));
        *ids = numbers;
        Ok(wanted)
    }

    /// How many schedules have been computed rather than remembered.
    #[must_use]
    pub fn computed(&self) -> u64 {
        self.computed
    }

    fn schedule(&mut self, service: &VirtualService, members: Vec<Member>) -> Arc<Schedule> {
        let inputs = Inputs { scheduler: service.scheduler, ring_size: ring_size(service.real_servers.len()), members };
        if let Some((of, schedule)) = self.schedules.get(&service.name)
            && *of == inputs
        {
            return Arc::clone(schedule);
        }
        let schedule = Arc::new(schedule(&inputs));
        self.computed += 1;
        self.schedules.insert(service.name.clone(), (inputs, Arc::clone(&schedule)));
        schedule
    }
}

/// Every service has a ring, because flows that are not recorded go by it.
fn schedule(inputs: &Inputs) -> Schedule {
    let turns: Vec<ServerId> = match inputs.scheduler {
        Scheduler::WeightedLeastConnection => each_once(&inputs.members),
        Scheduler::WeightedRoundRobin => weighted_turns(&inputs.members),
        Scheduler::SourceHash | Scheduler::Maglev => Vec::new(),
    };
    Schedule { ring: ring(&inputs.members, inputs.ring_size), turns }
}

fn entry(service: &VirtualService, schedule: &Schedule, config: &Config, tick: Duration) -> Service {
    let limit = service.new_flow_limit(&config.node.limits);
    let persistence = service.persistence.as_ref().filter(|p| p.by == PersistenceBy::SourceIp);
    Service {
        client_mask: client_mask(service.address, persistence),
        ring_size: places(&schedule.ring),
        turns_size: places(&schedule.turns),
        persistence_timeout: persistence.map_or(0, |p| ticks(p.timeout, tick)),
        mode: service_mode(service.mode).unwrap_or(ServiceMode::None) as u8,
        new_flows_per_tick: per_tick(limit, tick),
        scheduler: scheduler(service.scheduler) as u8,
        ..Service::default()
    }
}

fn scheduler(scheduler: Scheduler) -> abi::Scheduler {
    match scheduler {
        Scheduler::WeightedLeastConnection => abi::Scheduler::WeightedLeastConnection,
        Scheduler::WeightedRoundRobin => abi::Scheduler::WeightedRoundRobin,
        Scheduler::SourceHash => abi::Scheduler::SourceHash,
        Scheduler::Maglev => abi::Scheduler::Maglev,
    }
}

/// Without persistence every client is its own. An IPv4 client keeps the whole `::ffff:0:0/96`, so
/// that its network is never mistaken for an IPv6 one.
fn client_mask(vip: IpAddr, persistence: Option<&Persistence>) -> Address {
    let bits = match (persistence, vip) {
        (None, _) => 128,
        (Some(p), IpAddr::V4(_)) => 96 + u32::from(p.prefix_v4.min(32)),
        (Some(p), IpAddr::V6(_)) => u32::from(p.prefix_v6.min(128)),
    };
    Address::v6(u128::MAX.checked_shl(128 - bits).unwrap_or(0).to_be_bytes())
}

fn settings(config: &Config, tick: Duration) -> Settings {
    let tick_ns = u64::try_from(tick.as_nanos()).unwrap_or(u64::MAX).max(1);
    Settings {
        abi_version: ABI_VERSION,
        new_flows_per_tick: per_tick(config.node.limits.new_flows_per_second, tick),
        tick_ns,
        first_source_port: config.node.source_ports.first,
        last_source_port: config.node.source_ports.last,
        spare: 0,
    }
}

/// A rate, rounded up.
fn per_tick(per_second: u32, tick: Duration) -> u32 {
    let flows = u128::from(per_second) * tick.as_nanos();
    u32::try_from(flows.div_ceil(1_000_000_000)).unwrap_or(u32::MAX)
}

fn nobody_is_called_fallback(service: &VirtualService) -> Result<(), CompileError> {
    let has_fallback = matches!(service.fallback, Some(Fallback::Server { .. }));
    if has_fallback && service.real_servers.iter().any(|real| real.name == FALLBACK) {
        return Err(CompileError::FallbackName { service: service.name.clone() });
    }
    Ok(())
}

fn the_schedules_fit(wanted: &Wanted) -> Result<(), CompileError> {
    let whole_words = |places: u32| places.next_multiple_of(PLACES_PER_WORD);
    let places = wanted.services.values().map(|s| whole_words(s.ring_size) + whole_words(s.turns_size)).sum();
    if places > MAX_PLACES {
        return Err(CompileError::TooManyPlaces { places });
    }
    Ok(())
}

fn places(list: &[ServerId]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
