use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::code::Code;
use super::diagnostic::{Severity, reference, render, render_coloured};
use super::diff::{ChangeKind, diff};
use super::model::*;
use super::*;

fn source(text: &str) -> Vec<Source> {
    vec![Source { path: "lb.yaml".into(), text: text.into() }]
}

fn no_environment(_: &str) -> Option<String> {
    None
}

fn loaded(text: &str) -> Config {
    match load(&source(text), &no_environment) {
        Ok(loaded) => loaded.config,
        Err(errors) => panic!("{text}\n{}", errors.iter().map(render).collect::<String>()),
    }
}

fn errors(text: &str) -> Vec<Diagnostic> {
    load(&source(text), &no_environment).expect_err("the configuration has mistakes")
}

const HARMONIC: &str = include_str!("../../../../configs/harmonic-vos.yaml");
const INSIGNIA: &str = include_str!("../../../../configs/insignia.yaml");
const EVERYTHING: &str = include_str!("../../tests/config_cases/129-right-everything.yaml");

#[test]
fn the_deployment_of_the_guide_gives_its_model() {
    let config = loaded(HARMONIC);
    let traffic = &config.virtual_services[1];
    assert_eq!(traffic.name, "Harmonic_Traffic");
    assert_eq!(traffic.address, "192.168.94.110".parse::<IpAddr>().unwrap());
    assert_eq!(
        traffic.ports,
        [
            PortRange { first: 554, last: 554 },
            PortRange { first: 1935, last: 1935 },
            PortRange { first: 50000, last: 65535 }
        ]
    );
    assert_eq!(traffic.first_port, 1935);
    assert_eq!(traffic.protocol, Protocol::TcpUdp);
    assert_eq!(traffic.mode, Mode::L4Dr);
    assert_eq!(traffic.scheduler, Scheduler::WeightedLeastConnection);
    let persistence = traffic.persistence.as_ref().unwrap();
    assert_eq!((persistence.timeout, persistence.prefix_v4), (Duration::from_secs(300), 32));
    assert_eq!(
        (traffic.health_check.interval, traffic.health_check.timeout),
        (Duration::from_secs(4), Duration::from_secs(2))
    );
    assert_eq!((traffic.health_check.rise, traffic.health_check.fall), (2, 2));
    assert_eq!(traffic.real_servers[1].weight, 100);
    assert_eq!(traffic.check_port(&traffic.real_servers[0]), Some(8443));
}

#[test]
fn the_standby_node_of_hl7_is_its_fallback() {
    let config = loaded(INSIGNIA);
    let hl7 = &config.virtual_services[1];
    assert_eq!(hl7.fallback, Some(Fallback::Server { address: "172.26.11.103".parse().unwrap(), port: Some(2575) }));
    assert_eq!(hl7.persistence, None);
    assert_eq!(hl7.check_port(&hl7.real_servers[0]), None);
    let probe = Probe::DicomEcho { called_ae_title: "ANY-SCP".into(), calling_ae_title: "LB".into() };
    assert_eq!(config.virtual_services[0].health_check.probe, probe);
}

#[test]
fn a_check_without_port_goes_to_the_servers_port_then_to_the_first_typed() {
    let config = loaded(
        "version: 1\nnode: {interfaces: [{device: eth0}]}\nvirtual_services:\n  - {name: a, address: 10.0.0.1, ports: [90, 80], \
         mode: l7-tcp, real_servers: [{name: x, address: 10.0.0.2}, {name: y, address: 10.0.0.3, port: 8080}]}\n",
    );
    let service = &config.virtual_services[0];
    let ports: Vec<_> = service.real_servers.iter().map(|server| service.check_port(server)).collect();
    assert_eq!(ports, [Some(90), Some(8080)]);
}

