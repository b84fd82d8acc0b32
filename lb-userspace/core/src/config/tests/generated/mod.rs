//! Properties over configurations and texts that nobody wrote.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use proptest::prelude::*;

use super::super::diagnostic::Severity;
use super::super::model::*;
use super::*;
use crate::proxy::http::{Pages, Policy};

mod http;
mod proxy;
mod service;

pub(super) use service::virtual_service;

fn name() -> BoxedStrategy<String> {
    // Everything that YAML or `${…}` could mistake for something else.
    prop_oneof![
        "[A-Za-z][A-Za-z0-9_.-]{0,20}",
        "[a-zäöü:#&*!|>'\"%@`{}\\[\\],?$~-]([a-z :#&*!|>'\"%@`{}\\[\\],?$~-]{0,10}[a-z:#&$}])?",
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("0x1F".to_owned()),
        Just("<<".to_owned()),
        Just("$${HOME}${x}".to_owned()),
    ]
    .boxed()
}

fn seconds(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_secs)
}

fn ports() -> BoxedStrategy<Vec<PortRange>> {
    proptest::collection::btree_set(1..=2000u16, 2..8)
        .prop_map(|bounds| {
            let bounds: Vec<u16> = bounds.into_iter().collect();
            let range = |pair: &[u16]| PortRange { first: pair[0], last: *pair.last().unwrap_or(&pair[0]) };
            bounds.chunks(2).map(range).collect()
        })
        .boxed()
}

fn source_ports() -> BoxedStrategy<PortRange> {
    (1024..=65_472u16, 63..=1000u16)
        .prop_map(|(first, more)| PortRange { first, last: first.saturating_add(more) })
        .boxed()
}

/// Where this machine itself listens: anywhere, on itself, or on what may be a VIP.
fn own_address() -> BoxedStrategy<SocketAddr> {
    let address = prop::sample::select(vec!["0.0.0.0", "::", "127.0.0.1", "::1", "10.0.0.1", "10.0.0.3"]);
    (address, 1..=65535u16).prop_map(|(address, port)| SocketAddr::new(address.parse().unwrap(), port)).boxed()
}

fn pair() -> BoxedStrategy<HighAvailability> {
    let sync = (proptest::option::of(own_address()), 1..=65535u16);
    (1..=255u8, 1..=254u8, 1..4096u64, any::<bool>(), sync)
        .prop_map(|(virtual_router_id, priority, centiseconds, preempt, (listen, port))| HighAvailability {
            role: HaRole::Secondary,
            peer: "2001:db8::1".parse().unwrap(),
            vrrp: Vrrp {
                interface: "eth0".into(),
                virtual_router_id,
                priority,
                advertisement_interval: Duration::from_millis(centiseconds * 10),
                preempt,
            },
            sync: Sync { listen, port, key: Secret::File("ha.key".into()) },
        })
        .boxed()
}

pub(super) fn config() -> BoxedStrategy<Config> {
    (
        proptest::option::of(name()),
        (1024..67_108_864u32, seconds(1..604_800), source_ports(), proxy::node()),
        proptest::option::of(own_address()),
        (name(), proptest::option::of("[a-z]{1,9}")),
        proptest::option::of(pair()),
        proptest::collection::vec(virtual_service(), 0..5),
    )
        .prop_map(
            |(
                node_name,
                (flows, udp, source_ports, proxy),
                mut metrics_address,
                (file, ocsp),
                mut high_availability,
                mut virtual_services,
            )| {
                number(&mut virtual_services);
                if let Some(address) = &mut metrics_address {
                    move_off_services(address, &virtual_services);
                }
                if let Some(pair) = &mut high_availability {
                    let sync = &mut pair.sync;
                    let mut address = sync.listen.unwrap_or(([0, 0, 0, 0], sync.port).into());
                    move_off_services(&mut address, &virtual_services);
                    match &mut sync.listen {
                        Some(listen) => *listen = address,
                        None => sync.port = address.port(),
                    }
                }
                let one = Certificate::Pfx {
                    pfx: (&file).into(),
                    password: Some(Secret::File(file.clone().into())),
                    ocsp: ocsp.map(Into::into),
                };
                Config {
                    node: Node {
                        name: node_name,
                        interfaces: vec![Interface { device: "eth0".into(), xdp: XdpMode::Generic }],
                        limits: Limits { flows, ..Limits::default() },
                        flow_timeouts: FlowTimeouts { udp, ..FlowTimeouts::default() },
                        source_ports,
                        metrics_address,
                        proxy,
                    },
                    certificates: [
                        ("one".to_owned(), one),
                        (
                            "${two}".to_owned(),
                            Certificate::Pem { pem: file.clone().into(), key: file.into(), ocsp: None },
                        ),
                    ]
                    .into(),
                    high_availability,
                    virtual_services,
                }
            },
        )
        .boxed()
}

/// Gives services and servers addresses and names of their own.
fn number(services: &mut [VirtualService]) {
    for (index, service) in services.iter_mut().enumerate() {
        let index = u8::try_from(index).unwrap();
        service.address = IpAddr::from([10, 0, 0, index + 1]);
        service.name = format!("{}{index}", service.name);
        if let Some(Fallback::Server { address, .. }) = &mut service.fallback {
            *address = IpAddr::from([10, 9, 9, index + 1]);
        }
        for (at, server) in service.real_servers.iter_mut().enumerate() {
            server.address = IpAddr::from([10, 1, index, u8::try_from(at).unwrap() + 1]);
            server.name = format!("server {at}");
        }
    }
}

