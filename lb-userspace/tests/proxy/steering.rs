//! Ranges of ports with one listener each.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lb_core::config::model::PortRange;
use lb_userspace::dataplane::Steering;
use socket2::{Domain, SockRef, Socket, Type};

use crate::namespace::Namespace;
use crate::{PATIENCE, ip};

const VIPS: [&str; 2] = ["192.0.2.9", "2001:db8::9"];
const OTHER_VIPS: [&str; 2] = ["192.0.2.10", "2001:db8::10"];

fn namespace() -> Namespace {
    let namespace = Namespace::new();
    for address in VIPS.into_iter().chain(OTHER_VIPS) {
        namespace.ip(&format!("addr add {address} dev lo"));
    }
    // Apart from the ports that are connected to: a socket may connect to itself.
    namespace.inside(|| std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "10000 39999").unwrap());
    namespace
}

fn range(first: u16, last: u16) -> PortRange {
    PortRange { first, last }
}

/// A listener as the proxy's workers have one each.
fn listener(vip: &str, port: u16) -> TcpListener {
    let address = SocketAddr::new(ip(vip), port);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(1024).unwrap();
    socket.into()
}

/// Steers each range to its listener.
fn steer(steering: &mut Steering, ranges: &[(&str, PortRange, &TcpListener)]) {
    let wanted: BTreeMap<_, _> =
        ranges.iter().map(|(vip, range, listener)| ((ip(vip), *range), listener.as_fd())).collect();
    steering.set(&wanted).unwrap();
}

fn connect(vip: &str, port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::new(ip(vip), port), PATIENCE)?;
    // A reset at the end: tens of thousands of connections leave nothing behind.
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    Ok(stream)
}

/// Accepts; a connection may be known to the client a moment before.
fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    SockRef::from(listener).set_read_timeout(Some(PATIENCE)).unwrap();
    listener.accept().ok()
}

/// Whether the listener gets a connection to this port.
fn gets(listener: &TcpListener, vip: &str, port: u16) -> bool {
    let client = connect(vip, port).unwrap_or_else(|error| panic!("{vip} port {port}: {error}"));
    let Some((accepted, from)) = accept(listener) else { return false };
    assert_eq!(from, client.local_addr().unwrap());
    assert_eq!(accepted.local_addr().unwrap(), SocketAddr::new(ip(vip), port), "the port that the client used");
    true
}

