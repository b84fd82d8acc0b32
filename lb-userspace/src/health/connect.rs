//! The connect check: a TCP connection can be opened.
//!
//! In: an address. Out: the open connection, or why there is none; then a polite close. Absent: a
//! timeout (the machine cancels), a source address (the kernel chooses by route).

use std::net::SocketAddr;

use lb_core::config::model::ProxyProtocol;
use lb_core::health::Failure;
use lb_core::proxy::proxy_protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::failure::from_io;

/// Opens a connection, and begins it with a PROXY header where the real server expects one.
pub(super) async fn open(address: SocketAddr, header: Option<ProxyProtocol>) -> Result<TcpStream, Failure> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| from_io(&error))?;
    // Towards a port of this very machine that nobody listens on, TCP can meet itself (RFC 9293
    // section 3.5, simultaneous open) when the kernel picks that port for the source.
    if stream.local_addr().is_ok_and(|local| local == address) {
        return Err(Failure::Refused);
    }
    if let Some(version) = header {
        let mut bytes = Vec::new();
        proxy_protocol::write_own(version, &mut bytes);
        stream.write_all(&bytes).await.map_err(|error| from_io(&error))?;
    }
    Ok(stream)
}

/// Ends a connection so that the real server sees a FIN and not a reset: a close with unread bytes, like a
/// banner, would send a reset, and fill its log. The caller bounds the time.
pub(super) async fn close(mut stream: TcpStream) {
    let mut discarded = [0; 512];
    // Whoever talks more than this is cut off.
    let mut reads_left = 128;
    if stream.shutdown().await.is_err() {
        return;
    }
    while reads_left > 0 && stream.read(&mut discarded).await.is_ok_and(|n| n > 0) {
        reads_left -= 1;
    }
}
