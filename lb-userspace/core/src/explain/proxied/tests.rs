//! Sentences about clients of a proxied service.

use super::*;
use crate::config::{Source, load};
use crate::view::{ClientEnd, VipEnd};

const SERVICES: &str = "
version: 1
node: {interfaces: [{device: lo}]}
virtual_services:
  - name: shop
    address: 192.0.2.80
    ports: [80]
    mode: l7-http
    persistence: {by: source-ip, prefix: 24}
    fallback: {redirect: \"https://status.example.org/\"}
    rules: [{when: {path_prefix: /api}, pool: api}]
    real_servers:
      - {name: a, address: 192.0.2.81, port: 8080, proxy_protocol: v2}
      - {name: b, address: 192.0.2.82}
      - {name: c, address: 192.0.2.83, max_connections: 9}
      - {name: d, address: 192.0.2.84, backup: true}
      - {name: e, address: 192.0.2.85, pool: api}
  - {name: dns, address: 192.0.2.80, ports: [80], protocol: udp, mode: l4-dr, real_servers: [{name: a, address: 192.0.2.81}]}
";

fn config() -> Config {
    load(&[Source { path: "lb.yaml".to_owned(), text: SERVICES.to_owned() }], &|_| None)
        .expect("a configuration")
        .config
}

fn query(protocol: Option<Transport>) -> ExplainQuery {
    let client: ClientEnd = "198.51.100.7".parse().expect("a client");
    let vip: VipEnd = "192.0.2.80:80".parse().expect("a VIP");
    ExplainQuery::new(client, vip, protocol).expect("one family")
}

/// Everybody is up, but for `b`.
fn rows(service: &VirtualService) -> Vec<RealServer> {
    let row = |real| {
        let mut row = RealServer::described(real);
        row.state = ServerState::Up;
        if row.name == "b" {
            (row.state, row.reason) = (ServerState::Down, "connection refused".to_owned());
        }
        row
    };
    service.real_servers.iter().map(row).collect()
}

fn told(found: Option<&Found>, change: impl Fn(&mut VirtualService)) -> (Explained, Vec<String>) {
    let mut config = config();
    change(&mut config.virtual_services[0]);
    let service = &config.virtual_services[0];
    let told = explained_proxied(&query(None), service, &rows(service), found);
    let sentences = told.steps.iter().map(|step| format!("{}: {}", step.about.word(), step.sentence)).collect();
    (told, sentences)
}

fn found(asked: Asked) -> Found {
    let api = (Some("api".to_owned()), Asked::Server("e".to_owned()));
    Found { pools: vec![(None, asked), api], full: vec!["c".to_owned()], ..Found::default() }
}

#[test]
fn a_proxied_service_is_found_by_its_address_port_and_transport() {
    let config = config();
    let name = |protocol| asked_service(&query(protocol), &config).map(|service| service.name.as_str());
    assert_eq!(name(None), Some("shop"));
    assert_eq!(name(Some(Transport::Tcp)), Some("shop"));
    assert_eq!(name(Some(Transport::Udp)), None);
}

#[test]
fn a_client_that_is_scheduled_is_told_of_with_everybody_who_is_not_asked() {
    let (told, sentences) = told(Some(&found(Asked::Server("a".to_owned()))), |_| {});
    assert_eq!(
        (told.action, &*told.reason, told.real_server.as_deref()),
        (CounterAction::Forward, "proxied", Some("a"))
    );
    assert_eq!(told.real_server_address, Some("192.0.2.81".parse().unwrap()));
    assert_eq!(
        sentences,
        [
            "service: 192.0.2.80:80/TCP is virtual service shop (l7-http, weighted-least-connection), which the proxy serves",
            "service: rules may answer its requests, or send them to a pool; what follows is without them",
            "persistence: 198.51.100.0/24 is not remembered; it stays for 5 m where it goes now",
            "scheduler: weighted least connection: a (0 connections, weight 100) is the only one that can be asked",
            "scheduler: in pool api e would be asked",
            "others: b is not asked: it is down: connection refused",
            "others: c is not asked: it has as many connections as it may, 9",
            "others: d is not asked: it is a backup, for when no other can be had",
            "others: e is not asked: it is in pool api",
            "answer: the request goes to a at 192.0.2.81:8080 from the address of this machine that leads there, with a \
             PROXY header that names the client",
        ]
    );
}

#[test]
fn a_remembered_client_goes_back_unless_its_real_server_cannot_have_it() {
    let remembered = |holds| Found {
        remembered: Some(Remembered { server: "b".to_owned(), idle: Duration::from_secs(61), holds }),
        ..found(Asked::Server("a".to_owned()))
    };
    let (kept, sentences) = told(Some(&remembered(true)), |_| {});
    assert_eq!(kept.real_server.as_deref(), Some("b"));
    assert_eq!(
        sentences[2],
        "persistence: 198.51.100.0/24 was with b 1 m 1 s ago and stays there for another 3 m 59 s"
    );
    assert!(!sentences.iter().any(|sentence| sentence.contains("weighted least connection")), "{sentences:?}");

    let (anew, sentences) = told(Some(&remembered(false)), |_| {});
    assert_eq!(anew.real_server.as_deref(), Some("a"));
    assert_eq!(
        sentences[2],
        "persistence: 198.51.100.0/24 was with b 1 m 1 s ago, but b is down: connection refused: it is scheduled anew"
    );
}

#[test]
fn who_gets_nobody_is_told_what_happens_instead() {
    let nobody = found(Asked::Nobody);
    let last = |(told, sentences): (Explained, Vec<String>)| {
        (told.action, told.reason, told.real_server, sentences.last().cloned().unwrap_or_default())
    };
    let refused = |reason: &str, sentence: &str| (CounterAction::Drop, reason.to_owned(), None, sentence.to_owned());
    assert_eq!(
        last(told(Some(&nobody), |_| {})),
        refused("no-server", "answer: the client is redirected to https://status.example.org/, the fallback")
    );
    assert_eq!(
        last(told(Some(&nobody), |service| service.fallback = None)),
        refused("no-server", "answer: the client gets the error page of status 503")
    );
    let server = |service: &mut VirtualService| {
        service.fallback = Some(Fallback::Server { address: [192, 0, 2, 99].into(), port: None });
    };
    let (told_of, sentences) = told(Some(&nobody), server);
    assert_eq!(told_of.real_server_address, Some([192, 0, 2, 99].into()));
    assert_eq!(sentences.last().unwrap(), "answer: the fallback server 192.0.2.99:80 gets the client");
    assert_eq!(
        last(told(None, |_| {})),
        refused("no-server", "answer: it is refused: the service is not served; `lbctl status` says why")
    );
    let full = last(told(Some(&found(Asked::Full)), |service| service.proxy.queue = 0));
    assert_eq!(full, refused("queue-full", "answer: the client is refused: the service has no queue"));
    let waits = last(told(Some(&found(Asked::Full)), |service| service.proxy.queue = 7));
    assert!(waits.3.starts_with("answer: the client waits for room, up to") && waits.1 == "queue-timeout", "{waits:?}");
}

#[test]
fn what_only_a_request_shows_is_said() {
    let by = |by: PersistenceBy| {
        let (_, sentences) = told(Some(&found(Asked::Server("a".to_owned()))), |service| {
            service.persistence.as_mut().expect("persistence").by = by.clone();
        });
        sentences[2].clone()
    };
    let cookie = by(PersistenceBy::Cookie { name: "lb-server".to_owned() });
    assert_eq!(
        cookie,
        "persistence: the cookie lb-server of a request says which real server the client keeps, and lbd records \
         nothing of it; what follows is for a client that has none"
    );
    assert!(by(PersistenceBy::RdpCookie).contains("for a user who is not remembered"));
}
