//! What holds whatever happens: an established flow stays with its real server until that one goes
//! down or is removed, and nobody who is down gets a frame (every frame is checked for that by
//! [`Product::send`]).

use std::collections::{BTreeMap, BTreeSet};

use lb_core::view::ServerState;
use proptest::prelude::*;

use super::product::{Product, Talk};
use super::site::Answer;

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    /// The checks of this real server are answered so from now on.
    Check(u8, bool),
    /// These real servers, with weights, and this scheduler.
    Reload(BTreeMap<u8, u16>, usize),
    /// Seconds pass.
    Wait(u64),
    /// The daemon starts again.
    Restart,
    /// A client opens a flow, or goes on with it.
    Open(u8, u16),
    More(u8, u16),
}

const SCHEDULERS: [&str; 4] = ["weighted-least-connection", "weighted-round-robin", "source-hash", "maglev"];

fn step() -> impl Strategy<Value = Step> {
    let servers = prop::collection::btree_map(1..6_u8, 0..4_u16, 1..6);
    prop_oneof![
        3 => (1..6_u8, any::<bool>()).prop_map(|(server, good)| Step::Check(server, good)),
        2 => (servers, 0..SCHEDULERS.len()).prop_map(|(servers, scheduler)| Step::Reload(servers, scheduler)),
        3 => (1..4_u64).prop_map(Step::Wait),
        1 => Just(Step::Restart),
        6 => (1..9_u8, 0..4_u16).prop_map(|(client, flow)| Step::Open(client, flow)),
        6 => (1..9_u8, 0..4_u16).prop_map(|(client, flow)| Step::More(client, flow)),
    ]
}

fn yaml(servers: &BTreeMap<u8, u16>, scheduler: usize, persistence: bool) -> String {
    let servers: Vec<String> = servers
        .iter()
        .map(|(n, weight)| format!("      - {{name: s{n}, address: 10.0.0.{n}, weight: {weight}}}\n"))
        .collect();
    let persistence = if persistence { "    persistence: {by: source-ip, timeout: 5m}\n" } else { "" };
    format!(
        "
version: 1
node: {{interfaces: [{{device: eth0}}]}}
defaults: {{health_check: {{interval: 1s, timeout: 500ms, rise: 1, fall: 1}}}}
virtual_services:
  - name: web
    address: 10.0.0.100
    ports: [80, 8000-8010]
    protocol: tcp+udp
    mode: l4-dr
    health_check: {{type: connect, port: 9}}
    scheduler: {}
{persistence}    real_servers:
{}",
        SCHEDULERS[scheduler],
        servers.concat()
    )
}

/// Flows of a client: two of TCP, two of UDP.
fn talk(client: u8, flow: u16) -> Talk {
    let client = format!("198.51.100.{client}");
    match flow {
        0 | 1 => Talk::tcp(&client, 20_000 + flow, "10.0.0.100", 80),
        _ => Talk::udp(&client, 20_000 + flow, "10.0.0.100", 8000 + flow),
    }
}

struct Model {
    product: Product,
    persistence: bool,
    yaml: String,
    established: BTreeMap<Talk, String>,
    /// Whose checks fail. A server that was removed and fails while it leaves has no row in the status any more.
    failing: BTreeSet<String>,
}

impl Model {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Check(server, good) => {
                let answer = if *good { Answer::Good } else { Answer::Refused };
                self.product.site.answer(&format!("10.0.0.{server}"), answer);
                let name = format!("s{server}");
                if *good {
                    self.failing.remove(&name)
                } else {
                    self.failing.insert(name)
                };
            }
            Step::Reload(servers, scheduler) => {
                self.yaml = yaml(servers, *scheduler, self.persistence);
                let stays: BTreeSet<String> = servers.keys().map(|n| format!("s{n}")).collect();
                self.established.retain(|_, server| stays.contains(server));
                // Second by second, for a server may go down and come back within.
                self.product.site.reload(&self.yaml);
                self.wait(2);
            }
            Step::Wait(seconds) => self.wait(*seconds),
            Step::Restart => {
                self.product.site.restart(&self.yaml, true);
                self.product.site.start();
                self.wait(1);
            }
            Step::Open(client, flow) => {
                let talk = talk(*client, *flow);
                // A client opens a connection that it has not got.
                if !self.established.contains_key(&talk) {
                    self.product.knock(talk);
                    self.go_on(talk);
                }
            }
            Step::More(client, flow) => self.go_on(talk(*client, *flow)),
        }
    }

    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.product.wait(1);
            let status = self.product.status("web");
            let mut states: BTreeMap<&str, Vec<ServerState>> = BTreeMap::new();
            for real in &status.real_servers {
                states.entry(&real.name).or_default().push(real.state);
            }
            let failing = &self.failing;
            self.established.retain(|_, server| match states.get(&server[..]) {
                Some(states) => states.iter().all(|state| *state == ServerState::Up),
                None => !failing.contains(server),
            });
        }
    }

    /// After this packet the flow is established, if somebody takes it.
    fn go_on(&mut self, talk: Talk) {
        // Twice: the first one may be the first that is seen of this flow.
        for _ in 0..2 {
            let sent = self.product.more(talk);
            match (self.established.get(&talk), sent.server) {
                (Some(before), now) => assert_eq!(now.as_ref(), Some(before), "{talk:?}: {:?}", sent.reason),
                (None, Some(_) | None) if sent.reason.kind() != lb_common::datapath::Kind::Forward => return,
                (None, Some(now)) => {
                    let again = self.product.more(talk);
                    assert_eq!(again.server.as_ref(), Some(&now), "{talk:?}");
                    self.established.insert(talk, now);
                }
                (None, None) => return,
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_established_flow_keeps_its_server_while_that_is_up(
        steps in prop::collection::vec(step(), 1..60),
        persistence: bool,
    ) {
        let yaml = yaml(&(1..5).map(|n| (n, 1)).collect(), 0, persistence);
        let product = Product::new(&yaml);
        let mut model = Model { product, persistence, yaml, established: BTreeMap::new(), failing: BTreeSet::new() };
        for step in &steps {
            model.step(step);
        }
    }
}
