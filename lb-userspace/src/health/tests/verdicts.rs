//! The machine and the prober together: whatever a real server does, there is a verdict at the timeout.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lb_core::config::model::{BodyExpectation, HealthCheck, Probe};
use lb_core::health::State;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{Daemon, check, dicom, in_own_network, listener, soon};
use crate::health::http::tests::{get, head};
use crate::health::script::tests::{children, program, until};

/// As long as no probe that is awaited here takes, and short enough to wait for.
const TIMEOUT: Duration = Duration::from_millis(200);

fn http() -> Probe {
    Probe::Http(get(BodyExpectation::Contains("up".into())))
}

fn https() -> Probe {
    let http = get(BodyExpectation::Contains("up".into()));
    Probe::Https { http, verify: false, server_name: None, ca_file: None }
}

fn quick(probe: Probe, port: Option<u16>) -> HealthCheck {
    HealthCheck { timeout: TIMEOUT, interval: 2 * TIMEOUT, ..check(probe, port) }
}

async fn times_out(probe: Probe, address: IpAddr, port: Option<u16>) {
    let kind = format!("{probe:?}");
    let down = soon(Daemon::of(address, quick(probe, port)).transition()).await;
    assert_eq!(down.to, State::Down, "{kind}");
    let who = port.map_or_else(|| address.to_string(), |port| SocketAddr::new(address, port).to_string());
    assert_eq!(
        down.reason,
        format!("no answer from {who} within 200 ms (1 check failed); never good so far"),
        "{kind}"
    );
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_down_at_the_timeout() {
    for probe in [http(), https(), dicom()] {
        // Nobody accepts but the kernel.
        let (listener, address) = listener().await;
        times_out(probe, address.ip(), Some(address.port())).await;
        drop(listener);
    }
}

/// One byte now and then, for ever, after what `begin` says at once.
async fn dripping(begin: &'static [u8], byte: &'static [u8]) -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(begin).await;
                while stream.write_all(byte).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_server_that_answers_byte_by_byte_is_down_at_the_timeout() {
    for (probe, begin, byte) in [
        (http(), &b"HTTP/1.1 200 OK\r\nX: "[..], &b"x"[..]),
        (http(), b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", b"."),
        (http(), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n.\r\n"),
        // A record of handshake messages, 16 KiB long.
        (https(), b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc", b"\x00"),
        // The acceptance of an association, 16 KiB long.
        (dicom(), b"\x02\x00\x00\x00\x40\x00", b"\x00"),
    ] {
        let address = dripping(begin, byte).await;
        times_out(probe, address.ip(), Some(address.port())).await;
    }
}

#[test]
fn a_machine_that_is_silent_is_down_at_the_timeout() {
    let setup = [
        "ip link add here type veth peer name there",
        "ip link set here up",
        "ip link set there up",
        "ip addr add 192.0.2.1/24 dev here",
        // Frames to it go nowhere, and nobody says so.
        "ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev here nud permanent",
    ];
    in_own_network(&setup, || async {
        let address = IpAddr::from([192, 0, 2, 9]);
        times_out(Probe::Ping, address, None).await;
        for probe in [Probe::Connect, http(), https(), dicom()] {
            times_out(probe, address, Some(80)).await;
        }
    });
}

#[tokio::test]
async fn a_script_that_does_not_end_is_down_at_the_timeout_and_gone() {
    let before = children();
    for (name, text) in [("never-ends", "sleep 1000 & sleep 1000"), ("never-stops", "while :; do echo talk; done")] {
        let script = program(name, &format!("#!/bin/sh\n{text}\n"));
        let probe = Probe::Script { path: script.path().to_owned() };
        times_out(probe, [192, 0, 2, 1].into(), Some(80)).await;
        until("it is reaped", || children() == before).await;
    }
}

#[tokio::test]
async fn a_page_that_turns_bad_and_good_again_takes_the_server_down_and_up() {
    let (listener, address) = listener().await;
    let brisk = HealthCheck { interval: Duration::from_millis(5), ..check(http(), Some(address.port())) };
    let mut daemon = Daemon::of(address.ip(), brisk);
    let (page, mut pages) = tokio::sync::watch::channel("it is up");
    tokio::spawn(serve(listener, {
        pages.mark_unchanged();
        pages
    }));
    assert_eq!(soon(daemon.transition()).await.to, State::Up);

    page.send("maintenance").expect("a server");
    let down = soon(daemon.transition()).await;
    let begin = format!(
        "{address} answered 200, but its page does not contain \"up\": it is \"maintenance\" (2 checks in a row failed)"
    );
    assert!(down.reason.starts_with(&begin), "{}", down.reason);

    page.send("up again").expect("a server");
    assert_eq!(soon(daemon.transition()).await.to, State::Up);
}

async fn serve(listener: TcpListener, page: tokio::sync::watch::Receiver<&'static str>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        head(&mut stream).await;
        let page = *page.borrow();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{page}", page.len());
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}
