//! Settings of a virtual service that only some modes have: persistence, source address, fallback.

use std::net::IpAddr;

use super::server::nat_to_one_port;
use super::service::{is_layer_7, not_in_mode, same_family};
use super::{Defaults, MIN_SOURCE_PORTS, family, unusable};
use crate::config::code::Code;
use crate::config::decode::{At, Context};
use crate::config::model::{Fallback, Mode, Node, Persistence, PersistenceBy, PortRange, SourceAddress};
use crate::config::raw::{self, PersistenceForm, PersistenceWord};
use crate::config::values::Address;
use crate::config::words::Word;

/// The cookie that the balancer inserts when no name is typed.
const COOKIE_NAME: &str = "lb-server";

pub(super) fn persistence(
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

pub(super) fn source_address(
    raw: &raw::Service,
    mode: Option<Mode>,
    vip: Option<IpAddr>,
    cx: &mut Context<'_>,
) -> SourceAddress {
    let Some(choice) = &raw.source_address else { return SourceAddress::default() };
    match mode {
        Some(mode @ (Mode::L4Dr | Mode::L4Nat)) => {
            not_in_mode(cx, choice.place, "`source_address`", mode, "l4-snat and layer 7")
                .help("remove it: real servers see the client's own address");
            return SourceAddress::default();
        }
        Some(mode @ Mode::L4Snat) if choice.value.0 == SourceAddress::Client => {
            not_in_mode(cx, choice.place, "`source_address: client`", mode, "layer 7")
                .help("use mode: l4-nat, where real servers see the client's own address, or l7-tcp");
            return SourceAddress::default();
        }
        Some(Mode::L4Snat | Mode::L7Tcp | Mode::L7Http) | None => {}
    }
    if let SourceAddress::Address(ip) = choice.value.0 {
        if let Some(reason) = unusable(ip, false) {
            cx.report(Code::UnusableAddress, choice.place, format!("{ip} cannot be a source address: {reason}"))
                .help("write auto, vip, or an address of this machine");
        }
        let address = At { value: Address(ip), place: choice.place };
        same_family(&address, "the source", mode, vip, cx);
    }
    if mode.is_some_and(is_layer_7) {
        reaches_all(raw, choice.value.0, vip, cx);
    }
    choice.value.0
}

/// The proxy translates between IPv4 and IPv6, unless it is told which end its own connections have.
fn reaches_all(raw: &raw::Service, source: SourceAddress, vip: Option<IpAddr>, cx: &mut Context<'_>) {
    let end = match source {
        SourceAddress::Auto => None,
        SourceAddress::Vip | SourceAddress::Client => vip,
        SourceAddress::Address(address) => Some(address),
    };
    let Some(end) = end else { return };
    let servers = raw.real_servers.iter().flat_map(|list| &list.value.0).filter_map(|at| at.value.address.as_ref());
    let fallback = raw.fallback.as_ref().and_then(|section| section.value.address.as_ref());
    for address in servers.chain(fallback).filter(|address| address.value.0.is_ipv4() != end.is_ipv4()) {
        let ip = address.value.0;
        let message = format!("{ip} cannot be reached from an {} address, `source_address: {source}`", family(end));
        cx.report(Code::FamilyMismatch, address.place, message)
            .label("a connection has both its ends in one family")
            .help("remove `source_address`, or use addresses of one family");
    }
}

/// Only layer 4 admits flows by the tick.
pub(super) fn new_flows_per_second(raw: &raw::Service, mode: Option<Mode>, cx: &mut Context<'_>) -> Option<u32> {
    let limit = raw.new_flows_per_second.as_ref()?;
    if let Some(mode) = mode
        && is_layer_7(mode)
    {
        not_in_mode(cx, limit.place, "`new_flows_per_second`", mode, "layer 4")
            .help("remove it; `max_connections` limits what a real server gets");
        return None;
    }
    Some(limit.value.0)
}

/// The range that `l4-snat` takes its ports from.
pub(super) fn source_ports(section: &raw::NodeSection, cx: &mut Context<'_>) -> PortRange {
    let PortRange { first, last } = section.source_ports.value.0;
    let count = (first..=last).len();
    let place = section.source_ports.place;
    if first < Node::SOURCE_PORTS.first {
        let message = format!("source ports start at {first}; ports below {} are not used", Node::SOURCE_PORTS.first);
        cx.report(Code::SourcePortsOutOfRange, place, message)
            .help(format!("write {}, or a range above 1023", Node::SOURCE_PORTS));
    } else if count < MIN_SOURCE_PORTS {
        let message = format!("{count} source ports; at least {MIN_SOURCE_PORTS} are needed");
        cx.report(Code::SourcePortsOutOfRange, place, message)
            .label("each port of a real server has as many flows at a time")
            .help(format!("write a wider range, such as {}", Node::SOURCE_PORTS));
    }
    PortRange { first, last }
}

pub(super) fn fallback(
    raw: &raw::Service,
    mode: Option<Mode>,
    vip: Option<IpAddr>,
    cx: &mut Context<'_>,
) -> Option<Fallback> {
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
            Some(Mode::L4Dr) => {
                not_in_mode(cx, port.place, "`port` for its fallback", Mode::L4Dr, "the modes that translate ports")
                    .help("remove `port`");
            }
            _ if address.is_none() => {
                cx.report_key(Code::NotInMode, port.place, "only a fallback with `address` has a port")
                    .help("remove `port`");
            }
            _ => nat_to_one_port(raw, port, "the fallback", cx),
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

fn fallback_is_reachable(address: &At<Address>, mode: Option<Mode>, vip: Option<IpAddr>, cx: &mut Context<'_>) {
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
