//! One virtual service and its real servers.

use std::collections::HashSet;
use std::net::IpAddr;

use super::super::code::Code;
use super::super::decode::{At, Context, Word};
use super::super::model::{
    Fallback, HealthCheck, Mode, Persistence, PersistenceBy, Probe, Protocol, RealServer, ServerTls, Timeouts,
    TlsListener, VirtualService,
};
use super::super::places::Place;
use super::super::raw::{self, CheckSection, CheckType, PersistenceForm, PersistenceWord, Verify};
use super::{Defaults, check, family, standard_timeouts, unusable};

/// Real servers of one service; an id of eight bits in the tables, less a few.
pub(crate) const MAX_REAL_SERVERS: usize = 250;
/// The cookie that the balancer inserts when no name is typed.
const COOKIE_NAME: &str = "lb-server";

/// Checks one service; `None` when something that it needs is missing.
pub(super) fn service(raw: &raw::Service, defaults: &Defaults, cx: &mut Context<'_>) -> Option<VirtualService> {
    let mode = raw.mode.as_ref().map(|mode| mode.value);
    let vip = raw.address.as_ref().map(|address| address.value.0);
    vip_is_usable(raw, cx);
    carries(raw, cx);
    let persistence = persistence(raw, mode, vip, defaults, cx);
    let health_check = check::health_check(&sections(raw, None), raw.protocol.value, defaults, cx);
    check_suits(raw, health_check.as_ref(), cx);
    let timeouts = timeouts(raw, mode, defaults, cx);
    let tls = tls(raw, mode, cx);
    let fallback = fallback(raw, mode, vip, cx);
    let real_servers = real_servers(raw, defaults, cx);

    let typed = &raw.ports.as_ref()?.value.0;
    let first_port = typed.first()?.first;
    let mut ports = typed.clone();
    ports.sort();
    Some(VirtualService {
        name: raw.name.as_ref()?.value.text.clone(),
        address: vip?,
        interface: raw.interface.as_ref().map(|device| device.value.text.clone()),
        ports,
        first_port,
        protocol: raw.protocol.value,
        mode: mode?,
        scheduler: raw.scheduler.value,
        persistence,
        health_check: health_check?,
        timeouts,
        tls,
        fallback,
        real_servers: real_servers?,
    })
}

fn sections<'r>(service: &'r raw::Service, server: Option<&'r raw::Server>) -> Vec<&'r CheckSection> {
    let own = server.and_then(|server| server.health_check.as_ref());
    own.into_iter().chain(service.health_check.as_ref()).map(|at| &at.value).collect()
}

fn is_layer_7(mode: Mode) -> bool {
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

fn not_in_mode<'c>(
    cx: &'c mut Context<'_>,
    place: Place,
    what: &str,
    mode: Mode,
    belongs: &str,
) -> &'c mut super::super::places::Problem {
    cx.report_key(Code::NotInMode, place, format!("{} has no {what}", mode.word()))
        .label(format!("it belongs to {belongs}"))
}

fn persistence(
    raw: &raw::Service,
    mode: Option<Mode>,
    vip: Option<IpAddr>,
    defaults: &Defaults,
    cx: &mut Context<'_>,
) -> Option<Persistence> {
    let form = raw.persistence.as_ref()?;
    let (by, full) = match &form.value {
        PersistenceForm::Word(word) => (*word, None),
        PersistenceForm::Full(section) => (section.by.as_ref()?.value, Some(&**section)),
    };
    let fits = match by {
        PersistenceWord::None | PersistenceWord::SourceIp => None,
        PersistenceWord::Cookie => Some(Mode::L7Http),
        PersistenceWord::RdpCookie => Some(Mode::L7Tcp),
    };
    if let (Some(needed), Some(mode)) = (fits, mode)
        && needed != mode
    {
        not_in_mode(cx, form.place, &format!("persistence by {}", by.word()), mode, needed.word())
            .help(format!("use `persistence: source-ip`, or mode: {}", needed.word()));
    }
    let prefix = full.and_then(|section| section.prefix.as_ref());
    let cookie = full.and_then(|section| section.cookie.as_ref());
    let stray = [
        ("prefix", prefix.map(|at| at.place), PersistenceWord::SourceIp),
        ("cookie", cookie.map(|at| at.place), PersistenceWord::Cookie),
    ];
    for (key, place, owner) in stray {
        if let Some(place) = place
            && owner != by
        {
            cx.report_key(Code::NotInMode, place, format!("persistence by {} has no `{key}`", by.word()))
                .label(format!("it belongs to `by: {}`", owner.word()))
                .help(format!("remove `{key}`"));
        }
    }
    let (mut prefix_v4, mut prefix_v6) = (32, 128);
    match (prefix, vip) {
        (Some(prefix), Some(IpAddr::V4(_))) if prefix.value.0 > 32 => {
            cx.report(Code::BadNumber, prefix.place, format!("{} is outside 1 to 32", prefix.value.0))
                .help("clients of an IPv4 VIP have 32 bits of address; 24 groups them by /24 network");
        }
        (Some(prefix), Some(IpAddr::V4(_))) => prefix_v4 = prefix.value.0,
        (Some(prefix), Some(IpAddr::V6(_))) => prefix_v6 = prefix.value.0,
        (Some(_), None) | (None, _) => {}
    }
    let by = match by {
        PersistenceWord::None => return None,
        PersistenceWord::SourceIp => PersistenceBy::SourceIp,
        PersistenceWord::Cookie => {
            PersistenceBy::Cookie { name: cookie.map_or_else(|| COOKIE_NAME.to_owned(), |at| at.value.text.clone()) }
        }
        PersistenceWord::RdpCookie => PersistenceBy::RdpCookie,
    };
    let timeout = full.and_then(|section| section.timeout.as_ref());
    let timeout = timeout.map_or(defaults.persistence_timeout, |at| at.value.0);
    Some(Persistence { by, timeout, prefix_v4, prefix_v6 })
}

