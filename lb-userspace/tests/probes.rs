//! The probes of `lbctl doctor` against real kernels, in network namespaces. Needs root.

#[path = "netlink/namespace.rs"]
mod namespace;
#[path = "probes/refusals.rs"]
mod refusals;
#[path = "probes/segment.rs"]
mod segment;
#[path = "probes/tap.rs"]
mod tap;
#[path = "probes/vlans.rs"]
mod vlans;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use lb_core::config::model::Protocol;
use lb_userspace::doctor::probe::{Acceptance, ComesBack, Path, ProbeError, accepts, comes_back, who_answers};
use namespace::Namespace;
use segment::{Host, PATIENCE, Segment};
use tokio::net::{TcpListener, UdpSocket};

const PORT: u16 = 80;
const CLOSED_PORT: u16 = 81;
const NOBODY: [[u8; 6]; 0] = [];
/// For what is not going to come.
const WAIT: Duration = Duration::from_millis(400);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Of each family: the balancer, the real server, the VIP, an address far away.
struct Addresses {
    balancer: IpAddr,
    server: IpAddr,
    vip: IpAddr,
    far_away: IpAddr,
}

fn families() -> [Addresses; 2] {
    [("192.0.2.", "198.51.100.7"), ("2001:db8::", "2001:db8:ffff::7")].map(|(network, far_away)| Addresses {
        balancer: ip(&format!("{network}1")),
        server: ip(&format!("{network}10")),
        vip: ip(&format!("{network}9")),
        far_away: ip(far_away),
    })
}

/// Asks until it is answered like this; a busy machine may be late.
async fn becomes<T, F>(what: &str, expected: T, mut ask: impl FnMut() -> F)
where
    T: PartialEq + std::fmt::Debug,
    F: Future<Output = Result<T, ProbeError>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        let got = ask().await.unwrap();
        if got == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {got:?} instead of {expected:?}");
    }
}

/// The balancer and a real server.
fn pair() -> (Segment, Host, Host) {
    let segment = Segment::new();
    let (balancer, server) = (segment.host(1), segment.host(10));
    (segment, balancer, server)
}

/// The real server learns our MAC before it has to answer from the VIP, as it does from health checks: Linux asks
/// for it with the address that it answers from, which nobody answers who has that address too.
async fn acquaint(path: &Path, server: IpAddr, source: IpAddr) {
    becomes("an echo", ComesBack::Here, || comes_back(path, server, None, Protocol::Tcp, source, WAIT)).await;
}

/// Listens on TCP and UDP, on every address, as long as `body` runs in the balancer's namespace.
fn while_served<T: Send, F: Future<Output = T>>(server: &Host, balancer: &Host, body: impl FnOnce() -> F + Send) -> T {
    let sockets = server.namespace.run(|| async {
        let every = SocketAddr::from(([0; 16], PORT));
        (TcpListener::bind(every).await.unwrap().into_std().unwrap(), {
            let udp = UdpSocket::bind(every).await.unwrap();
            udp.into_std().unwrap()
        })
    });
    let result = balancer.namespace.run(body);
    drop(sockets);
    result
}

#[test]
fn who_has_the_address_answers_for_it() {
    let (_segment, balancer, server) = pair();
    let device = balancer.device("eth0");
    balancer.namespace.run(|| async {
        for Addresses { balancer, server: address, vip, .. } in families() {
            for source in [None, Some(balancer)] {
                let ask = |address| who_answers(&device, address, source, WAIT);
                becomes("its own address", vec![server.mac()], || ask(address)).await;
                assert_eq!(ask(vip).await.unwrap(), NOBODY, "nobody has it");
                assert_eq!(ask(balancer).await.unwrap(), NOBODY, "our own");
            }
        }
    });
}

#[test]
fn a_vip_on_the_loopback_device_is_answered_for_until_that_is_forbidden() {
    let (_segment, balancer, server) = pair();
    let device = balancer.device("eth0");
    let [v4, v6] = families();
    server.add(v4.vip, "lo");
    server.add(v6.vip, "lo");
    for forbidden in [false, true] {
        if forbidden {
            server.set("ipv4/conf/all/arp_ignore", "1");
        }
        balancer.namespace.run(|| async {
            for source in [None, Some(v4.balancer)] {
                becomes("its own address", vec![server.mac()], || who_answers(&device, v4.server, source, WAIT)).await;
                let expected = if forbidden { vec![] } else { vec![server.mac()] };
                becomes("the VIP", expected, || who_answers(&device, v4.vip, source, WAIT)).await;
            }
            // Linux answers a neighbour solicitation only for addresses of the device it comes in on.
            assert_eq!(who_answers(&device, v6.vip, None, WAIT).await.unwrap(), NOBODY);
        });
    }
}

