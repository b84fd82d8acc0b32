//! The real servers of a virtual service.

use std::collections::HashSet;

use super::pool::pools;
use super::proxy::header_towards;
use super::service::{check_port_is_named, has_several, is_layer_7, not_in_mode, same_family, sections, text_of};
use super::{Defaults, check, unusable};
use crate::config::code::Code;
use crate::config::decode::{At, Context};
use crate::config::model::{HttpVersion, Mode, RealServer, ServerTls};
use crate::config::raw::{self, CheckType, Verify};
use crate::config::values::Port;

/// Real servers of one service; an id of eight bits in the tables, less a few.
const MAX_REAL_SERVERS: usize = 250;

pub(super) fn real_servers(raw: &raw::Service, defaults: &Defaults, cx: &mut Context<'_>) -> Option<Vec<RealServer>> {
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
    pools(raw, servers, defaults.weight, cx);
    if service_is_proxied(raw) {
        unverified(servers, cx);
    }
    let read: Vec<Option<RealServer>> =
        servers.iter().map(|server| real_server(&server.value, raw, defaults, cx)).collect();
    let read: Option<Vec<RealServer>> = read.into_iter().collect();
    read.filter(|servers| !servers.is_empty())
}

fn service_is_proxied(raw: &raw::Service) -> bool {
    raw.mode.as_ref().is_some_and(|mode| is_layer_7(mode.value))
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
            && !addresses.insert((
                address.value.0,
                server.value.port.as_ref().map(|port| port.value.0),
                server.value.pool.as_ref().map(|pool| pool.value.text.as_str()),
            ))
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
    for (key, place) in
        [("pool", raw.pool.as_ref().map(|at| at.place)), ("http_version", raw.http_version.as_ref().map(|at| at.place))]
    {
        if let (Some(place), Some(mode)) = (place, mode)
            && mode != Mode::L7Http
        {
            not_in_mode(cx, place, &format!("`{key}`"), mode, "l7-http").help("remove it, or use mode: l7-http");
        }
    }
    let proxy_protocol = header_towards(raw, service, mode, cx);
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
    check_of_tls(raw, service, cx);
    Some(RealServer {
        name: raw.name.as_ref()?.value.text.clone(),
        address: raw.address.as_ref()?.value.0,
        port: raw.port.as_ref().map(|port| port.value.0),
        weight: raw.weight.as_ref().map_or(defaults.weight, |weight| weight.value.0),
        min_connections: least,
        max_connections: most,
        backup: raw.backup.value.0,
        tls,
        pool: raw.pool.as_ref().map(|pool| pool.value.text.clone()),
        proxy_protocol,
        http_version: raw.http_version.as_ref().map_or_else(HttpVersion::default, |at| at.value),
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
    if mode == Some(Mode::L4Nat) {
        nat_to_one_port(service, port, "this real server", cx);
    } else if service.ports.as_ref().is_some_and(has_several) {
        cx.report(
            Code::ManyPortsToOne,
            port.place,
            format!("all ports of the service go to port {} of this real server", port.value.0),
        )
        .help("remove `port` to keep the port that the client used");
    }
}

/// Replies are told apart by the client's port and the real server's, in l4-nat by nothing else.
pub(super) fn nat_to_one_port(service: &raw::Service, port: &At<Port>, whose: &str, cx: &mut Context<'_>) {
    let is_nat = service.mode.as_ref().is_some_and(|mode| mode.value == Mode::L4Nat);
    if is_nat && service.ports.as_ref().is_some_and(has_several) {
        let message = format!("all ports of the service go to port {} of {whose}", port.value.0);
        cx.report(Code::NatToOnePort, port.place, message)
            .label("in l4-nat, replies from it could belong to either port")
            .help("remove `port`, or use mode: l4-snat");
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

/// C8: the check must speak what the server speaks, and believe no more than the proxy does.
fn check_of_tls(raw: &raw::Server, service: &raw::Service, cx: &mut Context<'_>) {
    let sections = sections(service, Some(raw));
    let Some(tls) = &raw.tls else { return };
    if sections.iter().any(|section| section.port.is_some()) {
        return;
    }
    let place = sections.first().and_then(|section| section.r#type.as_ref()).map_or(raw.place, |at| at.place);
    match check::type_of(&sections, service.protocol.value) {
        CheckType::Http => {
            let name = text_of(raw.name.as_ref(), "this real server");
            let message = format!("the http check of {name} goes to a port that speaks TLS");
            cx.report(Code::PlainCheckOfTls, place, message).help("use `type: https`, or name a plain `port`");
        }
        CheckType::Https if tls.value.verify.value == Verify::Full && !check::verifies(&sections) => {
            cx.report(Code::UnverifiedCheck, place, "the check does not verify the certificate, the proxy does")
                .label("with a bad certificate the real server is up, and no client reaches it")
                .help("write `verify: full` in health_check, with the `server_name` and `ca_file` of the real server's tls");
        }
        CheckType::Https
        | CheckType::Connect
        | CheckType::Ping
        | CheckType::DicomEcho
        | CheckType::Script
        | CheckType::None => {}
    }
}

/// Said once for a service.
fn unverified(servers: &[At<raw::Server>], cx: &mut Context<'_>) {
    let verified =
        |server: &&At<raw::Server>| server.value.tls.as_ref().is_none_or(|tls| tls.value.verify.value == Verify::Full);
    let unverified: Vec<&At<raw::Server>> = servers.iter().filter(|server| !verified(server)).collect();
    let [first, ..] = unverified[..] else { return };
    let place = first.value.tls.as_ref().map_or(first.place, |tls| tls.value.verify.place);
    let whose = match unverified.len() {
        1 => format!("the certificate of {} is", text_of(first.value.name.as_ref(), "this real server")),
        count => format!("the certificates of {count} real servers are"),
    };
    cx.report_key(Code::UnverifiedServer, place, format!("{whose} not verified"))
        .label("whoever answers in its place is believed")
        .help("write `verify: full`, with `ca_file` where your own authority signs and `server_name` where it names a host");
}
