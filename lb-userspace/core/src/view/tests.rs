use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::model;
use crate::proxy::clients::Key;

fn server(state: ServerState, weight: u16) -> RealServer {
    RealServer {
        name: "s".into(),
        address: "10.0.0.2".parse().unwrap(),
        port: None,
        weight,
        connections: 0,
        packets: 0,
        bytes: 0,
        flows: 0,
        reply_packets: 0,
        reply_bytes: 0,
        source_ports: vec![],
        state,
        reason: String::new(),
        since_seconds: 0,
        persistent_clients: 0,
        administration: None,
        backup: false,
        leaving: false,
        next_hop: None,
    }
}

#[test]
fn a_bad_query_is_refused_with_what_would_be_right() {
    let cases = [
        (
            "servce=web",
            "unknown parameter `servce`; known are: service, server, client, vip, port, protocol, state, min_age, \
             max_age, min_idle, max_idle, limit, sort, reverse",
        ),
        ("port=0", "port `0` is not a number from 1 to 65535"),
        ("protocol=icmp", "protocol `icmp` is not one of: TCP, UDP"),
        ("reverse=yes", "reverse `yes` is not one of: true, false"),
        ("min_idle=-1", "min_idle `-1` is not a number from 0 to 4294967295"),
        ("min_idle=61&max_idle=60", "min_idle 61 is above max_idle 60, so no flow could match"),
        ("vip=10.0.0.0/33", "vip: `10.0.0.0/33` has no valid prefix length; it is a number from 0 to 32"),
        ("limit=0", "limit `0` is not a number from 1 to 100000"),
        ("limit=-1", "limit `-1` is not a number from 1 to 100000"),
        ("limit=100001", "limit `100001` is not a number from 1 to 100000"),
        ("state=open", "state `open` is not one of: pending, established, half-closed, closing, udp"),
        ("sort=size", "sort `size` is not one of: idle, age, client, service, server, expires"),
        ("sort=age&sort=age", "parameter `sort` is given more than once"),
        (
            "client=somewhere",
            "client: `somewhere` is not an address; write one like 172.26.11.7, 172.26.11.0/24 or 2001:db8::/64",
        ),
        ("client=10.0.0.0/33", "client: `10.0.0.0/33` has no valid prefix length; it is a number from 0 to 32"),
    ];
    for (text, sentence) in cases {
        assert_eq!(ConnectionsQuery::parse(text).unwrap_err().to_string(), sentence);
    }
    assert_eq!(
        PersistenceQuery::parse("state=udp").unwrap_err().to_string(),
        "unknown parameter `state`; known are: service, server, client, limit"
    );
}

#[test]
fn a_persistence_record_of_a_network_is_found_by_one_of_its_clients() {
    let record = PersistenceRecord {
        virtual_service: "dicom".into(),
        client: "172.26.11.77/24".parse().unwrap(),
        real_server: "DS1".into(),
        age_seconds: 1,
        idle_seconds: 1,
        expires_seconds: 1,
        confirmed: true,
    };
    assert_eq!(serde_json::to_value(&record).unwrap()["client"], "172.26.11.0/24");
    for (text, found) in
        [("client=172.26.11.7", 1), ("client=172.26.0.0/16", 1), ("client=172.26.12.7", 0), ("client=::/0", 0)]
    {
        let query = PersistenceQuery::parse(text).unwrap();
        assert_eq!(query.select([record.clone()].into_iter()).total, found, "{text}");
    }
}

#[test]
fn an_rdp_user_is_listed_by_its_hash_and_is_in_no_network() {
    let record = PersistenceRecord {
        virtual_service: "desktops".into(),
        client: PersistentClient::of(&Key::token(b"anna"), (24, 64)),
        real_server: "RDS1".into(),
        age_seconds: 1,
        idle_seconds: 1,
        expires_seconds: 1,
        confirmed: true,
    };
    let text = record.client.to_string();
    assert!(text.starts_with("rdp:") && text.len() == 20, "{text}");
    assert_eq!(text.parse(), Ok(record.client));
    let query = PersistenceQuery { client: Some(record.client), ..PersistenceQuery::default() };
    assert_eq!(PersistenceQuery::parse(&query.encode()), Ok(query));
    for (client, found) in [(text.as_str(), 1), ("rdp:0000000000000001", 0), ("0.0.0.0/0", 0), ("::/0", 0)] {
        let query = PersistenceQuery::parse(&format!("client={client}")).unwrap();
        assert_eq!(query.select([record.clone()].into_iter()).total, found, "{client}");
    }
    let wrong = PersistenceQuery::parse("client=rdp:anna").unwrap_err().to_string();
    assert_eq!(
        wrong,
        "client: `rdp:anna` is no RDP user; write it as `lbctl persistence` lists it, like rdp:5bf1a0c2d3e4f607"
    );
}

