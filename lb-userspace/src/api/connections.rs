//! Connections of clients over HTTP/1.1: accepted, bounded and ended.
//!
//! In: a listener of any kind, and what answers a connection's request. Out: answers, until it is
//! told to stop. Absent: what is asked. One connection carries one request, so that a client never
//! holds a place it does not use.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::server::Limits;

/// Bytes of a request line and its headers: far above a long query, and hyper's own minimum.
const HEAD_BYTES: usize = 16 * 1024;

/// Between attempts to accept while the system is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How much longer than [`Limits::connection`] a connection may take: its request may ask for an answer
/// that goes on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Longer(Arc<AtomicU32>);

impl Longer {
    /// Takes this many seconds more.
    pub(super) fn by(&self, seconds: u32) {
        self.0.store(seconds, Ordering::Relaxed);
    }

    fn get(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed).into())
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Where clients connect; nobody can any more once it is dropped.
pub(crate) trait Listener: Send + Sync {
    /// A connection of a client.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// What clients ask for here, for the log.
    const NAME: &'static str;

    /// Waits for the next client.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// Answers clients until `stop` completes; then the listener goes, requests in hand are answered, and
/// this returns, at the latest after [`Limits::stop`]. `service_of` makes what answers a connection.
pub(crate) async fn attend<L, S, B>(
    listener: L,
    limits: Limits,
    stop: impl Future<Output = ()>,
    service_of: impl Fn(&L::Stream, Longer) -> S,
) where
    L: Listener,
    S: HttpService<Incoming, ResBody = B, Error = Infallible> + Send + 'static,
    S::Future: Send,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(limits.connections));
    let (closing, closed) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            (place, stream) = accept(&listener, &places) => {
                let closed = closed.clone();
                let longer = Longer::default();
                let service = service_of(&stream, longer.clone());
                connections.spawn(async move {
                    connection(stream, service, limits, longer, closed, L::NAME).await;
                    drop(place);
                });
            }
        }
    }
    drop(listener);
    closing.send_replace(true);
    let all_answered = async { while connections.join_next().await.is_some() {} };
    if timeout(limits.stop, all_answered).await.is_err() {
        debug!("clients of {} were cut off, they took too long", L::NAME);
    }
}

async fn accept<L: Listener>(listener: &L, places: &Arc<Semaphore>) -> (Option<OwnedSemaphorePermit>, L::Stream) {
    // The semaphore is never closed, so there always is a permit.
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok(stream) => return (place, stream),
            Err(error) => {
                warn!(%error, "{} cannot accept a client", L::NAME);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection<T, S, B>(
    stream: T,
    service: S,
    limits: Limits,
    longer: Longer,
    mut closed: watch::Receiver<bool>,
    name: &str,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = B, Error = Infallible>,
    B: Body<Error: Into<BoxError>> + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .header_read_timeout(limits.header_read)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let too_long = async {
        tokio::time::sleep(limits.connection).await;
        // By now the request has said so, if it ever does.
        tokio::time::sleep(longer.get()).await;
    };
    let served = async {
        tokio::select! {
            served = &mut connection => return served,
            _ = closed.wait_for(|closed| *closed) => {}
        }
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    tokio::select! {
        served = served => match served {
            Ok(()) => {}
            Err(error) => debug!(%error, "a client of {name} broke off"),
        },
        () = too_long => debug!("a client of {name} took too long"),
    }
}
