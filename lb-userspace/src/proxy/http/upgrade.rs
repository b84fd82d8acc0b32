//! Upgrades, mostly to WebSocket: once the real server has agreed, bytes are carried both ways.
//!
//! In: a connection over which a real server has answered with status 101. Out: both sides' bytes.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;

use super::exchange::Exchange;
use super::upstream::Upstream;
use crate::proxy::open::Opened;
use crate::proxy::real_server::RealServer;
use crate::proxy::registry::Both;
use crate::proxy::relay::{self, End, How, Idle};
use lb_core::proxy::failure::Failure;

/// A connection of another protocol, between a client and the real server that has agreed to it.
pub(super) struct Tunnel {
    exchange: Box<Exchange>,
    server: Opened,
    /// What the real server has sent of the other protocol already.
    begun: Bytes,
    live: Arc<RealServer>,
    cut_number: u64,
}

impl Tunnel {
    /// `cut_number`: of the real server's signal, from before the connection was made.
    pub(super) fn new(exchange: Box<Exchange>, upstream: Upstream, cut_number: u64) -> Self {
        let (stream, begun) = upstream.http.into_stream();
        let (server, live) = stream.into_parts();
        Self { exchange, server, begun, live, cut_number }
    }

    /// Carries what both say until one is done. `begun`: what the client has sent already.
    pub(super) async fn carry<S: End>(self, client: S, begun: Bytes) {
        match self.server {
            Opened::Plain(server) => {
                carry(client, server, [begun, self.begun], self.exchange, &self.live, self.cut_number).await;
            }
            Opened::Encrypted(server) => {
                carry(client, server, [begun, self.begun], self.exchange, &self.live, self.cut_number).await;
            }
        }
    }
}

async fn carry<C: End, S: End>(
    mut client: C,
    server: S,
    [from_client, from_server]: [Bytes; 2],
    mut exchange: Box<Exchange>,
    live: &Arc<RealServer>,
    cut_number: u64,
) {
    let tunnel = exchange.running.config.proxy.timeouts.tunnel;
    let idle = Idle { client: tunnel, server: tunnel };
    let connection = Rc::clone(&exchange.connection);
    let meter = Both(&connection.watch.seat, live);
    let carried = async {
        if !from_server.is_empty() && client.write_all(&from_server).await.is_err() {
            return None;
        }
        Some(relay::relay(client, server, from_client, idle, &meter).await)
    };
    let service = Arc::clone(&exchange.connection.service);
    let ended = tokio::select! {
        ended = Box::pin(carried) => ended.ok_or(Failure::ClientGone),
        () = live.cut.after(cut_number) => Err(Failure::ServerCut),
        () = service.cut.after(0) => Err(Failure::DrainTimeout),
    };
    let how = match ended {
        Err(failure) => return exchange.failed(failure),
        Ok(ended) => {
            exchange.sent(usize::try_from(ended.to_client).unwrap_or(usize::MAX));
            ended.how
        }
    };
    match how {
        How::Done => exchange.completed(),
        How::ClientTimeout => exchange.failed(Failure::ClientTimeout),
        How::ServerTimeout => exchange.failed(Failure::ServerTimeout),
        How::ClientFailed(_) => exchange.failed(Failure::ClientGone),
        How::ServerFailed(_) => exchange.failed(Failure::ServerFailed),
    }
}
