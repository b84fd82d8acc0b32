//! The line of status that `systemctl status lbd` shows.

use lb_core::view::{ServerState, VirtualService};

/// Services and servers in one line: `3 virtual services; real servers: 5 up, 1 down`.
#[must_use]
pub fn status_line(services: &[VirtualService], problems: usize) -> String {
    let total = services.len();
    let mut line = format!("{total} virtual service{}", plural(total));
    let servers = || services.iter().flat_map(|service| &service.real_servers);
    let states = ServerState::ALL.iter().filter_map(|state| {
        let count = servers().filter(|server| server.state == *state).count();
        (count > 0).then(|| format!("{count} {state}"))
    });
    let states: Vec<String> = states.collect();
    if !states.is_empty() {
        line = format!("{line}; real servers: {}", states.join(", "));
    }
    if problems > 0 {
        line = format!("{line}; {problems} problem{}, see `lbctl status`", plural(problems));
    }
    line
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests;
