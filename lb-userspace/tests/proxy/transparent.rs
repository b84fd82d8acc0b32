//! Connections that bear the client's address: a client, the balancer, and a real server whose default
//! gateway is the balancer.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use lb_userspace::netlink::{Answerer, Transparent};
use lb_userspace::proxy::connect::{First, Source, connect};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::namespace::Namespace;
use crate::{PATIENCE, ip};

/// Of each family: the client, and the real server.
const FAMILIES: [[&str; 2]; 2] = [["192.0.2.10", "198.51.100.10"], ["2001:db8:1::10", "2001:db8:2::10"]];
const PORT: u16 = 80;
const OTHER_PORT: u16 = 81;

struct Site {
    client: Namespace,
    balancer: Namespace,
    server: Namespace,
}

impl Site {
    fn new() -> Self {
        let site = Self { client: Namespace::new(), balancer: Namespace::new(), server: Namespace::new() };
        for (host, device, networks) in [
            (&site.client, "clients", ["192.0.2.", "2001:db8:1::"]),
            (&site.server, "servers", ["198.51.100.", "2001:db8:2::"]),
        ] {
            site.balancer.ip(&format!("link add {device} type veth peer name eth0 netns {}", host.name()));
            site.balancer.ip(&format!("link set {device} up"));
            host.ip("link set eth0 up");
            for (network, prefix) in networks.into_iter().zip([24, 64]) {
                let nodad = if prefix == 64 { "nodad" } else { "" };
                site.balancer.ip(&format!("addr add {network}1/{prefix} dev {device} {nodad}"));
                host.ip(&format!("addr add {network}10/{prefix} dev eth0 {nodad}"));
                host.ip(&format!("route add default via {network}1"));
            }
        }
        // As strict as a network can be, and a router beside.
        site.balancer.inside(|| {
            for (name, value) in [
                ("ipv4/conf/all/rp_filter", "1"),
                ("ipv4/conf/servers/rp_filter", "1"),
                ("ipv4/conf/clients/rp_filter", "1"),
                ("ipv4/ip_forward", "1"),
                ("ipv6/conf/all/forwarding", "1"),
            ] {
                std::fs::write(format!("/proc/sys/net/{name}"), value).unwrap();
            }
        });
        let deadline = Instant::now() + PATIENCE;
        while ![&site.client, &site.balancer, &site.server].iter().all(|host| host.has_ipv6()) {
            assert!(Instant::now() < deadline, "IPv6 did not start");
        }
        site
    }

    /// The rules and the route as `ip` shows them, of both families.
    fn rules(&self) -> String {
        self.balancer.ip("-d rule show") + &self.balancer.ip("-d -6 rule show")
    }

    fn set(&self, wanted: &[Answerer]) {
        let wanted: BTreeSet<Answerer> = wanted.iter().copied().collect();
        self.balancer.run(|| async { Transparent::open().unwrap().set(&wanted).await.unwrap() });
    }

    /// Says a word to the real server as this client, and returns the answer: whom the real server sees.
    fn ask(&self, client: IpAddr, server: SocketAddr) -> IpAddr {
        let listener = self.server.inside(|| TcpListener::bind(server).unwrap());
        // accept(2) goes by it too.
        SockRef::from(&listener).set_read_timeout(Some(PATIENCE)).unwrap();
        std::thread::scope(|scope| {
            let seen = scope.spawn(|| answer(&listener));
            self.balancer.run(|| async {
                let source = Source::Client(SocketAddr::new(client, 40_000));
                let mut stream = connect(server, source, First::Either, PATIENCE).await.unwrap();
                let sent = vec![7; 1 << 20];
                let (mut reader, mut writer) = stream.split();
                let mut received = vec![0; sent.len()];
                let (wrote, read) = tokio::join!(writer.write_all(&sent), reader.read_exact(&mut received));
                wrote.unwrap();
                read.unwrap();
                assert!(received == sent);
            });
            seen.join().unwrap()
        })
    }
}

/// Gives back what comes, until it ends. Returns from whom it came.
fn answer(listener: &TcpListener) -> IpAddr {
    let (mut stream, from) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => return from.ip(),
            length => stream.write_all(&buffer[..length]).unwrap(),
        }
    }
}

#[test]
fn the_real_server_sees_the_client_and_its_answers_come_back() {
    let site = Site::new();
    let servers = FAMILIES.map(|[_, server]| ip(server));
    for port in [Some(PORT), None] {
        site.set(&servers.map(|server| (server, port)));
        for [client, server] in FAMILIES {
            assert_eq!(site.ask(ip(client), SocketAddr::new(ip(server), PORT)), ip(client));
        }
    }
}