#[test]
fn everybody_who_answers_is_found() {
    let (segment, balancer, server) = pair();
    let other = segment.host(20);
    let device = balancer.device("eth0");
    let mut both = vec![server.mac(), other.mac()];
    both.sort_unstable();
    balancer.namespace.run(|| async {
        for Addresses { balancer, vip, .. } in families() {
            server.add(vip, "eth0");
            other.add(vip, "eth0");
            for source in [None, Some(balancer)] {
                becomes("two machines", both.clone(), || who_answers(&device, vip, source, WAIT)).await;
            }
        }
    });
}

#[test]
fn a_server_with_the_vip_accepts_it_and_one_without_is_silent() {
    let (_segment, balancer, server) = pair();
    let path = balancer.path_to(&server);
    // As on a balancer: the kernel discards what comes from its own address, and resets nothing.
    for Addresses { vip, .. } in families() {
        balancer.add(vip, "eth0");
    }
    while_served(&server, &balancer, || async {
        for Addresses { balancer, server: address, vip, .. } in families() {
            acquaint(&path, address, balancer).await;
            let ask = |port, protocol| accepts(&path, vip, port, protocol, balancer, WAIT);
            for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::TcpUdp] {
                assert_eq!(ask(PORT, protocol).await.unwrap(), Acceptance::Silent, "{vip} {protocol:?}");
            }
            server.add(vip, "lo");
            for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::TcpUdp] {
                becomes("an open port", Acceptance::Answered, || ask(PORT, protocol)).await;
                becomes("a closed port", Acceptance::Refused, || ask(CLOSED_PORT, protocol)).await;
            }
        }
    });
}

#[test]
fn a_datagram_that_is_answered_needs_no_echo() {
    let (_segment, balancer, server) = pair();
    let path = balancer.path_to(&server);
    let [v4, v6] = families();
    server.add(v4.vip, "lo");
    server.add(v6.vip, "lo");
    server.set("ipv4/icmp_echo_ignore_all", "1");
    server.set("ipv6/icmp/echo_ignore_all", "1");
    for Addresses { balancer: source, vip, .. } in [v4, v6] {
        let silent = balancer.namespace.run(|| accepts(&path, vip, PORT, Protocol::Udp, source, PATIENCE));
        assert_eq!(silent.unwrap(), Acceptance::Refused, "nobody listens yet");
        let socket = server.namespace.inside(|| std::net::UdpSocket::bind((vip, PORT)).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (_, who) = socket.recv_from(&mut [0; 16]).unwrap();
                assert!(who.ip() == source && who.port() >= 61_000, "{who}");
                socket.send_to(b"answer", who).unwrap();
            });
            let answered = balancer.namespace.run(|| accepts(&path, vip, PORT, Protocol::Udp, source, PATIENCE));
            assert_eq!(answered.unwrap(), Acceptance::Answered);
        });
    }
}

#[test]
fn a_machine_that_passes_the_vip_on_to_its_holder_does_not_accept_it() {
    let (segment, balancer, server) = pair();
    let holder = segment.host(20);
    server.set("ipv4/ip_forward", "1");
    server.set("ipv6/conf/all/forwarding", "1");
    let (path, to_holder) = (balancer.path_to(&server), balancer.path_to(&holder));
    for Addresses { vip, .. } in families() {
        holder.add(vip, "eth0");
    }
    balancer.namespace.ip("route add 192.0.2.9/32 via 192.0.2.10");
    balancer.namespace.ip("-6 route add 2001:db8::9/128 via 2001:db8::10");
    while_served(&holder, &balancer, || async {
        for Addresses { balancer, vip, .. } in families() {
            let passed_on = || async { Ok(tokio::net::TcpStream::connect((vip, PORT)).await.is_ok()) };
            becomes("the way by the server", true, passed_on).await;
            let ask = |path| accepts(path, vip, PORT, Protocol::TcpUdp, balancer, WAIT);
            becomes("the holder", Acceptance::Answered, || ask(&to_holder)).await;
            assert_eq!(ask(&path).await.unwrap(), Acceptance::Silent, "{vip}");
        }
    });
}

