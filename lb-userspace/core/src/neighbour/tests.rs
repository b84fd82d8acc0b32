mod links;
mod properties;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::*;

const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ETH0: u32 = 2;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ethernet(ifindex: u32, device: &str) -> Link {
    Link { ifindex, device: device.into(), mac: Some(OWN), up: true, vlan: None }
}

/// Where virtual time begins.
#[expect(clippy::disallowed_methods, reason = "an Instant can only be made from the clock")]
fn start() -> Instant {
    Instant::now()
}

/// A machine, its clock, and what it wanted since the last look.
struct Bench {
    machine: Neighbours,
    now: Instant,
}

impl Bench {
    fn new(links: Vec<Link>) -> Self {
        let mut bench = Self { machine: Neighbours::new(), now: start() };
        bench.handle(Input::Resync(links));
        bench
    }

    /// One real server on link by eth0, its MAC known.
    fn resolved(address: &str) -> Self {
        let mut bench = Self::new(vec![ethernet(ETH0, "eth0")]);
        bench.watch(&[address]);
        bench.on_link(address, ETH0);
        bench.neighbour(ETH0, address, Some(MAC_A), NeighbourState::Reachable);
        bench
    }

    fn drain(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.machine.poll_action()).collect()
    }

    fn handle(&mut self, input: Input) -> Vec<Action> {
        self.machine.handle(input, self.now);
        self.drain()
    }

    fn pass(&mut self, time: Duration) -> Vec<Action> {
        let end = self.now + time;
        let mut actions = Vec::new();
        while let Some(deadline) = self.machine.next_deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.machine.handle_timeout(self.now);
            actions.append(&mut self.drain());
        }
        self.now = end;
        actions
    }

    fn watch(&mut self, addresses: &[&str]) -> Vec<Action> {
        self.handle(Input::Watch(addresses.iter().map(|address| ip(address)).collect()))
    }

    fn on_link(&mut self, address: &str, ifindex: u32) -> Vec<Action> {
        let result = Ok(RouteAnswer { ifindex, gateway: None, source: None });
        self.handle(Input::Route { destination: ip(address), result })
    }

    fn via(&mut self, address: &str, ifindex: u32, gateway: &str) -> Vec<Action> {
        let result = Ok(RouteAnswer { ifindex, gateway: Some(ip(gateway)), source: None });
        self.handle(Input::Route { destination: ip(address), result })
    }

    fn neighbour(&mut self, ifindex: u32, address: &str, mac: Option<[u8; 6]>, state: NeighbourState) -> Vec<Action> {
        self.handle(Input::Neighbour { ifindex, address: ip(address), mac, state })
    }
}

fn next_hop(ifindex: u32, destination_mac: [u8; 6]) -> NextHop {
    NextHop {
        ifindex,
        source_mac: OWN,
        destination_mac,
        outer_vlan: 0,
        inner_vlan: 0,
        gateway: None,
        on_link: true,
        source: None,
    }
}

fn changed(address: &str, next_hop: Result<NextHop, Problem>) -> Action {
    Action::Changed { address: ip(address), next_hop }
}

fn solicit(ifindex: u32, address: &str) -> Action {
    Action::Solicit { ifindex, address: ip(address) }
}

fn ask_neighbour(ifindex: u32, address: &str) -> Action {
    Action::AskNeighbour { ifindex, address: ip(address) }
}

fn unresolved(address: &str) -> Problem {
    Problem::Unresolved { device: "eth0".into(), address: ip(address) }
}

const HOST: &str = "192.0.2.10";

#[test]
fn nothing_is_asked_before_the_links_are_known() {
    let mut machine = Neighbours::new();
    let now = start();
    machine.handle(Input::Watch(BTreeSet::from([ip(HOST)])), now);
    machine.handle(Input::RoutesChanged, now);
    assert_eq!(machine.poll_action(), None);
    assert_eq!(machine.next_deadline(), None);
    machine.handle(Input::Resync(vec![ethernet(ETH0, "eth0")]), now);
    assert_eq!(machine.poll_action(), Some(Action::AskRoute(ip(HOST))));
}

