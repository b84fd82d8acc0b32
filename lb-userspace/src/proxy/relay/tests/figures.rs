//! What bulk costs, beside the same relay without splice. A look, no judgement: run it by name, in a release build.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

use super::{Counts, PATIENT, connection};
use crate::proxy::relay::{End, relay};

/// A socket whose bytes may not be spliced.
struct Copied(TcpStream);

impl AsyncRead for Copied {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Copied {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl End for Copied {
    const PLAIN: bool = false;

    fn socket(&self) -> &TcpStream {
        &self.0
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Bytes per second of processor time of the thread that relays, in gigabytes. The peers are threads of their own.
fn per_cpu_second<C: End, S: End>(client_end: fn(TcpStream) -> C, server_end: fn(TcpStream) -> S, bytes: usize) -> f64 {
    let runtime = runtime();
    let ((client, from_client), (to_server, server)) =
        runtime.block_on(async { tokio::join!(connection(), connection()) });
    let (client, server) = (client.into_std().unwrap(), server.into_std().unwrap());
    thread::scope(|scope| {
        scope.spawn(move || {
            self::runtime().block_on(async {
                let mut client = TcpStream::from_std(client).unwrap();
                let piece = vec![7; 256 * 1024];
                for _ in 0..bytes / piece.len() {
                    client.write_all(&piece).await.unwrap();
                }
            });
        });
        scope.spawn(move || {
            self::runtime().block_on(async {
                let mut server = TcpStream::from_std(server).unwrap();
                let mut piece = vec![0; 256 * 1024];
                while server.read(&mut piece).await.unwrap() > 0 {}
            });
        });
        let before = used();
        let ended = runtime.block_on(async {
            relay(client_end(from_client), server_end(to_server), Bytes::new(), PATIENT, &Counts::default()).await
        });
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let gigabytes = ended.to_server as f64 / 1e9;
        gigabytes / (used() - before).as_secs_f64()
    })
}

/// Processor time of this thread.
fn used() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(microseconds.unsigned_abs())
}

#[test]
#[ignore = "a bench: cargo test --release -p lb-userspace bulk_per_cpu_second -- --ignored --nocapture"]
fn bulk_per_cpu_second() {
    const BYTES: usize = 4 << 30;
    for round in 1..=3 {
        let copied = per_cpu_second(Copied, Copied, BYTES);
        let spliced = per_cpu_second(|socket| socket, |socket| socket, BYTES);
        println!("round {round}: copied {copied:.2}, spliced {spliced:.2} GB per second of processor time");
        assert!(copied > 0.0 && spliced > 0.0);
    }
}