#[test]
fn a_machine_that_hands_the_vip_to_a_container_accepts_it() {
    let (_segment, balancer, server) = pair();
    let container = Namespace::new();
    server.set("ipv4/ip_forward", "1");
    server.namespace.ip(&format!("link add inner type veth peer name eth0 netns {}", container.name()));
    let [v4, _] = families();
    for (side, device, address) in
        [(&server.namespace, "inner", "203.0.113.1/24"), (&container, "eth0", "203.0.113.2/24")]
    {
        side.ip(&format!("addr add {address} dev {device}"));
        side.ip(&format!("link set {device} up"));
    }
    container.ip(&format!("addr add {}/32 dev lo", v4.vip));
    container.ip("route add default via 203.0.113.1");
    server.namespace.ip(&format!("route add {}/32 via 203.0.113.2", v4.vip));
    let path = balancer.path_to(&server);
    let source = v4.balancer;
    let _listener = container.inside(|| std::net::TcpListener::bind(("0.0.0.0", PORT)).unwrap());
    balancer.namespace.run(|| async {
        becomes("through the machine", Acceptance::Answered, || {
            accepts(&path, v4.vip, PORT, Protocol::Tcp, source, WAIT)
        })
        .await;
    });
}

#[test]
fn a_connection_that_was_begun_is_taken_back() {
    let (_segment, balancer, server) = pair();
    let path = balancer.path_to(&server);
    let [v4, v6] = families();
    for Addresses { vip, .. } in [&v4, &v6] {
        server.add(*vip, "lo");
        // The kernel of the balancer then resets nothing.
        balancer.add(*vip, "eth0");
    }
    while_served(&server, &balancer, || async {
        for Addresses { balancer: source, server: address, vip, .. } in [v4, v6] {
            acquaint(&path, address, source).await;
            let ask = || accepts(&path, vip, PORT, Protocol::Tcp, source, WAIT);
            for _ in 0..10 {
                becomes("an open port", Acceptance::Answered, ask).await;
            }
            let half_open = || async { Ok(half_open(&server)) };
            becomes("none is left half open", String::new(), half_open).await;
        }
    });
}

/// The connections that wait for the third packet.
fn half_open(host: &Host) -> String {
    host.namespace.inside(|| {
        let output = std::process::Command::new("ss").args(["-Htn", "state", "syn-recv"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    })
}

#[test]
fn answers_come_back_where_this_machine_is_the_gateway() {
    let (segment, balancer, server) = pair();
    let router = segment.host(254);
    let path = balancer.path_to(&server);
    for (gateway, expected) in [(1, ComesBack::Here), (254, ComesBack::NotHere)] {
        server.namespace.ip(&format!("route replace default via 192.0.2.{gateway}"));
        server.namespace.ip(&format!("-6 route replace default via 2001:db8::{gateway}"));
        while_served(&server, &balancer, || async {
            for Addresses { balancer, server, far_away, .. } in families() {
                for (port, protocol) in [
                    (Some(PORT), Protocol::Tcp),
                    (Some(CLOSED_PORT), Protocol::Tcp),
                    (Some(PORT), Protocol::Udp),
                    (Some(PORT), Protocol::TcpUdp),
                    (None, Protocol::Tcp),
                ] {
                    let ask = |from| comes_back(&path, server, port, protocol, from, WAIT);
                    becomes("to ourselves", ComesBack::Here, || ask(balancer)).await;
                    let what = format!("{server} {port:?} {protocol:?} by way of {gateway}");
                    becomes(&what, expected, || ask(far_away)).await;
                }
            }
        });
    }
    drop(router);
}

#[test]
fn a_hundred_probes_at_the_same_time_are_all_answered() {
    const SERVERS: u8 = 100;
    let (_segment, balancer, server) = pair();
    let path = balancer.path_to(&server);
    let device = path.device.clone();
    let addresses: Vec<IpAddr> = (0..SERVERS).map(|n| ip(&format!("192.0.2.{}", 100 + n))).collect();
    for address in &addresses {
        server.add(*address, "eth0");
    }
    while_served(&server, &balancer, || async {
        let source = ip("192.0.2.1");
        let begin = Instant::now();
        let taken = futures_util::future::join_all(
            addresses.iter().map(|vip| accepts(&path, *vip, PORT, Protocol::Tcp, source, PATIENCE)),
        );
        for (acceptance, address) in taken.await.into_iter().zip(&addresses) {
            assert_eq!(acceptance.unwrap(), Acceptance::Answered, "{address}");
        }
        println!("{SERVERS} answers of TCP took {:?}", begin.elapsed());
        let begin = Instant::now();
        let wait = Duration::from_secs(2);
        let found = futures_util::future::join_all(
            addresses.iter().map(|address| who_answers(&device, *address, Some(source), wait)),
        );
        for (macs, address) in found.await.into_iter().zip(&addresses) {
            assert_eq!(macs.unwrap(), [server.mac()], "{address}");
        }
        println!("{SERVERS} answers of ARP, with a wait of {wait:?}, took {:?}", begin.elapsed());
    });
}
