//! What is remembered of the flow and of the client, and whether it still holds.

use lb_common::abi::{Considered, Explanation, Flow, FlowState, Persistence, Role, ServerState};
use lb_common::datapath::Reason;

use super::account::{Account, Named};
use super::phrase::{span, state};
use crate::view::Network;

impl Account<'_> {
    pub(super) fn flow_steps(&self) -> Vec<String> {
        if !self.found.has(Explanation::FLOW | Explanation::PENDING_FLOW) {
            let client = self.client();
            return vec![match self.asked.any_port {
                true => format!(
                    "no flow is remembered from {client}, a port that stands for any new connection of this client"
                ),
                false => format!("no flow is remembered from {client}"),
            }];
        }
        let flow = &self.found.flow;
        let (server, idle) = (self.named(flow.server).name, span(self.ago(flow.last_seen)));
        let state = self.flow_state(flow);
        let age = span(self.ago(flow.created));
        let what = format!(
            "a flow from {} is remembered with {server}: {state}, opened {age} ago, last packet {idle} ago",
            self.client()
        );
        if !self.found.has(Explanation::PLACED) {
            return vec![format!("{what}; its packets go there, and nobody else is asked")];
        }
        let mut steps = vec![what];
        let of = self.looked_at(Role::Flow).into_iter().next().unwrap_or_default();
        steps.push(match held(&of, flow.generation) {
            true => "the client has ended it, so that a packet that opens one is placed anew".to_owned(),
            false => format!("it is void: {}; so it is placed anew", void(&self.named(flow.server), &of)),
        });
        if let Some(middle) = self.asked.middle.filter(|middle| middle.server != self.found.server) {
            let other = self.named(middle.server).name;
            steps.push(match middle.has(Explanation::DELIVERED) {
                true => format!("its further packets, which open nothing, go to {other}"),
                false => "its further packets, which open nothing, are dropped".to_owned(),
            });
        }
        steps
    }

    fn flow_state(&self, flow: &Flow) -> &'static str {
        if self.found.has(Explanation::PENDING_FLOW) {
            return "one packet seen, not answered yet";
        }
        match FlowState::from_u8(flow.state) {
            FlowState::Pending => "placed anew, not answered yet",
            FlowState::Established => "established",
            FlowState::HalfClosed => "ended by the client, not yet by the real server",
            FlowState::Closing => "ended",
        }
    }

    pub(super) fn persistence_step(&self) -> Option<String> {
        let timeout = self.persistence_timeout();
        if timeout == 0 || !self.found.has(Explanation::PLACED) || self.reason == Some(Reason::Spoofed) {
            return None;
        }
        let client = self.network();
        let records = [
            (Explanation::NEW_CLIENT, Role::NewClient, &self.found.new_client),
            (Explanation::CONFIRMED, Role::Confirmed, &self.found.confirmed),
        ];
        // The confirmed one is asked first; the other is what counts when that one is void.
        let Some((_, role, record)) = records.into_iter().find(|(what, ..)| self.found.has(*what)) else {
            let kept = span(self.seconds(timeout));
            return Some(format!("{client} is not remembered; it stays for {kept} where it goes now"));
        };
        let Persistence { server, generation, last_used, .. } = *record;
        let (ago, named) = (self.ago(last_used), self.named(server));
        let name = &named.name;
        let Some(of) = self.looked_at(role).into_iter().next() else {
            let timeout = span(self.seconds(timeout));
            return Some(format!("{client} was with {name} {} ago, longer than {timeout}: forgotten", span(ago)));
        };
        Some(match held(&of, generation) {
            true => {
                let left = span(self.seconds(timeout).saturating_sub(ago));
                let drained = match ServerState::from_u8(of.state) {
                    ServerState::Draining => ", also while it takes nobody new",
                    ServerState::Active | ServerState::Down => "",
                };
                format!("{client} was with {name} {} ago and stays there for another {left}{drained}", span(ago))
            }
            false => {
                let void = void(&named, &of);
                format!("{client} was with {name} {} ago, but {void}: forgotten", span(ago))
            }
        })
    }

    /// The client as persistence knows it.
    pub(super) fn network(&self) -> Network {
        let address = self.query.client.address;
        match self.configured.and_then(|service| service.persistence.as_ref()) {
            Some(persistence) if address.is_ipv4() => Network::new(address, persistence.prefix_v4),
            Some(persistence) => Network::new(address, persistence.prefix_v6),
            None => address.into(),
        }
    }
}

/// As the datapath judges records.
fn held(of: &Considered, generation: u32) -> bool {
    of.generation == generation && ServerState::from_u8(of.state) != ServerState::Down
}

/// Why a record of this server no longer holds.
fn void(server: &Named<'_>, of: &Considered) -> String {
    let Named { name, row, .. } = server;
    match row {
        _ if ServerState::from_u8(of.state) != ServerState::Down => format!("{name} has been down since"),
        Some(row) => format!("{name} is {}", state(row)),
        None => format!("{name} is down"),
    }
}