#[test]
fn a_message_has_the_form_of_the_reference() {
    let text = "version: 1\nnode: {interfaces: [{device: eth0}]}\nvirtual_services:\n  - name: Harmonic_Traffic\n    address: 192.168.94.110\n    ports: [554]\n    mode: l4-dr\n    real_servers:\n      # the first\n    - { name: HT1, address: 192.168.94.115, port: 8080 }\n";
    let [error] = &errors(text)[..] else { panic!("one mistake was made") };
    let expected = "\
error[E014]: port translation is not possible in l4-dr
  --> lb.yaml:10:51
10 |     - { name: HT1, address: 192.168.94.115, port: 8080 }
   |                                                   ^^^^ the real server receives the packet on the port the client used
   = help: remove `port`, or use mode: l4-snat or l7-tcp
";
    assert_eq!(render(error), expected);
    assert_eq!(error.path, "virtual_services[0].real_servers[0].port");
    assert_eq!((error.line, error.column, error.length), (10, 51, 4));
    assert!(render_coloured(error).contains("\x1b[1;31merror[E014]"));
    let json = serde_json::to_value(error).unwrap();
    assert_eq!(json["code"], "E014");
    assert_eq!(json["severity"], "error");
    assert_eq!(json["source_line"], "    - { name: HT1, address: 192.168.94.115, port: 8080 }");
}

#[test]
fn the_reference_of_codes_is_the_list_of_codes() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/configuration-errors.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, reference()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), reference(), "UPDATE_EXPECT=1 writes {}", file.display());
}

#[test]
fn codes_are_unique_and_say_their_severity() {
    let mut ids: Vec<&str> = Code::ALL.iter().map(|code| code.id()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), Code::ALL.len());
    for code in Code::ALL {
        let letter = if code.severity() == Severity::Error { 'E' } else { 'W' };
        assert!(code.id().starts_with(letter), "{code}");
    }
}

#[test]
fn mistakes_beyond_the_limit_are_counted_not_shown() {
    let mut text = String::from("version: 1\nnode: {interfaces: [{device: eth0}]}\n");
    for key in 0..700 {
        writeln!(text, "unknown{key}: 1").unwrap();
    }
    let errors = errors(&text);
    assert_eq!(errors.len(), places::MAX_PROBLEMS + 1);
    let last = errors.last().unwrap();
    assert_eq!((last.code, last.message.as_str()), (Code::TooManyProblems, "200 more mistakes are not shown"));
}

fn service(index: usize, servers: usize) -> String {
    let mut text = format!(
        "  - {{name: s{index}, address: 10.1.{}.{}, ports: 80, mode: l7-tcp, real_servers: [",
        index / 250,
        index % 250 + 1
    );
    for server in 0..servers {
        write!(text, "{{name: r{server}, address: 10.2.{}.{}}},", server / 250, server % 250 + 1).unwrap();
    }
    text + "]}\n"
}

#[test]
fn the_limits_are_1024_services_and_250_real_servers() {
    let head = "version: 1\nnode: {interfaces: [{device: eth0}]}\nvirtual_services:\n";
    let services = |count: usize| head.to_owned() + &(0..count).map(|index| service(index, 1)).collect::<String>();
    assert_eq!(loaded(&services(1024)).virtual_services.len(), 1024);
    let codes: Vec<Code> = errors(&services(1025)).iter().map(|error| error.code).collect();
    assert_eq!(codes, [Code::TooMany]);
    assert_eq!(loaded(&(head.to_owned() + &service(0, 250))).virtual_services[0].real_servers.len(), 250);
    let codes: Vec<Code> = errors(&(head.to_owned() + &service(0, 251))).iter().map(|error| error.code).collect();
    assert_eq!(codes, [Code::TooMany]);
}