fn refused(vip: &str, port: u16) -> bool {
    connect(vip, port).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[test]
fn one_listener_serves_15536_ports_and_those_outside_are_untouched() {
    namespace().inside(|| {
        let mut steering = Steering::load().unwrap();
        let listeners = VIPS.map(|vip| listener(vip, 50_000));
        let all = range(50_000, 65_535);
        steer(&mut steering, &[(VIPS[0], all, &listeners[0]), (VIPS[1], all, &listeners[1])]);
        for (vip, listener) in VIPS.into_iter().zip(&listeners) {
            for port in all.first..=all.last {
                assert!(gets(listener, vip, port), "{vip} port {port}");
            }
            for port in [1, 49_999, 49_152] {
                assert!(refused(vip, port), "{vip} port {port}");
            }
        }
        for vip in OTHER_VIPS {
            assert!(refused(vip, 50_001), "{vip}");
        }
    });
}

#[test]
fn listeners_of_others_keep_their_ports() {
    namespace().inside(|| {
        let mut steering = Steering::load().unwrap();
        let ours = VIPS.map(|vip| listener(vip, 2001));
        // Next to the range, at the same ports of another VIP, and at any address.
        let beside = VIPS.map(|vip| [listener(vip, 2000), listener(vip, 2999)]);
        let elsewhere = OTHER_VIPS.map(|vip| listener(vip, 2500));
        let anywhere = listener("::", 4000);
        let datagrams = VIPS.map(|vip| UdpSocket::bind((ip(vip), 2500)).unwrap());
        let odd = range(2001, 2998);
        steer(&mut steering, &[(VIPS[0], odd, &ours[0]), (VIPS[1], odd, &ours[1])]);
        for family in 0..2 {
            let (vip, other_vip) = (VIPS[family], OTHER_VIPS[family]);
            for port in odd.first..=odd.last {
                assert!(gets(&ours[family], vip, port), "{vip} port {port}");
            }
            assert!(gets(&beside[family][0], vip, 2000) && gets(&beside[family][1], vip, 2999));
            assert!(gets(&elsewhere[family], other_vip, 2500));
            let _client = connect(vip, 4000).unwrap();
            assert!(accept(&anywhere).is_some());
            let client = UdpSocket::bind((ip(vip), 0)).unwrap();
            client.send_to(b"datagram", (ip(vip), 2500)).unwrap();
            let mut buffer = [0; 16];
            assert_eq!(datagrams[family].recv(&mut buffer).unwrap(), 8);
        }
    });
}

#[test]
fn clients_spread_over_the_workers_that_share_a_port() {
    namespace().inside(|| {
        let mut steering = Steering::load().unwrap();
        for vip in VIPS {
            let workers = [listener(vip, 3000), listener(vip, 3000)];
            steer(&mut steering, &[(vip, range(3000, 3999), &workers[0])]);
            let clients: Vec<_> = (0..400).map(|number| connect(vip, 3000 + number).unwrap()).collect();
            let mut counts = [0_usize; 2];
            let deadline = Instant::now() + PATIENCE;
            while counts.iter().sum::<usize>() < clients.len() {
                assert!(Instant::now() < deadline, "{counts:?} of {}", clients.len());
                for (worker, count) in workers.iter().zip(&mut counts) {
                    worker.set_nonblocking(true).unwrap();
                    *count += std::iter::from_fn(|| worker.accept().ok()).count();
                }
            }
            // By a hash: 200 each, give or take five times the deviation.
            assert!(counts.iter().all(|count| (150..=250).contains(count)), "{counts:?}");
        }
    });
}

/// Accepts until told to stop; returns how many connections said the word.
fn serve(listener: &TcpListener, stop: &AtomicBool) -> usize {
    listener.set_nonblocking(true).unwrap();
    let mut served = 0;
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                let mut word = [0; 4];
                stream.read_exact(&mut word).unwrap();
                stream.write_all(&word).unwrap();
                served += 1;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if stop.load(Ordering::Relaxed) {
                    return served;
                }
                std::thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Connects and says the word so often. Returns what went wrong.
fn talk(vip: &str, times: u16) -> Vec<String> {
    let once = |port| {
        let mut stream = connect(vip, port)?;
        let mut word = *b"word";
        stream.write_all(&word)?;
        stream.read_exact(&mut word)
    };
    let ports = (0..times).map(|number| 5200 + number % 600);
    ports.filter_map(|port| once(port).err().map(|error| format!("port {port}: {error}"))).collect()
}

#[test]
fn sockets_and_ranges_are_replaced_and_no_connection_is_lost() {
    const CLIENTS: usize = 4;
    const TIMES: u16 = 1500;
    let namespace = namespace();
    for vip in VIPS {
        let stop = AtomicBool::new(false);
        let (mut steering, listeners) = namespace.inside(|| {
            let listeners = [(); 2].map(|()| listener(vip, 5000));
            let mut steering = Steering::load().unwrap();
            steer(&mut steering, &[(vip, range(5000, 5999), &listeners[0])]);
            (steering, listeners)
        });
        let [a, b] = &listeners;
        // Another socket; wider; narrower; two of one; one of two; the same ports by other prefixes.
        let steps: [&[(&str, PortRange, &TcpListener)]; 6] = [
            &[(vip, range(5000, 5999), b)],
            &[(vip, range(4000, 6999), a)],
            &[(vip, range(5200, 5799), a)],
            &[(vip, range(5200, 5511), a), (vip, range(5512, 5799), b)],
            &[(vip, range(5001, 5798), b), (vip, range(5799, 5799), a)],
            &[(vip, range(5120, 6143), a)],
        ];
        let mut changes = 0;
        let served = std::thread::scope(|scope| {
            let servers = [a, b].map(|listener| scope.spawn(|| serve(listener, &stop)));
            let clients = [(); CLIENTS].map(|()| scope.spawn(|| namespace.inside(|| talk(vip, TIMES))));
            while !clients.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                steer(&mut steering, steps[changes % steps.len()]);
                changes += 1;
            }
            stop.store(true, Ordering::Relaxed);
            for client in clients {
                assert_eq!(client.join().unwrap(), [""; 0], "after {changes} changes");
            }
            servers.map(|server| server.join().unwrap())
        });
        println!("{vip}: {served:?} connections by each listener, {changes} changes meanwhile");
        assert_eq!(served.iter().sum::<usize>(), CLIENTS * usize::from(TIMES));
        assert!(served.iter().all(|served| *served > 0) && changes > 100, "{served:?}, {changes} changes");
    }
}

#[test]
fn a_newer_daemon_gets_the_connections_and_the_older_one_again_when_it_fails() {
    namespace().inside(|| {
        let (vip, all) = (VIPS[0], range(7000, 7999));
        let (old, new) = (listener(vip, 7000), listener(vip, 7001));
        let mut older = Steering::load().unwrap();
        steer(&mut older, &[(vip, all, &old)]);
        assert!(gets(&old, vip, 7500));
        let mut newer = Steering::load().unwrap();
        assert!(gets(&old, vip, 7500), "nothing changes before the newer one says so");
        steer(&mut newer, &[(vip, all, &new)]);
        assert!(gets(&new, vip, 7500));
        drop(newer);
        assert!(gets(&old, vip, 7500));
        drop(older);
        assert!(refused(vip, 7500), "nothing is left of them");
        assert!(gets(&old, vip, 7000) && gets(&new, vip, 7001), "but the listeners' own ports");
    });
}

#[test]
fn a_range_that_is_gone_or_whose_socket_was_closed_refuses() {
    namespace().inside(|| {
        let vip = VIPS[1];
        let (kept, mut closed) = (listener(vip, 80), listener(vip, 81));
        let mut steering = Steering::load().unwrap();
        for _ in 0..3 {
            steer(&mut steering, &[(vip, range(100, 200), &kept), (vip, range(300, 400), &closed)]);
            assert!(gets(&kept, vip, 150) && gets(&closed, vip, 350));
            drop(closed);
            assert!(gets(&kept, vip, 150) && refused(vip, 350));
            steer(&mut steering, &[(vip, range(100, 200), &kept)]);
            closed = listener(vip, 81);
            assert!(gets(&kept, vip, 150) && refused(vip, 350));
        }
        steer(&mut steering, &[]);
        assert!(refused(vip, 150) && gets(&kept, vip, 80));
    });
}

#[test]
fn more_ranges_than_there_are_places_are_refused_and_the_rest_goes_on() {
    namespace().inside(|| {
        let (vip, other_vip) = (VIPS[0], OTHER_VIPS[0]);
        let kept = listener(vip, 80);
        let mut steering = Steering::load().unwrap();
        steer(&mut steering, &[(other_vip, range(100, 200), &kept)]);
        let many = (0..5000_u16).map(|number| ((ip(vip), range(1000 + 4 * number, 1001 + 4 * number)), kept.as_fd()));
        let error = steering.set(&many.clone().collect()).unwrap_err().to_string();
        assert!(error.starts_with("layer 7 services have more than 4096 ranges of ports"), "{error}");
        assert!(gets(&kept, other_vip, 150), "what was there");
        steering.set(&many.take(4000).collect()).unwrap();
        assert!(gets(&kept, vip, 1000 + 4 * 3999) && refused(vip, 1002) && refused(other_vip, 150));
    });
}

#[test]
fn the_verifier_has_little_to_do() {
    namespace().inside(|| {
        let mut steering = Steering::load().unwrap();
        let info = steering.program().unwrap().info().unwrap();
        let processed = info.verified_instruction_count().expect("Linux 5.16 and later tell");
        assert!(processed < 1000, "{processed} instructions");
    });
}
