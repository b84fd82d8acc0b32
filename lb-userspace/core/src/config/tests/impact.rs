//! What a change does to flows that are alive.

use proptest::prelude::*;

use super::super::impact::{Clients, Flows, Live, Touched, impact};
use super::super::model::*;
use super::generated::{config, virtual_service};
use super::{HARMONIC, loaded};

const LIVE: Live = Live { connections: 14, persistent_clients: 3 };

const SNAT: &str = "
version: 1
node: {interfaces: [{device: eth0}]}
virtual_services:
  - {name: web, address: 192.168.10.80, ports: [80], mode: l4-snat, source_address: 192.168.10.5,
     real_servers: [{name: a, address: 10.0.0.1, port: 8080}]}
";

/// What a change of the second service does, in sentences.
fn changed(change: impl FnOnce(&mut VirtualService)) -> Vec<Touched> {
    let old = loaded(HARMONIC);
    let mut new = old.clone();
    change(&mut new.virtual_services[1]);
    impact(&old, &new)
}

fn said(touched: &[Touched], live: Option<Live>) -> Vec<String> {
    touched.iter().map(|touched| touched.sentence(live)).collect()
}

#[test]
fn a_removed_server_finishes_or_is_cut_as_the_new_configuration_says() {
    let removed = changed(|service| drop(service.real_servers.remove(1)));
    assert_eq!(
        said(&removed, Some(LIVE)),
        ["Harmonic_Traffic/HT2 is removed: its 14 connections finish first (on_removal: drain), 3 persistent clients \
             move"]
    );
    assert_eq!(
        said(&removed, Some(Live { connections: 1, persistent_clients: 1 })),
        ["Harmonic_Traffic/HT2 is removed: its 1 connection finishes first (on_removal: drain), 1 persistent client \
             moves"]
    );
    assert_eq!(
        said(&removed, Some(Live { connections: 0, persistent_clients: 0 })),
        ["Harmonic_Traffic/HT2 is removed: it has no connection, it has no persistent client"]
    );
    assert_eq!(
        said(&removed, None),
        ["Harmonic_Traffic/HT2 is removed: its connections finish first (on_removal: drain), its persistent clients \
             move"]
    );
    let cut = changed(|service| {
        service.real_servers.remove(1);
        service.on_removal = OnRemoval::Cut;
    });
    assert_eq!((cut[0].flows, cut[0].clients), (Flows::Cut, Clients::Move));
    assert_eq!(
        said(&cut, Some(LIVE)),
        ["Harmonic_Traffic/HT2 is removed: its 14 connections are cut (on_removal: cut), 3 persistent clients move"]
    );
}

#[test]
fn a_removed_service_finishes_or_is_cut_as_the_old_configuration_says() {
    let mut old = loaded(HARMONIC);
    old.virtual_services[1].on_removal = OnRemoval::Cut;
    let mut new = old.clone();
    new.virtual_services.remove(1);
    let touched = impact(&old, &new);
    assert_eq!(
        said(&touched, Some(LIVE)),
        [
            "Harmonic_Traffic is removed: its 14 connections are cut (on_removal: cut), 3 persistent clients are forgotten"
        ]
    );
    assert_eq!(impact(&new, &old), [], "a service that is new touches nobody");
}

#[test]
fn a_server_with_another_address_is_another_server() {
    let moved = changed(|service| service.real_servers[0].address = "2001:db8::7".parse().unwrap());
    assert_eq!((moved[0].flows, moved[0].clients), (Flows::Finish, Clients::Move));
    let sentence = &said(&moved, Some(LIVE))[0];
    assert!(
        sentence.starts_with("Harmonic_Traffic/HT1 moves from 192.168.94.115 to 2001:db8::7: its 14"),
        "{sentence}"
    );
    let port = changed(|service| service.real_servers[0].port = Some(8080));
    assert!(said(&port, None)[0].contains("from 192.168.94.115 to 192.168.94.115:8080"), "{port:?}");
}

#[test]
fn a_service_that_moves_takes_no_flow_with_it() {
    let mut old = loaded(HARMONIC);
    old.virtual_services[0].address = "192.168.94.99".parse().unwrap();
    let mut new = old.clone();
    new.virtual_services[1].address = "192.168.94.111".parse().unwrap();
    let touched = impact(&old, &new);
    assert_eq!(touched[0].flows, Flows::Cut);
    assert_eq!(
        said(&touched, Some(LIVE)),
        ["Harmonic_Traffic moves from 192.168.94.110 to 192.168.94.111: its 14 connections are cut"]
    );
    // The flows are found as long as the address is answered at all.
    old.virtual_services[0].address = "192.168.94.110".parse().unwrap();
    new.virtual_services[0].address = "192.168.94.110".parse().unwrap();
    assert_eq!(impact(&old, &new)[0].flows, Flows::Finish);
}

