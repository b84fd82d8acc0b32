//! What is known of a client's connection, written down once for all its requests.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use http::HeaderValue;

/// What is known of a connection; made once for each by [`Policy::client`](super::Policy::client).
#[derive(Clone, Debug)]
pub struct ClientFacts {
    /// The client; IPv4 also where the socket is of IPv6.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// VIP and port that it reached.
    pub local: SocketAddr,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Whether its own words about forwarding are kept.
    pub trusted: bool,
    /// The address as text: X-Forwarded-For.
    pub(super) address_text: HeaderValue,
    /// X-Forwarded-Port.
    pub(super) port_text: HeaderValue,
    /// X-Forwarded-Proto.
    pub(super) scheme_text: HeaderValue,
    /// `for=192.0.2.7;proto=https`: its element of Forwarded but for the host; empty where that is not sent.
    pub(super) element: Box<str>,
}

impl ClientFacts {
    pub(super) fn new(address: SocketAddr, local: SocketAddr, tls: bool, trusted: bool, forwarded: bool) -> Self {
        let ip = address.ip().to_canonical();
        let scheme = if tls { "https" } else { "http" };
        let mut element = String::new();
        if forwarded {
            // RFC 7239 section 6: a colon takes brackets and quotation marks.
            let written = match ip {
                IpAddr::V4(v4) => write!(element, "for={v4};proto={scheme}"),
                IpAddr::V6(v6) => write!(element, "for=\"[{v6}]\";proto={scheme}"),
            };
            debug_assert!(written.is_ok(), "a string takes everything");
        }
        Self {
            address: ip,
            port: address.port(),
            local: SocketAddr::new(local.ip().to_canonical(), local.port()),
            tls,
            trusted,
            address_text: text(&ip.to_string()),
            port_text: HeaderValue::from(local.port()),
            scheme_text: HeaderValue::from_static(scheme),
            element: element.into(),
        }
    }

    /// `http` or `https`.
    pub(super) fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// The address as text.
    pub(super) fn address_str(&self) -> &str {
        self.address_text.to_str().unwrap_or_default()
    }

    /// What stands in for a Host field that a client of HTTP/1.0 did not send: the VIP, and the port where it is
    /// not the scheme's.
    pub(super) fn own_host(&self) -> HeaderValue {
        let (ip, port) = (self.local.ip(), self.local.port());
        match (ip, port == if self.tls { 443 } else { 80 }) {
            (IpAddr::V4(v4), true) => text(&v4.to_string()),
            (IpAddr::V6(v6), true) => text(&format!("[{v6}]")),
            (_, false) => text(&SocketAddr::new(ip, port).to_string()),
        }
    }
}

/// A field's value of an address: digits, letters, dots, colons and brackets.
fn text(address: &str) -> HeaderValue {
    let value = HeaderValue::from_str(address);
    debug_assert!(value.is_ok(), "addresses are visible ASCII");
    value.unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}
