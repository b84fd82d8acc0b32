//! What runs out: tables, source ports, limits of new flows.
//!
//! In: a [`Reading`] after each sweep, and `now`. Out: events when something begins to run out and when it
//! suffices again, the problems of this moment, and whether the next sweep is to forget half-open flows
//! early. Absent: tables, clocks, what the sweep does.

mod alarm;
mod reading;
mod sentence;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use lb_common::abi::ServiceId;

use crate::events::Happening;
use crate::view::{EventKind, Severity};
use alarm::{Bounds, Growth, Level, Turn};
pub use reading::{Limit, Pool, Reading, Table};

/// A pool of source ports is told of from here on.
const PORTS: Bounds = Bounds { from: 80, below: 70 };

/// A table is told of from here on.
const TABLE: Bounds = Bounds { from: 90, below: 80 };

/// Half-open flows are forgotten early from here on. An established flow is not helped by more room than
/// this, so there is no reason to begin sooner: early forgetting costs clients with slow answers their flow.
const PRESSURE: Bounds = Bounds { from: 90, below: 80 };

/// Events told of pools after one sweep; the others are told after the next ones.
const EVENTS: usize = 8;

/// Problems named of pools, and of limits; the others are counted.
const NAMED: usize = 8;

/// Who watches what runs out.
#[derive(Debug, Default)]
pub struct Capacity {
    tables: BTreeMap<&'static str, Level>,
    pools: BTreeMap<u32, Level>,
    limits: BTreeMap<(ServiceId, Option<String>), Growth>,
    ports_refused: Growth,
    pressure: Level,
    problems: Vec<String>,
}

impl Capacity {
    /// Takes in what was measured. What there is to tell is the answer.
    pub fn read(&mut self, reading: &Reading, now: Instant) -> Vec<Happening> {
        self.forget(reading);
        let mut told = self.tables(reading, now);
        told.extend(self.pools(reading, now));
        told.extend(self.refused(reading, now));
        told.extend(self.limits(reading, now));
        told.extend(self.pressure(reading, now));
        self.problems = self.describe(reading);
        told
    }

    /// Whether the next sweep is to forget half-open flows early, because what they hold runs out.
    #[must_use]
    pub fn is_pressed(&self) -> bool {
        self.pressure.high
    }

    /// What runs out at this moment, one sentence each.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Nothing is kept of what is there no more.
    fn forget(&mut self, reading: &Reading) {
        let pools: BTreeSet<u32> = reading.pools.iter().map(|pool| pool.number).collect();
        self.pools.retain(|number, _| pools.contains(number));
        let limits: BTreeSet<_> = reading.limits.iter().map(|limit| (limit.number, limit.service.as_deref())).collect();
        self.limits.retain(|(number, service), _| limits.contains(&(*number, service.as_deref())));
    }

    fn tables(&mut self, reading: &Reading, now: Instant) -> Vec<Happening> {
        let mut told = Vec::new();
        for table in &reading.tables {
            let level = self.tables.entry(table.name).or_default();
            level.look(table.percent(), TABLE);
            let Some(high) = level.news(now) else { continue };
            told.push(machine(high, if high { sentence::table_high(table) } else { sentence::table_low(table) }));
        }
        told
    }

    fn pools(&mut self, reading: &Reading, now: Instant) -> Vec<Happening> {
        let mut told = Vec::new();
        for pool in &fullest(&reading.pools) {
            let level = self.pools.entry(pool.number).or_default();
            level.look(pool.percent(), PORTS);
            if told.len() >= EVENTS {
                continue;
            }
            let Some(high) = level.news(now) else { continue };
            let sentence = if high { sentence::pool_high(pool) } else { sentence::pool_low(pool) };
            told.push(Happening {
                service: Some(pool.service.clone()),
                server: Some(pool.server.clone()),
                ..machine(high, sentence)
            });
        }
        told
    }

    fn refused(&mut self, reading: &Reading, now: Instant) -> Option<Happening> {
        let turn = self.ports_refused.look(reading.ports_refused, now)?;
        Some(match turn {
            Turn::Begins => machine(true, sentence::ports_refused(fullest(&reading.pools).first().copied())),
            Turn::Ends(flows) => machine(false, sentence::ports_suffice(flows)),
        })
    }

    fn limits(&mut self, reading: &Reading, now: Instant) -> Vec<Happening> {
        let mut told = Vec::new();
        for limit in &reading.limits {
            let growth = self.limits.entry((limit.number, limit.service.clone())).or_default();
            let Some(turn) = growth.look(limit.beyond, now) else { continue };
            let happening = match turn {
                Turn::Begins => machine(true, sentence::beyond_limit(limit)),
                Turn::Ends(flows) => machine(false, sentence::within_limit(limit, flows)),
            };
            told.push(Happening { service: limit.service.clone(), ..happening });
        }
        told
    }

    fn pressure(&mut self, reading: &Reading, now: Instant) -> Option<Happening> {
        self.pressure.look(most(reading), PRESSURE);
        let high = self.pressure.news(now)?;
        Some(machine(high, if high { sentence::PRESSED } else { sentence::AT_EASE }.to_owned()))
    }

    fn describe(&self, reading: &Reading) -> Vec<String> {
        let early = self.is_pressed();
        let tables = reading.tables.iter().filter(|table| table.percent() >= TABLE.from);
        let mut problems: Vec<String> =
            tables.map(|table| sentence::table_problem(table, early && table.half_open)).collect();
        let high: Vec<_> = fullest(&reading.pools).into_iter().filter(|pool| pool.percent() >= PORTS.from).collect();
        problems.extend(high.iter().take(NAMED).map(|pool| sentence::pool_problem(pool, early)));
        problems.extend(sentence::more_pools(high.len().saturating_sub(NAMED)));
        if let Some(flows) = self.ports_refused.by() {
            problems.push(sentence::ports_refused_problem(flows));
        }
        let growing = |limit: &Limit| self.limits.get(&(limit.number, limit.service.clone()))?.by();
        let limits: Vec<_> = reading.limits.iter().filter_map(|limit| Some((limit, growing(limit)?))).collect();
        problems.extend(limits.iter().take(NAMED).map(|(limit, flows)| sentence::limit_problem(limit, *flows)));
        problems.extend(sentence::more_limits(limits.len().saturating_sub(NAMED)));
        problems
    }
}

/// The fullest first; of two that are alike, that of the lower number.
fn fullest(pools: &[Pool]) -> Vec<&Pool> {
    let mut pools: Vec<_> = pools.iter().collect();
    pools.sort_by_key(|pool| (Reverse(pool.percent()), pool.number));
    pools
}

/// The highest fill of what half-open flows hold.
fn most(reading: &Reading) -> u64 {
    let tables = reading.tables.iter().filter(|table| table.half_open).map(Table::percent);
    tables.chain(reading.pools.iter().map(Pool::percent)).max().unwrap_or(0)
}

fn machine(worse: bool, sentence: String) -> Happening {
    Happening {
        kind: EventKind::Capacity,
        severity: if worse { Severity::Warning } else { Severity::Info },
        service: None,
        server: None,
        by: None,
        sentence,
    }
}
