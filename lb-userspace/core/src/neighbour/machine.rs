//! The machine: which address uses which neighbour on which link, and what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::link::{LINKS_LIMIT, can_transmit, egress};
use super::target::{Effect, Target};
use super::{Action, BACKOFF_START, Input, Link, NextHop, Problem, RouteAnswer, RouteError};

/// Changes of routes and addresses come in bursts: they are waited for this long, then all routes
/// are asked once.
pub const ROUTES_SETTLE: Duration = Duration::from_millis(100);
/// Routes are asked again this often, for changes that the kernel does not announce (next hop
/// groups, an IPv4 route that lost its device).
pub const ROUTE_REFRESH: Duration = Duration::from_secs(30);

/// Follows routes, links and neighbours for the watched addresses.
///
/// A MAC that was known stays in use while its neighbour does not answer: three lost ARP replies
/// must not cut flows to a real server that still forwards, and whether it is up is for its health
/// check to say. The doubt is told ([`Action::Doubted`]), the neighbour is asked again with backoff,
/// and the first answer, with the same MAC or another, takes effect at once. A link that goes down,
/// in contrast, is a problem at once.
#[derive(Debug, Default)]
pub struct Neighbours {
    synced: bool,
    links: BTreeMap<u32, Link>,
    watched: BTreeMap<IpAddr, Watched>,
    /// Exactly those that the route of some watched address names.
    targets: BTreeMap<Hop, Target>,
    routes_due: Option<Instant>,
    // What is to be done, without order or repetition, so that no burst makes a queue grow.
    to_tell: BTreeSet<IpAddr>,
    to_ask: BTreeSet<IpAddr>,
    to_look_up: BTreeSet<Hop>,
    to_solicit: BTreeSet<Hop>,
}

/// What is known and has been told of a watched address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// As in the last [`Action::Changed`].
    pub next_hop: Result<NextHop, Problem>,
    /// As in the last [`Action::Doubted`].
    pub doubt: Option<Problem>,
}

#[derive(Debug, Default)]
struct Watched {
    route: Option<Result<RouteAnswer, RouteError>>,
    refresh: Option<Instant>,
    told: Option<Status>,
}

/// A neighbour on a device of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Hop {
    ifindex: u32,
    address: IpAddr,
}