#[test]
fn what_the_real_server_says_from_other_ports_is_routed_as_before() {
    let site = Site::new();
    site.set(&FAMILIES.map(|[_, server]| (ip(server), Some(PORT))));
    for [client, server] in FAMILIES {
        // A client that goes past the service, through the balancer as a router.
        let server = SocketAddr::new(ip(server), OTHER_PORT);
        let listener = site.server.inside(|| TcpListener::bind(server).unwrap());
        let stream = site.client.inside(|| TcpStream::connect_timeout(&server, PATIENCE).unwrap());
        assert_eq!(listener.accept().unwrap().1, stream.local_addr().unwrap());
        assert_eq!(stream.local_addr().unwrap().ip(), ip(client));
        // The balancer's own connections, health checks among them.
        let server = SocketAddr::new(server.ip(), PORT);
        let listener = site.server.inside(|| TcpListener::bind(server).unwrap());
        let stream = site.balancer.inside(|| TcpStream::connect_timeout(&server, PATIENCE).unwrap());
        assert_eq!(listener.accept().unwrap().1, stream.local_addr().unwrap());
    }
}

#[test]
fn rules_come_and_go_and_nothing_is_left() {
    let site = Site::new();
    let before = site.rules();
    let [a, b] = FAMILIES.map(|[_, server]| ip(server));
    let ours = |rules: &str| rules.lines().filter(|line| line.starts_with("530")).count();

    site.set(&[(a, Some(80)), (a, Some(443)), (b, None)]);
    let rules = site.rules();
    assert_eq!(ours(&rules), 3, "{rules}");
    assert!(rules.contains("from 198.51.100.10 ipproto tcp sport 443 lookup 5300"), "{rules}");
    site.set(&[(a, Some(80)), (a, Some(443)), (b, None)]);
    assert_eq!(site.rules(), rules, "the same again changes nothing");

    // Each call opens anew, like a daemon after one that was killed.
    site.set(&[(a, Some(443)), (a, None)]);
    let rules = site.rules();
    assert_eq!(ours(&rules), 2, "{rules}");
    assert!(!rules.contains("2001:db8:2::10"), "{rules}");
    // Port 65535, for which the kernel has no rule, is among all.
    site.set(&[(a, Some(443)), (a, Some(65_535))]);
    assert_eq!(site.rules(), rules);
    // The one for every port is the wider, and goes alone.
    site.set(&[(a, Some(443))]);
    let rules = site.rules();
    assert!(ours(&rules) == 1 && rules.contains("sport 443 lookup 5300"), "{rules}");

    site.balancer.run(|| async { Transparent::open().unwrap().remove_all().await.unwrap() });
    assert_eq!(site.rules(), before);
    for family in ["-4", "-6"] {
        assert_eq!(site.balancer.ip(&format!("{family} route show table all type local default")), "");
    }
    site.balancer.run(|| async { Transparent::open().unwrap().remove_all().await.expect("again is no error") });
}

#[test]
fn a_route_without_rules_and_rules_without_a_route_are_completed() {
    let site = Site::new();
    for ([client, server], family) in FAMILIES.into_iter().zip(["-4", "-6"]) {
        for loss in ["rule del pref 5301", "route del local default dev lo table 5300"] {
            site.set(&[(ip(server), None)]);
            site.balancer.ip(&format!("{family} {loss}"));
            site.set(&[(ip(server), None)]);
            assert_eq!(site.ask(ip(client), SocketAddr::new(ip(server), PORT)), ip(client), "after {loss}");
        }
    }
}

#[test]
fn rules_and_routes_of_the_administrator_are_never_touched() {
    let site = Site::new();
    let [a, b] = FAMILIES.map(|[_, server]| ip(server));
    // As near to ours as can be.
    for rule in [
        "add pref 5300 from 198.51.100.10 ipproto tcp sport 80 lookup 5300",
        "add pref 5302 from 198.51.100.10 ipproto tcp lookup 5300 protocol 76",
        "add pref 5300 from 198.51.100.0/24 ipproto tcp lookup 5300 protocol 76",
        "add pref 5301 from 198.51.100.10 ipproto tcp lookup 5300",
        "add pref 5300 from 198.51.100.10 ipproto tcp sport 80 lookup 77 protocol 76",
    ] {
        site.balancer.ip(&format!("rule {rule}"));
    }
    site.balancer.ip("route add 203.0.113.0/24 via 192.0.2.10 table 5300");
    let (rules, routes) = (site.rules(), site.balancer.ip("route show table 5300"));
    site.set(&[(a, Some(80)), (a, None), (b, None)]);
    assert_ne!(site.rules(), rules);
    site.set(&[]);
    assert_eq!((site.rules(), site.balancer.ip("route show table 5300")), (rules, routes));
}

#[test]
fn a_default_route_of_the_administrator_in_that_table_is_named() {
    let site = Site::new();
    let [a, _] = FAMILIES.map(|[_, server]| ip(server));
    site.balancer.ip("route add default via 192.0.2.10 table 5300");
    let error = site.balancer.run(|| async {
        Transparent::open().unwrap().set(&BTreeSet::from([(a, None)])).await.unwrap_err().to_string()
    });
    assert_eq!(
        error,
        "cannot use routing table 5300: it has a default route that is not of lbd; move that to another table"
    );
    assert!(site.balancer.ip("route show table 5300").contains("default via 192.0.2.10"));
    assert!(!site.rules().contains("530"));
}
