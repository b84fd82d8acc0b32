//! Whatever the names are and however often they come, the text is valid and says the same.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;

use super::parser::parse;
use super::site::{self, Site};
use crate::metrics::render;
use crate::metrics::text::{self, Value};
use crate::view::{Check, RealServer, Sample, ServerState, VirtualService};

/// Few enough to come again, and unpleasant.
fn name() -> impl Strategy<Value = String> {
    let hostile = prop::sample::select(vec![
        "HT1",
        "",
        "\"",
        "\\",
        "\n",
        "a\\nb",
        "\\\"",
        "x\"} 1\nlb_service_up{service=\"y",
        "# HELP x",
        "Tür 3",
        "\u{2028}",
        "\r",
        "😀",
        "a,b=\"c\"",
        "\0",
    ])
    .prop_map(str::to_owned);
    prop_oneof![3 => hostile, 1 => any::<String>()]
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0..3u8).prop_map(|last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))),
        (0..3u16).prop_map(|last| IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last))),
    ]
}

fn server() -> impl Strategy<Value = RealServer> {
    let state = prop::sample::select(ServerState::ALL);
    let counts = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    (name(), address(), prop::option::of(0..2u16), state, any::<bool>(), counts).prop_map(
        |(name, address, port, state, leaving, (connections, packets, bytes, flows))| RealServer {
            name,
            address,
            port,
            state,
            leaving,
            connections,
            packets,
            bytes,
            flows,
            ..site::server("", "10.0.0.1", None)
        },
    )
}

fn service() -> impl Strategy<Value = VirtualService> {
    (name(), any::<u64>(), prop::collection::vec(server(), 0..6)).prop_map(|(name, packets, real_servers)| {
        VirtualService { name, packets, real_servers, ..site::service("", "10.0.0.9") }
    })
}

fn check() -> impl Strategy<Value = Check> {
    let sample = (any::<f64>(), any::<bool>()).prop_map(|(took_ms, good)| Sample { ago_ms: 0, good, took_ms });
    let history = prop::collection::vec(sample, 0..2);
    let last_good = prop::option::of(any::<u64>());
    (name(), name(), address(), history, last_good, prop::collection::vec(name(), 0..2)).prop_map(
        |(service, server, address, history, last_good_seconds, shared_with)| Check {
            service,
            server,
            address,
            history,
            last_good_seconds,
            shared_with,
            ..site::check("", "", "10.0.0.1")
        },
    )
}

fn any_site() -> impl Strategy<Value = Site> {
    let lists = (prop::collection::vec(service(), 0..5), prop::collection::vec(check(), 0..8));
    (lists, name(), prop::collection::vec(name(), 0..3)).prop_map(|((services, checks), version, names)| {
        let mut site = site::site();
        site.status.version = version;
        site.status.virtual_services = services;
        site.health.checks = checks;
        for name in names {
            let (mut counter, mut table) = (site.status.counters[0].clone(), site.status.tables[0].clone());
            let mut interface = site.status.interfaces[0].clone();
            (counter.reason, table.name, interface.device) = (name.clone(), name.clone(), name);
            site.status.counters.push(counter);
            site.status.tables.push(table);
            site.status.interfaces.push(interface);
        }
        site
    })
}

/// What the counts of the real servers should be: the first service of a name, and the sum over the
/// servers that a label cannot tell apart.
fn packets_by_server(site: &Site) -> BTreeMap<Vec<String>, u64> {
    let mut wanted = BTreeMap::new();
    let mut services = BTreeSet::new();
    for service in site.status.virtual_services.iter().filter(|service| services.insert(&service.name)) {
        for server in &service.real_servers {
            let address = match server.port {
                Some(port) => SocketAddr::new(server.address, port).to_string(),
                None => server.address.to_string(),
            };
            let sum: &mut u64 = wanted.entry(vec![service.name.clone(), server.name.clone(), address]).or_default();
            *sum = sum.saturating_add(server.packets);
        }
    }
    wanted
}

proptest! {
    // The parser itself refuses a series that comes twice.
    #[test]
    fn any_state_is_a_valid_text_that_reads_back(site in any_site()) {
        let text = render(&site.status, &site.health, &site.extra);
        let exposition = parse(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        let found: BTreeMap<Vec<String>, u64> = exposition
            .family("lb_server_packets_total")
            .samples
            .iter()
            .map(|sample| {
                let values = sample.labels.iter().map(|(_, value)| value.clone()).collect();
                (values, sample.value.parse().unwrap())
            })
            .collect();
        prop_assert_eq!(found, packets_by_server(&site));
        let version = &exposition.family("lb_build_info").samples[0].labels[0].1;
        prop_assert_eq!(version, &site.status.version);
    }

    #[test]
    fn the_same_state_gives_the_same_text(site in any_site()) {
        let again = site.clone();
        prop_assert_eq!(
            render(&site.status, &site.health, &site.extra),
            render(&again.status, &again.health, &again.extra)
        );
    }

    #[test]
    fn any_help_and_label_read_back(help in any::<String>(), label in name(), value in any::<f64>()) {
        let mut text = String::new();
        text::head(&mut text, "a", "gauge", &help);
        text::sample(&mut text, "a", [("b", label.as_str())].into_iter(), Value::Real(value));
        let exposition = parse(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert_eq!(&exposition.families[0].help, &help);
        let sample = &exposition.families[0].samples[0];
        prop_assert_eq!(&sample.labels[0].1, &label);
        let read: f64 = sample.value.replace("Inf", "inf").parse().unwrap();
        prop_assert!(read == value || (read.is_nan() && value.is_nan()), "{} is not {}", read, value);
    }
}
