//! Opens a connection to a real server: source address, PROXY header, TLS.
//!
//! In: a real server and the ends of the client's connection. Out: a connection, or why there is none; what it
//! tells of the real server's health. Absent: who is chosen.

use std::net::SocketAddr;
use std::time::Instant;

use lb_core::config::model::SourceAddress;
use lb_core::proxy::proxy_protocol;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::{debug, info, warn};

use super::connect::{ConnectError, First, Source, connect};
use super::connection::Ends;
use super::service::{Entry, Running};
use lb_core::proxy::failure::Failure;
use lb_core::proxy::passive::Change;

/// A connection to a real server.
pub(super) enum Opened {
    /// In the clear.
    Plain(TcpStream),
    /// Encrypted again.
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl Opened {
    /// The socket below.
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Encrypted(stream) => stream.get_ref().0,
        }
    }
}

/// Opens a connection, and tells the real server's passive health how it went. `first`: who speaks first of what is
/// carried; a PROXY header or a TLS handshake before it is this end's.
///
/// # Errors
/// Which counter tells of it.
pub(super) async fn open(entry: &Entry, running: &Running, ends: Ends, first: First) -> Result<Opened, Failure> {
    let opened = attempt(entry, running, ends, first).await;
    let change = match &opened {
        Ok(_) => entry.live.connected(),
        // What this machine lacks says nothing of the real server.
        Err(Failure::SourcePortsExhausted | Failure::NoSource) => None,
        Err(_) => entry.live.connect_failed(Instant::now()),
    };
    tell(entry, change);
    opened
}

/// Says that a real server has become suspect, or well again.
pub(super) fn tell(entry: &Entry, change: Option<Change>) {
    let identity = &entry.live.identity;
    match change {
        Some(Change::BecameSuspect(reason)) => {
            warn!(
                service = identity.service,
                server = identity.server,
                "suspect, asked only where nobody else can: {reason}"
            );
        }
        Some(Change::Recovered) => info!(service = identity.service, server = identity.server, "no longer suspect"),
        None => {}
    }
}

async fn attempt(entry: &Entry, running: &Running, ends: Ends, first: First) -> Result<Opened, Failure> {
    let real = &entry.config;
    let first = if real.proxy_protocol.is_some() || entry.tls.is_some() { First::Us } else { first };
    let server = SocketAddr::new(real.address, real.port.unwrap_or(ends.vip.port()));
    let source = source(running.config.source_address, ends);
    // For all that it takes until a request can be sent.
    let limit = running.config.proxy.timeouts.connect;
    let begun = Instant::now();
    let mut stream = connect(server, source, first, limit).await.map_err(|error| {
        debug!(%server, %error, "no connection");
        failure(&error)
    })?;
    if let Some(version) = real.proxy_protocol {
        let mut header = Vec::with_capacity(128);
        proxy_protocol::write(version, ends.client, ends.vip, &mut header);
        stream.write_all(&header).await.map_err(|_| Failure::ConnectFailed)?;
    }
    let Some(encryption) = &entry.tls else { return Ok(Opened::Plain(stream)) };
    let connector = TlsConnector::from(encryption.config.clone());
    let handshake = Box::pin(connector.connect(encryption.name.clone(), stream));
    match tokio::time::timeout(limit.saturating_sub(begun.elapsed()), handshake).await {
        Ok(Ok(stream)) => Ok(Opened::Encrypted(Box::new(stream))),
        Ok(Err(error)) => {
            warn!(service = running.config.name, server = real.name, "TLS with the real server failed: {error}");
            Err(Failure::ConnectFailed)
        }
        Err(_) => Err(Failure::ConnectFailed),
    }
}

fn failure(error: &ConnectError) -> Failure {
    match error {
        ConnectError::SourcePorts { .. } => Failure::SourcePortsExhausted,
        ConnectError::TooManyFiles
        | ConnectError::NoSuchSource { .. }
        | ConnectError::OtherFamily { .. }
        | ConnectError::NotPermitted => Failure::NoSource,
        ConnectError::Refused { .. }
        | ConnectError::TimedOut { .. }
        | ConnectError::Unreachable { .. }
        | ConnectError::Other { .. } => Failure::ConnectFailed,
    }
}

fn source(configured: SourceAddress, ends: Ends) -> Source {
    match configured {
        SourceAddress::Auto => Source::Kernel,
        SourceAddress::Vip => Source::Address(ends.vip.ip()),
        SourceAddress::Client => Source::Client(ends.client),
        SourceAddress::Address(address) => Source::Address(address),
    }
}
