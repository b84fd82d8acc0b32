//! TCP: the servers, and the loads.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener as Listener, TcpStream as Stream};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::in_threads;

/// A message: as much as a remote procedure call has.
pub(super) const MESSAGE: [u8; 64] = [b'm'; 64];

/// Connections at a time.
const TASKS: usize = 64;
const BULK: u32 = 4;

/// Bytes at a time of bulk.
const CHUNK: usize = 1 << 20;

pub(super) async fn echo(address: SocketAddr) -> Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(65_535)?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            stream.set_nodelay(true)?;
            let mut buffer = [0; 512];
            loop {
                match stream.read(&mut buffer).await? {
                    0 => return Ok::<(), io::Error>(()),
                    length => stream.write_all(buffer.get(..length).unwrap_or_default()).await?,
                }
            }
        });
    }
}

/// To whoever connects, until they go.
pub(super) fn source(address: SocketAddr) -> Result<()> {
    let listener = Listener::bind(address)?;
    loop {
        let (mut stream, _) = listener.accept()?;
        std::thread::spawn(move || {
            let bytes = vec![b'b'; CHUNK];
            while stream.write_all(&bytes).is_ok() {}
        });
    }
}

/// Opens, asks and closes again and again in several tasks.
pub(super) async fn connections(target: SocketAddr, time: Duration) -> Result<u64> {
    in_tasks(
        move |end| async move {
            let mut done = 0;
            while Instant::now() < end {
                let mut stream = TcpStream::connect(target).await.context("connecting")?;
                exchange(&mut stream).await?;
                done += 1;
            }
            Ok(done)
        },
        time,
    )
    .await
}

pub(super) async fn messages(target: SocketAddr, time: Duration) -> Result<u64> {
    in_tasks(
        move |end| async move {
            let mut stream = TcpStream::connect(target).await.context("connecting")?;
            stream.set_nodelay(true)?;
            let mut done = 0;
            while Instant::now() < end {
                exchange(&mut stream).await?;
                done += 1;
            }
            Ok(done)
        },
        time,
    )
    .await
}

async fn exchange(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(&MESSAGE).await?;
    stream.read_exact(&mut MESSAGE.clone()).await.context("waiting for the echo")?;
    Ok(())
}

async fn in_tasks<F>(one: impl Fn(Instant) -> F, time: Duration) -> Result<u64>
where
    F: Future<Output = Result<u64>> + Send + 'static,
{
    let end = Instant::now() + time;
    let mut running: JoinSet<Result<u64>> = (0..TASKS).map(|_| one(end)).collect();
    let mut all = 0;
    while let Some(done) = running.join_next().await {
        all += done??;
    }
    Ok(all)
}

/// What arrives is counted and thrown away by the kernel (MSG_TRUNC): reading it would cost more than carrying it.
pub(super) fn bulk(target: SocketAddr, time: Duration) -> Result<u64> {
    let end = Instant::now() + time;
    let counts = in_threads(BULK, |_| {
        let stream = Stream::connect(target).context("connecting")?;
        let mut buffer = vec![0; CHUNK];
        let mut all = 0_u64;
        while Instant::now() < end {
            match recv(stream.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC)? {
                0 => break,
                length => all += length as u64,
            }
        }
        Ok(all)
    })?;
    Ok(counts.into_iter().sum())
}