impl Neighbours {
    /// A machine that watches nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Watch(addresses) => self.watch(addresses, now),
            Input::Resync(links) => self.resync(links, now),
            Input::Link(link) => self.link(link, now),
            Input::LinkGone { ifindex } => self.link_gone(ifindex, now),
            Input::Neighbour { ifindex, address, mac, state } => {
                self.report(Hop { ifindex, address }, |target| target.report(mac, state, now));
            }
            Input::NeighbourGone { ifindex, address } => {
                self.report(Hop { ifindex, address }, |target| target.unknown(now));
            }
            Input::Route { destination, result } => self.route(destination, result, now),
            Input::RoutesChanged => self.routes_changed(now),
        }
        debug_assert!(self.to_solicit.len() <= self.targets.len() && self.targets.len() <= self.watched.len());
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.routes_due.is_some_and(|due| due <= now) {
            self.ask_all_routes(now);
        }
        for (address, watched) in &mut self.watched {
            if watched.refresh.is_some_and(|due| due <= now) {
                watched.refresh = Some(now + ROUTE_REFRESH);
                self.to_ask.insert(*address);
            }
        }
        let due: Vec<Hop> = self
            .targets
            .iter()
            .filter(|(_, t)| t.next_deadline().is_some_and(|d| d <= now))
            .map(|(hop, _)| *hop)
            .collect();
        for hop in due {
            let reachable = can_transmit(&self.links, hop.ifindex);
            self.report(hop, |target| target.expire(reachable, now));
        }
    }

    /// When [`Self::handle_timeout`] is to be called; `None`: not before the next input.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let refreshes = self.watched.values().filter_map(|watched| watched.refresh);
        let probes = self.targets.values().filter_map(Target::next_deadline);
        self.routes_due.into_iter().chain(refreshes).chain(probes).min()
    }

    /// The next thing to do; call until `None`. Next hops come before questions.
    pub fn poll_action(&mut self) -> Option<Action> {
        while let Some(address) = self.to_tell.first().copied() {
            if let Some(action) = self.tell(address) {
                return Some(action);
            }
            self.to_tell.remove(&address);
        }
        if let Some(address) = self.to_ask.pop_first() {
            return Some(Action::AskRoute(address));
        }
        if let Some(Hop { ifindex, address }) = self.to_look_up.pop_first() {
            return Some(Action::AskNeighbour { ifindex, address });
        }
        let Hop { ifindex, address } = self.to_solicit.pop_first()?;
        Some(Action::Solicit { ifindex, address })
    }

    /// What was told last of a watched address; `None` before the first time.
    #[must_use]
    pub fn status(&self, address: IpAddr) -> Option<&Status> {
        self.watched.get(&address)?.told.as_ref()
    }

    /// The links as they are known now, by kernel index.
    #[must_use]
    pub fn links(&self) -> &BTreeMap<u32, Link> {
        &self.links
    }

    fn watch(&mut self, addresses: BTreeSet<IpAddr>, now: Instant) {
        self.watched.retain(|address, _| addresses.contains(address));
        self.to_ask.retain(|address| addresses.contains(address));
        self.to_tell.retain(|address| addresses.contains(address));
        for address in addresses {
            let new = !self.watched.contains_key(&address);
            let watched = self.watched.entry(address).or_default();
            if new && self.synced {
                watched.refresh = Some(now + ROUTE_REFRESH);
                self.to_ask.insert(address);
            }
        }
        self.forget_unused();
    }

    fn resync(&mut self, links: Vec<Link>, now: Instant) {
        self.synced = true;
        self.links = links.into_iter().take(LINKS_LIMIT).map(|link| (link.ifindex, link)).collect();
        self.ask_all_routes(now);
        self.to_look_up.extend(self.targets.keys());
        self.tell_all();
    }

    fn link(&mut self, link: Link, now: Instant) {
        let ifindex = link.ifindex;
        let before = self.links.get(&ifindex);
        // Links are reported for statistics and flags that do not matter here.
        if before == Some(&link) || (before.is_none() && self.links.len() >= LINKS_LIMIT) {
            return;
        }
        let could_transmit: BTreeSet<Hop> =
            self.targets.keys().filter(|hop| can_transmit(&self.links, hop.ifindex)).copied().collect();
        self.links.insert(ifindex, link);
        for (hop, target) in &mut self.targets {
            // The kernel threw its entries away when the link went down, and cables may have moved.
            if !could_transmit.contains(hop) && can_transmit(&self.links, hop.ifindex) {
                target.ask_now(now);
            }
        }
        self.tell_all();
        self.routes_changed(now);
    }

    fn link_gone(&mut self, ifindex: u32, now: Instant) {
        if self.links.remove(&ifindex).is_some() {
            self.tell_all();
            self.routes_changed(now);
        }
    }

    fn report(&mut self, hop: Hop, happen: impl FnOnce(&mut Target) -> Effect) {
        let Some(target) = self.targets.get_mut(&hop) else { return };
        let effect = happen(target);
        if effect.solicit {
            self.to_solicit.insert(hop);
        }
        if effect.changed {
            let users = self.watched.iter().filter(|(address, watched)| watched.hop(**address) == Some(hop));
            self.to_tell.extend(users.map(|(address, _)| *address));
        }
    }

    fn route(&mut self, destination: IpAddr, result: Result<RouteAnswer, RouteError>, now: Instant) {
        let Some(watched) = self.watched.get_mut(&destination) else { return };
        let failed = matches!(result, Err(RouteError::Failed(_)));
        watched.refresh = Some(now + if failed { BACKOFF_START } else { ROUTE_REFRESH });
        // A question that failed says nothing about a route that is known.
        if watched.route.as_ref() == Some(&result) || (failed && matches!(watched.route, Some(Ok(_)))) {
            return;
        }
        let before = watched.hop(destination);
        watched.route = Some(result);
        let after = watched.hop(destination);
        self.to_tell.insert(destination);
        if let Some(hop) = after
            && !self.targets.contains_key(&hop)
        {
            self.targets.insert(hop, Target::new(now));
            self.to_look_up.insert(hop);
        }
        if before != after {
            self.forget_unused();
        }
    }

    fn routes_changed(&mut self, now: Instant) {
        if self.synced && self.routes_due.is_none() {
            self.routes_due = Some(now + ROUTES_SETTLE);
        }
    }

    fn ask_all_routes(&mut self, now: Instant) {
        self.routes_due = None;
        for (address, watched) in &mut self.watched {
            watched.refresh = Some(now + ROUTE_REFRESH);
            self.to_ask.insert(*address);
        }
    }

    fn tell_all(&mut self) {
        self.to_tell.extend(self.watched.keys());
    }

    fn forget_unused(&mut self) {
        let used: BTreeSet<Hop> = self.watched.iter().filter_map(|(address, watched)| watched.hop(*address)).collect();
        self.targets.retain(|hop, _| used.contains(hop));
        self.to_look_up.retain(|hop| used.contains(hop));
        self.to_solicit.retain(|hop| used.contains(hop));
    }

    /// The first thing that has to be told of an address, if any.
    fn tell(&mut self, address: IpAddr) -> Option<Action> {
        let (next_hop, doubt) = self.resolve(address)?;
        let told = &mut self.watched.get_mut(&address)?.told;
        if told.as_ref().map(|told| &told.next_hop) != Some(&next_hop) {
            let doubt = told.take().and_then(|told| told.doubt);
            *told = Some(Status { next_hop: next_hop.clone(), doubt });
            return Some(Action::Changed { address, next_hop });
        }
        let told = told.as_mut().filter(|told| told.doubt != doubt)?;
        told.doubt.clone_from(&doubt);
        Some(Action::Doubted { address, problem: doubt })
    }

    /// The next hop and the doubt about it; `None` while an answer is still on its way.
    fn resolve(&self, address: IpAddr) -> Option<(Result<NextHop, Problem>, Option<Problem>)> {
        let watched = self.watched.get(&address)?;
        let route = match watched.route.as_ref()? {
            Ok(route) => route,
            Err(error) => return Some((Err(error.clone().into()), None)),
        };
        let egress = match egress(&self.links, route.ifindex) {
            Ok(egress) => egress,
            Err(problem) => return Some((Err(problem), None)),
        };
        let hop = watched.hop(address)?;
        let target = self.targets.get(&hop)?;
        let device = self.links.get(&hop.ifindex)?.device.clone();
        let unresolved = Problem::Unresolved { device, address: hop.address };
        let Some(destination_mac) = target.mac() else {
            return target.is_given_up().then_some((Err(unresolved), None));
        };
        let next_hop = NextHop {
            ifindex: egress.ifindex,
            source_mac: egress.source_mac,
            destination_mac,
            outer_vlan: egress.outer_vlan,
            inner_vlan: egress.inner_vlan,
            gateway: route.gateway,
            on_link: route.gateway.is_none(),
            source: route.source,
        };
        Some((Ok(next_hop), target.is_silent().then_some(unresolved)))
    }
}

impl Watched {
    /// The neighbour its route leads to: gateways are resolved like hosts.
    fn hop(&self, address: IpAddr) -> Option<Hop> {
        let route = self.route.as_ref()?.as_ref().ok()?;
        Some(Hop { ifindex: route.ifindex, address: route.gateway.unwrap_or(address) })
    }
}
