//! What a probe says when it cannot find anything out.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};

use lb_core::config::model::Protocol;
use lb_userspace::doctor::probe::{Device, Path, accepts, comes_back, who_answers};

use crate::segment::PATIENCE;
use crate::{Addresses, PORT, WAIT, families, ip, pair};

#[test]
fn a_probe_that_hears_too_much_ends_before_its_time() {
    let (_segment, balancer, server) = pair();
    // Nobody has the MAC, so there is no answer among all that comes from the address.
    let path = Path { destination_mac: [2, 0, 0, 0, 0, 0x99], ..balancer.path_to(&server) };
    let [Addresses { balancer: source, server: address, .. }, _] = families();
    let socket = server.namespace.inside(|| UdpSocket::bind((address, 0)).unwrap());
    let over = AtomicBool::new(false);
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // What is refused or does not fit is not missed.
                let _ = socket.send_to(b"much", (source, 9));
            }
        });
        let result = balancer.namespace.run(|| accepts(&path, address, PORT, Protocol::Tcp, source, PATIENCE * 3));
        over.store(true, Ordering::Relaxed);
        result.unwrap_err()
    });
    assert_eq!(
        error.to_string(),
        "more than 100000 packets came from 192.0.2.10 while its answer was waited for: try again when less is going on"
    );
}

#[test]
fn what_cannot_be_asked_is_a_sentence() {
    let (_segment, balancer, server) = pair();
    let path = balancer.path_to(&server);
    let [v4, v6] = families();
    let gone = Path { device: Device { ifindex: 9999, ..path.device.clone() }, ..path.clone() };
    let told = |path: &Path, from| {
        balancer.namespace.run(|| async move {
            let errors = [
                who_answers(&path.device, v4.vip, Some(from), WAIT).await.unwrap_err(),
                accepts(path, v4.vip, PORT, Protocol::Tcp, from, WAIT).await.unwrap_err(),
                comes_back(path, v4.vip, None, Protocol::Tcp, from, WAIT).await.unwrap_err(),
            ];
            errors.map(|error| error.to_string())
        })
    };
    let expected = "the interface eth0 is gone: `ip link` lists those that are there";
    assert_eq!(told(&gone, v4.balancer), [expected; 3]);
    let expected = "192.0.2.9 cannot be asked from 2001:db8::1: one is an IPv4 address, the other an IPv6 address";
    assert_eq!(told(&path, v6.balancer), [expected; 3]);
    balancer.namespace.ip("link set eth0 down");
    let expected = "the interface eth0 is down: `ip link set eth0 up` starts it";
    assert_eq!(told(&path, v4.balancer), [expected; 3]);
}

#[test]
fn without_the_privilege_the_need_is_told() {
    let (_segment, balancer, _server) = pair();
    let device = balancer.device("eth0");
    let error = balancer.namespace.run(|| async {
        // SAFETY: plain numbers; the system call (unlike libc's wrapper) changes this thread only, which ends here.
        let changed = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
        assert_eq!(changed, 0);
        who_answers(&device, ip("192.0.2.9"), None, WAIT).await.unwrap_err()
    });
    assert_eq!(error.to_string(), "probing the network takes the capability CAP_NET_RAW: run this as root");
}