/// To the next port that no proxied service takes: what this machine offers there could not start.
fn move_off_services(address: &mut SocketAddr, services: &[VirtualService]) {
    let is_taken = |port: &u16| {
        services.iter().filter(|service| !service.mode.is_layer_4()).any(|service| {
            let shares = address.ip().is_unspecified() || address.ip() == service.address;
            let is_port = |range: &PortRange| (range.first..=range.last).contains(port);
            let is_tls = || service.tls.as_ref().is_some_and(|tls| tls.port == *port);
            shares && (service.ports.iter().any(is_port) || is_tls())
        })
    };
    let port = address.port();
    let free = (port..=u16::MAX).chain(1..port).find(|port| !is_taken(port));
    address.set_port(free.expect("services take few ports"));
}

/// What can go wrong in an editor.
#[derive(Clone, Debug)]
enum Slip {
    Insert(String),
    Remove(usize),
    CopyFrom(prop::sample::Index, usize),
    SwapLines,
}

fn slip() -> impl Strategy<Value = (prop::sample::Index, Slip)> {
    let text = prop_oneof![
        "[\\[\\]{}:,&*!|>'\"%#?\\-<$ \t\r\n0-9a-zä]{1,6}",
        Just("*server".to_owned()),
        Just("&a ".to_owned()),
        Just("<<: ".to_owned()),
        Just("--- ".to_owned()),
        Just("${".to_owned()),
        Just("\u{feff}".to_owned()),
        Just("99999999999999999999".to_owned()),
    ];
    let slip = prop_oneof![
        text.prop_map(Slip::Insert),
        (1..30usize).prop_map(Slip::Remove),
        (any::<prop::sample::Index>(), 1..80usize).prop_map(|(from, length)| Slip::CopyFrom(from, length)),
        Just(Slip::SwapLines),
    ];
    (any::<prop::sample::Index>(), slip)
}

fn apply(text: &str, at: prop::sample::Index, slip: &Slip) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    if characters.is_empty() {
        return text.to_owned();
    }
    let place = at.index(characters.len());
    match slip {
        Slip::Insert(insert) => drop(characters.splice(place..place, insert.chars())),
        Slip::Remove(length) => drop(characters.drain(place..(place + length).min(text.chars().count()))),
        Slip::CopyFrom(from, length) => {
            let from = from.index(characters.len());
            let copy: Vec<char> = characters.iter().skip(from).take(*length).copied().collect();
            drop(characters.splice(place..place, copy));
        }
        Slip::SwapLines => {
            let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
            let line = at.index(lines.len());
            let other = (line * 7 + 3) % lines.len();
            lines.swap(line, other);
            return lines.concat();
        }
    }
    characters.into_iter().collect()
}

fn every_message_can_be_shown(outcome: Result<Loaded, Vec<Diagnostic>>) {
    let diagnostics = match outcome {
        Ok(loaded) => loaded.warnings,
        Err(errors) => {
            assert!(errors.iter().any(|error| error.severity == Severity::Error), "an error names none");
            errors
        }
    };
    for diagnostic in diagnostics {
        assert!(diagnostic.line >= 1 && diagnostic.column >= 1 && diagnostic.length >= 1);
        assert!(render(&diagnostic).lines().count() >= 4);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_reads_back_as_the_same(config in config()) {
        let text = effective(&config);
        let again = load(&source(&text), &no_environment);
        match again {
            Ok(again) => prop_assert_eq!(again.config, config),
            Err(errors) => {
                let errors: String = errors.iter().map(render).collect();
                prop_assert!(false, "{}\n{}", text, errors);
            }
        }
    }

    #[test]
    fn every_service_of_http_compiles(config in config()) {
        for service in config.virtual_services.iter().filter(|service| service.http.is_some()) {
            let compiled = Policy::new(service, Pages::default());
            prop_assert!(compiled.is_ok(), "{:?}", compiled.err());
        }
    }

    #[test]
    fn an_edited_file_is_read_or_refused_and_never_a_panic(slips in proptest::collection::vec(slip(), 1..6)) {
        for start in [EVERYTHING, INSIGNIA] {
            let text = slips.iter().fold(start.to_owned(), |text, (at, slip)| apply(&text, *at, slip));
            every_message_can_be_shown(load(&source(&text), &|name| (name == "VIP").then(|| "10.0.0.1".into())));
        }
    }

    #[test]
    fn any_text_is_read_or_refused_and_never_a_panic(text in "(?s).{0,200}", more in "[\\[\\]{}:,&*!|>'\"%#?\\-<$ \t\r\na-c]{0,80}") {
        let sources = [Source { path: "a".into(), text }, Source { path: "b".into(), text: more }];
        every_message_can_be_shown(load(&sources, &no_environment));
    }

    #[test]
    fn equal_configurations_have_no_differences_and_others_do(a in config(), b in config()) {
        prop_assert_eq!(diff(&a, &a), []);
        prop_assert_eq!(diff(&a, &b).is_empty(), a == b);
    }
}
