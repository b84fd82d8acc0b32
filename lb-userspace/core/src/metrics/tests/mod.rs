//! What is rendered, read back by a strict parser of the format.

mod parser;
mod properties;
mod site;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use lb_common::datapath::{Kind, Reason};

use super::families::SECTIONS;
use super::reference::{SERIES_PER_SERVER, SERIES_PER_SERVICE};
use super::{EventCount, Extra, Process, Reloads, reference, render};
use crate::view::{CounterAction, EventKind, HealthState, LinkState, ServerState, ServiceState, Severity};
use parser::{Exposition, parse};
use site::{check, extra, server, service, site};

fn rendered(site: &site::Site) -> Exposition {
    let text = render(&site.status, &site.health, &site.extra);
    parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

const HT1: &[(&str, &str)] = &[("service", "media"), ("server", "HT1"), ("address", "192.168.94.115")];

#[test]
fn every_family_of_the_reference_is_in_the_text_once_and_in_its_order() {
    let exposition = rendered(&site());
    let families = SECTIONS.iter().flat_map(|section| section.families);
    let wanted: Vec<_> = families.map(|family| (family.name, family.kind.word(), family.help)).collect();
    let found: Vec<_> = exposition.families.iter().map(|f| (&*f.name, &*f.kind, &*f.help)).collect();
    assert_eq!(found, wanted);
    for family in &exposition.families {
        assert!(!family.samples.is_empty(), "the site of the tests has no {}", family.name);
    }
}

#[test]
fn the_samples_of_a_family_have_the_labels_that_its_reference_names() {
    let exposition = rendered(&site());
    for family in SECTIONS.iter().flat_map(|section| section.families) {
        let found = exposition.families.iter().find(|found| found.name == family.name).unwrap();
        for sample in &found.samples {
            let names: Vec<_> = sample.labels.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, family.labels, "{}", family.name);
        }
    }
}

#[test]
fn names_follow_the_conventions() {
    for family in SECTIONS.iter().flat_map(|section| section.families) {
        let counter = family.kind.word() == "counter";
        assert_eq!(family.name.ends_with("_total"), counter, "{}", family.name);
        assert!(family.name.starts_with("lb_") || family.name.starts_with("process_"), "{}", family.name);
        assert!(family.help.ends_with('.') && !family.help.contains('|'), "{}: {}", family.name, family.help);
        assert!(!["_count", "_sum", "_bucket"].iter().any(|end| family.name.ends_with(end)), "{}", family.name);
    }
}

#[test]
fn every_reason_of_the_datapath_has_its_packets_and_bytes() {
    let exposition = rendered(&site());
    for (at, reason) in (0u64..).zip(Reason::ALL) {
        let action = match reason.kind() {
            Kind::Pass => CounterAction::Pass,
            Kind::Forward => CounterAction::Forward,
            Kind::Drop => CounterAction::Drop,
        };
        let labels = [("reason", reason.name()), ("action", action.word())];
        assert_eq!(exposition.whole("lb_datapath_packets_total", &labels), at);
        assert_eq!(exposition.whole("lb_datapath_bytes_total", &labels), at * 100);
    }
    assert_eq!(exposition.family("lb_datapath_packets_total").samples.len(), Reason::ALL.len());
}

#[test]
fn the_state_of_a_real_server_is_one_of_all_states() {
    for state in ServerState::ALL {
        let mut site = site();
        site.status.virtual_services[0].real_servers[0].state = *state;
        let exposition = rendered(&site);
        for other in ServerState::ALL {
            let labels = [HT1, &[("state", other.word())]].concat();
            assert_eq!(exposition.whole("lb_server_state", &labels), u64::from(other == state), "{state} {other}");
        }
        assert_eq!(exposition.whole("lb_server_up", HT1), u64::from(*state == ServerState::Up), "{state}");
    }
}

#[test]
fn a_degraded_service_answers_and_a_down_one_does_not() {
    for (state, up) in [(ServiceState::Up, 1), (ServiceState::Degraded, 1), (ServiceState::Down, 0)] {
        let mut site = site();
        site.status.virtual_services[0].state = state;
        let exposition = rendered(&site);
        assert_eq!(exposition.whole("lb_service_up", &[("service", "media")]), up, "{state}");
        let labels = [("service", "media"), ("state", state.word())];
        assert_eq!(exposition.whole("lb_service_state", &labels), 1);
    }
}