#[test]
fn a_service_is_down_only_when_nobody_takes_clients() {
    use ServerState::{Checking, Down, Draining, Halted, Up};
    type Case = (&'static [(ServerState, u16)], ServiceState, Option<&'static str>);
    let cases: &[Case] = &[
        (&[(Up, 100), (Up, 100)], ServiceState::Up, None),
        (&[(Up, 100), (Draining, 100), (Halted, 1)], ServiceState::Up, None),
        (&[(Up, 100), (Down, 100)], ServiceState::Degraded, Some("1 of 2 real servers is down")),
        (&[(Down, 1), (Up, 1), (Down, 1)], ServiceState::Degraded, Some("2 of 3 real servers are down")),
        (&[(Down, 1), (Down, 1)], ServiceState::Down, Some("no real server takes new clients: 2 down")),
        (
            &[(Down, 1), (Halted, 1), (Checking, 1), (Up, 0)],
            ServiceState::Down,
            Some("no real server takes new clients: 1 down, 1 checking, 1 halted, 1 up with weight 0"),
        ),
        (&[], ServiceState::Down, Some("it has no real server")),
    ];
    for (servers, state, reason) in cases {
        let servers: Vec<_> = servers.iter().map(|(state, weight)| server(*state, *weight)).collect();
        assert_eq!(service_state(&servers), (*state, reason.map(str::to_owned)));
    }
}

#[test]
fn a_described_service_has_the_words_of_the_overview() {
    let check = model::HealthCheck {
        probe: model::Probe::Connect,
        port: None,
        interval: Duration::from_secs(4),
        timeout: Duration::from_secs(2),
        rise: 2,
        fall: 2,
        flap_damping: true,
        proxy_protocol: None,
    };
    let mut service = model::VirtualService {
        name: "Harmonic_Traffic".into(),
        address: "192.168.94.110".parse().unwrap(),
        interface: None,
        ports: vec![
            model::PortRange { first: 554, last: 554 },
            model::PortRange { first: 1935, last: 1935 },
            model::PortRange { first: 50000, last: 65535 },
        ],
        first_port: 1935,
        protocol: model::Protocol::TcpUdp,
        mode: model::Mode::L4Dr,
        source_address: model::SourceAddress::Auto,
        new_flows_per_second: None,
        scheduler: model::Scheduler::WeightedLeastConnection,
        persistence: Some(model::Persistence {
            by: model::PersistenceBy::SourceIp,
            timeout: Duration::from_secs(300),
            prefix_v4: 32,
            prefix_v6: 128,
        }),
        health_check: check,
        slow_start: Duration::ZERO,
        on_removal: model::OnRemoval::Drain,
        proxy: model::Proxy::default(),
        http: None,
        tls: None,
        fallback: None,
        real_servers: vec![model::RealServer {
            name: "HT1".into(),
            address: "192.168.94.115".parse().unwrap(),
            port: None,
            weight: 100,
            min_connections: 0,
            max_connections: 0,
            backup: false,
            pool: None,
            proxy_protocol: None,
            http_version: model::HttpVersion::Http1,
            tls: None,
            redirect: None,
            health_check: None,
        }],
    };
    let json = serde_json::to_value(VirtualService::described(&service)).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "name": "Harmonic_Traffic", "address": "192.168.94.110", "ports": "554,1935,50000-65535",
            "protocol": "TCPUDP", "method": "Layer 4", "mode": "DR", "scheduler": "weighted-least-connection",
            "persistence_timeout_seconds": 300, "state": "down",
            "reason": "no real server takes new clients: 1 checking",
            "connections": 0, "packets": 0, "bytes": 0, "flows": 0, "half_open": 0, "new_flows_beyond_limit": 0,
            "proxied": null,
            "real_servers": [{
                "name": "HT1", "address": "192.168.94.115", "port": null, "weight": 100, "connections": 0,
                "packets": 0, "bytes": 0, "flows": 0, "reply_packets": 0, "reply_bytes": 0, "source_ports": [],
                "state": "checking", "reason": "", "since_seconds": 0,
                "persistent_clients": 0, "administration": null, "backup": false, "leaving": false, "next_hop": null,
            }],
        })
    );

    service.mode = model::Mode::L7Http;
    service.tls = Some(model::TlsListener {
        port: 1443,
        certificates: vec![],
        policy: model::TlsPolicy::HighSecurity,
        redirect: false,
        client_certificate: None,
    });
    let described = VirtualService::described(&service);
    assert_eq!((described.protocol, described.method, described.mode), (Protocol::Http, Method::Layer7, Mode::Proxy));
    assert_eq!(described.ports, "554,1443,1935,50000-65535");
}

