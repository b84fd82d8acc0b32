//! Heads as hyper gives them, in; heads as they are sent, out.

mod cookies;
mod examined;
mod hops;
mod paths;
mod properties;
mod recorded;
mod sentences;

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, Version, request};

use super::{Answer, ClientFacts, Decision, Forward, Pages, Policy};
use crate::config::model::{
    HealthCheck, Http, Mode, OnRemoval, Persistence, PersistenceBy, PortRange, Probe, Protocol, Proxy, Scheduler,
    SourceAddress, TlsListener, TlsPolicy, VirtualService,
};

/// A service of HTTP on 192.0.2.80.
fn service(http: Http) -> VirtualService {
    VirtualService {
        name: "shop".to_owned(),
        address: [192, 0, 2, 80].into(),
        interface: None,
        ports: vec![PortRange { first: 80, last: 80 }],
        first_port: 80,
        protocol: Protocol::Tcp,
        mode: Mode::L7Http,
        source_address: SourceAddress::Auto,
        new_flows_per_second: None,
        scheduler: Scheduler::default(),
        persistence: None,
        health_check: HealthCheck {
            probe: Probe::Connect,
            port: None,
            interval: Duration::from_secs(4),
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 2,
            flap_damping: false,
            proxy_protocol: None,
        },
        slow_start: Duration::ZERO,
        on_removal: OnRemoval::Drain,
        proxy: Proxy::default(),
        http: Some(http),
        tls: None,
        fallback: None,
        real_servers: Vec::new(),
    }
}

fn policy(http: Http) -> Policy {
    Policy::new(&service(http), Pages::default()).unwrap()
}

fn with_cookie(name: &str) -> Policy {
    let by = PersistenceBy::Cookie { name: name.to_owned() };
    let persistence = Persistence { by, timeout: Duration::from_secs(300), prefix_v4: 32, prefix_v6: 128 };
    let service = VirtualService { persistence: Some(persistence), ..service(Http::default()) };
    Policy::new(&service, Pages::default()).unwrap()
}

fn tls_on(port: u16) -> TlsListener {
    TlsListener {
        port,
        certificates: vec!["shop".to_owned()],
        policy: TlsPolicy::default(),
        redirect: true,
        client_certificate: None,
    }
}

/// 172.26.11.7, on the plain port.
fn client(policy: &Policy) -> ClientFacts {
    let address: SocketAddr = "172.26.11.7:51234".parse().unwrap();
    policy.client(address, "192.0.2.80:80".parse().unwrap(), false)
}

/// `GET /path HTTP/1.1` and lines of fields.
fn head(text: &str) -> request::Parts {
    let mut lines = text.lines();
    let mut words = lines.next().unwrap().split(' ');
    let mut request = http::Request::builder().method(words.next().unwrap()).uri(words.next().unwrap());
    request = request.version(match words.next().unwrap() {
        "HTTP/1.0" => Version::HTTP_10,
        "HTTP/1.1" => Version::HTTP_11,
        "HTTP/2.0" => Version::HTTP_2,
        other => panic!("{other}"),
    });
    for line in lines {
        let (name, value) = line.trim_start().split_once(':').unwrap();
        request = request.header(name, value.strip_prefix(' ').unwrap_or(value));
    }
    request.body(()).unwrap().into_parts().0
}

/// Fields as lines, sorted by name; several of one name in their order.
fn lines(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<(String, String)> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    lines.sort_by(|a, b| a.0.cmp(&b.0));
    lines.into_iter().map(|(name, value)| format!("{name}: {value}")).collect()
}

fn forwarded(decision: Decision) -> Forward {
    match decision {
        Decision::Forward(forward) => forward,
        Decision::Answer(answer) => panic!("answered: {answer:?}"),
    }
}

fn answered(decision: Decision) -> Answer {
    match decision {
        Decision::Answer(answer) => answer,
        Decision::Forward(forward) => panic!("forwarded: {forward:?}"),
    }
}

fn location(answer: &Answer) -> &str {
    answer.headers.get("location").unwrap().to_str().unwrap()
}