#[test]
fn numbers_of_services_and_servers_arrive_as_they_were_counted() {
    let exposition = rendered(&site());
    let service = &[("service", "media")][..];
    for (name, labels, wanted) in [
        ("lb_service_connections", service, 7),
        ("lb_service_packets_total", service, 1_000),
        ("lb_service_bytes_total", service, 64_000),
        ("lb_service_flows_total", service, 70),
        ("lb_service_half_open_flows", service, 4),
        ("lb_new_flows_beyond_limit_total", service, 90),
        ("lb_machine_new_flows_beyond_limit_total", &[][..], 33),
        ("lb_server_reply_packets_total", HT1, 40),
        ("lb_server_reply_bytes_total", HT1, 40_000),
        ("lb_server_weight", HT1, 100),
        ("lb_server_connections", HT1, 3),
        ("lb_server_packets_total", HT1, u64::MAX),
        ("lb_server_bytes_total", HT1, 30_000),
        ("lb_server_flows_total", HT1, 30),
        ("lb_server_persistent_clients", HT1, 5),
    ] {
        assert_eq!(exposition.whole(name, labels), wanted, "{name}");
    }
    let info = &exposition.family("lb_service_info").samples[0];
    let values: Vec<_> = info.labels.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(values, ["media", "192.168.94.110", "554,50000-65535", "TCPUDP", "DR", "weighted-round-robin"]);
}

#[test]
fn an_address_shows_its_port_where_the_server_has_one() {
    let mut site = site();
    let servers = &mut site.status.virtual_services[0].real_servers;
    servers.push(server("HT3", "192.168.94.117", Some(80)));
    servers.push(server("HT4", "fd00:94::118", Some(80)));
    servers.push(server("HT5", "fd00:94::119", None));
    let exposition = rendered(&site);
    for (name, address) in [("HT3", "192.168.94.117:80"), ("HT4", "[fd00:94::118]:80"), ("HT5", "fd00:94::119")] {
        let labels = [("service", "media"), ("server", name), ("address", address)];
        assert_eq!(exposition.whole("lb_server_up", &labels), 1);
    }
}

#[test]
fn a_leaving_server_beside_one_of_its_name_has_series_of_its_own() {
    let mut site = site();
    let mut leaving = server("HT1", "192.168.94.99", None);
    (leaving.leaving, leaving.state, leaving.connections) = (true, ServerState::Draining, 2);
    site.status.virtual_services[0].real_servers.push(leaving);
    let exposition = rendered(&site);
    let old = [("service", "media"), ("server", "HT1"), ("address", "192.168.94.99")];
    assert_eq!(exposition.whole("lb_server_connections", &old), 2);
    assert_eq!(exposition.whole("lb_server_connections", HT1), 3);
    assert_eq!(exposition.get("lb_server_health_check_up", &old), None, "the check is the new server's");
    assert_eq!(exposition.whole("lb_server_health_check_up", HT1), 1);
}

#[test]
fn a_server_that_came_back_while_it_was_leaving_is_one_series() {
    for leaving_first in [true, false] {
        let mut site = site();
        let mut leaving = server("HT1", "192.168.94.115", None);
        (leaving.leaving, leaving.state, leaving.connections) = (true, ServerState::Draining, 2);
        let servers = &mut site.status.virtual_services[0].real_servers;
        servers.insert(if leaving_first { 0 } else { 1 }, leaving);
        let exposition = rendered(&site);
        assert_eq!(exposition.whole("lb_server_connections", HT1), 5);
        assert_eq!(exposition.whole("lb_server_packets_total", HT1), u64::MAX, "the sum stops at the largest number");
        assert_eq!(exposition.whole("lb_server_up", HT1), 1, "the state is that of the one that stays");
        assert_eq!(exposition.whole("lb_server_health_check_up", HT1), 1);
    }
}

#[test]
fn a_check_says_what_it_found_and_when() {
    let exposition = rendered(&site());
    assert_eq!(exposition.whole("lb_server_health_check_up", HT1), 1);
    assert_eq!(exposition.get("lb_server_health_check_duration_seconds", HT1), Some("0.0015"));
    assert_eq!(exposition.whole("lb_server_health_check_last_good_timestamp_seconds", HT1), 1_699_999_997);
    let ht2 = [("service", "media"), ("server", "HT2"), ("address", "192.168.94.116")];
    assert_eq!(exposition.whole("lb_server_health_check_up", &ht2), 0);
    assert_eq!(exposition.whole("lb_server_health_check_failures_in_a_row", &ht2), 4);
    assert_eq!(exposition.get("lb_server_health_check_last_good_timestamp_seconds", &ht2), None);
    assert_eq!(exposition.get("lb_health_check_latest_start_seconds", &[]), Some("0.125"));
    assert_eq!(exposition.whole("lb_health_check_probes_under_way", &[]), 2);
}

#[test]
fn a_check_that_has_not_spoken_says_neither_up_nor_down() {
    for state in [HealthState::Checking, HealthState::Unchecked] {
        let mut site = site();
        site.health.checks[0] = crate::view::Check {
            history: vec![],
            last_good_seconds: None,
            state,
            ..check("media", "HT1", "192.168.94.115")
        };
        let exposition = rendered(&site);
        for family in exposition.families.iter().filter(|family| family.name.starts_with("lb_server_health_check_")) {
            assert_eq!(exposition.get(&family.name, HT1), None, "{state}: {}", family.name);
        }
    }
}

