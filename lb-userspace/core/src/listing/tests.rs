use std::collections::BTreeMap;
use std::time::Duration;

use lb_common::abi::{Server, ServiceMode};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::config::model::FlowTimeouts;
use crate::tables::expiry::TickTimeouts;

const NOW: u32 = 100_000;

/// Two services; each has a real server `a`, the second one also `b`, by another port.
fn directory(tick: Duration) -> Directory {
    let server = |name: &str, mode: ServiceMode, port, last| Named {
        name: name.to_owned(),
        entry: Server { mode: mode as u8, port, address: Address::v4([10, 0, 0, last]), ..Server::default() },
    };
    Directory {
        services: [(1, "web".to_owned()), (2, "mail".to_owned())].into(),
        servers: [
            (1, server("a", ServiceMode::DirectRouting, 0, 1)),
            (2, server("a", ServiceMode::Nat, 0, 2)),
            (3, server("b", ServiceMode::SourceNat, 8080, 3)),
        ]
        .into(),
        sources: [(5, Address::v4([192, 168, 0, 9]))].into(),
        timeouts: TickTimeouts::from(&FlowTimeouts::default(), tick),
        tick,
        now: NOW,
    }
}

fn seconds() -> Directory {
    directory(Duration::from_secs(1))
}

fn key(client: &str, port: u16) -> FlowKey {
    FlowKey {
        client: Address::from(client.parse::<IpAddr>().unwrap()),
        vip: Address::v4([10, 0, 9, 9]),
        client_port: port,
        vip_port: 80,
        protocol: protocol::TCP,
        ..FlowKey::default()
    }
}

fn flow(server: u32, age: u32, idle: u32) -> Flow {
    let state = FlowState::Established as u8;
    let service = if server == 1 { 1 } else { 2 };
    Flow { service, server, state, created: NOW - age, last_seen: NOW - idle, ..Flow::default() }
}

fn listed(directory: &Directory, text: &str, flows: &[(FlowKey, Flow)]) -> Connections {
    let mut listing = Listing::new(directory, &ConnectionsQuery::parse(text).unwrap());
    flows.iter().for_each(|(key, flow)| listing.see(key, flow));
    listing.finish()
}

fn clients(directory: &Directory, text: &str, flows: &[(FlowKey, Flow)]) -> Vec<String> {
    let listed = listed(directory, text, flows);
    assert_eq!((listed.total, listed.shown), (flows.len() as u64, listed.connections.len() as u64));
    listed.connections.iter().map(|flow| flow.client.ip().to_string()).collect()
}

#[test]
fn a_query_matches_by_every_field_it_names() {
    let closing = Flow { state: FlowState::Closing as u8, ..flow(1, 50, 7) };
    let half_closed = Flow { state: FlowState::HalfClosed as u8, ..flow(2, 9, 9) };
    let udp = FlowKey { protocol: protocol::UDP, vip_port: 53, ..key("2001:db8::1", 9) };
    let low = FlowKey { vip: Address::from("2001:db8::9".parse::<IpAddr>().unwrap()), ..key("::5", 9) };
    let flows = [
        (key("172.26.11.9", 40), flow(1, 600, 5)),
        (key("172.26.12.9", 40), closing),
        (key("172.26.12.9", 41), half_closed),
        (udp, flow(3, 0, 0)),
        (low, Flow { state: FlowState::Pending as u8, ..flow(9, 60, 60) }),
    ];
    let cases = [
        ("", 5),
        ("service=web", 2),
        ("service=nobody", 0),
        ("server=a", 3),
        ("server=b", 1),
        ("client=172.26.11.0%2F24", 1),
        ("client=172.26.12.9", 2),
        ("client=2001:db8::/32", 1),
        ("client=::/0", 2),
        ("client=::ffff:0:0/90", 0),
        ("client=0.0.0.0/0", 3),
        ("vip=10.0.9.9", 4),
        ("vip=2001:db8::/64", 1),
        ("port=53", 1),
        ("protocol=udp", 1),
        ("protocol=TCP", 4),
        ("state=closing", 1),
        ("state=half-closed", 1),
        ("state=udp", 1),
        ("state=pending", 1),
        ("min_age=50", 3),
        ("max_age=50", 3),
        ("min_age=50&max_age=50", 1),
        ("min_idle=7", 3),
        ("max_idle=0", 1),
        ("service=web&state=closing&client=172.26.12.0/24&port=80", 1),
        ("service=web&state=closing&client=172.26.11.9", 0),
    ];
    for (text, matching) in cases {
        assert_eq!(listed(&seconds(), text, &flows).total, matching, "{text}");
    }
}

