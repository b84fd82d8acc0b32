//! Rules between services: what two of them cannot share.
//!
//! In: what was typed, so that a mistake elsewhere in a service hides nothing here. Out: mistakes.
//! Absent: rules within one service, which are `parse`'s.

mod ports;
mod servers;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use super::code::Code;
use super::decode::{At, Context};
use super::places::Place;
use super::raw::{Root, Service};

/// Virtual services of one configuration.
pub(crate) const MAX_SERVICES: usize = 1024;
/// Certificates of one configuration: more than one for each service.
const MAX_CERTIFICATES: usize = 4096;

/// Checks everything that involves more than one service.
pub(crate) fn check(root: &Root, cx: &mut Context<'_>) {
    let services: &[At<Service>] = root.virtual_services.as_ref().map_or(&[], |list| &list.value.0);
    how_many(root, services, cx);
    // Past the limit the work would have none.
    let services = &services[..services.len().min(MAX_SERVICES)];
    unique_names(services, cx);
    let uses: Vec<ports::PortUse<'_>> = services.iter().flat_map(|service| ports::vip_ports(&service.value)).collect();
    ports::services_clash(&uses, cx);
    ports::too_many_ranges(&uses, cx);
    ports::taken_by_this_machine(&uses, &own_listeners(root), cx);
    servers::rewrites_clash(services, cx);
    servers::nat_shares_a_port(services, cx);
    vips_are_not_servers(services, cx);
    certificates_match(root, services, cx);
    interfaces_are_listed(root, services, cx);
}

/// The API is a socket in the file system, and takes no port.
fn own_listeners(root: &Root) -> Vec<ports::Own> {
    let metrics = root.node.as_ref().and_then(|node| node.value.metrics_address.as_ref());
    let metrics = metrics.map(|at| (at.value.0.ip(), at.value.0.port(), "node.metrics_address", at.place));
    let sync = root.high_availability.as_ref().and_then(|pair| pair.value.sync.as_ref());
    let sync = sync.map(|at| match &at.value.listen {
        Some(listen) => (listen.value.0.ip(), listen.value.0.port(), "high_availability.sync.listen", listen.place),
        None => (Ipv4Addr::UNSPECIFIED.into(), at.value.port.value.0, "high_availability.sync", at.place),
    });
    let own = |(address, port, what, place): (IpAddr, u16, _, _)| {
        let address = (!address.is_unspecified()).then_some(address);
        ports::Own { what, address, port, place }
    };
    metrics.into_iter().chain(sync).map(own).collect()
}

fn how_many(root: &Root, services: &[At<Service>], cx: &mut Context<'_>) {
    let place = root.virtual_services.as_ref().map_or(root.place, |list| list.place);
    if services.is_empty() && !cx.problems.any_error() {
        cx.report_key(Code::NoServices, place, "there is no virtual service").help("add one under `virtual_services`");
    }
    if services.len() > MAX_SERVICES {
        let message = format!("{} virtual services; the limit is {MAX_SERVICES}", services.len());
        cx.report_key(Code::TooMany, place, message);
    }
}

fn unique_names(services: &[At<Service>], cx: &mut Context<'_>) {
    let mut known: HashMap<&str, Place> = HashMap::new();
    for service in services {
        let Some(name) = &service.value.name else { continue };
        if let Some(first) = known.get(name.value.text.as_str()) {
            let label = format!("the first is at {}", cx.places.reference(*first));
            cx.report(Code::DuplicateName, name.place, format!("two virtual services are named {}", name.value.text))
                .label(label)
                .help("give each virtual service its own name");
        } else {
            known.insert(&name.value.text, name.place);
        }
    }
}

fn name(service: &Service) -> &str {
    service.name.as_ref().map_or("a service without a name", |name| &name.value.text)
}

fn vips_are_not_servers(services: &[At<Service>], cx: &mut Context<'_>) {
    let mut vips: HashMap<IpAddr, &At<super::values::Address>> = HashMap::new();
    for address in services.iter().filter_map(|service| service.value.address.as_ref()) {
        vips.entry(address.value.0).or_insert(address);
    }
    for service in services {
        if cx.problems.is_full() {
            return;
        }
        for server in service.value.real_servers.iter().flat_map(|list| &list.value.0) {
            let Some(address) = &server.value.address else { continue };
            let Some(vip) = vips.get(&address.value.0) else { continue };
            let label = format!("the VIP is at {}", cx.places.reference(vip.place));
            let message = format!("{} is a VIP and the address of a real server", address.value.0);
            cx.report(Code::VipIsServer, address.place, message)
                .label(label)
                .help("write the real server's own address; each machine keeps one beside the VIP");
        }
    }
}

fn certificates_match(root: &Root, services: &[At<Service>], cx: &mut Context<'_>) {
    let defined: Vec<(&str, Place)> = root.certificates.as_ref().map_or_else(Vec::new, |section| {
        section.value.0.iter().map(|(label, at)| (label.as_str(), at.place)).collect()
    });
    let written = written_labels(root, cx);
    let mut used = HashSet::new();
    for tls in services.iter().filter_map(|service| service.value.tls.as_ref()) {
        let several = tls.value.certificates.iter().flat_map(|list| &list.value.0);
        for label in tls.value.certificate.iter().chain(several) {
            let text = label.value.text.as_str();
            used.insert(text);
            if written.contains(text) || cx.problems.is_full() {
                continue;
            }
            let labels: Vec<&str> = defined.iter().take(MAX_CERTIFICATES).map(|(label, _)| *label).collect();
            let help = match super::words::closest(text, &labels) {
                Some(near) => format!("did you mean `{near}`?"),
                None if labels.is_empty() => format!("add `certificates:` with `{text}:` below it"),
                None => format!("the labels are {}", labels.join(", ")),
            };
            cx.report(Code::UnknownCertificate, label.place, format!("no certificate has the label {text}")).help(help);
        }
    }
    if defined.len() > MAX_CERTIFICATES {
        let message = format!("{} certificates; the limit is {MAX_CERTIFICATES}", defined.len());
        cx.report_key(Code::TooMany, root.certificates.as_ref().map_or(root.place, |section| section.place), message);
    }
    for (label, place) in defined {
        if !used.contains(label) {
            cx.report_key(Code::UnusedCertificate, place, format!("no service uses the certificate {label}"))
                .help("name it under `tls` of a service, or remove it");
        }
    }
}

/// Labels, those of certificates with mistakes included.
fn written_labels(root: &Root, cx: &Context<'_>) -> HashSet<String> {
    root.certificates.as_ref().map_or_else(HashSet::new, |section| cx.places.keys_of(section.place))
}

/// A VIP on an interface without XDP is not balanced in layer 4. VLAN interfaces are covered by the
/// interface that carries them.
fn interfaces_are_listed(root: &Root, services: &[At<Service>], cx: &mut Context<'_>) {
    let Some(list) = root.node.as_ref().and_then(|node| node.value.interfaces.as_ref()) else { return };
    let listed: Vec<&str> = list
        .value
        .0
        .iter()
        .filter_map(|at| at.value.device.as_ref())
        .map(|device| device.value.text.as_str())
        .collect();
    for service in services {
        let Some(interface) = &service.value.interface else { continue };
        let device = interface.value.text.as_str();
        let parent = device.split_once('.').map_or(device, |(parent, _)| parent);
        if !listed.contains(&device) && !listed.contains(&parent) {
            cx.report(Code::InterfaceWithoutXdp, interface.place, format!("{device} is not in node.interfaces"))
                .label("packets that arrive on it are not balanced in layer 4")
                .help(format!("the interfaces are {}", listed.join(", ")));
        }
    }
}