#[test]
fn ports_and_protocols_that_close_are_named() {
    let range = |first, last| PortRange { first, last };
    let touched = changed(|service| {
        service.ports = vec![range(1935, 1935), range(50_001, 59_999), range(60_001, 65_535)];
        service.protocol = Protocol::Udp;
    });
    assert_eq!(
        said(&touched, Some(LIVE)),
        [
            "Harmonic_Traffic no longer answers on port 554,50000,60000: flows there go on until they end, new ones get \
             no answer (it has 14 connections in all)",
            "Harmonic_Traffic no longer answers tcp: flows there go on until they end, new ones get no answer (it has 14 \
             connections in all)",
        ]
    );
    let wider = changed(|service| service.ports = vec![range(1, 65_535)]);
    assert_eq!(wider, [], "a port that is new touches nobody");
}

#[test]
fn what_is_for_new_flows_only_touches_none() {
    let touched = changed(|service| {
        service.scheduler = Scheduler::Maglev;
        service.health_check.rise += 1;
        service.real_servers[0].weight += 1;
        service.real_servers[1].health_check = Some(service.health_check.clone());
        if let Some(persistence) = &mut service.persistence {
            persistence.timeout *= 2;
        }
    });
    assert_eq!(touched.len(), 5, "{touched:?}");
    assert!(touched.iter().all(|touched| !touched.is_noticed()));
    assert!(said(&touched, Some(LIVE)).iter().all(|sentence| !sentence.contains("14")), "{touched:?}");
}

#[test]
fn clients_move_when_persistence_ends_or_counts_them_otherwise() {
    let ended = changed(|service| service.persistence = None);
    assert_eq!((ended[0].flows, ended[0].clients, ended.len()), (Flows::Stay, Clients::Move, 1));
    assert_eq!(
        said(&ended, Some(LIVE)),
        ["Harmonic_Traffic no longer keeps clients on their real servers: 3 persistent clients move"]
    );
    let regrouped = changed(|service| {
        if let Some(persistence) = &mut service.persistence {
            persistence.prefix_v4 = 24;
        }
    });
    assert_eq!((regrouped[0].clients, regrouped.len()), (Clients::Move, 1));
}

#[test]
fn another_source_address_is_for_new_flows() {
    let old = loaded(SNAT);
    let mut new = old.clone();
    new.virtual_services[0].source_address = SourceAddress::Vip;
    new.virtual_services[0].new_flows_per_second = Some(1000);
    let touched = impact(&old, &new);
    assert!(touched.iter().all(|touched| !touched.is_noticed()), "{touched:?}");
    assert_eq!(
        said(&touched, Some(LIVE)),
        [
            "web changes its source address from 192.168.10.5 to vip for new flows; the others keep theirs",
            "web gets another share of new flows; no flow is touched",
        ]
    );
}

const PROXIED: &str = "
version: 1
node: {interfaces: [{device: eth0}]}
certificates: {a: {pem: a.pem, key: a.key}}
virtual_services:
  - name: web
    address: 192.168.10.80
    ports: [80]
    mode: l7-http
    tls: {port: 443, certificate: a}
    real_servers: [{name: a, address: 10.0.0.1, port: 8080}, {name: b, address: 10.0.0.2, port: 8080}]
";

/// Each setting of layer 7, changed on its own.
#[test]
fn no_setting_of_a_proxied_service_cuts_a_connection() {
    let old = loaded(PROXIED);
    let changes: [fn(&mut VirtualService); 12] = [
        |web| web.source_address = SourceAddress::Client,
        |web| web.proxy.timeouts.client *= 2,
        |web| web.proxy.max_connections = 1,
        |web| web.proxy.passive_health = None,
        |web| web.proxy.access_log = Some(AccessLog { file: None, sample: 1 }),
        |web| {
            web.http.as_mut().unwrap().rules.push(Rule {
                name: None,
                when: Vec::new(),
                unless: Vec::new(),
                request_headers: Vec::new(),
                response_headers: Vec::new(),
                rewrite: None,
                action: Some(RuleAction::Deny { status: 403 }),
            });
        },
        |web| web.tls.as_mut().unwrap().policy = TlsPolicy::Compatible,
        |web| web.real_servers[0].pool = Some("api".into()),
        |web| web.real_servers[0].proxy_protocol = Some(ProxyProtocol::V2),
        |web| web.real_servers[0].http_version = HttpVersion::Http2,
        |web| web.real_servers[0].redirect = Some("https://example.org/".into()),
        |web| web.real_servers[0].tls = Some(ServerTls { verify: true, server_name: None, ca_file: None }),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut new = old.clone();
        change(&mut new.virtual_services[0]);
        let touched = impact(&old, &new);
        assert_eq!(touched.len(), 1, "{at}: {touched:?}");
        assert!(!touched[0].is_noticed(), "{at}: {touched:?}");
    }
    let mut new = old.clone();
    new.virtual_services[0].http.as_mut().unwrap().retries = 0;
    assert_eq!(
        said(&impact(&old, &new), Some(LIVE)),
        ["web has other settings for new connections and requests; none is cut"]
    );
}

