//! A site in virtual time: control, the network it asks about, the real servers it checks, and a
//! kernel that takes what is planned. The loop is the daemon's. Absent: everything real.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lb::config::diagnostic::render;
use super::lb::config::model::{Config, HealthCheck};
use super::lb::config::{self, Source};
use super::lb::control::{Action, Control, Counts, Memories, Notice, OrderError, Ordered, Past, Refusal};
use super::lb::health::{Failure, Outcome, TargetId};
use super::lb::neighbour::{self, Input, Link, NeighbourState, RouteAnswer, RouteError};
use super::lb::tables::{Ids, ServerKey, TableOp};
use super::lb::view::Order;

/// Kernel index of the one interface.
pub(super) const DEVICE: u32 = 7;
/// Its MAC address.
pub(super) const DEVICE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
/// Length of the datapath's tick.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// Who gives the orders, and when.
pub(super) const ANNA: &str = "anna";
pub(super) const AT: u64 = 1_700_000_000;

/// How a real server answers its checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Good,
    Refused,
    /// Not at all.
    Silent,
}

/// How an address is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// On the segment, with the MAC address that [`mac`] gives.
    OnLink,
    /// On the segment with another MAC address.
    Mac([u8; 6]),
    /// On the segment, but nobody answers there.
    Nobody,
    Gateway(IpAddr),
    NoRoute,
}

/// A probe that was started.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) id: TargetId,
    pub(super) address: IpAddr,
    pub(super) check: Arc<HealthCheck>,
    pub(super) subject: Option<(IpAddr, u16)>,
}

pub(super) struct Site {
    pub(super) control: Control,
    pub(super) now: Instant,
    begin: Instant,
    /// What was written, plan by plan.
    pub(super) plans: Vec<Vec<TableOp>>,
    pub(super) notices: Vec<Notice>,
    /// Addresses that were probed, and those whose route was asked.
    pub(super) probed: BTreeSet<IpAddr>,
    pub(super) routed: BTreeSet<IpAddr>,
    /// Every probe, and the targets of those that were cancelled.
    pub(super) asked: Vec<Asked>,
    pub(super) cancelled: Vec<TargetId>,
    /// What the daemon has written down of the real servers' health, and when.
    remembered: (Instant, Memories),
    /// How many writes the kernel takes before it refuses; `None`: all.
    pub(super) writes_left: Option<usize>,
    answers: BTreeMap<IpAddr, Answer>,
    ways: BTreeMap<IpAddr, Way>,
}

impl Site {
    /// On empty tables, after the first checks.
    pub(super) fn new(yaml: &str) -> Self {
        let mut site = Self::before_start(yaml);
        site.start();
        site.run(Duration::from_secs(2));
        site
    }

    /// On empty tables; nothing has happened yet.
    pub(super) fn before_start(yaml: &str) -> Self {
        #[allow(clippy::disallowed_methods, reason = "every instant of the test is counted from this one")]
        let begin = Instant::now();
        Self {
            control: control(yaml, Past::default(), begin),
            now: begin,
            begin,
            plans: Vec::new(),
            notices: Vec::new(),
            probed: BTreeSet::new(),
            routed: BTreeSet::new(),
            asked: Vec::new(),
            cancelled: Vec::new(),
            remembered: (begin, Memories::new()),
            writes_left: None,
            answers: BTreeMap::new(),
            ways: BTreeMap::new(),
        }
    }

    /// The kernel says which links there are, and everything begins.
    pub(super) fn start(&mut self) {
        self.write_plan();
        self.tell(Input::Resync(vec![link(true)]));
    }

    /// The daemon dies, and another one goes on with its tables and orders. `named`: the numbers' names
    /// were kept. Nothing has happened yet in the new one, and it knows nothing of anybody's health.
    pub(super) fn restart(&mut self, yaml: &str, named: bool) {
        self.remembered.1.clear();
        self.restart_with_memory(yaml, named);
    }