#[test]
fn the_limit_keeps_the_first_in_the_order_asked_for() {
    let closing = Flow { state: FlowState::Closing as u8, ..flow(2, 70, 1) };
    let flows =
        [(key("10.0.0.9", 1), flow(3, 50, 5)), (key("10.0.0.7", 1), closing), (key("10.0.0.8", 1), flow(1, 30, 3))];
    let clients = |text: &str| clients(&seconds(), text, &flows);
    assert_eq!(clients("sort=idle&limit=2"), ["10.0.0.7", "10.0.0.8"]);
    assert_eq!(clients("sort=idle&limit=2&reverse=true"), ["10.0.0.9", "10.0.0.8"]);
    assert_eq!(clients("sort=age&limit=2"), ["10.0.0.8", "10.0.0.9"]);
    assert_eq!(clients("sort=client"), ["10.0.0.7", "10.0.0.8", "10.0.0.9"]);
    assert_eq!(clients("sort=client&reverse=true"), ["10.0.0.9", "10.0.0.8", "10.0.0.7"]);
    assert_eq!(clients("sort=service"), ["10.0.0.7", "10.0.0.9", "10.0.0.8"], "mail comes before web");
    assert_eq!(clients("sort=server"), ["10.0.0.7", "10.0.0.8", "10.0.0.9"], "a comes before b");
    assert_eq!(clients("sort=expires&limit=1"), ["10.0.0.7"]);
}

#[test]
fn a_row_says_what_the_real_server_sees() {
    let snat = Flow { source: 5, source_port: 1024, ..flow(3, 9, 9) };
    let lost = Flow { source: 6, ..snat };
    let flows = [(key("10.0.0.1", 7), flow(1, 9, 0)), (key("10.0.0.2", 7), flow(2, 9, 1)), (key("10.0.0.3", 7), snat)];
    let rows = listed(&seconds(), "", &flows).connections;
    let seen: Vec<_> = rows.iter().map(|row| (row.source, row.destination)).collect();
    let at = |text: &str| Some(text.parse().unwrap());
    let expected = [(None, None), (at("10.0.0.2:7"), at("10.0.0.2:80")), (at("192.168.0.9:1024"), at("10.0.0.3:8080"))];
    assert_eq!(seen, expected);
    let rows = listed(&seconds(), "", &[(key("10.0.0.3", 7), lost)]).connections;
    assert_eq!((rows[0].source, rows[0].destination), (None, at("10.0.0.3:8080")));
}

#[test]
fn a_flow_of_somebody_who_is_gone_is_shown_by_its_numbers() {
    let gone = Flow { service: 77, ..flow(88, 1, 1) };
    let rows = listed(&seconds(), "sort=server", &[(key("10.0.0.1", 7), gone)]).connections;
    assert_eq!(
        (&*rows[0].virtual_service, rows[0].real_server.as_deref()),
        ("(removed service 77)", Some("(removed server 88)"))
    );
    let listing = Directory { services: BTreeMap::new(), ..seconds() };
    assert_eq!(listed(&listing, "service=web", &[(key("10.0.0.1", 7), flow(1, 1, 1))]).total, 0);
}

#[test]
fn times_are_whole_seconds_of_ticks_that_are_none() {
    let directory = directory(Duration::from_millis(1_024));
    let flows = [(key("10.0.0.1", 7), flow(1, 1_000, 10))];
    let rows = listed(&directory, "min_age=1024&max_age=1024&min_idle=10&max_idle=10", &flows).connections;
    assert_eq!((rows[0].age_seconds, rows[0].idle_seconds), (1_024, 10));
    // 7200 s are 7032 ticks, of which 10 have passed.
    assert_eq!(rows[0].expires_seconds, 7_022 * 1_024 / 1_000);
}

