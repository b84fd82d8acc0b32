//! The connections that the proxy carries, as they are listed.

use std::time::{Duration, Instant};

use lb_core::view::{Connection, Connections, ConnectionsQuery, FlowState};

use super::site::{Site, eventually};

const SERVICES: &str = "
  - {name: files, address: 192.0.2.80, ports: [80], mode: l7-tcp, real_servers: [{name: a, address: 192.0.2.81}]}
  - {name: shop, address: 192.0.2.80, ports: [8080], mode: l7-http, real_servers: [{name: b, address: 192.0.2.84}]}
";

fn listed(site: &Site, text: &str) -> Connections {
    let query = ConnectionsQuery::parse(text).expect("a query");
    site.proxy.carrying().list(&query, Instant::now())
}

fn only(site: &Site, text: &str) -> Option<Connection> {
    let mut listed = listed(site, text);
    if listed.total == 1 { listed.connections.pop() } else { None }
}

#[test]
fn a_connection_is_listed_with_its_real_server_and_its_bytes_until_it_ends() {
    let site = Site::new(SERVICES);
    assert_eq!(listed(&site, "").total, 0);
    let mut client = site.connect("files");
    assert_eq!(client.ask("hello"), "0: hello\n");

    let row = eventually("its bytes are counted", || only(&site, "").filter(|row| row.reply_bytes == Some(9)));
    let real = &site.config.virtual_services[0].real_servers[0];
    assert_eq!((&*row.virtual_service, row.real_server.as_deref()), ("files", Some("a")));
    assert_eq!((row.client, row.vip), (client.address(), site.vip("files")));
    assert_eq!(row.destination, Some((real.address, real.port.expect("a port")).into()));
    assert_eq!((row.bytes, row.state), (Some(6), FlowState::Established));
    for (text, matching) in [
        ("service=files", 1),
        ("service=shop", 0),
        ("server=a", 1),
        ("client=127.0.0.0/8", 1),
        ("client=10.0.0.0/8", 0),
        ("protocol=udp", 0),
        ("state=pending", 0),
        ("min_age=3600", 0),
    ] {
        assert_eq!(listed(&site, text).total, matching, "{text}");
    }
    let later = Instant::now() + Duration::from_secs(100);
    let query = ConnectionsQuery::default();
    let row = site.proxy.carrying().list(&query, later).connections.pop().expect("the connection");
    assert!((99..=101).contains(&row.idle_seconds) && (99..=101).contains(&row.age_seconds), "{row:?}");

    client.close();
    eventually("it is listed no more", || (listed(&site, "").total == 0).then_some(()));
}

#[test]
fn an_http_connection_has_a_real_server_only_while_a_request_is_under_way() {
    let site = Site::new(SERVICES);
    let mut client = site.connect("shop");
    client.say(b"POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 10\r\n\r\n01234");
    let row =
        eventually("the request is under way", || only(&site, "state=established").filter(|row| row.bytes == Some(56)));
    assert_eq!((&*row.virtual_service, row.real_server.as_deref()), ("shop", Some("b")));

    client.say(b"56789");
    assert_eq!(client.line(), "HTTP/1.1 200 OK\r\n");
    while client.line() != "\r\n" {}
    let row =
        eventually("the connection rests", || only(&site, "state=pending").filter(|row| row.reply_bytes > Some(20)));
    assert_eq!((&row.real_server, row.destination), (&None, None));
    assert_eq!(row.bytes, Some(61));
}

#[test]
fn many_connections_are_listed_once_each_and_none_is_left_behind() {
    let site = Site::new(SERVICES);
    let mut clients: Vec<_> = (0..300).map(|_| site.connect("files")).collect();
    for client in &mut clients {
        assert_eq!(client.ask("x"), "0: x\n");
    }
    let rows = listed(&site, "sort=client&limit=1000").connections;
    let mut ours: Vec<_> = clients.iter().map(super::site::Client::address).collect();
    ours.sort();
    assert_eq!(rows.iter().map(|row| row.client).collect::<Vec<_>>(), ours);
    let few = listed(&site, "sort=client&limit=7&reverse=true");
    assert_eq!((few.total, few.shown), (300, 7));
    assert_eq!(few.connections[0].client, ours[299]);

    drop(clients);
    eventually("all are gone", || (listed(&site, "").total == 0).then_some(()));
}
