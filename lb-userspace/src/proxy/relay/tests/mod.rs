//! Relayed connections over loopback.

mod order;

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};

use super::{Ended, Idle, Meter, relay};

/// Counts as lbd does: cells of one thread.
#[derive(Debug, Default)]
struct Counts {
    to_server: Cell<u64>,
    to_client: Cell<u64>,
}

impl Meter for Counts {
    fn to_server(&self, bytes: u64) {
        self.to_server.set(self.to_server.get() + bytes);
    }

    fn to_client(&self, bytes: u64) {
        self.to_client.set(self.to_client.get() + bytes);
    }
}

/// Both ends of a connection: who opened it, and who accepted it.
async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (opened, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (opened.unwrap(), accepted.unwrap().0)
}

/// The client's and the real server's ends, and the relay between them.
async fn relayed(begun: &'static [u8], idle: Idle) -> (TcpStream, TcpStream, impl Future<Output = Ended>) {
    let (client, from_client) = connection().await;
    let (to_server, server) = connection().await;
    let ended = async move {
        let counts = Counts::default();
        let ended = relay(from_client, to_server, Bytes::from_static(begun), idle, &counts).await;
        assert_eq!((ended.to_server, ended.to_client), (counts.to_server.get(), counts.to_client.get()));
        ended
    };
    (client, server, ended)
}

/// Longer than any test takes.
const PATIENT: Idle = Idle { client: Duration::from_secs(600), server: Duration::from_secs(600) };
