//! Relayed connections over loopback.

mod bulk;
mod descriptors;
mod failures;
mod figures;
mod order;
mod silence;
mod tls;

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
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

/// Bytes that repeat after a length that divides no buffer: a piece lost, doubled or moved shows.
struct Pattern(Vec<u8>);

impl Pattern {
    fn new(mut seed: u32) -> Self {
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed.to_be_bytes()[0]
        };
        Self((0..1_048_573).map(|_| next()).collect())
    }

    /// As many of the bytes at `offset` as lie together, but no more than `most`.
    fn at(&self, offset: usize, most: usize) -> &[u8] {
        let rest = &self.0[offset % self.0.len()..];
        &rest[..most.min(rest.len())]
    }

    async fn send(&self, to: &mut (impl AsyncWrite + Unpin), bytes: usize) {
        let mut sent = 0;
        while sent < bytes {
            let piece = self.at(sent, bytes - sent);
            to.write_all(piece).await.unwrap();
            sent += piece.len();
        }
    }

    /// Reads to the end, and says how many bytes there were.
    async fn receive(&self, from: &mut (impl AsyncRead + Unpin)) -> usize {
        let mut buffer = vec![0; 256 * 1024];
        let mut received = 0;
        loop {
            let read = from.read(&mut buffer).await.unwrap();
            if read == 0 {
                return received;
            }
            let mut rest = &buffer[..read];
            while !rest.is_empty() {
                let expected = self.at(received, rest.len());
                assert!(rest.starts_with(expected), "other bytes than were sent, within {read} from {received} on");
                received += expected.len();
                rest = &rest[expected.len()..];
            }
        }
    }
}

/// Longer than any test takes.
const PATIENT: Idle = Idle { client: Duration::from_secs(600), server: Duration::from_secs(600) };
