//! Servers that leave, among random configurations and states.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::abi::{ServerId, ServerState};
use proptest::prelude::*;

use super::random::{Sample, a_sample, two_samples};
use super::safety::{every_prefix_is_safe, holds_exactly};
use crate::config::model::Config;
use crate::tables::samples::{TICK, up};
use crate::tables::{Compiler, Health, Ids, Installed, Leaver, ServerIdentity, ServerInput, TableOp, Wanted, plan};

/// The tables, and who leaves.
#[derive(Default)]
struct World {
    ids: Ids,
    compiler: Compiler,
    tables: Installed,
    wanted: Wanted,
    leavers: BTreeMap<ServerIdentity, Leaver>,
}

impl World {
    fn alive(&self, id: ServerId) -> bool {
        let entry = self.tables.servers.get(&id);
        entry.is_some_and(|entry| ServerState::from_u8(entry.state) != ServerState::Down)
    }

    /// Who leaves with this configuration: as `fates` say, those that are alive and not in it stay until they
    /// have finished, are cut, or fail.
    fn leave(&mut self, config: &Config, fates: &[u8]) {
        let named: BTreeSet<ServerIdentity> =
            config.virtual_services.iter().flat_map(crate::tables::roster::identities).collect();
        let numbers: Vec<(ServerIdentity, ServerId)> =
            self.ids.servers().map(|(identity, id)| (identity.clone(), id)).collect();
        let mut leavers = BTreeMap::new();
        for (identity, id) in numbers {
            let fate = fates[id as usize % fates.len()];
            if named.contains(&identity) || !self.alive(id) || fate == 0 {
                continue;
            }
            let health = if fate == 1 { Health::Down } else { Health::Up };
            // Its VIP is that of the time when it was configured.
            let vip = self.leavers.get(&identity).map_or(crate::tables::samples::address("192.0.2.77"), |of| of.vip);
            let next_hop = up().next_hop.filter(|_| fate != 2);
            let input = ServerInput { health, next_hop, ..up() };
            leavers.insert(identity.clone(), Leaver { identity, vip, mode: crate::config::model::Mode::L4Dr, input });
        }
        self.leavers = leavers;
    }

    fn operations(&mut self, sample: &Sample, fates: &[u8]) -> Result<Vec<TableOp>, TestCaseError> {
        let (config, states) = sample.build();
        self.leave(&config, fates);
        let leavers: Vec<Leaver> = self.leavers.values().cloned().collect();
        self.wanted = self.compiler.compile_with(&config, &states, &leavers, &mut self.ids, TICK)?;
        Ok(plan(&self.tables, &self.wanted)?)
    }

    /// Applies the first operations; all of them: the numbers are settled.
    fn apply(&mut self, operations: &[TableOp], count: usize) {
        for (at, operation) in operations.iter().take(count).enumerate() {
            let before = self.tables.clone();
            self.tables.apply(operation);
            self.leavers_keep_their_flows(&before, at);
        }
        if count >= operations.len() {
            self.ids.settle();
        }
    }

    /// After each operation: whoever leaves alive has the generation it had, and is never down.
    fn leavers_keep_their_flows(&self, before: &Installed, at: usize) {
        for (identity, leaver) in self.leavers.iter().filter(|(_, of)| of.input.health == Health::Up) {
            let id = self.wanted.leaving[identity];
            let (was, is) = (before.servers[&id], self.tables.servers[&id]);
            assert_eq!(is.generation, was.generation, "{identity:?} after operation {at}");
            assert_ne!(ServerState::from_u8(is.state), ServerState::Down, "{identity:?} after operation {at}");
            assert_eq!(is.address, was.address, "{:?}", leaver.identity);
            assert_eq!(is.service, was.service, "{identity:?}");
        }
    }

    /// When all is written: nobody who leaves is scheduled, and none of their numbers is anybody else's.
    fn leavers_are_apart(&self) {
        let scheduled: BTreeSet<ServerId> =
            self.wanted.schedules.values().flat_map(|of| of.ring.iter().chain(&of.turns).copied()).collect();
        let named: BTreeSet<ServerId> = self.wanted.server_numbers.values().copied().collect();
        assert_eq!(self.wanted.leaving.len(), self.leavers.len());
        for (identity, id) in &self.wanted.leaving {
            let state = ServerState::from_u8(self.tables.servers[id].state);
            let up = self.leavers[identity].input.health == Health::Up;
            assert_eq!(state, if up { ServerState::Draining } else { ServerState::Down });
            assert!(!scheduled.contains(id) && !named.contains(id), "{identity:?}");
            assert!(self.wanted.off_duty.contains(id), "{identity:?}");
            let service = self.tables.servers[id].service;
            assert_eq!(self.wanted.service_numbers.get(&identity.service), Some(&service));
            let others = self.wanted.service_numbers.iter().filter(|(_, id)| **id == service).count();
            assert_eq!(others, 1, "no other service has the number of {}", identity.service);
        }
    }
}

fn fates() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0..8_u8, 7)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whoever_leaves_keeps_its_flows_through_every_prefix_of_every_plan(
        (first, second) in two_samples(),
        (third, fourth) in two_samples(),
        last in a_sample(),
        fates in prop::collection::vec(fates(), 5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 5),
    ) {
        let mut world = World::default();
        let samples = [&first, &second, &third, &fourth, &last];
        for ((sample, fates), cut) in samples.into_iter().zip(&fates).zip(cuts) {
            // The daemon is stopped in the middle of a plan, and plans again.
            let operations = world.operations(sample, fates)?;
            every_prefix_is_safe(&world.tables, &world.wanted, &operations);
            world.apply(&operations, cut.index(operations.len() + 1));
            let operations = world.operations(sample, fates)?;
            every_prefix_is_safe(&world.tables, &world.wanted, &operations);
            world.apply(&operations, operations.len());
            holds_exactly(&world.tables, &world.wanted);
            world.leavers_are_apart();
        }
    }

    #[test]
    fn who_leaves_costs_an_unchanged_service_no_operation(
        (first, second) in two_samples(), fates in fates(),
    ) {
        let mut world = World::default();
        let operations = world.operations(&first, &fates)?;
        world.apply(&operations, operations.len());
        let operations = world.operations(&second, &fates)?;
        world.apply(&operations, operations.len());
        let before = world.tables.clone();

        // Those who left are gone; nothing else has changed.
        let gone: BTreeSet<ServerId> = world.wanted.leaving.values().copied().collect();
        let filter = before.filter.clone();
        for operation in world.operations(&second, &[0])? {
            match operation {
                TableOp::SetServer { id, entry } => {
                    prop_assert!(gone.contains(&id), "server {id}");
                    let alive = ServerState::from_u8(before.servers[&id].state) != ServerState::Down;
                    prop_assert_eq!(entry.generation, before.servers[&id].generation + u32::from(alive));
                }
                TableOp::SetFilter { word, bits } => {
                    prop_assert_eq!(bits & !filter[&word], 0, "bits are taken away and none is set");
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