/// A hostile file costs no more than a large honest one.
#[test]
fn aliases_that_multiply_are_refused_at_once() {
    let mut text = String::from("a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n");
    for level in 1..25 {
        let before = level - 1;
        writeln!(text, "a{level}: &a{level} [{}]", vec![format!("*a{before}"); 10].join(", ")).unwrap();
    }
    let started = Instant::now();
    let errors = errors(&text);
    assert_eq!(errors[0].code, Code::TooLarge);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn aliases_that_nest_are_refused_at_once() {
    let mut text = String::from("a0: &a0 [1]\n");
    for level in 1..5000 {
        writeln!(text, "a{level}: &a{level} [*a{}]", level - 1).unwrap();
    }
    assert_eq!(errors(&text)[0].code, Code::TooLarge);
}

/// Hundreds of services over the same real servers, half of them `l4-snat`: every pair could clash.
#[test]
fn many_services_over_the_same_servers_are_compared_quickly() {
    let mut text = String::from("version: 1\nnode: {interfaces: [{device: eth0}]}\nvirtual_services:\n");
    let ports: Vec<String> = (0..250).map(|port| (1000 + 2 * port).to_string()).collect();
    for index in 0..300 {
        let (mode, offset) = if index % 2 == 0 { ("l7-tcp", 0) } else { ("l4-snat", 1) };
        let anchor = if index == 0 { "&servers" } else { "*servers" };
        let servers: Vec<String> =
            (0..200).map(|server| format!("{{name: r{server}, address: 10.2.0.{}}}", server + 1)).collect();
        let servers = if index == 0 { format!("[{}]", servers.join(", ")) } else { String::new() };
        let ports: Vec<String> = ports.iter().map(|port| (port.parse::<u32>().unwrap() + offset).to_string()).collect();
        writeln!(
            text,
            "  - {{name: s{index}, address: 10.1.{}.{}, ports: \"{}\", mode: {mode}, health_check: {{port: 1000}}, real_servers: {anchor} {servers}}}",
            index / 250,
            index % 250 + 1,
            ports.join(",")
        )
        .unwrap();
    }
    let started = Instant::now();
    assert_eq!(loaded(&text).virtual_services.len(), 300);
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[test]
fn a_secret_is_not_printed_and_its_placeholder_is_not_accepted() {
    let text = HARMONIC.to_owned() + "certificates: {a: {pfx: a.pfx, password: \"${PASSWORD}\"}}\n";
    let environment = |name: &str| (name == "PASSWORD").then(|| "correct horse".to_owned());
    let config = load(&source(&text), &environment).unwrap().config;
    let printed = effective(&config);
    assert!(!printed.contains("correct horse") && !format!("{config:?}").contains("correct horse"));
    let codes: Vec<Code> =
        errors(&printed).iter().map(|error| error.code).filter(|code| code.severity() == Severity::Error).collect();
    assert_eq!(codes, [Code::PlaceholderSecret]);
}

#[test]
fn a_changed_secret_is_a_change_that_does_not_show_it() {
    let with =
        |password: &str| loaded(&format!("{HARMONIC}certificates: {{a: {{pfx: a.pfx, password: {password}}}}}\n"));
    let changes = diff(&with("old-one"), &with("new-one"));
    let sentences: Vec<&str> = changes.iter().map(|change| change.sentence.as_str()).collect();
    assert_eq!(sentences, ["certificate: a: password changes"]);
    assert!(!format!("{changes:?}").contains("-one"));
}

#[test]
fn a_printed_configuration_can_be_compared_though_not_loaded() {
    let config = loaded(&format!("{HARMONIC}certificates: {{a: {{pfx: a.pfx, password: old-one}}}}\n"));
    let running = read_effective(&effective(&config)).unwrap();
    assert_eq!(diff(&running, &config), []);
}

#[test]
fn differences_are_sentences_by_name() {
    let old = loaded(HARMONIC);
    let mut new = old.clone();
    new.virtual_services[1].real_servers[0].weight = 50;
    new.virtual_services[1].persistence = None;
    new.virtual_services.remove(0);
    let third = RealServer { name: "HT3".into(), ..new.virtual_services[0].real_servers[0].clone() };
    new.virtual_services[0].real_servers.push(third);
    new.node.flow_timeouts.udp = Duration::from_secs(60);
    let changes = diff(&old, &new);
    let sentences: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        sentences,
        [
            "flow timeouts: udp changes from 3m to 1m",
            "virtual service Harmonic_Management is removed",
            "virtual service Harmonic_Traffic: persistence changes from {by: source-ip, prefix: 32, timeout: 5m} to none",
            "virtual service Harmonic_Traffic: real server HT1: weight changes from 100 to 50",
            "virtual service Harmonic_Traffic: real server HT3 is added",
        ]
    );
    assert_eq!(changes[3].path, "virtual_services.Harmonic_Traffic.real_servers.HT1.weight");
    assert_eq!((changes[3].old.as_deref(), changes[3].new.as_deref()), (Some("100"), Some("50")));
    assert_eq!(changes[1].kind, ChangeKind::Removed);
    assert_eq!(diff(&old, &old), []);
}

#[test]
fn another_order_of_services_is_one_change() {
    let old = loaded(HARMONIC);
    let mut new = old.clone();
    new.virtual_services.reverse();
    let sentences: Vec<String> = diff(&old, &new).iter().map(ToString::to_string).collect();
    assert_eq!(
        sentences,
        [
            "the order of each virtual service changes from Harmonic_Management, Harmonic_Traffic to Harmonic_Traffic, Harmonic_Management"
        ]
    );
}

#[test]
fn every_key_of_the_schema_has_a_description_and_every_reference_a_target() {
    fn check(value: &serde_json::Value, root: &serde_json::Value, at: &str) {
        if let Some(target) = value["$ref"].as_str() {
            let name = target.strip_prefix("#/$defs/").expect("references stay in the schema");
            assert!(root["$defs"][name].is_object(), "{at}: {target} is not defined");
        }
        if let Some(properties) = value["properties"].as_object() {
            for (key, property) in properties {
                assert!(property["description"].as_str().is_some_and(|text| !text.is_empty()), "{at}.{key}");
            }
        }
        match value {
            serde_json::Value::Object(entries) => {
                for (key, value) in entries {
                    check(value, root, &format!("{at}.{key}"));
                }
            }
            serde_json::Value::Array(items) => {
                for value in items {
                    check(value, root, at);
                }
            }
            _ => {}
        }
    }
    let schema = schema();
    check(&schema, &schema, "");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["properties"]["version"]["minimum"], 1);
    assert_eq!(schema["$defs"]["Defaults"]["properties"]["weight"]["default"], 100);
    assert_eq!(schema["$defs"]["DefaultTimeouts"]["properties"]["connect"]["default"], "5s");
    let required = schema["$defs"]["Service"]["required"].as_array().unwrap();
    assert!(["name", "address", "ports", "mode", "real_servers"].iter().all(|key| required.contains(&(*key).into())));
    assert_eq!(required.len(), 5);
}

