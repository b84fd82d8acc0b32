//! Everything at once, for an hour: reloads, orders, failures and restarts, while clients talk.
//!
//! What must hold: a flow of a server that was up all the time, online or drained, and configured or
//! leaving, never changes its server. Who leaves is followed by what happened to it, not by what control
//! says of it, so that one that goes too early is found.

mod file;

use std::collections::{BTreeMap, BTreeSet};

use lb_common::datapath::Kind;
use lb_core::tables::{consistent, plan};
use lb_core::view::{Order, ServerState};

use super::product::{Product, Talk};
use super::site::Answer;
use file::{Dice, File, MACHINES, NAMES, Server, address, machine, random_service, vip, yaml};

struct Storm {
    product: Product,
    dice: Dice,
    file: File,
    /// Machines that answer their checks badly.
    sick: BTreeSet<u8>,
    /// Who has which established flow.
    flows: BTreeMap<Talk, Server>,
    /// Of the configuration no more, and not cut.
    leaving: BTreeSet<Server>,
    kept: u64,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let file: File = NAMES.into_iter().map(|name| (name, random_service(&mut dice))).collect();
        let product = Product::new(&yaml(&file));
        Self { product, dice, file, sick: BTreeSet::new(), flows: BTreeMap::new(), leaving: BTreeSet::new(), kept: 0 }
    }

    fn step(&mut self) {
        match self.dice.below(20) {
            0..=2 => self.reload(),
            3..=5 => self.order(),
            6..=8 => self.check(),
            9 => self.restart(),
            10..=14 => self.wait(),
            _ => self.talk(),
        }
        self.tables_are_in_order();
        self.flows_stay();
    }

    fn configured(&self, (service, server, machine): &Server) -> bool {
        let entry = self.file.get(service).and_then(|of| of.servers.get(server));
        entry.is_some_and(|(of, _, _)| of == machine)
    }

    /// Flows of this server may be anywhere from now on.
    fn cut(&mut self, which: impl Fn(&Server) -> bool) {
        self.flows.retain(|_, server| !which(server));
        self.leaving.retain(|server| !which(server));
    }

    fn reload(&mut self) {
        let before = self.file.clone();
        for name in NAMES {
            match self.dice.below(5) {
                0 => {
                    self.file.remove(name);
                }
                1 => {
                    let service = random_service(&mut self.dice);
                    self.file.insert(name, service);
                }
                2 => self.change_one(name),
                _ => {}
            }
        }
        if self.file.is_empty() {
            self.file = before.clone();
        }
        self.follow_removals(&before);
        let yaml = yaml(&self.file);
        self.product.site.reload(&yaml);
        self.product.write();
    }

    fn change_one(&mut self, name: &'static str) {
        let weight = [100, 30, 0][usize::from(self.dice.small(3))];
        let Some(service) = self.file.get_mut(name) else { return };
        let keys: Vec<String> = service.servers.keys().cloned().collect();
        let key = &keys[usize::try_from(self.dice.below(keys.len() as u64)).expect("few")];
        if self.dice.chance(50) && keys.len() > 1 {
            service.servers.remove(key);
        } else {
            let machine = machine(&mut self.dice, &service.servers);
            service.servers.insert(key.clone(), (machine, weight, false));
        }
    }

    /// Who the new file does not name leaves, or is cut.
    fn follow_removals(&mut self, before: &File) {
        for (name, service) in before {
            let policy = self.file.get(name).unwrap_or(service).cuts;
            for (server, (machine, _, _)) in &service.servers {
                let server: Server = (name, server.clone(), *machine);
                if self.configured(&server) {
                    continue;
                }
                // Control may have seen one failure already, or will see them soon.
                if policy || self.sick.contains(machine) {
                    self.cut(|of| *of == server);
                } else {
                    self.leaving.insert(server);
                }
            }
        }
        let file = self.file.clone();
        self.leaving.retain(|(service, server, machine)| {
            let entry = file.get(service).and_then(|of| of.servers.get(server));
            entry.is_none_or(|(of, _, _)| of != machine)
        });
    }

    fn order(&mut self) {
        let name = NAMES[usize::from(self.dice.small(3))];
        let server = ["a", "b", "c", "d", "e"][usize::from(self.dice.small(5))];
        let order = match self.dice.below(6) {
            0 | 1 => Order::Drain,
            2 => Order::Halt,
            3 | 4 => Order::Online,
            _ => Order::Weight { weight: [None, Some(0), Some(80)][usize::from(self.dice.small(3))] },
        };
        let carried_out = self.product.site.try_order(name, server, order).is_ok();
        self.product.write();
        if !carried_out || order != Order::Halt {
            return;
        }
        let machine = self.file.get(name).and_then(|of| of.servers.get(server)).map(|(machine, _, _)| *machine);
        // An order is about the server of the configuration while there is one.
        self.cut(|of| of.0 == name && of.1 == server && machine.is_none_or(|machine| of.2 == machine));
    }

    fn check(&mut self) {
        let machine = 1 + self.dice.small(MACHINES);
        let address = format!("10.0.0.{machine}");
        if self.sick.remove(&machine) {
            self.product.site.answer(&address, Answer::Good);
        } else if self.sick.len() < 3 {
            self.sick.insert(machine);
            let how = if self.dice.chance(50) { Answer::Refused } else { Answer::Silent };
            self.product.site.answer(&address, how);
            // When exactly control notices is its own business.
            let leaving = self.leaving.clone();
            self.cut(|of| of.2 == machine && leaving.contains(of));
        }
    }

    fn restart(&mut self) {
        let text = yaml(&self.file);
        if self.dice.chance(70) {
            self.product.site.restart_with_memory(&text, true);
        } else {
            self.product.site.restart(&text, true);
        }
        self.product.site.start();
        self.product.write();
        // Their services are gone, or want nobody drained: nobody knows them any more.
        let file = self.file.clone();
        self.cut(|of| {
            file.get(of.0).is_none_or(|service| service.cuts) && {
                let entry = file.get(of.0).and_then(|service| service.servers.get(&of.1));
                entry.is_none_or(|(machine, _, _)| *machine != of.2)
            }
        });
        self.seconds(1);
    }

    fn wait(&mut self) {
        let seconds = if self.dice.chance(80) { 1 + self.dice.below(5) } else { 30 + self.dice.below(400) };
        self.seconds(seconds);
    }

    /// Second by second, for a server may go down and come back within.
    fn seconds(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.product.wait(1);
            self.forget_who_is_down();
        }
    }

    fn forget_who_is_down(&mut self) {
        let names: Vec<&'static str> = self.file.keys().copied().collect();
        for name in names {
            let rows = self.product.status(name).real_servers;
            let down = |row: &&lb_core::view::RealServer| {
                !row.leaving && !matches!(row.state, ServerState::Up | ServerState::Draining)
            };
            let down: BTreeSet<String> = rows.iter().filter(down).map(|row| row.name.clone()).collect();
            let file = self.file.clone();
            self.cut(|of| {
                of.0 == name && down.contains(&of.1) && file[name].servers.get(&of.1).map(|s| s.0) == Some(of.2)
            });
        }
    }

    /// Clients open flows, and end some.
    fn talk(&mut self) {
        for _ in 0..20 {
            let name = NAMES[usize::from(self.dice.small(3))];
            let client = format!("198.51.100.{}", 1 + self.dice.small(200));
            let port = 20_000 + u16::from(self.dice.small(4));
            let talk = if self.dice.chance(50) {
                Talk::tcp(&client, port, &vip(name), 80)
            } else {
                Talk::udp(&client, port, &vip(name), 8005)
            };
            if self.flows.contains_key(&talk) {
                if self.dice.chance(30) {
                    self.flows.remove(&talk);
                    self.product.close(talk);
                }
                continue;
            }
            self.open(name, talk);
        }
    }

    fn open(&mut self, name: &'static str, talk: Talk) {
        // An old flow of these ports may still be there; then this goes on with it.
        let first = self.product.knock(talk);
        let second = self.product.more(talk);
        if second.reason.kind() != Kind::Forward || first.server.is_none() {
            return;
        }
        let Some(server) = second.server else { return };
        let third = self.product.more(talk);
        assert_eq!(third.server.as_ref(), Some(&server), "{talk:?}");
        let Some(of) = self.product.holder(talk) else { return };
        let entry = self.file.get(name).and_then(|of| of.servers.get(&server));
        if let Some((machine, _, _)) = entry
            && (&of.service[..], &of.server, of.address) == (name, &server, address(*machine))
        {
            self.flows.insert(talk, (name, server, *machine));
        }
    }

    fn tables_are_in_order(&self) {
        let control = &self.product.site.control;
        assert_eq!(consistent(control.installed()), Ok(()));
        assert_eq!(plan(control.installed(), control.wanted()), Ok(Vec::new()), "the kernel has what is wanted");
        let leaving = &control.wanted().leaving;
        for id in leaving.values() {
            let entry = control.installed().servers[id];
            assert!(!lb_core::tables::schedulable(&entry));
        }
    }

    fn flows_stay(&mut self) {
        for (talk, server) in &self.flows {
            let sent = self.product.more(*talk);
            let holder = self.product.holder(*talk);
            let is = holder.as_ref().map(|of| (&of.service[..], &of.server, of.address));
            assert!(
                sent.server.is_some() && is == Some((server.0, &server.1, address(server.2))),
                "{talk:?} was with {server:?} and is with {holder:?} ({sent:?}) after {:?}",
                self.product.site.age()
            );
            self.kept += 1;
        }
    }

    /// When all flows have ended, nothing is left of who was removed.
    fn calm(mut self) -> u64 {
        for machine in 1..=MACHINES {
            self.product.site.answer(&format!("10.0.0.{machine}"), Answer::Good);
        }
        self.flows.clear();
        self.product.tables.flows.clear();
        self.product.tables.pending_flows.clear();
        self.product.wait(5);
        let control = &self.product.site.control;
        assert!(control.wanted().leaving.is_empty(), "{:?}", control.wanted().leaving);
        assert_eq!(control.leaving_vips().count(), 0);
        assert_eq!(control.wanted().service_numbers.len(), self.file.len());
        let bits: u32 = control.installed().filter.values().map(|bits| bits.count_ones()).sum();
        assert_eq!(bits, u32::try_from(self.file.len()).expect("three"));
        self.kept
    }
}

#[test]
fn no_flow_of_a_server_that_serves_moves_in_a_storm() {
    for seed in 0..3 {
        let mut storm = Storm::new(seed);
        while storm.product.site.age().as_secs() < 3600 {
            storm.step();
        }
        let kept = storm.calm();
        assert!(kept > 5_000, "seed {seed}: only {kept} packets were looked at");
    }
}
