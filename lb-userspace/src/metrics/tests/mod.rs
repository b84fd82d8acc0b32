//! The listener over real TCP, with a control loop that counts how often it is asked.

mod endpoint;
mod requests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::listener::{Listener, limits};
use crate::api::{Handle, Limits, Request};

/// Far above what anything here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const GET: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: lb1:9707\r\nAccept-Encoding: gzip\r\n\r\n";

/// A control loop: the text it gives is the number of times it was asked.
#[derive(Clone)]
struct Control {
    requests: mpsc::Sender<Request>,
    asked: Arc<AtomicU64>,
    /// Told when a question is kept unanswered.
    held: Arc<Notify>,
}

impl Control {
    fn start(hold: bool) -> Self {
        let (requests, mut inbox) = mpsc::channel(4);
        let (asked, held) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
        let (count, holding) = (Arc::clone(&asked), Arc::clone(&held));
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Some(request) = inbox.recv().await {
                let Request::Metrics { reply } = request else { panic!("asked for something else: {request:?}") };
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                if hold {
                    kept.push(reply);
                    holding.notify_one();
                } else {
                    // A client that left is no concern of the control loop.
                    let _ = reply.send(format!("lb_asked_total {number}\n"));
                }
            }
        });
        Self { requests, asked, held }
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

/// A listener at work, on a port that the kernel chose.
struct Served {
    address: SocketAddr,
    control: Control,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// How a test's listener differs from the daemon's.
struct Setup {
    at: &'static str,
    limits: Limits,
    fresh: Duration,
    hold: bool,
    /// The control loop has ended.
    gone: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self { at: "127.0.0.1:0", limits: limits(), fresh: Duration::ZERO, hold: false, gone: false }
    }
}

impl Setup {
    fn serve(self) -> Served {
        let mut listener = Listener::bind(self.at.parse().unwrap(), self.limits).unwrap();
        listener.fresh = self.fresh;
        let address = listener.address();
        let control = Control::start(self.hold);
        let (stop, stopped) = oneshot::channel();
        let requests = if self.gone { mpsc::channel(1).0 } else { control.requests.clone() };
        let handle = Handle::new(requests, self.limits.reply);
        let task = tokio::spawn(listener.serve(handle, async {
            let _ = stopped.await;
        }));
        Served { address, control, stop, task }
    }
}

/// Sends `text` as it is and returns whatever comes back until the server closes.
async fn raw(address: SocketAddr, text: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may close before it has read everything.
    let _ = stream.write_all(text).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server closes");
    String::from_utf8(answer).unwrap()
}
