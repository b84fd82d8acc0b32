mod checks;
mod files;
mod generated;
mod impact;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use super::code::Code;
use super::diagnostic::{Severity, render, render_coloured};
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

const HARMONIC: &str = include_str!("../../tests/config_cases/140-right-harmonic-vos.yaml");
const INSIGNIA: &str = include_str!("../../tests/config_cases/141-right-insignia.yaml");
const EVERYTHING: &str = include_str!("../../tests/config_cases/129-right-everything.yaml");

#[test]
fn what_is_loaded_can_go_to_another_thread() {
    fn check<T: Send + std::marker::Sync>() {}
    check::<Loaded>();
    check::<Diagnostic>();
}

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
    is_written("configuration-errors.md", &diagnostic::reference());
}

#[test]
fn the_reference_of_keys_is_what_is_defined() {
    is_written("configuration.md", &reference());
}

fn is_written(name: &str, text: &str) {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "UPDATE_EXPECT=1 writes {}", file.display());
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
    assert_eq!(errors(&text)[0].code, Code::TooLarge);
}

/// One long line, or as many mistakes as fit: nothing takes longer than reading does.
#[test]
fn large_hostile_files_are_refused_in_bounded_time() {
    let many = |unit: &str| unit.repeat((2 << 20) / unit.len());
    let mut keys = String::from("{");
    let mut services = String::from("version: 1\nnode: {interfaces: [{device: eth0}]}\nvirtual_services: [");
    for index in 0..60_000 {
        write!(keys, "persistanse{index}: 1, ").unwrap();
        if index < 20_000 {
            write!(services, "{{name: a, address: 10.0.0.1, ports: 1-{}, mode: l7-tcq}}, ", index + 1).unwrap();
        }
    }
    let texts = [
        many("["),
        many("- "),
        many("? "),
        many("a: "),
        many("a,"),
        many("{a: &a *a,"),
        many("\"a\" "),
        many("a\n"),
        many("  - a\n"),
        many("!a "),
        many("&a "),
        many("'"),
        "[".to_owned() + &many("a,") + "]",
        "{".to_owned() + &many("a,") + "}",
        "{".to_owned() + &many("<<: [],") + "}",
        keys + "}",
        services + "]",
    ];
    for text in texts {
        // Squared, two million characters would not come to an end before the test is ended.
        let start: String = text.chars().take(20).collect();
        assert!(errors(&text).len() <= places::MAX_PROBLEMS + 1, "{start}");
    }
}

#[test]
fn aliases_that_nest_are_refused_at_once() {
    let mut text = String::from("a0: &a0 [1]\n");
    for level in 1..5000 {
        writeln!(text, "a{level}: &a{level} [*a{}]", level - 1).unwrap();
    }
    assert_eq!(errors(&text)[0].code, Code::TooLarge);
}

/// Hundreds of services over the same real servers, half of them `l4-snat`: every pair could clash, and one does.
#[test]
fn of_many_services_over_the_same_servers_those_that_clash_are_named() {
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
    assert_eq!(loaded(&text).virtual_services.len(), 300);

    let clash = text.replacen("1001,", "1000,", 1);
    let errors = errors(&clash);
    assert!(errors.iter().all(|error| error.code == Code::RewriteClash));
    assert_eq!(errors.len(), places::MAX_PROBLEMS);
    let first = "tcp port 1000 of real server 10.2.0.1 is used by s1 (l4-snat) and by s0 (l7-tcp)";
    assert_eq!(errors[0].message, first);
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
    assert_eq!(schema["properties"]["version"]["anyOf"][0]["enum"][0], 1);
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
