//! Which real server is meant by `SERVICE/SERVER`.
//!
//! In: what was typed, and the overview. Out: names that exist, or one sentence with near ones.

use lb_core::config::closest;
use lb_core::view::{ServerState, Status};

/// Names that a sentence lists at most.
const LISTED: usize = 8;

/// A real server that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) service: String,
    pub(super) server: String,
    /// As it was before anything was ordered.
    pub(super) state: ServerState,
}

impl Target {
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.service, self.server)
    }
}

/// Each that was typed, once.
pub(super) fn find(typed: &[String], status: &Status) -> Result<Vec<Target>, String> {
    let all: Vec<Target> = status
        .virtual_services
        .iter()
        .flat_map(|service| {
            service.real_servers.iter().map(|server| Target {
                service: service.name.clone(),
                server: server.name.clone(),
                state: server.state,
            })
        })
        .collect();
    let mut found: Vec<Target> = Vec::new();
    let mut unknown = Vec::new();
    for typed in typed {
        // Wherever a name may have a slash of its own, the whole text is one of these.
        match all.iter().find(|target| target.name() == *typed) {
            Some(target) if found.contains(target) => {}
            Some(target) => found.push(target.clone()),
            None => unknown.push(not_found(typed, &all, status)),
        }
    }
    if unknown.is_empty() { Ok(found) } else { Err(format!("nothing was ordered: {}", unknown.join("; "))) }
}

fn not_found(typed: &str, all: &[Target], status: &Status) -> String {
    let names: Vec<String> = all.iter().map(Target::name).collect();
    let of = |wanted: &dyn Fn(&Target) -> bool| -> Vec<&str> {
        let matching = all.iter().zip(&names).filter(|(target, _)| wanted(target));
        matching.map(|(_, name)| name.as_str()).collect()
    };
    let servers = of(&|target| target.server == typed);
    if !servers.is_empty() {
        return format!("`{typed}` is the name of a real server; write its virtual service too: {}", list(&servers));
    }
    if status.virtual_services.iter().any(|service| service.name == typed) {
        let servers = of(&|target| target.service == typed);
        return format!("`{typed}` is a virtual service; name one of its real servers: {}", list(&servers));
    }
    let all_names: Vec<&str> = names.iter().map(String::as_str).collect();
    if let Some(near) = closest(typed, &all_names) {
        return format!("there is no real server `{typed}`; did you mean {near}?");
    }
    let service = typed.rsplit_once('/').map(|(service, _)| service).unwrap_or_default();
    let servers = of(&|target| target.service == service);
    if !servers.is_empty() {
        return format!("`{service}` has no such real server; it has {}", list(&servers));
    }
    format!("there is no real server `{typed}`; `lbctl status` lists them")
}

fn list(names: &[&str]) -> String {
    let mut text = names.iter().take(LISTED).copied().collect::<Vec<_>>().join(", ");
    if names.len() > LISTED {
        text.push_str(", …");
    }
    text
}
