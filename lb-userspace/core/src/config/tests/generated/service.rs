//! Virtual services and real servers that nobody wrote.

use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::super::super::model::*;
use super::{http, name, ports, proxy, seconds};

fn http() -> BoxedStrategy<HttpProbe> {
    let body = prop_oneof![
        Just(BodyExpectation::Any),
        name().prop_map(BodyExpectation::Contains),
        name().prop_map(BodyExpectation::Equals),
        "[a-z]{1,5}[+*]?".prop_map(BodyExpectation::Regex),
    ];
    ("/[a-z$]{0,5}(\\$\\{[a-z]\\})?", proptest::option::of("[a-z]{1,9}"), 100..600u16, body)
        .prop_map(|(path, host, status, body)| HttpProbe { path, host, status, body })
        .boxed()
}

fn health_check() -> BoxedStrategy<HealthCheck> {
    let probe = prop_oneof![
        Just(Probe::Connect),
        Just(Probe::Ping),
        Just(Probe::None),
        http().prop_map(Probe::Http),
        (http(), any::<bool>(), proptest::option::of("[a-z]{1,9}"), proptest::option::of("[a-z]{1,9}")).prop_map(
            |(http, verify, server_name, ca_file)| {
                let ca_file = ca_file.filter(|_| verify).map(Into::into);
                Probe::Https { http, verify, server_name, ca_file }
            },
        ),
        ("[A-Z]{1,16}", "[A-Z]{1,16}")
            .prop_map(|(called_ae_title, calling_ae_title)| Probe::DicomEcho { called_ae_title, calling_ae_title }),
        "/[a-z]{1,9}".prop_map(|path| Probe::Script { path: path.into() }),
    ];
    (probe, 1..=65535u16, 10..3_600_000u64, 0..100u64, 1..=255u8, 1..=255u8, any::<bool>())
        .prop_map(|(probe, port, interval, share, rise, fall, flap_damping)| {
            let port = (!matches!(probe, Probe::Ping | Probe::None)).then_some(port);
            let timeout = Duration::from_millis((interval * share / 100).max(10));
            HealthCheck {
                probe,
                port,
                interval: Duration::from_millis(interval),
                timeout,
                rise,
                fall,
                flap_damping,
                proxy_protocol: None,
            }
        })
        .boxed()
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::L4Dr), Just(Mode::L4Nat), Just(Mode::L4Snat), Just(Mode::L7Tcp), Just(Mode::L7Http)]
}

fn source_address(mode: Mode) -> BoxedStrategy<SourceAddress> {
    if matches!(mode, Mode::L4Dr | Mode::L4Nat) {
        return Just(SourceAddress::Auto).boxed();
    }
    let address = any::<[u8; 2]>().prop_map(|[a, b]| SourceAddress::Address(IpAddr::from([10, 8, a, b])));
    let own = if mode == Mode::L4Snat { SourceAddress::Vip } else { SourceAddress::Client };
    prop_oneof![Just(SourceAddress::Auto), Just(SourceAddress::Vip), Just(own), address].boxed()
}

fn real_server(mode: Mode) -> BoxedStrategy<RealServer> {
    let layer_7 = matches!(mode, Mode::L7Tcp | Mode::L7Http);
    let tls = (any::<bool>(), proptest::option::of("[a-z]{1,9}"), proptest::option::of("[a-z]{1,9}")).prop_map(
        |(verify, server_name, ca_file)| ServerTls {
            verify,
            server_name,
            ca_file: ca_file.filter(|_| verify).map(Into::into),
        },
    );
    (
        (proptest::option::of(1..=65535u16), any::<u16>(), any::<u32>(), any::<u32>(), any::<bool>()),
        proptest::option::of(tls),
        proptest::option::of("https://[a-z]{1,9}/"),
        proptest::option::of(health_check()),
        proxy::towards_server(mode),
    )
        .prop_map(move |((port, weight, a, b, backup), tls, redirect, health_check, towards)| RealServer {
            name: String::new(),
            address: IpAddr::from([0, 0, 0, 0]),
            port: port.filter(|_| !matches!(mode, Mode::L4Dr | Mode::L4Nat)),
            weight,
            min_connections: a.min(b),
            max_connections: a.max(b),
            pool: towards.pool,
            proxy_protocol: towards.proxy_protocol,
            http_version: towards.http_version,
            backup,
            tls: tls.filter(|_| layer_7),
            redirect: redirect.filter(|_| mode == Mode::L7Http),
            health_check,
        })
        .boxed()
}