#[test]
fn a_shared_check_speaks_for_every_server_it_answers_for() {
    let mut site = site();
    let mut web = service("web", "192.168.94.111");
    web.real_servers.push(server("W1", "192.168.94.115", None));
    // Named by the check, and of another address: it is another machine.
    web.real_servers.push(server("W2", "192.168.94.200", None));
    site.status.virtual_services.push(web);
    site.health.checks[0].shared_with = vec!["web/W1".to_owned(), "web/W2".to_owned(), "media/HT2".to_owned()];
    let exposition = rendered(&site);
    let labels = |server, address| [("service", "web"), ("server", server), ("address", address)];
    assert_eq!(exposition.whole("lb_server_health_check_up", &labels("W1", "192.168.94.115")), 1);
    assert_eq!(exposition.get("lb_server_health_check_up", &labels("W2", "192.168.94.200")), None);
    let ht2 = [("service", "media"), ("server", "HT2"), ("address", "192.168.94.116")];
    assert_eq!(exposition.whole("lb_server_health_check_up", &ht2), 0, "its own check comes first");
}

#[test]
fn every_kind_of_event_has_a_count_even_of_none() {
    let exposition = rendered(&site());
    for kind in EventKind::ALL {
        for severity in Severity::ALL {
            let wanted = if (*kind, *severity) == (EventKind::Health, Severity::Warning) { 9 } else { 0 };
            let labels = [("kind", kind.word()), ("severity", severity.word())];
            assert_eq!(exposition.whole("lb_events_total", &labels), wanted);
        }
    }
}

#[test]
fn what_is_not_known_is_left_out_and_what_has_no_limit_is_infinite() {
    let mut site = site();
    site.extra = Extra { last_sweep: None, process: None, ..extra() };
    let exposition = rendered(&site);
    let empty: Vec<_> = exposition.families.iter().filter(|f| f.samples.is_empty()).map(|f| &*f.name).collect();
    let process = SECTIONS.iter().flat_map(|section| section.families).map(|family| family.name);
    let process = process.filter(|name| name.starts_with("process_"));
    assert_eq!(empty, std::iter::once("lb_last_sweep_duration_seconds").chain(process).collect::<Vec<_>>());

    let process = Process { max_files: None, ..extra().process.unwrap() };
    site.extra = Extra { process: Some(process), ..extra() };
    assert_eq!(rendered(&site).get("process_max_fds", &[]), Some("+Inf"));
}

#[test]
fn the_daemon_tells_of_itself() {
    let exposition = rendered(&site());
    assert_eq!(exposition.whole("lb_build_info", &[("version", "0.1.0")]), 1);
    for (name, wanted) in [
        ("lb_problems", "1"),
        ("lb_configuration_last_reload_successful", "0"),
        ("lb_configuration_last_reload_success_timestamp_seconds", "1699999000"),
        ("lb_configuration_confirmation_pending", "1"),
        ("lb_last_sweep_duration_seconds", "0.25"),
        ("process_start_time_seconds", "1699990000.5"),
        ("process_cpu_seconds_total", "12.34"),
        ("process_max_fds", "1024"),
    ] {
        assert_eq!(exposition.get(name, &[]), Some(wanted), "{name}");
    }
    assert_eq!(exposition.whole("lb_configuration_reloads_total", &[("result", "succeeded")]), 2);
    assert_eq!(exposition.whole("lb_configuration_reloads_total", &[("result", "failed")]), 1);
    assert_eq!(exposition.whole("lb_table_capacity_entries", &[("table", "flows")]), 1_000_000);
    let generic = [("device", "eth0"), ("xdp", "generic")];
    assert_eq!(exposition.whole("lb_interface_xdp", &generic), 1);
}

#[test]
fn the_reference_of_metrics_is_the_list_of_families() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/metrics.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, reference()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), reference(), "UPDATE_EXPECT=1 writes {}", file.display());
}

#[test]
fn the_expressions_of_the_reference_name_families_that_exist() {
    let page = reference();
    let names: BTreeSet<_> = SECTIONS.iter().flat_map(|section| section.families).map(|family| family.name).collect();
    assert_eq!(names.len(), SECTIONS.iter().map(|section| section.families.len()).sum::<usize>(), "a name twice");
    let words = page.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let named: BTreeSet<_> = words.filter(|word| word.starts_with("lb_") || word.starts_with("process_")).collect();
    assert_eq!(named, names);
}

#[test]
fn one_more_server_or_service_makes_as_many_series_as_the_reference_says() {
    let count = |site: &site::Site| rendered(site).families.iter().map(|family| family.samples.len()).sum::<usize>();
    let mut site = site();
    let before = count(&site);
    site.status.virtual_services.push(service("web", "192.168.94.111"));
    let with_service = count(&site);
    assert_eq!(with_service - before, SERIES_PER_SERVICE);
    site.status.virtual_services[1].real_servers.push(server("W1", "192.168.94.120", Some(80)));
    site.health.checks.push(check("web", "W1", "192.168.94.120"));
    assert_eq!(count(&site) - with_service, SERIES_PER_SERVER);
}
