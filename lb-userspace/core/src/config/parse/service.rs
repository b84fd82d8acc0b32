//! One virtual service.

use std::net::IpAddr;

use super::server::real_servers;
use super::settings::{fallback, new_flows_per_second, persistence, source_address};
use super::{Defaults, check, family, http, proxy, tls, unusable};
use crate::config::code::Code;
use crate::config::decode::{At, Context};
use crate::config::model::{HealthCheck, Mode, Probe, Protocol, VirtualService};
use crate::config::places::{Place, Problem};
use crate::config::raw::{self, CheckSection};
use crate::config::values::{Address, Ports, Text};
use crate::config::words::Word;

/// Checks one service; `None` when something that it needs is missing.
pub(super) fn service(raw: &raw::Service, defaults: &Defaults, cx: &mut Context<'_>) -> Option<VirtualService> {
    let mode = raw.mode.as_ref().map(|mode| mode.value);
    let vip = raw.address.as_ref().map(|address| address.value.0);
    vip_is_usable(raw, cx);
    carries(raw, cx);
    let source_address = source_address(raw, mode, vip, cx);
    let new_flows_per_second = new_flows_per_second(raw, mode, cx);
    let persistence = persistence(raw, mode, vip, defaults, cx);
    let health_check = check::health_check(&sections(raw, None), raw.protocol.value, defaults, cx);
    check_suits(raw, health_check.as_ref(), cx);
    let proxy = proxy::proxy(raw, mode, defaults, cx);
    let http = http::http(raw, mode, cx);
    let tls = tls::listener(raw, mode, cx);
    let fallback = fallback(raw, mode, vip, cx);
    let real_servers = real_servers(raw, defaults, cx);

    let typed = &raw.ports.as_ref()?.value.0;
    let first_port = typed.first()?.first;
    let mut ports = typed.clone();
    ports.sort();
    let service = VirtualService {
        name: raw.name.as_ref()?.value.text.clone(),
        address: vip?,
        interface: raw.interface.as_ref().map(|device| device.value.text.clone()),
        ports,
        first_port,
        protocol: raw.protocol.value,
        mode: mode?,
        source_address,
        new_flows_per_second,
        scheduler: raw.scheduler.value,
        persistence,
        health_check: health_check?,
        slow_start: raw.slow_start.as_ref().map_or(defaults.slow_start, |at| at.value.0),
        on_removal: raw.on_removal.as_ref().map_or(defaults.on_removal, |at| at.value),
        proxy,
        http,
        tls,
        fallback,
        real_servers: real_servers?,
    };
    http::compiles(raw, &service, cx);
    Some(service)
}

pub(super) fn sections<'r>(service: &'r raw::Service, server: Option<&'r raw::Server>) -> Vec<&'r CheckSection> {
    let own = server.and_then(|server| server.health_check.as_ref());
    own.into_iter().chain(service.health_check.as_ref()).map(|at| &at.value).collect()
}

pub(super) fn is_layer_7(mode: Mode) -> bool {
    matches!(mode, Mode::L7Tcp | Mode::L7Http)
}

fn vip_is_usable(raw: &raw::Service, cx: &mut Context<'_>) {
    if let Some(address) = &raw.address
        && let Some(reason) = unusable(address.value.0, false)
    {
        cx.report(Code::UnusableAddress, address.place, format!("{} cannot be a VIP: {reason}", address.value.0))
            .help("write an address of your network that no machine has yet");
    }
}

/// Layer 7 carries TCP only.
fn carries(raw: &raw::Service, cx: &mut Context<'_>) {
    if let Some(mode) = &raw.mode
        && is_layer_7(mode.value)
        && raw.protocol.value != Protocol::Tcp
    {
        let message = format!("{} cannot carry {}", mode.value.word(), raw.protocol.value.word());
        cx.report(Code::UdpInLayer7, raw.protocol.place, message)
            .label("a layer 7 service is TCP")
            .help("use l4-dr, l4-nat or l4-snat; the same address may have a layer 7 service for TCP beside it");
    }
}

pub(super) fn not_in_mode<'c>(
    cx: &'c mut Context<'_>,
    place: Place,
    what: &str,
    mode: Mode,
    belongs: &str,
) -> &'c mut Problem {
    cx.report_key(Code::NotInMode, place, format!("{} has no {what}", mode.word()))
        .label(format!("it belongs to {belongs}"))
}

/// What the check of the whole service does not fit (C5, C8).
fn check_suits(raw: &raw::Service, check: Option<&HealthCheck>, cx: &mut Context<'_>) {
    let Some(check) = check else { return };
    // Of a section with a mistake it is not known what it asks for.
    if raw.health_check.as_ref().is_some_and(|section| section.value.faulty) {
        return;
    }
    let place = raw.health_check.as_ref().map_or(raw.place, |section| section.place);
    let servers = raw.real_servers.as_ref().map(|list| list.value.0.as_slice()).unwrap_or_default();
    let guessed = servers.iter().any(|server| server.value.port.is_none() && server.value.health_check.is_none());
    if guessed {
        check_port_is_named(raw, check, place, text_of(raw.name.as_ref(), "this service"), cx);
    }
    let opens_tcp =
        matches!(check.probe, Probe::Connect | Probe::Http(_) | Probe::Https { .. } | Probe::DicomEcho { .. });
    if raw.protocol.value == Protocol::Udp && opens_tcp && check.port.is_none() {
        let kind = check::type_of(&sections(raw, None), raw.protocol.value).word();
        cx.report_key(Code::TcpCheckOfUdp, place, format!("the {kind} check opens a TCP connection to a UDP service"))
            .help("use `type: ping`, or write the `port` that answers over TCP");
    }
}

/// C5: of several ports, the first is a guess.
pub(super) fn check_port_is_named(
    service: &raw::Service,
    check: &HealthCheck,
    place: Place,
    whose: &str,
    cx: &mut Context<'_>,
) {
    if matches!(check.probe, Probe::Ping | Probe::None) || check.port.is_some() {
        return;
    }
    if let Some(ports) = &service.ports
        && let Some(first) = ports.value.0.first()
        && has_several(ports)
    {
        let first = first.first;
        let message = format!("the health check of {whose} tests port {first}, the first of several");
        cx.report_key(Code::AmbiguousCheckPort, place, message).help(format!(
            "write `port: {first}` in health_check if that is right, or the port that shows the application works"
        ));
    }
}

pub(super) fn has_several(ports: &At<Ports>) -> bool {
    ports.value.0.len() > 1 || ports.value.0.first().is_some_and(|range| range.first != range.last)
}

pub(super) fn text_of<'r, R>(value: Option<&'r At<Text<R>>>, otherwise: &'r str) -> &'r str {
    value.map_or(otherwise, |at| at.value.text.as_str())
}

pub(super) fn same_family(
    address: &At<Address>,
    what: &str,
    mode: Option<Mode>,
    vip: Option<IpAddr>,
    cx: &mut Context<'_>,
) {
    let ip = address.value.0;
    if let (Some(mode), Some(vip)) = (mode, vip)
        && !is_layer_7(mode)
        && vip.is_ipv4() != ip.is_ipv4()
    {
        cx.report(
            Code::FamilyMismatch,
            address.place,
            format!("{what} has an {} address and the VIP an {} one", family(ip), family(vip)),
        )
        .label(format!("{} does not translate between IPv4 and IPv6", mode.word()))
        .help("use addresses of one family, or mode: l7-tcp or l7-http, which translate");
    }
}
