//! The machine against a made-up kernel that changes at random.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::*;
use super::start;

const ADDRESSES: u8 = 6;
const LINKS: u32 = 4;

#[derive(Clone, Debug)]
enum Event {
    Watch(BTreeSet<u8>),
    Link {
        ifindex: u32,
        up: bool,
        mac: Option<u8>,
        parent: Option<(u32, u16, bool)>,
    },
    LinkGone(u32),
    Neighbour {
        ifindex: u32,
        address: u8,
        mac: Option<u8>,
        state: NeighbourState,
    },
    NeighbourGone {
        ifindex: u32,
        address: u8,
    },
    Route {
        address: u8,
        route: Option<(u32, Option<u8>)>,
    },
    /// The notification of the next change is lost; an overrun follows.
    Overrun,
    Pass(u32),
}

fn event() -> impl Strategy<Value = Event> {
    use NeighbourState::{Delay, Failed, Incomplete, NoArp, Permanent, Probe, Reachable, Stale};
    let states = prop::sample::select(vec![Incomplete, Reachable, Stale, Delay, Probe, Failed, NoArp, Permanent]);
    let (link, address) = (1..=LINKS, 0..ADDRESSES);
    prop_oneof![
        prop::collection::btree_set(address.clone(), 0..6).prop_map(Event::Watch),
        (
            link.clone(),
            any::<bool>(),
            prop::option::of(1u8..4),
            prop::option::of((link.clone(), 0u16..3, any::<bool>()))
        )
            .prop_map(|(ifindex, up, mac, parent)| Event::Link { ifindex, up, mac, parent }),
        link.clone().prop_map(Event::LinkGone),
        (link.clone(), address.clone(), prop::option::of(0u8..4), states)
            .prop_map(|(ifindex, address, mac, state)| Event::Neighbour { ifindex, address, mac, state }),
        (link.clone(), address.clone()).prop_map(|(ifindex, address)| Event::NeighbourGone { ifindex, address }),
        (address.clone(), prop::option::of((link, prop::option::of(address))))
            .prop_map(|(address, route)| Event::Route { address, route }),
        Just(Event::Overrun),
        (0u32..40_000).prop_map(Event::Pass),
    ]
}

fn ip(n: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, n).into()
}

fn mac(n: u8) -> [u8; 6] {
    [n; 6]
}

