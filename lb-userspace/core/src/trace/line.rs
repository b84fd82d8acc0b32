//! A traced frame on one line.

use std::net::{IpAddr, SocketAddr};

use crate::view::{CounterAction, Fragment, Frame, TracedFrame};

/// `eth0  192.0.2.7:5000 -> 10.0.0.100:443 udp 120 B  scheduled -> web1 by eth1: to 06:00:00:00:00:01`.
#[must_use]
pub fn line(traced: &TracedFrame) -> String {
    format!("{}  {} {} B  {}", traced.interface, what(&traced.frame), traced.frame.length, outcome(traced))
}

fn outcome(traced: &TracedFrame) -> String {
    let Some(leaves) = &traced.leaves else {
        let server = traced.server.as_ref().map_or_else(String::new, |server| format!(" ({server})"));
        return format!("{} {}{server}", word(traced.verdict), traced.reason);
    };
    let server = traced.server.as_deref().unwrap_or("(no name)");
    let changes = changes(&traced.frame, &leaves.frame);
    let changes = if changes.is_empty() { String::new() } else { format!(": {}", changes.join(", ")) };
    format!("{} -> {server} by {}{changes}", traced.reason, leaves.interface)
}

fn word(verdict: CounterAction) -> &'static str {
    match verdict {
        CounterAction::Pass => "pass",
        CounterAction::Forward => "forward",
        CounterAction::Drop => "drop",
    }
}

/// What differs between a frame as it came and as it left.
fn changes(before: &Frame, after: &Frame) -> Vec<String> {
    let mut changes = Vec::new();
    let ends = |frame: &Frame| (frame.source, frame.source_port, frame.destination, frame.destination_port);
    if ends(before) != ends(after) {
        changes.push(way(after));
    }
    if before.about != after.about
        && let Some(about) = &after.about
    {
        changes.push(format!("about {}", what(about)));
    }
    if before.vlans != after.vlans {
        changes.push(if after.vlans.is_empty() { "untagged".to_owned() } else { tags(after).trim_end().to_owned() });
    }
    if before.destination_mac != after.destination_mac {
        changes.push(format!("to {}", after.destination_mac.as_deref().unwrap_or("nobody")));
    }
    changes
}

/// A frame without its length.
fn what(frame: &Frame) -> String {
    let mut text = format!("{}{} {}", tags(frame), way(frame), frame.protocol);
    if !frame.tcp_flags.is_empty() {
        let flags: Vec<_> = frame.tcp_flags.iter().map(|flag| flag.word()).collect();
        text += &format!(" {}", flags.join(","));
    }
    if let Some(Fragment { identification, offset, more }) = frame.fragment {
        let place = if more { "" } else { ", the last" };
        text += &format!(" fragment {identification} at {offset}{place}");
    }
    if let Some(message) = &frame.message {
        text += &format!(" {message}");
    }
    if let Some(about) = &frame.about {
        text += &format!(" about {}", what(about));
    }
    if frame.cut_short {
        text += " (cut short)";
    }
    text
}

fn tags(frame: &Frame) -> String {
    frame.vlans.iter().map(|vlan| format!("vlan {vlan} ")).collect()
}

/// From whom to whom: by address, or by MAC address where the frame has no others.
fn way(frame: &Frame) -> String {
    let has_addresses = frame.source.is_some() || frame.destination.is_some();
    let end = |address: Option<IpAddr>, port: Option<u16>, mac: &Option<String>| match (address, port, mac) {
        (Some(address), Some(port), _) => SocketAddr::new(address, port).to_string(),
        (Some(address), None, _) => address.to_string(),
        (None, _, Some(mac)) if !has_addresses => mac.clone(),
        (None, ..) => "(no address)".to_owned(),
    };
    let source = end(frame.source, frame.source_port, &frame.source_mac);
    format!("{source} -> {}", end(frame.destination, frame.destination_port, &frame.destination_mac))
}
