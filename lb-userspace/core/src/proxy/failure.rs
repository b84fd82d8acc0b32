//! Why connections and requests end badly, each with a counter.
//!
//! In: a reason, when it happens. Out: counts, letters of the access log, docs/reference/failures.md. Absent: what is
//! done about it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::access_log::{Cause, End, Phase};

macro_rules! failures {
    ($($variant:ident = $word:literal: $help:literal,)+) => {
        /// Why a connection or a request ended badly.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Failure {
            $(#[doc = $help] $variant,)+
        }

        impl Failure {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name in metrics and logs.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// What it means, in a sentence.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)+ }
            }
        }
    };
}

failures! {
    AcceptFailed = "accept-failed": "A connection could not be accepted, or had to wait, mostly because the process has nearly as many open files as it may.",
    ProxyHeader = "proxy-header": "A client that must begin with a PROXY header did not, or its header was not valid.",
    TlsHandshake = "tls-handshake": "The TLS handshake with a client failed.",
    ClientTimeout = "client-timeout": "A client was silent for longer than the timeout.",
    RequestTimeout = "request-timeout": "A client did not finish its request's header, handshake or PROXY header in time.",
    BadRequest = "bad-request": "A request was not valid, or could mean two things.",
    HeaderTooLarge = "header-too-large": "The header of a request was larger than `http.max_header_bytes`.",
    Denied = "denied": "A rule refused the request.",
    ClientGone = "client-gone": "A client went away before its answer was complete.",
    QueueFull = "queue-full": "Every real server was full, and the queue too.",
    QueueTimeout = "queue-timeout": "Every real server was full for longer than the queue timeout.",
    NoServer = "no-server": "No real server could be asked.",
    ConnectFailed = "connect-failed": "No connection to a real server could be opened.",
    SourcePortsExhausted = "source-ports-exhausted": "No source port was left for a connection to a real server.",
    NoSource = "no-source": "No connection to a real server could be opened for a reason on this machine: too many open files, or a source address that it does not have.",
    ServerTimeout = "server-timeout": "A real server was silent for longer than the timeout.",
    ServerFailed = "server-failed": "A real server closed the connection or broke the protocol before its answer was complete.",
    ServerCut = "server-cut": "The real server was halted or went down, and its connections were cut.",
    UpgradeOverHttp2 = "upgrade-over-http2": "A client asked for an upgrade, for example to WebSocket, and the real server speaks HTTP/2, which has none.",
    DrainTimeout = "drain-timeout": "The connection was still there when the drain timeout of its removed service ended.",
}

impl Failure {
    /// The letters of the access log. `answered`: the head of the answer had come.
    #[must_use]
    pub fn end(self, answered: bool) -> End {
        let late = if answered { Phase::Data } else { Phase::Header };
        let (cause, phase) = match self {
            Self::AcceptFailed => (Cause::Internal, Phase::Request),
            Self::TlsHandshake => (Cause::Client, Phase::Request),
            Self::RequestTimeout => (Cause::ClientTimeout, Phase::Request),
            Self::ProxyHeader | Self::BadRequest | Self::HeaderTooLarge => (Cause::Refused, Phase::Request),
            Self::Denied => (Cause::Local, Phase::Request),
            Self::ClientTimeout => (Cause::ClientTimeout, Phase::Data),
            Self::ClientGone => (Cause::Client, late),
            Self::QueueFull | Self::QueueTimeout => (Cause::Limit, Phase::Queue),
            Self::NoServer | Self::ConnectFailed => (Cause::Server, Phase::Connect),
            Self::SourcePortsExhausted | Self::NoSource => (Cause::Internal, Phase::Connect),
            Self::ServerTimeout => (Cause::ServerTimeout, late),
            Self::ServerFailed => (Cause::Server, late),
            Self::ServerCut => (Cause::Down, late),
            Self::UpgradeOverHttp2 => (Cause::Refused, Phase::Header),
            Self::DrainTimeout => (Cause::Administrator, Phase::Data),
        };
        End { cause, phase }
    }
}

/// How often each has happened.
#[derive(Debug)]
pub struct Counts([AtomicU64; Failure::ALL.len()]);

impl Default for Counts {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; Failure::ALL.len()])
    }
}

impl Counts {
    /// It has happened.
    pub fn count(&self, failure: Failure) {
        self.0[failure as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Those that have happened, and how often.
    pub fn happened(&self) -> impl Iterator<Item = (Failure, u64)> + '_ {
        let counts = Failure::ALL.iter().map(|failure| (*failure, self.0[*failure as usize].load(Ordering::Relaxed)));
        counts.filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests;
