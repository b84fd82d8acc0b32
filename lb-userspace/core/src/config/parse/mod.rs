//! From what was typed to the model: defaults filled in, every rule checked.
//!
//! In: the decoded file. Out: a [`Config`] when nothing is missing; mistakes are noted in the
//! context, and checking goes on after each. Absent: YAML, and the state of this machine.

mod check;
mod edit;
mod http;
mod pair;
mod pool;
mod proxy;
mod rule;
mod server;
mod service;
mod settings;
mod tls;

use std::net::IpAddr;
use std::time::Duration;

use super::code::Code;
use super::decode::{At, Context};
use super::model::{
    Config, FlowTimeouts, Interface, Limits, Node, OnRemoval, ProxyNode, Secret, Timeouts, VirtualService,
};
use super::places::Place;
use super::raw;
use super::values::{FilePath, SecretText, Text, print_duration};

/// What `lbctl config show` prints in place of a secret.
pub(crate) const SECRET_PLACEHOLDER: &str = "<secret>";
/// Source ports that are fewer than this do not last.
pub(crate) const MIN_SOURCE_PORTS: usize = 64;
/// Interfaces of one machine.
const MAX_INTERFACES: usize = 64;

/// `defaults`, complete.
pub(crate) struct Defaults {
    pub(crate) weight: u16,
    pub(crate) persistence_timeout: Duration,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) rise: u8,
    pub(crate) fall: u8,
    pub(crate) flap_damping: bool,
    pub(crate) slow_start: Duration,
    pub(crate) on_removal: OnRemoval,
    pub(crate) timeouts: Timeouts,
    pub(crate) flow_timeouts: FlowTimeouts,
}

/// Checks the whole file; `None` when something needed for a [`Config`] is missing.
pub(crate) fn config(root: &raw::Root, cx: &mut Context<'_>) -> Option<Config> {
    let defaults = Defaults::new(root.defaults.as_ref().map(|section| &section.value), cx);
    let node = root.node.as_ref().and_then(|section| node(&section.value, defaults.flow_timeouts, cx));
    let certificates = tls::certificates(root, cx);
    let high_availability = root.high_availability.as_ref().map(|section| pair::pair(&section.value, cx));
    let services: Vec<Option<VirtualService>> = match &root.virtual_services {
        Some(list) => list.value.0.iter().map(|raw| service::service(&raw.value, &defaults, cx)).collect(),
        None => Vec::new(),
    };
    super::rules::check(root, cx);
    // Another version may mean something else by the same keys.
    root.version.as_ref()?;
    let high_availability = match high_availability {
        None => None,
        Some(pair) => Some(pair?),
    };
    Some(Config {
        node: node?,
        certificates,
        high_availability,
        virtual_services: services.into_iter().collect::<Option<_>>()?,
    })
}

fn node(section: &raw::NodeSection, flow_timeouts: FlowTimeouts, cx: &mut Context<'_>) -> Option<Node> {
    let mut interfaces: Vec<Interface> = Vec::new();
    if let Some(list) = &section.interfaces {
        if list.value.0.is_empty() {
            cx.report(Code::MissingKey, list.place, "no interface is named")
                .help("name the interfaces that carry clients or real servers: [{device: eth0}]");
        }
        if list.value.0.len() > MAX_INTERFACES {
            cx.report(Code::TooMany, list.place, format!("more than {MAX_INTERFACES} interfaces"));
        }
        for raw in list.value.0.iter().take(MAX_INTERFACES) {
            let Some(device) = &raw.value.device else { continue };
            if interfaces.iter().any(|known| known.device == device.value.text) {
                let message = format!("the interface {} is listed twice", device.value.text);
                cx.report(Code::DuplicateName, device.place, message).help("remove one of the two");
            }
            interfaces.push(Interface { device: device.value.text.clone(), xdp: raw.value.xdp.value });
        }
    }
    let limits = section.limits.as_ref().map_or_else(Limits::default, |limits| Limits {
        flows: limits.value.flows.value.0,
        pending_flows: limits.value.pending_flows.value.0,
        translated_flows: limits.value.translated_flows.value.0,
        persistence: limits.value.persistence.value.0,
        new_flows_per_second: limits.value.new_flows_per_second.value.0,
    });
    let name = section.name.as_ref().map(|name| name.value.text.clone());
    let metrics_address = section.metrics_address.as_ref().map(|address| address.value.0);
    let source_ports = settings::source_ports(section, cx);
    let proxy = section.proxy.as_ref().map_or_else(ProxyNode::default, |proxy| ProxyNode {
        threads: proxy.value.threads.as_ref().map(|threads| threads.value.0),
        max_connections: proxy.value.max_connections.value.0,
        drain_timeout: proxy.value.drain_timeout.value.0,
    });
    (!interfaces.is_empty()).then_some(Node {
        name,
        interfaces,
        limits,
        flow_timeouts,
        source_ports,
        metrics_address,
        proxy,
    })
}