    /// The same, but what was written down of the real servers' health is read again.
    pub(super) fn restart_with_memory(&mut self, yaml: &str, named: bool) {
        let installed = self.control.installed().clone();
        let ids = self.control.ids();
        let services = ids.services().filter(|_| named).map(|(name, id)| (name.to_owned(), id)).collect();
        let servers = ids.servers().filter(|_| named).map(|(identity, id)| (identity.clone(), id)).collect();
        let ids = Ids::adopt_tables(&installed, &services, &servers).expect("the tables are in order");
        let orders = self.control.orders();
        let (then, mut health) = self.remembered.clone();
        for memory in health.values_mut() {
            memory.since += self.now - then;
            memory.last_good = memory.last_good.map(|ago| ago + (self.now - then));
        }
        self.control = control(yaml, Past { installed, ids, orders, health }, self.now);
        self.plans.clear();
        self.notices.clear();
    }

    /// Puts another configuration in force.
    pub(super) fn reload(&mut self, yaml: &str) {
        self.try_reload(load(yaml)).expect("the configuration can be carried out");
    }

    pub(super) fn try_reload(&mut self, config: Config) -> Result<(), Refusal> {
        self.control.configure(config, self.now)?;
        self.act();
        Ok(())
    }

    /// An administrator orders.
    pub(super) fn try_order(&mut self, service: &str, server: &str, order: Order) -> Result<Ordered, OrderError> {
        let key = ServerKey { service: service.to_owned(), server: server.to_owned() };
        let came_to = self.control.order(&key, order, ANNA, AT, self.now);
        self.act();
        came_to
    }

    /// An administrator orders what can be carried out.
    pub(super) fn order(&mut self, service: &str, server: &str, order: Order) -> Ordered {
        self.try_order(service, server, order).expect("there is such a server")
    }

    /// A walk over the flows and clients, from `from` until now, has found so many of these numbers.
    pub(super) fn counted(&mut self, connections: &[(u32, u64)], clients: &[(u32, u64)], from: Instant) {
        let map = |counts: &[(u32, u64)]| counts.iter().copied().collect::<BTreeMap<u32, u64>>();
        let counts = Counts { connections: map(connections), clients: map(clients), ..Counts::default() };
        self.control.counted(&counts, from, self.now);
        self.act();
    }

    /// From now on the checks of this address are answered so.
    pub(super) fn answer(&mut self, address: &str, answer: Answer) {
        self.answers.insert(ip(address), answer);
    }

    /// From now on the address is reached so; the kernel says that something has changed.
    pub(super) fn lead(&mut self, address: &str, way: Way) {
        self.ways.insert(ip(address), way);
        self.tell(Input::RoutesChanged);
        let entry = self.neighbour(ip(address));
        self.tell(entry);
        self.run(Duration::from_secs(3));
    }

    pub(super) fn tell(&mut self, input: Input) {
        self.control.neighbour(input, self.now);
        self.act();
    }