#[test]
fn from_one_proxy_to_the_other_connections_go_on() {
    let old = loaded(PROXIED);
    let mut new = old.clone();
    new.virtual_services[0].mode = Mode::L7Tcp;
    new.virtual_services[0].http = None;
    let touched = impact(&old, &new);
    assert_eq!(
        said(&touched[..1], Some(LIVE)),
        ["web changes from l7-http to l7-tcp: its 14 connections go on until they end, 3 persistent clients move"]
    );
    assert!(touched.iter().all(|touched| touched.flows != Flows::Cut), "{touched:?}");
    new.virtual_services[0].mode = Mode::L4Snat;
    assert_eq!(impact(&old, &new)[0].flows, Flows::Cut, "the datapath takes the packets");
}

#[test]
fn a_proxied_server_is_cut_only_where_the_configuration_says_so() {
    let old = loaded(PROXIED);
    for (on_removal, flows) in [(OnRemoval::Drain, Flows::Finish), (OnRemoval::Cut, Flows::Cut)] {
        let mut new = old.clone();
        new.virtual_services[0].on_removal = on_removal;
        new.virtual_services[0].real_servers.remove(1);
        assert_eq!(impact(&old, &new)[0].flows, flows);
    }
}

#[test]
fn programs_read_it_too() {
    let moved = changed(|service| service.real_servers[0].port = Some(8080));
    assert_eq!(
        serde_json::to_value(&moved).unwrap(),
        serde_json::json!([{
            "service": "Harmonic_Traffic", "server": "HT1", "touch": "server-moved", "from": "192.168.94.115",
            "to": "192.168.94.115:8080", "on_removal": "drain", "flows": "finish", "clients": "move",
        }])
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_does_not_change_touches_nobody(config in config()) {
        prop_assert_eq!(impact(&config, &config), []);
    }

    #[test]
    fn another_order_touches_nobody(config in config()) {
        let mut turned = config.clone();
        turned.virtual_services.reverse();
        turned.virtual_services.iter_mut().for_each(|service| service.real_servers.reverse());
        prop_assert_eq!(impact(&config, &turned), []);
    }

    #[test]
    fn a_change_in_one_service_never_lists_another(
        old in config(), changed in virtual_service(), at in any::<prop::sample::Index>(), gone in any::<bool>(),
    ) {
        prop_assume!(!old.virtual_services.is_empty());
        let at = at.index(old.virtual_services.len());
        let mut new = old.clone();
        let name = new.virtual_services[at].name.clone();
        match gone {
            true => drop(new.virtual_services.remove(at)),
            false => new.virtual_services[at] = VirtualService { name: name.clone(), ..changed },
        }
        for touched in impact(&old, &new) {
            prop_assert_eq!(&touched.service, &name);
            prop_assert!(touched.sentence(Some(LIVE)).starts_with(&touched.name()));
            let known = |name: &String| old.virtual_services[at].real_servers.iter().any(|server| server.name == *name);
            prop_assert!(touched.server.as_ref().is_none_or(known));
        }
    }

    #[test]
    fn ports_that_close_are_those_of_the_old_that_the_new_has_not(
        old in config(), bounds in proptest::collection::btree_set(1..=2000u16, 2..12),
    ) {
        prop_assume!(!old.virtual_services.is_empty());
        let mut new = old.clone();
        let bounds: Vec<u16> = bounds.into_iter().collect();
        new.virtual_services[0].ports =
            bounds.chunks(2).map(|pair| PortRange { first: pair[0], last: *pair.last().unwrap() }).collect();
        let all = |service: &VirtualService| -> std::collections::BTreeSet<u16> {
            let tls = service.tls.iter().map(|tls| tls.port);
            service.ports.iter().flat_map(|range| range.first..=range.last).chain(tls).collect()
        };
        let closed: Vec<u16> = all(&old.virtual_services[0]).difference(&all(&new.virtual_services[0])).copied().collect();
        let touched = impact(&old, &new);
        let listed = touched.iter().find_map(|touched| match &touched.touch {
            super::super::impact::Touch::PortsClosed { ports } => Some(ports.clone()),
            _ => None,
        });
        let mut named: Vec<u16> = Vec::new();
        for range in listed.iter().flat_map(|ports| ports.split(',')) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            named.extend(first.parse::<u16>().unwrap()..=last.parse().unwrap());
        }
        named.dedup();
        prop_assert_eq!(named, closed);
    }
}