#[test]
fn an_on_link_server_goes_from_route_to_neighbour_to_next_hop() {
    for host in [HOST, "2001:db8::10"] {
        let mut bench = Bench::new(vec![ethernet(ETH0, "eth0")]);
        assert_eq!(bench.watch(&[host]), [Action::AskRoute(ip(host))]);
        assert_eq!(bench.on_link(host, ETH0), [ask_neighbour(ETH0, host)]);
        let actions = bench.neighbour(ETH0, host, Some(MAC_A), NeighbourState::Stale);
        assert_eq!(actions, [changed(host, Ok(next_hop(ETH0, MAC_A)))]);
        assert_eq!(bench.machine.status(ip(host)).unwrap().next_hop, Ok(next_hop(ETH0, MAC_A)));
    }
}

#[test]
fn servers_behind_one_gateway_share_its_neighbour() {
    let mut bench = Bench::new(vec![ethernet(ETH0, "eth0")]);
    bench.watch(&["198.51.100.1", "198.51.100.2"]);
    assert_eq!(bench.via("198.51.100.1", ETH0, "fe80::1"), [ask_neighbour(ETH0, "fe80::1")]);
    assert_eq!(bench.via("198.51.100.2", ETH0, "fe80::1"), []);
    let hop = NextHop { gateway: Some(ip("fe80::1")), on_link: false, ..next_hop(ETH0, MAC_A) };
    assert_eq!(
        bench.neighbour(ETH0, "fe80::1", Some(MAC_A), NeighbourState::Reachable),
        [changed("198.51.100.1", Ok(hop.clone())), changed("198.51.100.2", Ok(hop))]
    );
}

#[test]
fn a_moved_neighbour_takes_effect_at_once() {
    let mut bench = Bench::resolved(HOST);
    let actions = bench.neighbour(ETH0, HOST, Some(MAC_B), NeighbourState::Stale);
    assert_eq!(actions, [changed(HOST, Ok(next_hop(ETH0, MAC_B)))]);
}

#[test]
fn an_entry_that_only_ages_changes_nothing() {
    let mut bench = Bench::resolved(HOST);
    use NeighbourState::{Delay, NoArp, Permanent, Probe, Reachable, Stale};
    for state in [Stale, Delay, Probe, Reachable, Permanent, NoArp] {
        assert_eq!(bench.neighbour(ETH0, HOST, Some(MAC_A), state), [], "{state:?}");
    }
}

#[test]
fn an_unresolved_neighbour_is_solicited_with_backoff_and_told_after_a_second() {
    let mut bench = Bench::new(vec![ethernet(ETH0, "eth0")]);
    bench.watch(&[HOST]);
    bench.on_link(HOST, ETH0);
    let gone = Input::NeighbourGone { ifindex: ETH0, address: ip(HOST) };
    assert_eq!(bench.handle(gone), [solicit(ETH0, HOST)]);
    assert_eq!(bench.neighbour(ETH0, HOST, None, NeighbourState::Incomplete), []);
    let actions = bench.pass(Duration::from_secs(1));
    assert_eq!(actions, [changed(HOST, Err(unresolved(HOST))), solicit(ETH0, HOST)]);

    let mut waits = Vec::new();
    let mut last = bench.now;
    while waits.len() < 7 {
        bench.now = bench.machine.next_deadline().unwrap();
        bench.machine.handle_timeout(bench.now);
        if bench.drain().contains(&solicit(ETH0, HOST)) {
            waits.push((bench.now - last).as_secs());
            last = bench.now;
        }
    }
    assert_eq!(waits, [2, 4, 8, 16, 30, 30, 30]);
}

#[test]
fn a_failed_entry_from_before_is_asked_again_before_it_counts() {
    let mut bench = Bench::new(vec![ethernet(ETH0, "eth0")]);
    bench.watch(&[HOST]);
    bench.on_link(HOST, ETH0);
    assert_eq!(bench.neighbour(ETH0, HOST, None, NeighbourState::Failed), [solicit(ETH0, HOST)]);
    let actions = bench.neighbour(ETH0, HOST, None, NeighbourState::Failed);
    assert_eq!(actions, [changed(HOST, Err(unresolved(HOST)))]);
}

#[test]
fn a_resolved_neighbour_is_probed_every_30_seconds() {
    let mut bench = Bench::resolved(HOST);
    let actions = bench.pass(Duration::from_secs(91));
    let probes = actions.iter().filter(|action| **action == solicit(ETH0, HOST)).count();
    assert_eq!(probes, 3);
}

