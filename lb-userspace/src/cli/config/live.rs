//! Which live flows a change would touch, and how many they are.
//!
//! In: what the change touches, and the overview of the daemon where it was asked. Out: text or JSON.

use lb_core::config::impact::{Live, Touched};
use lb_core::view::Status;
use serde::Serialize;

/// What `lbctl diff` says about live flows.
#[derive(Debug, Serialize)]
pub(super) struct LiveFlows {
    /// Whether the daemon was asked how many there are.
    known: bool,
    touched: Vec<One>,
}

#[derive(Debug, Serialize)]
struct One {
    #[serde(flatten)]
    touched: Touched,
    /// Flows that it has now.
    connections: Option<u64>,
    /// Clients that would come back to it.
    persistent_clients: Option<u64>,
    sentence: String,
}

impl LiveFlows {
    /// Joins what is touched with the counts of `status`.
    pub(super) fn of(touched: Vec<Touched>, status: Option<&Status>) -> Self {
        let one = |touched: Touched| {
            let live = status.map(|status| live(&touched, status));
            One {
                connections: live.map(|live| live.connections),
                persistent_clients: live.map(|live| live.persistent_clients),
                sentence: touched.sentence(live),
                touched,
            }
        };
        Self { known: status.is_some(), touched: touched.into_iter().map(one).collect() }
    }

    /// For a person: only what somebody would notice.
    pub(super) fn text(&self) -> String {
        let noticed: Vec<_> = self.touched.iter().filter(|one| one.touched.is_noticed()).collect();
        if noticed.is_empty() {
            return "No live flow is touched.\n".to_owned();
        }
        let mut text = match self.known {
            true => "Live flows:\n".to_owned(),
            false => "Live flows (lbd was not asked how many there are):\n".to_owned(),
        };
        for one in noticed {
            text.push_str("  - ");
            text.push_str(&one.sentence);
            text.push('\n');
        }
        text
    }
}

/// What a real server has, or all of a service together; nothing where lbd does not know them.
fn live(touched: &Touched, status: &Status) -> Live {
    let services = status.virtual_services.iter().filter(|service| service.name == touched.service);
    let servers = services.flat_map(|service| &service.real_servers);
    let meant = servers.filter(|server| touched.server.as_ref().is_none_or(|name| server.name == *name));
    meant.fold(Live { connections: 0, persistent_clients: 0 }, |sum, server| Live {
        connections: sum.connections + server.connections,
        persistent_clients: sum.persistent_clients + server.persistent_clients,
    })
}
