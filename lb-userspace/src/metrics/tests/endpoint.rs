//! Where the metrics are served, as the configuration changes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Control, GET, PATIENCE, raw};
use crate::metrics::Endpoint;

/// An address of RFC 5737: no machine has it.
const ELSEWHERE: &str = "192.0.2.1:9707";

fn endpoint() -> Endpoint {
    Endpoint::new(Control::start(false).requests)
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// A port that nobody has at any address for the moment.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap().local_addr().unwrap().port()
}

async fn answers(address: SocketAddr) -> bool {
    TcpStream::connect(address).await.is_ok() && raw(address, GET).await.starts_with("HTTP/1.1 200 ")
}

#[tokio::test]
async fn it_serves_where_it_is_told_and_nowhere_when_it_is_told_so() {
    let mut endpoint = endpoint();
    endpoint.configure(None).await;
    assert_eq!((endpoint.address(), endpoint.problem()), (None, None));
    endpoint.configure(Some(loopback())).await;
    let address = endpoint.address().unwrap();
    assert!(answers(address).await);
    endpoint.configure(Some(loopback())).await;
    assert_eq!(endpoint.address(), Some(address), "the same address was listened at anew");

    endpoint.configure(None).await;
    assert_eq!((endpoint.address(), endpoint.problem()), (None, None));
    let free = async { while answers(address).await {} };
    timeout(PATIENCE, free).await.expect("the listener ends");
}

#[tokio::test]
async fn another_address_is_served_before_the_one_of_before_is_given_up() {
    let mut endpoint = endpoint();
    endpoint.configure(Some((Ipv4Addr::LOCALHOST, free_port()).into())).await;
    let before = endpoint.address().unwrap();
    // A client of the old one that has not finished its request.
    let mut slow = TcpStream::connect(before).await.unwrap();
    slow.write_all(b"GET /metrics HTT").await.unwrap();
    assert!(answers(before).await, "the slow client was accepted before this one");

    endpoint.configure(Some((Ipv4Addr::LOCALHOST, free_port()).into())).await;
    let after = endpoint.address().unwrap();
    assert_ne!(before, after);
    assert!(answers(after).await && endpoint.problem().is_none());
    slow.write_all(b"P/1.1\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, slow.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "a request in hand was cut off: {answer}");
}

#[tokio::test]
async fn an_address_in_use_leaves_the_one_of_before_and_is_a_problem_until_it_is_free() {
    let mut endpoint = endpoint();
    let occupied = TcpListener::bind(loopback()).unwrap();
    let taken = occupied.local_addr().unwrap();
    endpoint.configure(Some(taken)).await;
    let problem = endpoint.problem().unwrap();
    assert!(
        problem.starts_with(&format!("metrics cannot be served at {taken}: another program listens there; `ss -ltnp"))
    );
    assert!(problem.ends_with("or write another port to `node.metrics_address`"), "{problem}");

    endpoint.configure(Some(loopback())).await;
    let before = endpoint.address().unwrap();
    endpoint.configure(Some(taken)).await;
    assert!(answers(before).await, "the one of before is gone");
    assert!(
        endpoint.problem().unwrap().ends_with("; they are served at 127.0.0.1:0 as before"),
        "{:?}",
        endpoint.problem()
    );

    drop(occupied);
    endpoint.configure(Some(taken)).await;
    assert_eq!((endpoint.address(), endpoint.problem()), (Some(taken), None));
    assert!(answers(taken).await);
}

#[tokio::test]
async fn an_address_that_the_machine_does_not_have_is_a_problem_until_it_is_withdrawn() {
    let mut endpoint = endpoint();
    for elsewhere in [ELSEWHERE, "[2001:db8::1]:9707"] {
        endpoint.configure(Some(elsewhere.parse().unwrap())).await;
        let problem = endpoint.problem().unwrap();
        assert!(problem.contains("this machine does not have the address"), "{problem}");
    }
    endpoint.configure(None).await;
    assert_eq!((endpoint.address(), endpoint.problem()), (None, None));
}

#[tokio::test]
async fn from_one_address_to_all_and_back_on_the_same_port() {
    let mut endpoint = endpoint();
    let port = free_port();
    for ip in ["127.0.0.1", "0.0.0.0", "127.0.0.1", "::", "::1"] {
        endpoint.configure(Some((ip.parse::<std::net::IpAddr>().unwrap(), port).into())).await;
        assert_eq!(endpoint.problem(), None, "at {ip}");
        let loopback = if ip == "::1" { "::1" } else { "127.0.0.1" };
        assert!(answers((loopback.parse::<std::net::IpAddr>().unwrap(), port).into()).await, "at {ip}");
    }
}

#[tokio::test]
async fn from_one_address_to_all_goes_back_when_somebody_else_has_another() {
    let mut endpoint = endpoint();
    let port = free_port();
    let _occupied = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), port)).unwrap();
    let before = (Ipv4Addr::LOCALHOST, port).into();
    endpoint.configure(Some(before)).await;
    endpoint.configure(Some((Ipv4Addr::UNSPECIFIED, port).into())).await;
    assert!(endpoint.problem().unwrap().ends_with(&format!("; they are served at {before} as before")));
    assert!(answers(before).await);
}

#[tokio::test]
async fn stopping_ends_the_listener() {
    let mut endpoint = endpoint();
    endpoint.configure(Some(loopback())).await;
    let address = endpoint.address().unwrap();
    assert!(answers(address).await);
    timeout(PATIENCE, endpoint.stop()).await.unwrap();
    assert!(!answers(address).await);
}