    /// Lets time pass, doing what is due when it is due.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.act();
        while let Some(due) = self.control.next_deadline().filter(|due| *due <= end) {
            assert!(due >= self.now, "a deadline that has passed would be met again and again");
            self.now = due;
            self.control.handle_timeout(due);
            self.act();
        }
        self.now = end;
    }

    /// Time since the site began.
    pub(super) fn age(&self) -> Duration {
        self.now - self.begin
    }

    fn act(&mut self) {
        loop {
            while let Some(action) = self.control.poll_action() {
                self.perform(action);
            }
            self.write_plan();
            if self.control.has_news() {
                self.remembered = (self.now, self.control.remember(self.now));
            }
            let Some(action) = self.control.poll_action() else { return };
            self.perform(action);
        }
    }

    /// Writes the plan, or the part of it that the kernel takes.
    fn write_plan(&mut self) {
        let plan = self.control.plan().expect("there is a plan");
        if plan.is_empty() {
            return;
        }
        let takes = self.writes_left.map_or(plan.len(), |left| left.min(plan.len()));
        for operation in &plan[..takes] {
            self.control.applied(operation);
        }
        if let Some(left) = &mut self.writes_left {
            *left -= takes;
        }
        if takes == plan.len() {
            self.control.settled();
        }
        self.plans.push(plan[..takes].to_vec());
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Probe { id, generation, address, check, subject } => {
                self.asked.push(Asked { id, address, check, subject });
                self.probe(id, generation, address);
            }
            Action::Cancel { id, .. } => self.cancelled.push(id),
            Action::Notice(notice) => self.notices.push(notice),
            Action::Ask(neighbour::Action::AskRoute(destination)) => {
                self.routed.insert(destination);
                let result = self.route(destination);
                self.control.neighbour(Input::Route { destination, result }, self.now);
            }
            Action::Ask(neighbour::Action::AskNeighbour { address, .. }) => {
                let entry = self.neighbour(address);
                self.control.neighbour(entry, self.now);
            }
            Action::Ask(neighbour::Action::Solicit { address, .. }) => {
                if !matches!(self.way(address), Way::Nobody) {
                    let entry = self.neighbour(address);
                    self.control.neighbour(entry, self.now);
                }
            }
            Action::Ask(other) => panic!("{other:?} is no question"),
        }
    }

    fn probe(&mut self, id: TargetId, generation: u32, address: IpAddr) {
        self.probed.insert(address);
        let outcome = match self.answers.get(&address).copied().unwrap_or(Answer::Good) {
            Answer::Good => Outcome::Success { latency: Duration::from_millis(1) },
            Answer::Refused => Outcome::Failure(Failure::Refused),
            Answer::Silent => return,
        };
        self.control.probed(id, generation, outcome, self.now);
    }

    fn way(&self, address: IpAddr) -> Way {
        self.ways.get(&address).copied().unwrap_or(Way::OnLink)
    }

    fn route(&self, destination: IpAddr) -> Result<RouteAnswer, RouteError> {
        let gateway = match self.way(destination) {
            Way::NoRoute => return Err(RouteError::NoRoute),
            Way::Gateway(gateway) => Some(gateway),
            Way::OnLink | Way::Mac(_) | Way::Nobody => None,
        };
        Ok(RouteAnswer { ifindex: DEVICE, gateway, source: None })
    }

    fn neighbour(&self, address: IpAddr) -> Input {
        let (mac, state) = match self.way(address) {
            Way::Nobody => (None, NeighbourState::Failed),
            Way::Mac(mac) => (Some(mac), NeighbourState::Reachable),
            Way::OnLink | Way::Gateway(_) | Way::NoRoute => (Some(mac(address)), NeighbourState::Reachable),
        };
        Input::Neighbour { ifindex: DEVICE, address, mac, state }
    }
}

/// The interface.
pub(super) fn link(up: bool) -> Link {
    Link { ifindex: DEVICE, device: "eth0".to_owned(), mac: Some(DEVICE_MAC), up, vlan: None }
}

/// The MAC address of the machine with this address.
pub(super) fn mac(address: IpAddr) -> [u8; 6] {
    let [a, b, c, d] = match address {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(v6) => std::array::from_fn(|i| v6.octets()[12 + i]),
    };
    [6, u8::from(address.is_ipv6()), a, b, c, d]
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is no address"))
}

/// The configuration of a text without mistakes.
pub(super) fn load(yaml: &str) -> Config {
    let source = Source { path: "lb.yaml".to_owned(), text: yaml.to_owned() };
    match config::load(&[source], &|_| None) {
        Ok(loaded) => loaded.config,
        Err(diagnostics) => panic!("{}", diagnostics.iter().map(render).collect::<String>()),
    }
}

fn control(yaml: &str, past: Past, now: Instant) -> Control {
    Control::new(load(yaml), past, TICK, 1, now).expect("the configuration can be carried out")
}