/// The answer as somebody without a million flows would make it.
fn naive(directory: &Directory, query: &ConnectionsQuery, flows: &[(FlowKey, Flow)]) -> Connections {
    let mut rows: Vec<_> = flows.iter().map(|(key, flow)| connection(directory, key, flow)).collect();
    rows.retain(|row| {
        query.service.as_ref().is_none_or(|service| *service == row.virtual_service)
            && query.server.as_ref().is_none_or(|server| Some(server) == row.real_server.as_ref())
            && query.client.is_none_or(|client| client.contains(row.client.ip()))
            && query.vip.is_none_or(|vip| vip.contains(row.vip.ip()))
            && query.port.is_none_or(|port| port == row.vip.port())
            && query.protocol.is_none_or(|protocol| protocol == row.protocol)
            && query.state.is_none_or(|state| state == row.state)
            && query.age.contains(row.age_seconds)
            && query.idle.contains(row.idle_seconds)
    });
    rows.sort_by_key(|row| {
        let name = match query.sort {
            ConnectionsSort::Service => row.virtual_service.clone(),
            ConnectionsSort::Server => row.real_server.clone().unwrap_or_default(),
            _ => String::new(),
        };
        let time = match query.sort {
            ConnectionsSort::Idle => row.idle_seconds,
            ConnectionsSort::Age => row.age_seconds,
            ConnectionsSort::Expires => row.expires_seconds,
            ConnectionsSort::Client | ConnectionsSort::Service | ConnectionsSort::Server => 0,
        };
        (name, time, row.client, row.vip, row.protocol.word())
    });
    if query.reverse {
        rows.reverse();
    }
    let total = rows.len() as u64;
    rows.truncate(query.limit as usize);
    Connections { shown: rows.len() as u64, connections: rows, total }
}

fn any_flow() -> impl Strategy<Value = (FlowKey, Flow)> {
    let address = select(vec!["10.0.0.1", "10.0.0.2", "10.1.0.1", "2001:db8::1", "2001:db8:1::1"]);
    let to = (select(vec![80, 443]), select(vec![protocol::TCP, protocol::UDP]));
    (address, 1u16..4, to, 1u32..4, 0u8..5, (0u32..90, 0u32..90)).prop_map(
        |(client, port, (vip_port, protocol), server, state, (age, idle))| {
            (FlowKey { vip_port, protocol, ..key(client, port) }, Flow { state, ..flow(server, age.max(idle), idle) })
        },
    )
}

fn any_query() -> impl Strategy<Value = ConnectionsQuery> {
    let maybe = |words: Vec<&'static str>| proptest::option::weighted(0.3, select(words));
    let span = || {
        (proptest::option::weighted(0.3, 0u64..40), proptest::option::weighted(0.3, 20u64..90))
            .prop_map(|(least, most)| Span { least, most })
    };
    let who = (maybe(vec!["web", "mail", "x"]), maybe(vec!["a", "b", "x"]));
    let network = maybe(vec!["10.0.0.0/24", "10.0.0.2", "0.0.0.0/0", "::/0", "2001:db8:1::/48"]);
    let what = (
        proptest::option::weighted(0.2, select(vec![80, 443])),
        proptest::option::weighted(0.2, select(Transport::ALL)),
        proptest::option::weighted(0.2, select(view::FlowState::ALL)),
    );
    (who, network, what, (span(), span()), (1u32..12, select(ConnectionsSort::ALL), any::<bool>())).prop_map(
        |((service, server), client, (port, protocol, state), (age, idle), (limit, sort, reverse))| ConnectionsQuery {
            service: service.map(str::to_owned),
            server: server.map(str::to_owned),
            client: client.map(|client| client.parse().unwrap()),
            vip: None,
            port,
            protocol,
            state,
            age,
            idle,
            limit,
            sort,
            reverse,
        },
    )
}

