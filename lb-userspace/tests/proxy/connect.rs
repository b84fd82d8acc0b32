//! Connections to real servers where the kernel has little to give.

use std::net::SocketAddr;

use lb_userspace::proxy::connect::{ConnectError, First, Source, connect};
use tokio::net::{TcpListener, TcpStream};

use crate::namespace::Namespace;
use crate::{PATIENCE, ip};

/// Of each family: three addresses of the namespace, and one that it does not have.
const FAMILIES: [[&str; 4]; 2] = [
    ["192.0.2.1", "192.0.2.2", "192.0.2.3", "198.51.100.7"],
    ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:1::7"],
];

/// A namespace with those addresses, whose kernel gives two source ports, and into which packets for the
/// strangers come back.
fn narrow() -> Namespace {
    let namespace = Namespace::new();
    for [a, b, c, stranger] in FAMILIES {
        for address in [a, b, c] {
            namespace.ip(&format!("addr add {address} dev lo"));
        }
        namespace.ip(&format!("route add local {stranger} dev lo"));
    }
    namespace.inside(|| std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40001").unwrap());
    namespace
}

/// Connects, and says whom the real server sees.
async fn seen(listener: &TcpListener, source: Source) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let stream = connect(listener.local_addr().unwrap(), source, First::Either, PATIENCE).await?;
    Ok((stream, listener.accept().await.unwrap().1))
}

#[test]
fn a_source_port_is_free_again_for_every_other_real_server() {
    narrow().run(|| async {
        for [source, first, second, _] in FAMILIES {
            let source = Source::Address(ip(source));
            let mut kept = Vec::new();
            for server in [first, second] {
                let listener = TcpListener::bind((ip(server), 80)).await.unwrap();
                for _ in 0..2 {
                    kept.push(seen(&listener, source).await.unwrap());
                }
                let error = seen(&listener, source).await.unwrap_err();
                assert!(matches!(error, ConnectError::SourcePorts { .. }) && !error.blames_server(), "{error}");
                kept.pop();
                kept.push(seen(&listener, source).await.unwrap());
            }
        }
    });
}

#[test]
fn the_real_server_sees_the_client_at_any_free_port() {
    narrow().run(|| async {
        for [_, server, _, client] in FAMILIES {
            let listener = TcpListener::bind((ip(server), 80)).await.unwrap();
            // The client's own port towards the real server is taken, and lies outside of the kernel's range.
            let client = SocketAddr::new(ip(client), 50_000);
            let (_first, seen_first) = seen(&listener, Source::Client(client)).await.unwrap();
            let (_second, seen_second) = seen(&listener, Source::Client(client)).await.unwrap();
            for seen in [seen_first, seen_second] {
                assert_eq!(seen.ip(), client.ip());
                assert!((40_000..=40_001).contains(&seen.port()), "{seen}");
            }
            assert_ne!(seen_first, seen_second);
        }
    });
}

#[test]
fn routes_that_lead_nowhere_are_told_apart() {
    let namespace = narrow();
    for (kind, address) in [("unreachable", "203.0.113.1"), ("prohibit", "203.0.113.2"), ("blackhole", "203.0.113.3")] {
        namespace.ip(&format!("route add {kind} {address}"));
    }
    namespace.run(|| async {
        let cases = [
            ("203.0.113.1", "no machine answers at this address, or there is no route to it"),
            ("203.0.113.2", "a firewall rule or a route of this machine forbids it"),
            ("203.0.113.3", "a route of this machine discards what is sent to it"),
            ("203.0.113.4", "this machine has no route to its network"),
            ("2001:db8:2::1", "this machine has no route to its network"),
        ];
        for (address, why) in cases {
            let server = SocketAddr::new(ip(address), 80);
            let error = connect(server, Source::Kernel, First::Either, PATIENCE).await.unwrap_err();
            assert_eq!(error.to_string(), format!("{server} cannot be reached: {why}"));
            assert!(error.blames_server());
        }
    });
}

#[test]
fn without_the_privilege_nobody_is_impersonated() {
    narrow().run(|| async {
        let [_, server, _, client] = FAMILIES[0];
        let listener = TcpListener::bind((ip(server), 80)).await.unwrap();
        // SAFETY: the system call changes this thread only (the wrapper of libc changes all of them), and it
        // ends with the test.
        let changed = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
        assert_eq!(changed, 0);
        let client = SocketAddr::new(ip(client), 50_000);
        let error = seen(&listener, Source::Client(client)).await.unwrap_err();
        assert!(matches!(error, ConnectError::NotPermitted), "{error}");
        seen(&listener, Source::Kernel).await.expect("the rest needs no privilege");
    });
}