#[test]
fn the_defaults_of_the_definitions_are_those_without_a_section() {
    let with = HARMONIC.to_owned() + "defaults: {health_check: {}, timeouts: {}, flow_timeouts: {}}\n";
    assert_eq!(loaded(&with), loaded(HARMONIC));
}

mod generated {
    use super::*;

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
            (http(), any::<bool>(), proptest::option::of("[a-z]{1,9}"))
                .prop_map(|(http, verify, server_name)| Probe::Https { http, verify, server_name }),
            ("[A-Z]{1,16}", "[A-Z]{1,16}")
                .prop_map(|(called_ae_title, calling_ae_title)| Probe::DicomEcho { called_ae_title, calling_ae_title }),
            "/[a-z]{1,9}".prop_map(|path| Probe::Script { path: path.into() }),
        ];
        (probe, 1..=65535u16, 10..3_600_000u64, 0..100u64, 1..=255u8, 1..=255u8)
            .prop_map(|(probe, port, interval, share, rise, fall)| {
                let port = (!matches!(probe, Probe::Ping | Probe::None)).then_some(port);
                let timeout = Duration::from_millis((interval * share / 100).max(10));
                HealthCheck { probe, port, interval: Duration::from_millis(interval), timeout, rise, fall }
            })
            .boxed()
    }

    fn mode() -> impl Strategy<Value = Mode> {
        prop_oneof![Just(Mode::L4Dr), Just(Mode::L4Nat), Just(Mode::L7Tcp), Just(Mode::L7Http)]
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
        )
            .prop_map(move |((port, weight, a, b, backup), tls, redirect, health_check)| RealServer {
                name: String::new(),
                address: IpAddr::from([0, 0, 0, 0]),
                port: port.filter(|_| mode != Mode::L4Dr),
                weight,
                min_connections: a.min(b),
                max_connections: a.max(b),
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
        let port = if matches!(mode, Mode::L7Tcp | Mode::L7Http) {
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

    fn virtual_service() -> BoxedStrategy<VirtualService> {
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
                let timeouts = (seconds(1..604_800), seconds(1..604_800), seconds(1..604_800));
                let tls = proptest::option::of((1..=65535u16, any::<bool>()));
                (
                    (
                        name(),
                        proptest::option::of("[a-z]{1,15}"),
                        ports(),
                        any::<prop::sample::Index>(),
                        protocol,
                        scheduler,
                    ),
                    (persistence(mode), health_check(), timeouts, tls, fallback(mode)),
                    proptest::collection::vec(real_server(mode), 1..4),
                )
                    .prop_map(move |(head, middle, real_servers)| {
                        let (name, interface, ports, first, protocol, scheduler) = head;
                        let (persistence, health_check, (connect, client, server), tls, fallback) = middle;
                        let timeouts =
                            if layer_7 { Timeouts { connect, client, server } } else { parse::standard_timeouts() };
                        VirtualService {
                            name,
                            address: IpAddr::from([10, 0, 0, 0]),
                            interface,
                            first_port: ports[first.index(ports.len())].first,
                            ports,
                            protocol,
                            mode,
                            scheduler,
                            persistence,
                            health_check,
                            timeouts,
                            tls: tls.filter(|_| layer_7).map(|(port, high)| TlsListener {
                                port,
                                certificates: vec!["one".into()],
                                policy: if high { TlsPolicy::HighSecurity } else { TlsPolicy::Compatible },
                            }),
                            fallback,
                            real_servers,
                        }
                    })
            })
            .boxed()
    }

    fn config() -> BoxedStrategy<Config> {
        let pair = (1..=255u8, 1..=254u8, 1..4096u64, any::<bool>(), 1..=65535u16).prop_map(
            |(virtual_router_id, priority, centiseconds, preempt, port)| HighAvailability {
                role: HaRole::Secondary,
                peer: "2001:db8::1".parse().unwrap(),
                vrrp: Vrrp {
                    interface: "eth0".into(),
                    virtual_router_id,
                    priority,
                    advertisement_interval: Duration::from_millis(centiseconds * 10),
                    preempt,
                },
                sync: Sync { listen: None, port, key: Secret::File("ha.key".into()) },
            },
        );
        (
            proptest::option::of(name()),
            (1024..67_108_864u32, seconds(1..604_800)),
            name(),
            proptest::option::of(pair),
            proptest::collection::vec(virtual_service(), 0..5),
        )
            .prop_map(|(node_name, (flows, udp), file, high_availability, mut virtual_services)| {
                number(&mut virtual_services);
                let one = Certificate::Pfx { pfx: (&file).into(), password: Some(Secret::File(file.clone().into())) };
                Config {
                    node: Node {
                        name: node_name,
                        interfaces: vec![Interface { device: "eth0".into(), xdp: XdpMode::Generic }],
                        limits: Limits { flows, ..Limits::default() },
                        flow_timeouts: FlowTimeouts { udp, ..FlowTimeouts::default() },
                    },
                    certificates: [
                        ("one".to_owned(), one),
                        ("${two}".to_owned(), Certificate::Pem { pem: file.clone().into(), key: file.into() }),
                    ]
                    .into(),
                    high_availability,
                    virtual_services,
                }
            })
            .boxed()
    }

    /// Gives services and servers addresses and names of their own.
    fn number(services: &mut [VirtualService]) {
        for (index, service) in services.iter_mut().enumerate() {
            let index = u8::try_from(index).unwrap();
            service.address = IpAddr::from([10, 0, 0, index + 1]);
            service.name = format!("{}{index}", service.name);
            for (at, server) in service.real_servers.iter_mut().enumerate() {
                server.address = IpAddr::from([10, 1, index, u8::try_from(at).unwrap() + 1]);
                server.name = format!("server {at}");
            }
        }
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
}