fn persistence(mode: Mode) -> BoxedStrategy<Option<Persistence>> {
    let by = match mode {
        Mode::L7Http => {
            prop_oneof![Just(PersistenceBy::SourceIp), "[a-z]{1,9}".prop_map(|name| PersistenceBy::Cookie { name })]
                .boxed()
        }
        Mode::L7Tcp => prop_oneof![Just(PersistenceBy::SourceIp), Just(PersistenceBy::RdpCookie)].boxed(),
        _ => Just(PersistenceBy::SourceIp).boxed(),
    };
    proptest::option::of((by, seconds(1..2_592_000), 1..=32u8).prop_map(|(by, timeout, prefix)| Persistence {
        prefix_v4: if by == PersistenceBy::SourceIp { prefix } else { 32 },
        by,
        timeout,
        prefix_v6: 128,
    }))
    .boxed()
}

fn fallback(mode: Mode) -> BoxedStrategy<Option<Fallback>> {
    let port = if matches!(mode, Mode::L4Snat | Mode::L7Tcp | Mode::L7Http) {
        proptest::option::of(1..=65535u16).boxed()
    } else {
        Just(None).boxed()
    };
    let server = port.prop_map(|port| Fallback::Server { address: IpAddr::from([10, 9, 9, 9]), port });
    let kind = if mode == Mode::L7Http {
        prop_oneof![
            server,
            name().prop_map(|page| Fallback::Page(page.into())),
            "http://[a-z]{1,9}".prop_map(Fallback::Redirect)
        ]
        .boxed()
    } else {
        server.boxed()
    };
    proptest::option::of(kind).boxed()
}

pub(in super::super) fn virtual_service() -> BoxedStrategy<VirtualService> {
    mode()
        .prop_flat_map(|mode| {
            let layer_7 = matches!(mode, Mode::L7Tcp | Mode::L7Http);
            let protocol = if layer_7 {
                Just(Protocol::Tcp).boxed()
            } else {
                prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::TcpUdp)].boxed()
            };
            let scheduler = prop_oneof![
                Just(Scheduler::WeightedLeastConnection),
                Just(Scheduler::WeightedRoundRobin),
                Just(Scheduler::SourceHash),
                Just(Scheduler::Maglev)
            ];
            let tls =
                proptest::option::of((1..=65535u16, any::<bool>(), any::<bool>(), proptest::option::of(any::<bool>())));
            (
                (
                    name(),
                    proptest::option::of("[a-z]{1,15}"),
                    ports(),
                    any::<prop::sample::Index>(),
                    protocol,
                    scheduler,
                ),
                (source_address(mode), proptest::option::of(1..100_000_000u32)),
                (persistence(mode), health_check(), tls, fallback(mode), (0..3_600_000u64, any::<bool>())),
                (proxy::proxy(mode), http::http_settings()),
                proptest::collection::vec(real_server(mode), 1..4),
            )
                .prop_map(
                    move |(head, (source_address, new_flows), middle, (proxy, http), real_servers)| {
                        let (name, interface, ports, first, protocol, scheduler) = head;
                        let (persistence, health_check, tls, fallback, (slow_start, cut)) = middle;
                        let http = (mode == Mode::L7Http).then_some(http).map(|mut http| {
                            http::keep_known_pools(&mut http, &real_servers);
                            http
                        });
                        VirtualService {
                            name,
                            address: IpAddr::from([10, 0, 0, 0]),
                            interface,
                            first_port: ports[first.index(ports.len())].first,
                            ports,
                            protocol,
                            mode,
                            source_address,
                            new_flows_per_second: new_flows.filter(|_| !layer_7),
                            scheduler,
                            persistence,
                            health_check,
                            slow_start: Duration::from_millis(slow_start),
                            on_removal: if cut { OnRemoval::Cut } else { OnRemoval::Drain },
                            proxy,
                            http,
                            tls: tls.filter(|_| layer_7).map(|(port, high, redirect, required)| TlsListener {
                                port,
                                certificates: vec!["one".into()],
                                policy: if high { TlsPolicy::HighSecurity } else { TlsPolicy::Compatible },
                                redirect: redirect && mode == Mode::L7Http,
                                client_certificate: required
                                    .map(|required| ClientCertificate { ca_file: "ca.pem".into(), required }),
                            }),
                            fallback,
                            real_servers,
                        }
                    },
                )
        })
        .boxed()
}