/// What the proxy carries, as the listing has it.
fn any_proxied() -> impl Strategy<Value = Proxied> {
    let names = (select(vec!["web", "mail"]), proptest::option::of(select(vec!["a", "b"])));
    let ends = (select(vec!["10.0.0.1", "10.1.0.1", "2001:db8::1"]), 1u16..9, select(vec![80, 443]));
    (names, ends, (0u64..90, 0u64..90, 0u64..90)).prop_map(|((service, server), (client, port, vip), times)| Proxied {
        service: service.into(),
        server: server.map(Into::into),
        client: SocketAddr::new(client.parse().unwrap(), port),
        vip: ([10, 0, 9, 9], vip).into(),
        destination: None,
        bytes: 1,
        reply_bytes: 2,
        age_seconds: times.0,
        idle_seconds: times.1,
        expires_seconds: times.2,
    })
}

/// Where a row stands; rows that stand at the same place are alike in what a query orders by.
fn place(query: &ConnectionsQuery, row: &Connection) -> (String, u64, SocketAddr, SocketAddr) {
    let name = match query.sort {
        ConnectionsSort::Service => row.virtual_service.clone(),
        ConnectionsSort::Server => row.real_server.clone().unwrap_or_default(),
        _ => String::new(),
    };
    let time = match query.sort {
        ConnectionsSort::Idle => row.idle_seconds,
        ConnectionsSort::Age => row.age_seconds,
        ConnectionsSort::Expires => row.expires_seconds,
        ConnectionsSort::Client | ConnectionsSort::Service | ConnectionsSort::Server => 0,
    };
    (name, time, row.client, row.vip)
}

proptest! {
    #[test]
    fn flows_and_proxied_connections_are_one_listing_in_the_order_of_the_query(
        flows in proptest::collection::hash_map(any::<u16>(), any_flow(), 0..30),
        carried in proptest::collection::vec(any_proxied(), 0..30),
        query in any_query(),
    ) {
        let flows: BTreeMap<FlowKey, Flow> = flows.into_values().collect();
        let flows: Vec<_> = flows.into_iter().collect();
        let directory = seconds();
        let everything = ConnectionsQuery { limit: 1000, ..query.clone() };
        let mut expected = naive(&directory, &everything, &flows).connections;
        let matching = carried.iter().cloned().map(Connection::from).filter(|row| {
            query.service.as_ref().is_none_or(|service| *service == row.virtual_service)
                && query.server.as_ref().is_none_or(|server| Some(server) == row.real_server.as_ref())
                && query.client.is_none_or(|client| client.contains(row.client.ip()))
                && query.port.is_none_or(|port| port == row.vip.port())
                && query.protocol.is_none_or(|protocol| protocol == row.protocol)
                && query.state.is_none_or(|state| state == row.state)
                && query.age.contains(row.age_seconds)
                && query.idle.contains(row.idle_seconds)
        });
        expected.extend(matching);
        expected.sort_by_key(|row| place(&query, row));
        if query.reverse {
            expected.reverse();
        }
        let total = expected.len() as u64;
        expected.truncate(query.limit as usize);

        let mut listing = Listing::new(&directory, &query);
        flows.iter().for_each(|(key, flow)| listing.see(key, flow));
        let listed = together(&query, listing.finish(), proxied(&query, carried.into_iter()));
        prop_assert_eq!((listed.total, listed.shown), (total, expected.len() as u64));
        let places = |rows: &[Connection]| rows.iter().map(|row| place(&query, row)).collect::<Vec<_>>();
        prop_assert_eq!(places(&listed.connections), places(&expected));
    }

    #[test]
    fn a_listing_is_the_head_of_all_that_matches_sorted(
        flows in proptest::collection::hash_map(any::<u16>(), any_flow(), 0..60),
        query in any_query(),
    ) {
        // No key twice: it is a table.
        let flows: BTreeMap<FlowKey, Flow> = flows.into_values().collect();
        let flows: Vec<_> = flows.into_iter().collect();
        let directory = seconds();
        let mut listing = Listing::new(&directory, &query);
        flows.iter().rev().for_each(|(key, flow)| listing.see(key, flow));
        prop_assert_eq!(listing.finish(), naive(&directory, &query, &flows));
    }
}
