//! Which check a real server gets.

use crate::config::model::ProxyProtocol::{self, V1, V2};
use crate::config::{Source, load};

fn header(service: &str, server: &str) -> Option<ProxyProtocol> {
    let text = format!(
        "version: 1\nnode: {{interfaces: [{{device: eth0}}]}}\nvirtual_services:\n  - {{name: web, address: 192.0.2.80, \
         mode: l7-tcp, {service}, real_servers: [{{name: a, address: 192.0.2.81, {server}}}]}}\n"
    );
    let loaded = load(&[Source { path: "lb.yaml".to_owned(), text }], &|_| None);
    let config = loaded.unwrap_or_else(|mistakes| panic!("{mistakes:?}")).config;
    config.virtual_services[0].check_header(&config.virtual_services[0].real_servers[0])
}

#[test]
fn a_check_begins_like_a_clients_connection_unless_it_asks_another_port() {
    let cases = [
        ("ports: [80]", "proxy_protocol: v2", Some(V2)),
        ("ports: [80]", "port: 8080, proxy_protocol: v1", Some(V1)),
        ("ports: [80]", "port: 8080", None),
        ("ports: [80], health_check: {type: http}", "proxy_protocol: v1", Some(V1)),
        ("ports: [80], health_check: {type: connect, port: 9000}", "proxy_protocol: v2", None),
        ("ports: [80], health_check: {type: connect, port: 9000}", "port: 9000, proxy_protocol: v2", Some(V2)),
        ("ports: [80, 9000], health_check: {type: connect, port: 9000}", "proxy_protocol: v2", Some(V2)),
        ("ports: [80], health_check: {type: ping}", "proxy_protocol: v2", None),
    ];
    for (service, server, expected) in cases {
        assert_eq!(header(service, server), expected, "{service} {server}");
    }
}