/// What the check of the whole service does not fit (C5, C8).
fn check_suits(raw: &raw::Service, check: Option<&HealthCheck>, cx: &mut Context<'_>) {
    let Some(check) = check else { return };
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
fn check_port_is_named(service: &raw::Service, check: &HealthCheck, place: Place, whose: &str, cx: &mut Context<'_>) {
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

fn has_several(ports: &At<super::super::values::Ports>) -> bool {
    ports.value.0.len() > 1 || ports.value.0.first().is_some_and(|range| range.first != range.last)
}

fn text_of<'r, R>(value: Option<&'r At<super::super::values::Text<R>>>, otherwise: &'r str) -> &'r str {
    value.map_or(otherwise, |at| at.value.text.as_str())
}

fn timeouts(raw: &raw::Service, mode: Option<Mode>, defaults: &Defaults, cx: &mut Context<'_>) -> Timeouts {
    let layer_7 = mode.is_none_or(is_layer_7);
    let mut timeouts = if layer_7 { defaults.timeouts } else { standard_timeouts() };
    let Some(section) = &raw.timeouts else { return timeouts };
    if let Some(mode) = mode
        && !layer_7
    {
        not_in_mode(cx, section.place, "`timeouts`", mode, "layer 7")
            .help("remove it; `defaults.flow_timeouts` says how long idle layer 4 flows are remembered");
        return timeouts;
    }
    let pick = |value: &Option<At<raw::IdlePeriod>>, default| value.as_ref().map_or(default, |at| at.value.0);
    timeouts.connect = pick(&section.value.connect, timeouts.connect);
    timeouts.client = pick(&section.value.client, timeouts.client);
    timeouts.server = pick(&section.value.server, timeouts.server);
    timeouts
}

fn tls(raw: &raw::Service, mode: Option<Mode>, cx: &mut Context<'_>) -> Option<TlsListener> {
    let section = raw.tls.as_ref()?;
    if let Some(mode) = mode
        && !is_layer_7(mode)
    {
        not_in_mode(cx, section.place, "`tls`", mode, "layer 7")
            .help("remove it to pass TLS through to the real servers, or use mode: l7-http or l7-tcp");
    }
    let certificates = match (&section.value.certificate, &section.value.certificates) {
        (Some(one), None) => vec![one.value.text.clone()],
        (None, Some(several)) => several.value.0.iter().map(|label| label.value.text.clone()).collect(),
        (Some(_), Some(several)) => {
            cx.report_key(Code::ChooseOne, several.place, "both `certificate` and `certificates` are written")
                .help("keep `certificates`, with the default first");
            return None;
        }
        (None, None) => Vec::new(),
    };
    if certificates.is_empty() && section.value.faulty {
        return None;
    }
    if certificates.is_empty() {
        cx.report_key(Code::MissingKey, section.place, "`certificate` is missing")
            .help("add `certificate:` with a label from `certificates`");
        return None;
    }
    Some(TlsListener { port: section.value.port.value.0, certificates, policy: section.value.policy.value })
}

fn fallback(raw: &raw::Service, mode: Option<Mode>, vip: Option<IpAddr>, cx: &mut Context<'_>) -> Option<Fallback> {
    let section = raw.fallback.as_ref()?;
    let raw::FallbackSection { address, port, page, redirect, .. } = &section.value;
    let written = [address.is_some(), page.is_some(), redirect.is_some()].iter().filter(|written| **written).count();
    if written > 1 || (written == 0 && !section.value.faulty) {
        let (code, message) = if written == 0 {
            (Code::MissingKey, "the fallback names neither `address`, `page` nor `redirect`")
        } else {
            (Code::ChooseOne, "the fallback names more than one of `address`, `page` and `redirect`")
        };
        cx.report(code, section.place, message).help("write one of them");
    }
    if let Some(port) = port {
        match mode {
            Some(mode) if !is_layer_7(mode) => {
                not_in_mode(cx, port.place, "`port` for its fallback", mode, "layer 7").help("remove `port`");
            }
            _ if address.is_none() => {
                cx.report_key(Code::NotInMode, port.place, "only a fallback with `address` has a port")
                    .help("remove `port`");
            }
            _ => {}
        }
    }
    for (place, what) in [
        (page.as_ref().map(|at| at.place), "fallback page"),
        (redirect.as_ref().map(|at| at.place), "fallback redirect"),
    ] {
        if let (Some(place), Some(mode)) = (place, mode)
            && mode != Mode::L7Http
        {
            not_in_mode(cx, place, what, mode, "l7-http").help("use `address`, or mode: l7-http");
        }
    }
    if let Some(address) = address {
        fallback_is_reachable(address, mode, vip, cx);
    }
    match (address, page, redirect) {
        (Some(address), None, None) => {
            Some(Fallback::Server { address: address.value.0, port: port.as_ref().map(|port| port.value.0) })
        }
        (None, Some(page), None) => Some(Fallback::Page(page.value.path())),
        (None, None, Some(url)) => Some(Fallback::Redirect(url.value.text.clone())),
        _ => None,
    }
}

fn fallback_is_reachable(
    address: &At<super::super::values::Address>,
    mode: Option<Mode>,
    vip: Option<IpAddr>,
    cx: &mut Context<'_>,
) {
    let ip = address.value.0;
    if let Some(reason) = unusable(ip, mode.is_none_or(is_layer_7)) {
        cx.report(Code::UnusableAddress, address.place, format!("{ip} cannot be the fallback: {reason}"));
    }
    if vip == Some(ip) {
        cx.report(Code::VipIsServer, address.place, "the fallback is the VIP itself")
            .help("write the address of a machine");
    }
    same_family(address, "the fallback", mode, vip, cx);
}

fn same_family(
    address: &At<super::super::values::Address>,
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
        .label(format!("{} forwards packets as they are", mode.word()))
        .help("use addresses of one family, or mode: l7-tcp or l7-http, which translate");
    }
}

fn real_servers(raw: &raw::Service, defaults: &Defaults, cx: &mut Context<'_>) -> Option<Vec<RealServer>> {
    let list = raw.real_servers.as_ref()?;
    let servers = &list.value.0;
    if servers.is_empty() {
        cx.report_key(Code::MissingKey, list.place, "there is no real server")
            .help("add at least one: - {name: …, address: …}");
    }
    if servers.len() > MAX_REAL_SERVERS {
        let message = format!("{} real servers in one service; the limit is {MAX_REAL_SERVERS}", servers.len());
        cx.report_key(Code::TooMany, list.place, message).help("divide them over several services");
    }
    unique_servers(servers, cx);
    let weight = |server: &raw::Server| server.weight.as_ref().map_or(defaults.weight, |weight| weight.value.0);
    if !servers.is_empty() && servers.iter().all(|server| weight(&server.value) == 0) {
        cx.report_key(Code::AllWeightsZero, list.place, "every real server has weight 0: no new client is served")
            .help("give one a weight above 0");
    }
    if !servers.is_empty() && servers.iter().all(|server| server.value.backup.value.0) {
        cx.report_key(Code::OnlyBackups, list.place, "every real server is a backup")
            .help("remove `backup` from those that serve always");
    }
    let read: Vec<Option<RealServer>> =
        servers.iter().map(|server| real_server(&server.value, raw, defaults, cx)).collect();
    let read: Option<Vec<RealServer>> = read.into_iter().collect();
    read.filter(|servers| !servers.is_empty())
}

fn unique_servers(servers: &[At<raw::Server>], cx: &mut Context<'_>) {
    let mut names = HashSet::new();
    let mut addresses = HashSet::new();
    for server in servers {
        if let Some(name) = &server.value.name
            && !names.insert(&name.value.text)
        {
            cx.report(
                Code::DuplicateName,
                name.place,
                format!("the name {} is used twice in this service", name.value.text),
            )
            .help("give each real server of a service its own name");
        }
        if let Some(address) = &server.value.address
            && !addresses.insert((address.value.0, server.value.port.as_ref().map(|port| port.value.0)))
        {
            cx.report(
                Code::ServerTwice,
                address.place,
                format!("{} is in this service twice, with the same port", address.value.0),
            )
            .help("remove one; use `weight` for a larger share");
        }
    }
}

fn real_server(
    raw: &raw::Server,
    service: &raw::Service,
    defaults: &Defaults,
    cx: &mut Context<'_>,
) -> Option<RealServer> {
    let mode = service.mode.as_ref().map(|mode| mode.value);
    server_is_reachable(raw, service, mode, cx);
    server_port(raw, service, mode, cx);
    let (least, most) = (raw.min_connections.value.0, raw.max_connections.value.0);
    if most > 0 && least > most {
        cx.report(
            Code::ConnectionLimits,
            raw.min_connections.place,
            format!("min_connections {least} is above max_connections {most}"),
        )
        .label("once full, the real server takes new flows again below this")
        .help(format!("write at most {most}"));
    }
    let tls = server_tls(raw, mode, cx);
    if let (Some(redirect), Some(mode)) = (&raw.redirect, mode)
        && mode != Mode::L7Http
    {
        not_in_mode(cx, redirect.place, "redirect", mode, "l7-http").help("remove `redirect`, or use mode: l7-http");
    }
    let health_check = match &raw.health_check {
        None => None,
        Some(own) => {
            let check = check::health_check(&sections(service, Some(raw)), service.protocol.value, defaults, cx)?;
            if raw.port.is_none() {
                check_port_is_named(service, &check, own.place, text_of(raw.name.as_ref(), "this real server"), cx);
            }
            Some(check)
        }
    };
    plain_check_of_tls(raw, service, cx);
    Some(RealServer {
        name: raw.name.as_ref()?.value.text.clone(),
        address: raw.address.as_ref()?.value.0,
        port: raw.port.as_ref().map(|port| port.value.0),
        weight: raw.weight.as_ref().map_or(defaults.weight, |weight| weight.value.0),
        min_connections: least,
        max_connections: most,
        backup: raw.backup.value.0,
        tls,
        redirect: raw.redirect.as_ref().map(|url| url.value.text.clone()),
        health_check,
    })
}

fn server_is_reachable(raw: &raw::Server, service: &raw::Service, mode: Option<Mode>, cx: &mut Context<'_>) {
    let Some(address) = &raw.address else { return };
    if let Some(reason) = unusable(address.value.0, mode.is_none_or(is_layer_7)) {
        cx.report(
            Code::UnusableAddress,
            address.place,
            format!("{} cannot be a real server: {reason}", address.value.0),
        );
    }
    same_family(address, "the real server", mode, service.address.as_ref().map(|vip| vip.value.0), cx);
}

fn server_port(raw: &raw::Server, service: &raw::Service, mode: Option<Mode>, cx: &mut Context<'_>) {
    let Some(port) = &raw.port else { return };
    if mode == Some(Mode::L4Dr) {
        cx.report(Code::PortTranslation, port.place, "port translation is not possible in l4-dr")
            .label("the real server receives the packet on the port the client used")
            .help("remove `port`, or use mode: l4-snat or l7-tcp");
        return;
    }
    if service.ports.as_ref().is_some_and(has_several) {
        cx.report(
            Code::ManyPortsToOne,
            port.place,
            format!("all ports of the service go to port {} of this real server", port.value.0),
        )
        .help("remove `port` to keep the port that the client used");
    }
}

fn server_tls(raw: &raw::Server, mode: Option<Mode>, cx: &mut Context<'_>) -> Option<ServerTls> {
    let section = raw.tls.as_ref()?;
    if let Some(mode) = mode
        && !is_layer_7(mode)
    {
        not_in_mode(cx, section.place, "`tls` towards a real server", mode, "layer 7")
            .help("remove it: what clients send reaches the real server as it is");
    }
    let verify = section.value.verify.value == Verify::Full;
    if let Some(ca) = &section.value.ca_file
        && !verify
    {
        cx.report_key(Code::ChooseOne, ca.place, "`ca_file` has no effect with `verify: none`")
            .help("remove one of the two");
    }
    Some(ServerTls {
        verify,
        server_name: section.value.server_name.as_ref().map(|name| name.value.text.clone()),
        ca_file: section.value.ca_file.as_ref().map(|file| file.value.path()),
    })
}

/// C8: the check must speak what the server speaks.
fn plain_check_of_tls(raw: &raw::Server, service: &raw::Service, cx: &mut Context<'_>) {
    let sections = sections(service, Some(raw));
    let own_port = sections.iter().any(|section| section.port.is_some());
    if raw.tls.is_some() && !own_port && check::type_of(&sections, service.protocol.value) == CheckType::Http {
        let name = text_of(raw.name.as_ref(), "this real server");
        let place = sections.first().and_then(|section| section.r#type.as_ref()).map_or(raw.place, |at| at.place);
        cx.report(Code::PlainCheckOfTls, place, format!("the http check of {name} goes to a port that speaks TLS"))
            .help("use `type: https`, or name a plain `port`");
    }
}
