//! A client's connection from accept to its protocol: PROXY header, TLS handshake, then `l7-tcp` or `l7-http`.
//!
//! In: an accepted socket and where its listener aims. Out: a served connection. Absent: what is in it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lb_core::config::model::Mode;
use lb_core::proxy::Parsed;
use lb_core::proxy::proxy_protocol;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use rustls::ServerConfig;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::registry::{Registry, Seat};
use super::service::Service;
use super::worker::{Guest, Local, Target};
use super::{http, tcp};
use lb_core::proxy::failure::Failure;

#[cfg(test)]
mod tests;

/// The longest PROXY header that is read: version 2 with all that is usually added to it.
const MAX_PROXY_HEADER: usize = 4096;

/// Both ends of a client's connection, as the service sees them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// The client, as its PROXY header names it.
    pub(super) client: SocketAddr,
    /// The VIP and the port that it used.
    pub(super) vip: SocketAddr,
    /// Its TLS ends here.
    pub(super) tls: bool,
}

/// Serves one connection until it ends.
pub(super) async fn connection(
    local: Rc<Local>,
    stream: TcpStream,
    peer: SocketAddr,
    listening: SocketAddr,
    target: Arc<Target>,
    guest: Guest,
) {
    let _guest = guest;
    let service = &target.service;
    let running = service.glance();
    let timeout = running.config.proxy.timeouts.request;
    let expects_header = running.config.proxy.accept_proxy_protocol.iter().any(|network| network.contains(peer.ip()));
    let mode = running.config.mode;
    let tls = if target.tls { running.tls.clone() } else { None };
    drop(running);
    let mut ends = Ends { client: peer, vip: listening, tls: target.tls };
    if target.range {
        match stream.local_addr() {
            Ok(address) => ends.vip = address,
            // The client has gone already.
            Err(_) => return service.counters.failures.count(Failure::ClientGone),
        }
    }
    if expects_header {
        match Box::pin(proxy_header(&stream, timeout)).await {
            Ok(header) => {
                ends.client = header.source.unwrap_or(ends.client);
                ends.vip = header.destination.unwrap_or(ends.vip);
            }
            Err(error) => return refuse(service, peer, Failure::ProxyHeader, &error),
        }
    }
    let seat = Registry::enter(&local.shared.registry, local.number, service, ends);
    if !target.tls {
        return match mode {
            Mode::L7Http => Box::pin(http::serve(local, service, stream, (ends, seat), None)).await,
            _ => Box::pin(tcp::serve(service, stream, ends, &seat)).await,
        };
    }
    let Some(config) = tls else { return };
    Box::pin(encrypted(local, service, stream, (ends, seat), mode, (config, timeout))).await;
}

/// The same for a connection that begins with a TLS handshake. Boxed by its caller: others have no room for it.
async fn encrypted(
    local: Rc<Local>,
    service: &Arc<Service>,
    stream: TcpStream,
    (ends, seat): (Ends, Seat),
    mode: Mode,
    (config, timeout): (Arc<ServerConfig>, Duration),
) {
    let handshake = Box::pin(tokio::time::timeout(timeout, TlsAcceptor::from(config).accept(stream)));
    let stream = match handshake.await {
        Ok(Ok(stream)) => Box::new(stream),
        Ok(Err(error)) => return refuse(service, ends.client, Failure::TlsHandshake, &error),
        Err(_) => return refuse(service, ends.client, Failure::RequestTimeout, &io::ErrorKind::TimedOut.into()),
    };
    match mode {
        Mode::L7Http => {
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Box::pin(http::serve(local, service, stream, (ends, seat), Some(h2))).await;
        }
        _ => Box::pin(tcp::serve_tls(service, stream, ends, &seat)).await,
    }
}

fn refuse(service: &Service, peer: SocketAddr, failure: Failure, error: &io::Error) {
    service.counters.failures.count(failure);
    debug!(service = %service.name, client = %peer, %error, "{}", failure.word());
}

/// Reads the PROXY header and nothing behind it.
async fn proxy_header(stream: &TcpStream, timeout: Duration) -> io::Result<proxy_protocol::Header> {
    let header = peek(stream, MAX_PROXY_HEADER, |bytes| {
        proxy_protocol::parse(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
    });
    let (header, length) = tokio::time::timeout(timeout, header).await??;
    let mut taken = vec![0; length];
    // These bytes are there: they have been looked at.
    stream.try_io(Interest::READABLE, || Ok(recv(stream.as_raw_fd(), &mut taken, MsgFlags::empty()).map(drop)?))?;
    Ok(header)
}

/// Whether nothing has arrived that has not been taken.
pub(super) fn is_silent(stream: &TcpStream) -> bool {
    let looked = recv(stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
    looked == Err(Errno::EAGAIN)
}

/// Looks at what has arrived, without taking it, until `parse` has what it wants. Gives that, and how many bytes it
/// is long.
pub(super) async fn peek<T>(
    stream: &TcpStream,
    most: usize,
    parse: impl Fn(&[u8]) -> io::Result<Parsed<T>>,
) -> io::Result<(T, usize)> {
    let mut bytes = vec![0; most];
    loop {
        let ready = stream.ready(Interest::READABLE).await?;
        // What is not enough counts as nothing: the runtime then waits for more to arrive.
        let looked = stream.try_io(Interest::READABLE, || {
            let length = recv(stream.as_raw_fd(), &mut bytes, MsgFlags::MSG_PEEK)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match parse(&bytes[..length])? {
                Parsed::Done { value, length } => Ok((value, length)),
                Parsed::More if length == most => Err(io::ErrorKind::InvalidData.into()),
                // No more will come, and the runtime would say so again at once, for ever.
                Parsed::More if ready.is_read_closed() => Err(io::ErrorKind::UnexpectedEof.into()),
                Parsed::More => Err(io::ErrorKind::WouldBlock.into()),
            }
        });
        match looked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}
