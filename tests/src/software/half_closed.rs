//! TCP servers of which one end is done while the other goes on: small enough to say which, and when.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::echo::EchoServer;
use crate::lab::Host;

/// For what the client sends, and what it takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server that says its name and the number of bytes it got, once the client is done.
///
/// # Errors
/// When the address cannot be bound.
pub fn speaks_last(host: &Host, address: SocketAddr) -> Result<EchoServer> {
    EchoServer::accept(host, address, move |mut connection, name, _| {
        let length = read(&connection)?;
        connection.write_all(format!("{name} {length}\n").as_bytes())
    })
}

/// A server that says its name and is done, and counts what comes after that.
#[derive(Debug)]
pub struct SpeaksFirst {
    counts: Arc<Mutex<Vec<usize>>>,
    _server: EchoServer,
}

impl SpeaksFirst {
    /// Starts one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(host: &Host, address: SocketAddr) -> Result<Self> {
        let counts = Arc::new(Mutex::new(Vec::new()));
        let counted = Arc::clone(&counts);
        let server = EchoServer::accept(host, address, move |mut connection, name, _| {
            connection.write_all(format!("{name}\n").as_bytes())?;
            connection.shutdown(Shutdown::Write)?;
            let length = read(&connection)?;
            counted.lock().unwrap_or_else(PoisonError::into_inner).push(length);
            Ok(())
        })?;
        Ok(Self { counts, _server: server })
    }

    /// Bytes of each connection that has ended in good order: those of health checks have none.
    pub fn counts(&self) -> Vec<usize> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Sends so many bytes and is done; what the server says after that.
///
/// # Errors
/// When it does not say all it has to.
pub fn send_and_listen(mut connection: &TcpStream, bytes: usize) -> Result<String> {
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.write_all(&vec![b'a'; bytes]).context("cannot send")?;
    connection.shutdown(Shutdown::Write).context("cannot be done")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).context("no whole answer after the client was done")?;
    Ok(answer)
}

/// Listens until the server is done, and sends so many bytes after that; what it said.
///
/// # Errors
/// When it is not done, or takes nothing.
pub fn listen_and_send(mut connection: &TcpStream, bytes: usize) -> Result<String> {
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).context("the server is not done")?;
    connection.write_all(&vec![b'a'; bytes]).context("cannot send after the server was done")?;
    connection.shutdown(Shutdown::Write).context("cannot be done")?;
    Ok(answer)
}

fn read(mut connection: &TcpStream) -> std::io::Result<usize> {
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut all = Vec::new();
    connection.read_to_end(&mut all)
}