impl Defaults {
    fn new(section: Option<&raw::Defaults>, cx: &mut Context<'_>) -> Self {
        let mut defaults = Self {
            weight: 100,
            persistence_timeout: Duration::from_secs(300),
            interval: Duration::from_secs(4),
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 2,
            flap_damping: true,
            slow_start: Duration::ZERO,
            on_removal: OnRemoval::default(),
            timeouts: standard_timeouts(),
            flow_timeouts: FlowTimeouts::default(),
        };
        let Some(section) = section else { return defaults };
        defaults.weight = section.weight.value.0;
        defaults.persistence_timeout = section.persistence_timeout.value.0;
        defaults.slow_start = section.slow_start.value.0;
        defaults.on_removal = section.on_removal.value;
        if let Some(timing) = &section.health_check {
            let timing = &timing.value;
            defaults.interval = timing.interval.value.0;
            defaults.timeout = timing.timeout.value.0;
            defaults.rise = timing.rise.value.0;
            defaults.fall = timing.fall.value.0;
            defaults.flap_damping = timing.flap_damping.value.0;
            within_interval(defaults.timeout, defaults.interval, timing.timeout.place, cx);
        }
        if let Some(timeouts) = &section.timeouts {
            defaults.timeouts = Timeouts {
                connect: timeouts.value.connect.value.0,
                client: timeouts.value.client.value.0,
                server: timeouts.value.server.value.0,
                request: timeouts.value.request.value.0,
                keep_alive: timeouts.value.keep_alive.value.0,
                queue: timeouts.value.queue.value.0,
                tunnel: timeouts.value.tunnel.value.0,
            };
        }
        if let Some(flow) = &section.flow_timeouts {
            defaults.flow_timeouts = FlowTimeouts {
                established: flow.value.established.value.0,
                half_closed: flow.value.half_closed.value.0,
                closing: flow.value.closing.value.0,
                pending: flow.value.pending.value.0,
                udp: flow.value.udp.value.0,
            };
        }
        defaults
    }
}

/// The timeouts of a layer 7 service when nothing says otherwise; those of layer 4 services, which have none.
pub(crate) fn standard_timeouts() -> Timeouts {
    Timeouts::default()
}

fn within_interval(timeout: Duration, interval: Duration, place: Place, cx: &mut Context<'_>) {
    if timeout > interval {
        let (timeout, interval) = (print_duration(timeout), print_duration(interval));
        cx.report(
            Code::TimeoutOverInterval,
            place,
            format!("the timeout of {timeout} is longer than the interval of {interval}"),
        )
        .label("a check must end before the next one starts")
        .help(format!("write a timeout of at most {interval}, or a longer interval"));
    }
}

/// A secret given as text or in a file, not both.
fn secret(
    value: Option<&At<Text<SecretText>>>,
    file: Option<&At<Text<FilePath>>>,
    key: &str,
    cx: &mut Context<'_>,
) -> Option<Secret> {
    if let (Some(value), Some(_)) = (value, file) {
        cx.report_key(Code::ChooseOne, value.place, format!("both `{key}` and `{key}_file` are written"))
            .help(format!("keep `{key}_file`"));
    }
    if let Some(value) = value
        && value.value.text == SECRET_PLACEHOLDER
        && !cx.placeholders
    {
        cx.report(
            Code::PlaceholderSecret,
            value.place,
            format!("`{SECRET_PLACEHOLDER}` stands for a secret and is none"),
        )
        .label("`lbctl config show` prints this in place of secrets")
        .help(format!("write the secret, `${{NAME}}` for an environment variable, or `{key}_file`"));
    }
    match (value, file) {
        (_, Some(file)) => Some(Secret::File(file.value.path())),
        (Some(value), None) => Some(Secret::Value(value.value.text.clone())),
        (None, None) => None,
    }
}

/// Why an address cannot be that of a machine that packets are sent to; `None` when it can.
fn unusable(address: IpAddr, loopback_allowed: bool) -> Option<&'static str> {
    match address {
        _ if address.is_unspecified() => Some("it is the unspecified address"),
        _ if address.is_multicast() => Some("it is a multicast address"),
        _ if address.is_loopback() && !loopback_allowed => {
            Some("it is a loopback address, which never leaves a machine")
        }
        IpAddr::V4(v4) if v4.is_broadcast() => Some("it is the broadcast address"),
        IpAddr::V4(v4) if v4.octets()[0] == 0 || v4.octets()[0] >= 240 => Some("it is in a reserved range"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some("it is an IPv4 address in IPv6 form; write it as IPv4"),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// `IPv4` or `IPv6`.
fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}