#[test]
fn the_status_is_the_json_that_others_rely_on() {
    let text = r#"{
        "node": "lb1", "version": "0.1.0", "pid": 7,
        "predecessor": {"pid": 6, "connections": 5}, "uptime_seconds": 9,
        "configuration": {
            "path": "/etc/lb/lb.yaml", "loaded_seconds_ago": 8, "services": 1, "confirm_within_seconds": 42
        },
        "interfaces": [{"device": "eth0", "ifindex": 2, "xdp": "native", "state": "up"}],
        "virtual_services": [{
            "name": "DICOM", "address": "2001:db8::1", "ports": "104", "protocol": "TCP", "method": "Layer 4",
            "mode": "NAT", "scheduler": "source-hash", "persistence_timeout_seconds": null, "state": "up",
            "reason": null, "connections": 1, "packets": 2, "bytes": 3, "flows": 4, "half_open": 7,
            "new_flows_beyond_limit": 8, "proxied": null,
            "real_servers": [{
                "name": "DS1", "address": "2001:db8::2", "port": 104, "weight": 100, "connections": 1, "packets": 2,
                "bytes": 3, "flows": 4, "reply_packets": 5, "reply_bytes": 6,
                "source_ports": [{"protocol": "TCP", "in_use": 7, "size": 31744}],
                "state": "up", "reason": "answers C-ECHO", "since_seconds": 5,
                "persistent_clients": 6,
                "administration": {"state": "drained", "weight": 50, "by": "alice (uid 0)", "at": 1795230729},
                "backup": true, "leaving": false,
                "next_hop": {"device": "eth0", "mac": "02:00:00:00:00:01", "gateway": "2001:db8::ff"}
            }]
        }],
        "counters": [{"reason": "no-service", "action": "pass", "packets": 1, "bytes": 60, "help": "Not for us."}],
        "tables": [{"name": "flows", "entries": 1, "capacity": 1048576}],
        "new_flows_beyond_limit": 9,
        "problems": ["eth0 fell back to generic XDP."]
    }"#;
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    let status: Status = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_value(&status).unwrap(), value);
}

