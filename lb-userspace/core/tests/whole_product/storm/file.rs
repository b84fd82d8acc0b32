//! Random configurations, the same for the same seed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use crate::site::ip;

/// SplitMix64: the same storm for the same seed.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % limit
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn small(&mut self, limit: u8) -> u8 {
        u8::try_from(self.below(u64::from(limit))).expect("below the limit")
    }
}

pub(super) const NAMES: [&str; 3] = ["web", "log", "mail"];
pub(super) const SCHEDULERS: [&str; 4] = ["weighted-least-connection", "weighted-round-robin", "source-hash", "maglev"];
/// Machines that real servers run on.
pub(super) const MACHINES: u8 = 8;

/// A service of the file; its name says which VIP it has.
#[derive(Clone, Debug)]
pub(super) struct Service {
    scheduler: usize,
    persistence: bool,
    pub(super) cuts: bool,
    slow_start: bool,
    fallback: bool,
    /// Machine, weight and whether it is a backup, by name.
    pub(super) servers: BTreeMap<String, (u8, u16, bool)>,
}

pub(super) type File = BTreeMap<&'static str, Service>;

pub(super) fn vip(service: &str) -> String {
    let number = NAMES.iter().position(|name| *name == service).expect("one of them");
    format!("10.0.0.10{number}")
}

pub(super) fn random_service(dice: &mut Dice) -> Service {
    let mut servers = BTreeMap::new();
    for name in ["a", "b", "c", "d"] {
        if dice.chance(70) {
            let weight = [100, 100, 50, 7, 0][usize::from(dice.small(5))];
            let machine = machine(dice, &servers);
            servers.insert(name.to_owned(), (machine, weight, dice.chance(15)));
        }
    }
    let last = machine(dice, &servers);
    servers.insert("e".to_owned(), (last, 100, false));
    Service {
        scheduler: usize::from(dice.small(4)),
        persistence: dice.chance(50),
        cuts: dice.chance(20),
        slow_start: dice.chance(50),
        fallback: dice.chance(30),
        servers,
    }
}

pub(super) fn yaml(file: &File) -> String {
    let mut text = "
version: 1
node: {interfaces: [{device: eth0}]}
defaults:
  flow_timeouts: {established: 7d, udp: 7d}
  health_check: {interval: 1s, timeout: 500ms, rise: 2, fall: 2}
virtual_services:
"
    .to_owned();
    for (name, service) in file {
        let _ = write!(
            text,
            "  - name: {name}
    address: {}
    ports: [80, 8000-8010]
    protocol: tcp+udp
    mode: l4-dr
    health_check: {{type: connect, port: 9}}
    scheduler: {}
    on_removal: {}
    slow_start: {}
",
            vip(name),
            SCHEDULERS[service.scheduler],
            if service.cuts { "cut" } else { "drain" },
            if service.slow_start { "60s" } else { "0s" },
        );
        if service.persistence {
            text += "    persistence: {by: source-ip, timeout: 5m}\n";
        }
        if service.fallback {
            text += "    fallback: {address: 10.0.0.9}\n";
        }
        text += "    real_servers:\n";
        for (server, (machine, weight, backup)) in &service.servers {
            let _ = writeln!(
                text,
                "      - {{name: {server}, address: 10.0.0.{machine}, weight: {weight}, backup: {backup}}}"
            );
        }
    }
    text
}

pub(super) fn address(machine: u8) -> IpAddr {
    ip(&format!("10.0.0.{machine}"))
}

/// Which service, which name, which machine.
pub(super) type Server = (&'static str, String, u8);

/// A machine that the service does not have yet.
pub(super) fn machine(dice: &mut Dice, servers: &BTreeMap<String, (u8, u16, bool)>) -> u8 {
    loop {
        let machine = 1 + dice.small(MACHINES);
        if servers.values().all(|(of, _, _)| *of != machine) {
            return machine;
        }
    }
}