#[test]
fn a_fixed_entry_is_never_solicited() {
    let mut bench = Bench::resolved(HOST);
    bench.neighbour(ETH0, HOST, Some(MAC_A), NeighbourState::Permanent);
    assert!(!bench.pass(Duration::from_secs(300)).contains(&solicit(ETH0, HOST)));
    let gone = Input::NeighbourGone { ifindex: ETH0, address: ip(HOST) };
    assert_eq!(bench.handle(gone), [solicit(ETH0, HOST)]);
}

#[test]
fn a_known_mac_outlives_silence_and_the_doubt_is_told() {
    let mut bench = Bench::resolved(HOST);
    let actions = bench.neighbour(ETH0, HOST, None, NeighbourState::Failed);
    let doubt = Action::Doubted { address: ip(HOST), problem: Some(unresolved(HOST)) };
    assert_eq!(actions, [doubt, solicit(ETH0, HOST)]);
    assert_eq!(bench.machine.status(ip(HOST)).unwrap().next_hop, Ok(next_hop(ETH0, MAC_A)));
    assert_eq!(bench.machine.status(ip(HOST)).unwrap().doubt, Some(unresolved(HOST)));

    assert!(bench.pass(Duration::from_secs(3600)).iter().all(|action| !matches!(action, Action::Changed { .. })));
    let actions = bench.neighbour(ETH0, HOST, Some(MAC_B), NeighbourState::Reachable);
    let trust = Action::Doubted { address: ip(HOST), problem: None };
    assert_eq!(actions, [changed(HOST, Ok(next_hop(ETH0, MAC_B))), trust]);
}

#[test]
fn a_silent_neighbour_that_answers_with_the_same_mac_is_trusted_again() {
    let mut bench = Bench::resolved(HOST);
    bench.neighbour(ETH0, HOST, None, NeighbourState::Failed);
    let actions = bench.neighbour(ETH0, HOST, Some(MAC_A), NeighbourState::Reachable);
    assert_eq!(actions, [Action::Doubted { address: ip(HOST), problem: None }]);
}

#[test]
fn a_collected_entry_is_asked_for_without_doubt() {
    let mut bench = Bench::resolved(HOST);
    let gone = Input::NeighbourGone { ifindex: ETH0, address: ip(HOST) };
    assert_eq!(bench.handle(gone), [solicit(ETH0, HOST)]);
}

#[test]
fn an_entry_of_zeros_is_not_a_mac() {
    let mut bench = Bench::new(vec![ethernet(ETH0, "eth0")]);
    bench.watch(&[HOST]);
    bench.on_link(HOST, ETH0);
    assert_eq!(bench.neighbour(ETH0, HOST, Some([0; 6]), NeighbourState::NoArp), [solicit(ETH0, HOST)]);
}

#[test]
fn route_changes_are_gathered_and_asked_once() {
    let mut bench = Bench::resolved(HOST);
    for _ in 0..50 {
        assert_eq!(bench.handle(Input::RoutesChanged), []);
        assert_eq!(bench.pass(Duration::from_millis(1)), []);
    }
    assert_eq!(bench.pass(Duration::from_millis(49)), []);
    assert_eq!(bench.pass(Duration::from_millis(1)), [Action::AskRoute(ip(HOST))]);
}

#[test]
fn a_new_route_keeps_the_old_next_hop_until_its_gateway_is_known() {
    let mut bench = Bench::resolved(HOST);
    assert_eq!(bench.via(HOST, ETH0, "192.0.2.1"), [ask_neighbour(ETH0, "192.0.2.1")]);
    assert_eq!(bench.neighbour(ETH0, HOST, Some(MAC_B), NeighbourState::Reachable), [], "no longer of interest");
    let hop = NextHop { gateway: Some(ip("192.0.2.1")), on_link: false, ..next_hop(ETH0, MAC_B) };
    let actions = bench.neighbour(ETH0, "192.0.2.1", Some(MAC_B), NeighbourState::Reachable);
    assert_eq!(actions, [changed(HOST, Ok(hop))]);
}

