//! What a change does to live flows, in sentences.

use std::fmt::Write as _;

use super::{Clients, Flows, Live, Touch, Touched};
use crate::config::model::OnRemoval;

impl Touched {
    /// What it means, one sentence; `live` is what the server, or the service, has now, where that is
    /// known.
    #[must_use]
    pub fn sentence(&self, live: Option<Live>) -> String {
        let name = self.name();
        let mut text = match &self.touch {
            Touch::ServiceRemoved { on_removal } | Touch::ServerRemoved { on_removal } => {
                format!("{name} is removed: {}", leaving(*on_removal, live))
            }
            Touch::ServerMoved { from, to, on_removal } => {
                format!("{name} moves from {from} to {to}: {}", leaving(*on_removal, live))
            }
            Touch::AddressChanged { from, to } => match self.flows {
                Flows::Cut => format!("{name} moves from {from} to {to}: {}", cut(live)),
                Flows::Stay | Flows::Finish => format!(
                    "{name} moves from {from} to {to}: {}, as another service keeps {from}",
                    until_they_end(live)
                ),
            },
            Touch::ModeChanged { from, to } => match self.flows {
                Flows::Cut => format!("{name} changes from {from} to {to}: {}", cut(live)),
                Flows::Stay | Flows::Finish => {
                    format!("{name} changes from {from} to {to}: {}", until_they_end(live))
                }
            },
            Touch::PortsClosed { ports } => format!(
                "{name} no longer answers on port {ports}: flows there go on until they end, new ones get no answer{}",
                of_all(live)
            ),
            Touch::ProtocolClosed { protocol } => format!(
                "{name} no longer answers {protocol}: flows there go on until they end, new ones get no answer{}",
                of_all(live)
            ),
            Touch::PersistenceEnded => format!("{name} no longer keeps clients on their real servers"),
            Touch::PersistenceRegrouped => format!("{name} tells its clients apart in another way"),
            Touch::PersistenceTime { timeout } => format!("{name} keeps clients for {timeout}; nobody moves"),
            Touch::Scheduling => format!("{name} places new flows by another rule; no flow is touched"),
            Touch::Share => format!("{name} gets another share of new flows; no flow is touched"),
            Touch::SourceAddress { from, to } => {
                format!("{name} changes its source address from {from} to {to} for new flows; the others keep theirs")
            }
            Touch::Settings => format!("{name} has other settings for new connections and requests; none is cut"),
            Touch::Check => format!("{name} is checked in another way; no flow is touched while the check succeeds"),
        };
        let joint = if self.flows == Flows::Stay { ": " } else { ", " };
        match self.clients {
            Clients::Stay => {}
            Clients::Move => drop(write!(text, "{joint}{}", clients(live, "moves", "move"))),
            Clients::Forgotten => drop(write!(text, "{joint}{}", clients(live, "is forgotten", "are forgotten"))),
        }
        text
    }
}

/// `its 14 connections finish first (on_removal: drain)`.
fn leaving(on_removal: OnRemoval, live: Option<Live>) -> String {
    let word = match on_removal {
        OnRemoval::Drain => "drain",
        OnRemoval::Cut => "cut",
    };
    match (live.map(|live| live.connections), on_removal) {
        (Some(0), _) => "it has no connection".to_owned(),
        (Some(1), OnRemoval::Drain) => format!("its 1 connection finishes first (on_removal: {word})"),
        (_, OnRemoval::Drain) => format!("{} finish first (on_removal: {word})", its(live)),
        (_, OnRemoval::Cut) => format!("{} (on_removal: {word})", cut(live)),
    }
}

/// `its 14 connections`.
fn its(live: Option<Live>) -> String {
    match live.map(|live| live.connections) {
        None => "its connections".to_owned(),
        Some(1) => "its 1 connection".to_owned(),
        Some(connections) => format!("its {connections} connections"),
    }
}

/// `its 14 connections are cut`.
fn cut(live: Option<Live>) -> String {
    match live.map(|live| live.connections) {
        Some(0) => "it has no connection".to_owned(),
        Some(1) => "its 1 connection is cut".to_owned(),
        _ => format!("{} are cut", its(live)),
    }
}

fn until_they_end(live: Option<Live>) -> String {
    match live.map(|live| live.connections) {
        Some(0) => "it has no connection".to_owned(),
        Some(1) => "its 1 connection goes on until it ends".to_owned(),
        _ => format!("{} go on until they end", its(live)),
    }
}

/// Flows are counted by server and not by port.
fn of_all(live: Option<Live>) -> String {
    match live.map(|live| live.connections) {
        None => String::new(),
        Some(0) => " (it has no connection)".to_owned(),
        Some(1) => " (it has 1 connection in all)".to_owned(),
        Some(connections) => format!(" (it has {connections} connections in all)"),
    }
}

/// `3 persistent clients move`, or whatever they do.
fn clients(live: Option<Live>, does: &str, they_do: &str) -> String {
    match live.map(|live| live.persistent_clients) {
        None => format!("its persistent clients {they_do}"),
        Some(0) => "it has no persistent client".to_owned(),
        Some(1) => format!("1 persistent client {does}"),
        Some(clients) => format!("{clients} persistent clients {they_do}"),
    }
}