#[test]
fn a_stop_request_takes_no_field_it_does_not_know() {
    assert_eq!(serde_json::from_str::<StopRequest>("{}").unwrap(), StopRequest { detach: false });
    assert!(serde_json::from_str::<StopRequest>(r#"{"detatch":true}"#).is_err());
}

#[test]
fn an_order_is_flat_json() {
    let cases = [
        (Order::Drain, r#"{"service":"HL7","server":"IMS1","order":"drain"}"#),
        (Order::Halt, r#"{"service":"HL7","server":"IMS1","order":"halt"}"#),
        (Order::Online, r#"{"service":"HL7","server":"IMS1","order":"online"}"#),
        (Order::Weight { weight: Some(50) }, r#"{"service":"HL7","server":"IMS1","order":"weight","weight":50}"#),
        (Order::Weight { weight: None }, r#"{"service":"HL7","server":"IMS1","order":"weight","weight":null}"#),
    ];
    for (order, text) in cases {
        let request = OrderRequest { service: "HL7".into(), server: "IMS1".into(), order, by: None };
        assert_eq!(serde_json::to_string(&request).unwrap(), text);
        assert_eq!(serde_json::from_str::<OrderRequest>(text).unwrap(), request);
    }
}

#[test]
fn an_events_query_means_what_it_names() {
    let event = |id, service: Option<&str>, server: Option<&str>| Event {
        id,
        at_ms: 0,
        kind: EventKind::Health,
        severity: Severity::Warning,
        service: service.map(str::to_owned),
        server: server.map(str::to_owned),
        by: None,
        sentence: "IMS1 of HL7 is down".into(),
    };
    let events = [event(1, Some("HL7"), Some("IMS1")), event(2, Some("HL7"), None), event(3, None, None)];
    let cases: &[(&str, &[u64])] = &[
        ("", &[1, 2, 3]),
        ("after=0", &[1, 2, 3]),
        ("after=2", &[3]),
        ("after=18446744073709551615", &[]),
        ("service=HL7", &[1, 2]),
        ("server=IMS1", &[1]),
        ("service=HL7&server=IMS1&after=1&wait=25&limit=7", &[]),
    ];
    for (text, matching) in cases {
        let query = EventsQuery::parse(text).unwrap();
        let ids: Vec<u64> = events.iter().filter(|event| query.matches(event)).map(|event| event.id).collect();
        assert_eq!(ids, *matching, "{text}");
        assert_eq!(EventsQuery::parse(&query.encode()).unwrap(), query, "{text}");
    }
    let refused = [
        ("wait=26", "wait `26` is not a number from 0 to 25"),
        ("after=-1", "after `-1` is not a number from 0 to 18446744073709551615"),
        ("until=3", "unknown parameter `until`; known are: after, service, server, limit, wait"),
    ];
    for (text, sentence) in refused {
        assert_eq!(EventsQuery::parse(text).unwrap_err().to_string(), sentence);
    }
}

#[test]
fn a_reload_request_takes_no_field_it_does_not_know() {
    assert_eq!(serde_json::from_str::<ReloadRequest>("{}").unwrap(), ReloadRequest::default());
    assert!(serde_json::from_str::<ReloadRequest>(r#"{"confirm":60}"#).is_err());
}

proptest! {
    #[test]
    fn a_network_reads_back_what_it_writes_and_contains_itself(bits: u128, v6: bool, length in 0u8..=128) {
        let address: IpAddr = match v6 {
            true => IpAddr::V6(bits.into()),
            false => IpAddr::V4(u32::try_from(bits & 0xffff_ffff).unwrap().into()),
        };
        let network = Network::new(address, length);
        prop_assert_eq!(network.to_string().parse::<Network>().unwrap(), network);
        prop_assert!(network.contains(address));
        prop_assert!(network.overlaps(&address.into()));
    }

    #[test]
    fn a_query_survives_any_text(service in ".*", text in ".*") {
        let query = ConnectionsQuery {
            service: Some(service),
            vip: Some(IpAddr::from([10, 0, 0, 1]).into()),
            port: Some(443),
            protocol: Some(Transport::Udp),
            state: Some(FlowState::HalfClosed),
            age: Span { least: Some(0), most: Some(9) },
            idle: Span { least: None, most: Some(u64::from(u32::MAX)) },
            sort: ConnectionsSort::Expires,
            reverse: true,
            ..ConnectionsQuery::default()
        };
        prop_assert_eq!(ConnectionsQuery::parse(&query.encode()).unwrap(), query);
        let _ = PersistenceQuery::parse(&text);
    }

    #[test]
    fn the_first_of_many_are_the_head_of_the_sorted_list(places in proptest::collection::vec(0u8..50, 0..60), limit in 1u32..20) {
        let mut first = first::First::new(limit);
        for (number, place) in places.iter().enumerate() {
            first.offer((*place, number), || number);
        }
        let mut sorted: Vec<_> = (0..places.len()).collect();
        sorted.sort_by_key(|number| (places[*number], *number));
        sorted.truncate(limit as usize);
        prop_assert_eq!(first.finish(), (sorted, places.len() as u64));
    }
}
