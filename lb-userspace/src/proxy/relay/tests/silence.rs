//! Sides that say nothing, or take nothing. The rules are tested with instants; a few connections show that they
//! are applied.

use std::time::{Duration, Instant};

use bytes::Bytes;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Counts, PATIENT, Pattern, connection, relayed};
use crate::proxy::relay::idle::Timers;
use crate::proxy::relay::{How, Idle, Side, relay_since};

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const IDLE: Idle = Idle { client: seconds(10), server: seconds(30) };

const EXPECTED: (bool, bool) = (false, true);
const ACTIVE: (bool, bool) = (true, true);
const NOTHING: (bool, bool) = (false, false);

#[test]
fn silence_begins_anew_with_every_activity() {
    let start = Instant::now();
    let mut timers = Timers::new(IDLE, start);
    timers.note(ACTIVE, ACTIVE, || start + seconds(9));
    assert_eq!(timers.expired(start + seconds(18)), None);
    assert_eq!(timers.next_check(), start + seconds(19));
    assert_eq!(timers.expired(start + seconds(19)), Some(Side::Client));
}

#[test]
fn the_clock_is_not_asked_when_nothing_has_changed() {
    let start = Instant::now();
    let mut timers = Timers::new(IDLE, start);
    timers.note(EXPECTED, EXPECTED, || panic!("the clock was asked"));
    timers.note(NOTHING, EXPECTED, || panic!("the clock was asked"));
    assert_eq!(timers.next_check(), start + seconds(30));
}

#[test]
fn a_side_of_which_nothing_is_expected_may_be_silent_for_ever() {
    let start = Instant::now();
    let mut timers = Timers::new(IDLE, start);
    timers.note(NOTHING, ACTIVE, || start + seconds(1));
    assert_eq!(timers.expired(start + seconds(30)), None);
    assert_eq!(timers.expired(start + seconds(31)), Some(Side::Server));
}

#[test]
fn a_side_that_is_expected_again_has_its_whole_time() {
    let start = Instant::now();
    let mut timers = Timers::new(IDLE, start);
    timers.note(NOTHING, EXPECTED, || panic!("the clock was asked"));
    timers.note(EXPECTED, EXPECTED, || start + seconds(25));
    assert_eq!(timers.expired(start + seconds(29)), None);
    assert_eq!(timers.next_check(), start + seconds(30));
    assert_eq!(timers.expired(start + seconds(35)), Some(Side::Client));
}

#[test]
fn when_both_were_silent_the_client_is_named() {
    let start = Instant::now();
    let timers = Timers::new(Idle { client: seconds(5), server: seconds(5) }, start);
    assert_eq!(timers.expired(start + seconds(5)), Some(Side::Client));
}

#[test]
fn the_longest_timeouts_there_are_do_not_overflow() {
    let start = Instant::now();
    let timers = Timers::new(Idle { client: Duration::MAX, server: Duration::MAX }, start);
    assert_eq!(timers.expired(start + seconds(365 * 24 * 3600)), None);
}

const SHORT: Duration = Duration::from_millis(60);

#[tokio::test]
async fn a_connection_on_which_nothing_happens_ends_by_the_shorter_time() {
    for (idle, client) in [(Idle { client: SHORT, ..PATIENT }, true), (Idle { server: SHORT, ..PATIENT }, false)] {
        let (_client, _server, relay) = relayed(b"", idle).await;
        match relay.await.how {
            How::ClientTimeout if client => {}
            How::ServerTimeout if !client => {}
            how => panic!("{how:?}"),
        }
    }
}

#[tokio::test]
async fn after_the_client_has_closed_only_the_real_server_is_waited_for() {
    let (mut client, mut server, relay) = relayed(b"", Idle { client: SHORT, server: 4 * SHORT }).await;
    // It has closed before the relay begins.
    client.shutdown().await.unwrap();
    let server = async move {
        assert_eq!(server.read(&mut [0; 1]).await.unwrap(), 0);
        // It stays open, and says nothing.
        server
    };
    let (_server, ended) = tokio::join!(server, relay);
    assert!(matches!(ended.how, How::ServerTimeout), "{ended:?}");
}

#[tokio::test]
async fn a_real_server_that_never_reads_stops_the_client_and_is_the_one_that_is_silent() {
    const FAR_TOO_MUCH: usize = 512 << 20;
    let (mut client, server, relay) = relayed(b"", Idle { client: 4 * SHORT, server: 12 * SHORT }).await;
    let pattern = Pattern::new(7);
    let send = async move {
        let mut sent = 0;
        while sent < FAR_TOO_MUCH {
            match client.write(pattern.at(sent, 256 * 1024)).await {
                Ok(bytes) => sent += bytes,
                Err(_) => break,
            }
        }
        sent
    };
    let (sent, ended) = tokio::join!(send, relay);
    // Two sockets' buffers on either side, and what lies between them.
    assert!(sent < 64 << 20, "{sent} bytes were taken from the client");
    assert!(matches!(ended.how, How::ServerTimeout), "{ended:?}");
    assert!(ended.to_server <= sent as u64);
    drop(server);
}

#[test]
fn a_connection_becomes_long_once() {
    let start = Instant::now();
    let mut timers = Timers::new(PATIENT, start);
    assert_eq!(timers.next_check(), start + seconds(30));
    assert!(!timers.has_become_long(start + seconds(29)));
    assert!(timers.has_become_long(start + seconds(30)));
    assert!(!timers.has_become_long(start + seconds(31)));
    assert_eq!(timers.next_check(), start + PATIENT.client);
}

#[tokio::test]
async fn the_real_server_of_a_long_connection_is_asked_whether_it_is_there() {
    for (age, are_asked) in [(seconds(0), false), (seconds(31), true)] {
        let (mut client, from_client) = connection().await;
        let (to_server, mut server) = connection().await;
        let sockets = [&from_client, &to_server].map(|end| SockRef::from(end).try_clone().unwrap());
        let counts = Counts::default();
        let timers = Timers::new(PATIENT, Instant::now() - age);
        let relay = relay_since(from_client, to_server, Bytes::from_static(b"m"), timers, &counts);
        let talk = async {
            server.read_exact(&mut [0]).await.unwrap();
            server.write_all(b"n").await.unwrap();
            client.read_exact(&mut [0]).await.unwrap();
            // Not the client: it may sleep for as long as its timeout allows.
            assert_eq!(sockets.each_ref().map(|socket| socket.keepalive().unwrap()), [false, are_asked]);
            drop((client, server));
        };
        let (ended, ()) = tokio::join!(relay, talk);
        assert!(matches!(ended.how, How::Done));
    }
}
