//! What every proxied service has: timeouts, limits, its way to real servers, its log.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::view::Network;

/// The proxy of this machine, for all layer 7 services together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ProxyNode {
    /// Threads that carry connections; `None`: one for each CPU. Read when the daemon starts.
    pub threads: Option<u16>,
    /// Connections of clients at a time; beyond it new ones wait in the kernel.
    pub max_connections: u32,
    /// How long connections may go on when their service was removed (`on_removal: drain`), and in the daemon that
    /// an upgrade has replaced; then they are cut.
    pub drain_timeout: Duration,
}

impl Default for ProxyNode {
    fn default() -> Self {
        Self { threads: None, max_connections: 100_000, drain_timeout: Duration::from_secs(3600) }
    }
}

/// What a proxy does with connections, beside choosing a real server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proxy {
    /// Inactivity, by phase.
    pub timeouts: Timeouts,
    /// Clients, mostly other proxies, whose connections begin with a PROXY header (version 1 or 2): it must be there.
    /// Nobody else's is read.
    pub accept_proxy_protocol: Vec<Network>,
    /// Connections of clients at a time; 0: only the node's limit.
    pub max_connections: u32,
    /// Connections (`l7-http`: requests) that may wait while every real server is at its maximum; 0: none waits.
    pub queue: u32,
    /// When what clients meet tells that a real server is not well; `None`: only its health check does.
    pub passive_health: Option<PassiveHealth>,
    /// One line per connection (`l7-http`: per request); `None`: none.
    pub access_log: Option<AccessLog>,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            accept_proxy_protocol: Vec::new(),
            max_connections: 0,
            queue: 1024,
            passive_health: Some(PassiveHealth::default()),
            access_log: None,
        }
    }
}

/// Timeouts of a proxied service, with the meaning that HAProxy gives to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Timeouts {
    /// To open a connection to a real server.
    pub connect: Duration,
    /// Inactivity of the client while it is to send or to receive.
    pub client: Duration,
    /// Inactivity of the real server while it is to send or to receive.
    pub server: Duration,
    /// From the first byte of a request to the end of its header; also for a PROXY header, a TLS handshake, an RDP
    /// request.
    pub request: Duration,
    /// Between two requests of one connection (`l7-http`).
    pub keep_alive: Duration,
    /// How long a client waits for room when every real server is full.
    pub queue: Duration,
    /// Inactivity in both directions after an upgrade, for example to WebSocket (`l7-http`).
    pub tunnel: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            connect: seconds(5),
            client: seconds(60),
            server: seconds(60),
            request: seconds(10),
            keep_alive: seconds(60),
            queue: seconds(5),
            tunnel: seconds(3600),
        }
    }
}

/// When a real server becomes suspect: it is then asked only where no other can, until it has rested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PassiveHealth {
    /// Connections in a row that could not be opened; 0: they do not count.
    pub connect_failures: u32,
    /// Answers with a status of 500 to 599 in a row (`l7-http`); 0: they do not count.
    pub server_errors: u32,
    /// How long a suspect rests. A health check that goes on succeeding does not end it; one that finds the real
    /// server well after it was down does.
    pub rest: Duration,
}

impl Default for PassiveHealth {
    fn default() -> Self {
        Self { connect_failures: 3, server_errors: 0, rest: Duration::from_secs(10) }
    }
}

/// Where the lines about connections or requests go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccessLog {
    /// The file, which is opened again at each reload; `None`: the daemon's own log, which is journald under systemd.
    pub file: Option<PathBuf>,
    /// One of so many lines is written, and all that tell of an error; 1: all.
    pub sample: u32,
}

/// A header before the first byte of a connection that says who the client is
/// (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// Text.
    V1,
    /// Binary.
    V2,
}

/// What is spoken to a real server of a HTTP service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpVersion {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: with `tls` by ALPN, without by prior knowledge.
    Http2,
    /// What the real server chooses in the TLS handshake; without `tls`, HTTP/1.1.
    Auto,
}