/// What is true, and what the machine was told to do about it.
struct World {
    machine: Neighbours,
    now: Instant,
    watched: BTreeSet<IpAddr>,
    links: BTreeMap<u32, Link>,
    routes: BTreeMap<IpAddr, RouteAnswer>,
    neighbours: BTreeMap<(u32, IpAddr), ([u8; 6], NeighbourState)>,
    told: BTreeMap<IpAddr, Result<NextHop, Problem>>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            machine: Neighbours::new(),
            now: start(),
            watched: BTreeSet::new(),
            links: BTreeMap::new(),
            routes: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            told: BTreeMap::new(),
        };
        world.tell(Input::Resync(Vec::new()));
        world
    }

    fn tell(&mut self, input: Input) {
        self.machine.handle(input, self.now);
        self.perform();
    }

    /// Does what the machine wants, as a kernel would. Every input has an end.
    fn perform(&mut self) {
        let mut steps = 0;
        while let Some(action) = self.machine.poll_action() {
            steps += 1;
            assert!(steps < 200, "the machine never rests");
            match action {
                Action::Changed { address, next_hop } => {
                    assert!(self.watched.contains(&address), "told of an address nobody watches");
                    let before = self.told.insert(address, next_hop.clone());
                    assert_ne!(before, Some(next_hop), "told twice");
                }
                Action::Doubted { address, .. } => assert!(self.told.contains_key(&address)),
                Action::AskRoute(destination) => {
                    let result = self.routes.get(&destination).cloned().ok_or(RouteError::NoRoute);
                    self.machine.handle(Input::Route { destination, result }, self.now);
                }
                Action::AskNeighbour { ifindex, address } => {
                    let input = self.neighbour(ifindex, address);
                    self.machine.handle(input, self.now);
                }
                Action::Solicit { .. } => {}
            }
        }
    }

    fn neighbour(&self, ifindex: u32, address: IpAddr) -> Input {
        match self.neighbours.get(&(ifindex, address)) {
            Some(&(mac, state)) => {
                let mac = state.is_usable().then_some(mac);
                Input::Neighbour { ifindex, address, mac, state }
            }
            None => Input::NeighbourGone { ifindex, address },
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(deadline) = self.machine.next_deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.machine.handle_timeout(self.now);
            assert!(
                self.machine.next_deadline().is_none_or(|next| next > self.now),
                "a deadline that stays in the past"
            );
            self.perform();
        }
        self.now = end;
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Watch(set) => {
                self.watched = set.into_iter().map(ip).collect();
                self.told.retain(|address, _| self.watched.contains(address));
                self.tell(Input::Watch(self.watched.clone()));
            }
            Event::Link { ifindex, up, mac: own, parent } => {
                let vlan = parent.map(|(parent, id, service_tag)| Vlan { parent: Some(parent), id, service_tag });
                let link = Link { ifindex, device: format!("eth{ifindex}"), mac: own.map(mac), up, vlan };
                self.links.insert(ifindex, link.clone());
                self.tell(Input::Link(link));
            }
            Event::LinkGone(ifindex) => {
                self.links.remove(&ifindex);
                self.tell(Input::LinkGone { ifindex });
            }
            Event::Neighbour { ifindex, address, mac: theirs, state } => {
                self.neighbours.insert((ifindex, ip(address)), (mac(theirs.unwrap_or(0)), state));
                self.tell(self.neighbour(ifindex, ip(address)));
            }
            Event::NeighbourGone { ifindex, address } => {
                self.neighbours.remove(&(ifindex, ip(address)));
                self.tell(self.neighbour(ifindex, ip(address)));
            }
            Event::Route { address, route } => {
                match route {
                    Some((ifindex, gateway)) => {
                        let answer = RouteAnswer { ifindex, gateway: gateway.map(ip), source: None };
                        self.routes.insert(ip(address), answer);
                    }
                    None => drop(self.routes.remove(&ip(address))),
                }
                self.tell(Input::RoutesChanged);
            }
            Event::Overrun => {
                self.links.pop_first();
                self.neighbours.pop_last();
                self.tell(Input::Resync(self.links.values().cloned().collect()));
            }
            Event::Pass(milliseconds) => self.pass(Duration::from_millis(milliseconds.into())),
        }
    }

    /// What is certainly true of an address; `None` where an older MAC may rightly be in use.
    fn truth(&self, address: IpAddr) -> Option<Result<NextHop, Problem>> {
        let Some(route) = self.routes.get(&address) else { return Some(Err(Problem::NoRoute)) };
        let egress = match link::egress(&self.links, route.ifindex) {
            Ok(egress) => egress,
            Err(problem) => return Some(Err(problem)),
        };
        let entry = self.neighbours.get(&(route.ifindex, route.gateway.unwrap_or(address)));
        let (destination_mac, _) = entry.filter(|(mac, state)| state.is_usable() && *mac != [0; 6])?;
        Some(Ok(NextHop {
            ifindex: egress.ifindex,
            source_mac: egress.source_mac,
            destination_mac: *destination_mac,
            outer_vlan: egress.outer_vlan,
            inner_vlan: egress.inner_vlan,
            gateway: route.gateway,
            on_link: route.gateway.is_none(),
            source: route.source,
        }))
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_machine_ends_up_with_the_truth(events in prop::collection::vec(event(), 1..60)) {
        let mut world = World::new();
        for event in events {
            world.apply(event);
            for (address, told) in &world.told {
                prop_assert_eq!(&world.machine.status(*address).unwrap().next_hop, told);
            }
        }
        world.pass(Duration::from_secs(5));
        for address in world.watched.clone() {
            let told = world.told.get(&address);
            match world.truth(address) {
                Some(truth) => prop_assert_eq!(told, Some(&truth), "{}", address),
                None => prop_assert!(told.is_some(), "nothing is known of {} after 5 s", address),
            }
        }
    }
}
