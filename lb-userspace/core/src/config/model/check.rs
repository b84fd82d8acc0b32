//! How real servers are checked.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::ProxyProtocol;

/// How a real server is checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// Port of the real server; `None` for checks that use none.
    pub port: Option<u16>,
    /// From the start of one probe to the start of the next.
    pub interval: Duration,
    /// A probe that takes longer has failed.
    pub timeout: Duration,
    /// Successes in a row that bring a server up.
    pub rise: u8,
    /// Failures in a row that take it down.
    pub fall: u8,
    /// Whether each return soon after the last fall takes more successes.
    pub flap_damping: bool,
    /// What a connection to the real server begins with, as it knows it from the proxy.
    #[serde(skip)]
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Probe {
    /// A TCP connection can be opened.
    Connect,
    /// ICMP echo is answered.
    Ping,
    /// An HTTP request is answered as expected.
    Http(HttpProbe),
    /// The same over TLS.
    Https {
        /// The request.
        #[serde(flatten)]
        http: HttpProbe,
        /// Whether the server's certificate is verified.
        verify: bool,
        /// Name sent in SNI and verified; `None`: the host.
        server_name: Option<String>,
        /// Certificate authorities to trust beside the system's.
        ca_file: Option<PathBuf>,
    },
    /// DICOM C-ECHO succeeds.
    DicomEcho {
        /// Called application entity title.
        called_ae_title: String,
        /// Calling application entity title.
        calling_ae_title: String,
    },
    /// A program exits 0; called as `PROGRAM VIP VIP-PORT RIP RIP-PORT`.
    Script {
        /// The program.
        path: PathBuf,
    },
    /// Always up.
    None,
}

/// An HTTP request and what is expected of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct HttpProbe {
    /// Request target.
    pub path: String,
    /// `Host` header; `None`: the server's address.
    pub host: Option<String>,
    /// Expected status.
    pub status: u16,
    /// Expected body.
    pub body: BodyExpectation,
}

/// What a body must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BodyExpectation {
    /// Anything.
    Any,
    /// Contains this text.
    Contains(String),
    /// Is this text, white space at both ends aside.
    Equals(String),
    /// Matches this regular expression.
    Regex(String),
}