#[test]
fn each_refusal_of_the_kernel_is_told_as_its_problem() {
    let cases = [
        (RouteError::NoRoute, Problem::NoRoute),
        (RouteError::Local, Problem::Local),
        (RouteError::NotUnicast, Problem::NotUnicast),
        (RouteError::Failed("busy".into()), Problem::NotAsked { reason: "busy".into() }),
    ];
    for (error, problem) in cases {
        let mut bench = Bench::new(vec![ethernet(ETH0, "eth0")]);
        bench.watch(&[HOST]);
        let actions = bench.handle(Input::Route { destination: ip(HOST), result: Err(error) });
        assert_eq!(actions, [changed(HOST, Err(problem))]);
    }
}

#[test]
fn a_question_that_failed_is_repeated_and_keeps_the_known_route() {
    let mut bench = Bench::resolved(HOST);
    let result = Err(RouteError::Failed("no buffer space".into()));
    assert_eq!(bench.handle(Input::Route { destination: ip(HOST), result }), []);
    assert_eq!(bench.pass(Duration::from_secs(1)), [Action::AskRoute(ip(HOST))]);
}

#[test]
fn a_link_that_goes_down_is_a_problem_at_once_and_its_neighbours_are_asked_when_it_is_back() {
    let mut bench = Bench::resolved(HOST);
    let down = Link { up: false, ..ethernet(ETH0, "eth0") };
    let problem = Problem::LinkDown { device: "eth0".into() };
    assert_eq!(bench.handle(Input::Link(down)), [changed(HOST, Err(problem))]);
    assert!(!bench.pass(Duration::from_secs(100)).contains(&solicit(ETH0, HOST)), "asked on a dead link");
    let actions = bench.handle(Input::Link(ethernet(ETH0, "eth0")));
    assert_eq!(actions, [changed(HOST, Ok(next_hop(ETH0, MAC_A)))]);
    assert_eq!(bench.pass(Duration::ZERO), [solicit(ETH0, HOST)]);
    assert_eq!(bench.pass(ROUTES_SETTLE), [Action::AskRoute(ip(HOST))]);
}

#[test]
fn a_changed_mac_of_the_own_link_counts() {
    let mut bench = Bench::resolved(HOST);
    let link = Link { mac: Some(MAC_B), ..ethernet(ETH0, "eth0") };
    let hop = NextHop { source_mac: MAC_B, ..next_hop(ETH0, MAC_A) };
    assert_eq!(bench.handle(Input::Link(link)), [changed(HOST, Ok(hop))]);
}

#[test]
fn a_link_repeated_as_it_was_does_nothing() {
    let mut bench = Bench::resolved(HOST);
    let before = bench.machine.next_deadline();
    assert_eq!(bench.handle(Input::Link(ethernet(ETH0, "eth0"))), []);
    assert_eq!(bench.machine.next_deadline(), before);
}

#[test]
fn after_an_overrun_everything_is_asked_again_and_a_vanished_link_noticed() {
    let mut bench = Bench::resolved(HOST);
    let actions = bench.handle(Input::Resync(vec![ethernet(ETH0, "eth0")]));
    assert_eq!(actions, [Action::AskRoute(ip(HOST)), ask_neighbour(ETH0, HOST)]);
    let actions = bench.handle(Input::Resync(vec![]));
    assert_eq!(actions[0], changed(HOST, Err(Problem::UnknownDevice { ifindex: ETH0 })));
    assert_eq!(bench.handle(Input::LinkGone { ifindex: ETH0 }), []);
}

#[test]
fn an_address_no_longer_watched_is_forgotten() {
    let mut bench = Bench::resolved(HOST);
    assert_eq!(bench.watch(&[]), []);
    assert_eq!(bench.machine.status(ip(HOST)), None);
    assert_eq!(bench.machine.next_deadline(), None);
    assert_eq!(bench.neighbour(ETH0, HOST, Some(MAC_B), NeighbourState::Reachable), []);
}

#[test]
fn problems_are_sentences_that_name_what_to_look_at() {
    assert_eq!(
        unresolved(HOST).to_string(),
        "192.0.2.10 does not answer ARP on eth0: check that it runs and is in this network segment"
    );
    assert!(unresolved("fe80::1").to_string().contains("neighbour discovery"));
    assert!(Problem::LinkDown { device: "eth1".into() }.to_string().contains("ip link set eth1 up"));
}
