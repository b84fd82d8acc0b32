//! What runs out: gathered after each sweep, judged by [`lb_core::capacity`], told.

use std::time::Instant;

use lb_common::abi::ServiceId;
use lb_common::datapath::Reason;
use lb_core::capacity::{Limit, Reading, Table};
use lb_core::config::model::{Mode, VirtualService};
use lb_core::control::Roster;
use lb_core::view;
use tracing::debug;

use super::Daemon;

impl Daemon {
    /// Looks at what the last sweep found, and tells what there is to tell.
    pub(super) fn watch_capacity(&mut self) {
        let reading = self.reading();
        for happening in self.capacity.read(&reading, Instant::now()) {
            self.happened(happening);
        }
    }

    /// Who is in service, and for how long idle flows are kept by the next sweep.
    pub(super) fn sweep_roster(&self) -> Roster {
        let roster = self.control.roster();
        if self.capacity.is_pressed() { roster.pressed() } else { roster }
    }

    /// Adds what was counted for each service, and for all together.
    pub(super) fn count_services(&self, services: &mut [view::VirtualService]) {
        for service in services {
            let Some(id) = self.control.wanted().service_numbers.get(&service.name) else { continue };
            service.half_open = self.swept.counts.half_open.get(id).copied().unwrap_or(0);
            service.new_flows_beyond_limit = self.beyond_limit(*id);
        }
    }

    /// New flows beyond the limit of a service; 0: of the machine.
    pub(super) fn beyond_limit(&self, service: ServiceId) -> u64 {
        self.tables.beyond_limit(service).unwrap_or_else(|error| {
            debug!(%error, "new flows beyond a limit cannot be read");
            0
        })
    }

    fn reading(&self) -> Reading {
        let refused = self.tables.verdicts().map(|verdicts| {
            let found = verdicts.iter().find(|(reason, _)| *reason == Reason::SourcePortsExhausted);
            found.map_or(0, |(_, counters)| counters.packets)
        });
        Reading {
            tables: self.tables_that_fill_up(),
            pools: self.control.pools(&self.swept.ports),
            ports_refused: refused.unwrap_or_else(|error| {
                debug!(%error, "verdicts cannot be read");
                0
            }),
            limits: self.limits(),
        }
    }

    /// The LRU tables make room by themselves.
    fn tables_that_fill_up(&self) -> Vec<Table> {
        let translates = self.control.config().virtual_services.iter().any(translates);
        let capacities = self.tables.capacities().into_iter().zip(self.swept.entries);
        let table = |((name, capacity), entries): ((&'static str, u32), u64)| {
            let (limit, half_open, when_full) = match name {
                // Half-open flows of l4-dr wait in a table of their own.
                "flows" if translates => {
                    ("flows", true, "new ones of l4-dr are forwarded without being remembered, others are refused")
                }
                "flows" => ("flows", false, "new ones are forwarded without being remembered"),
                "persistence" => ("persistence", false, "new clients are forwarded without being remembered"),
                "replies" => ("translated_flows", true, "new flows of l4-nat and l4-snat are refused"),
                _ => return None,
            };
            Some(Table { name, limit, entries, capacity: capacity.into(), half_open, when_full })
        };
        capacities.filter_map(table).collect()
    }

    fn limits(&self) -> Vec<Limit> {
        let config = self.control.config();
        let numbers = &self.control.wanted().service_numbers;
        let of = |service: &VirtualService| {
            let number = *numbers.get(&service.name)?;
            Some(Limit {
                number,
                service: Some(service.name.clone()),
                per_second: service.new_flow_limit(&config.node.limits),
                refuses: translates(service),
                beyond: self.beyond_limit(number),
            })
        };
        let machine = Limit {
            number: 0,
            service: None,
            per_second: config.node.limits.new_flows_per_second,
            refuses: config.virtual_services.iter().any(translates),
            beyond: self.beyond_limit(0),
        };
        std::iter::once(machine).chain(config.virtual_services.iter().filter_map(of)).collect()
    }
}

fn translates(service: &VirtualService) -> bool {
    matches!(service.mode, Mode::L4Nat | Mode::L4Snat)
}
