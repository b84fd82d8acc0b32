//! Why a client's packet would go where it goes, and the question.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::query::{self, QueryError};
use super::real_server::NextHop;
use super::words::{CounterAction, Transport, words};

/// A client as it is asked about: the address, and the port if it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientEnd {
    /// Its address.
    pub address: IpAddr,
    /// Its port; `None`: any that it has no flow from.
    pub port: Option<u16>,
}

/// The address and port of a virtual service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VipEnd(pub SocketAddr);

/// Text that names no end of a flow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndError {
    /// No client.
    #[error(
        "`{0}` is no client; write its address, with a port if it matters: 10.1.2.3, 10.1.2.3:40000, [2001:db8::7]:40000"
    )]
    Client(String),
    /// No VIP.
    #[error("`{0}` is no VIP with its port; write them like 10.0.0.100:443 or [2001:db8::100]:443")]
    Vip(String),
    /// Nobody uses this port.
    #[error("`{0}` has port 0, which no packet has")]
    PortZero(String),
    /// One packet is of one family.
    #[error(
        "{client} and {vip} are not of one family: an IPv4 client reaches an IPv4 address, an IPv6 client an IPv6 one"
    )]
    Families {
        /// As given.
        client: IpAddr,
        /// As given.
        vip: IpAddr,
    },
}

impl FromStr for ClientEnd {
    type Err = EndError;

    fn from_str(text: &str) -> Result<Self, EndError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self { address: address.to_canonical(), port: None });
        }
        let end = text.parse::<SocketAddr>().map_err(|_| EndError::Client(text.to_owned()))?;
        port_is_used(end, text)?;
        Ok(Self { address: end.ip().to_canonical(), port: Some(end.port()) })
    }
}

impl fmt::Display for ClientEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

impl FromStr for VipEnd {
    type Err = EndError;

    fn from_str(text: &str) -> Result<Self, EndError> {
        let end = text.parse::<SocketAddr>().map_err(|_| EndError::Vip(text.to_owned()))?;
        port_is_used(end, text)?;
        Ok(Self(SocketAddr::new(end.ip().to_canonical(), end.port())))
    }
}

fn port_is_used(end: SocketAddr, text: &str) -> Result<(), EndError> {
    if end.port() == 0 { Err(EndError::PortZero(text.to_owned())) } else { Ok(()) }
}

/// Which client's packet to which virtual service is to be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExplainQuery {
    /// Who sends it.
    pub client: ClientEnd,
    /// Where to.
    pub vip: VipEnd,
    /// `None`: the one that the virtual service has, TCP if it has both.
    pub protocol: Option<Transport>,
}

impl ExplainQuery {
    /// A question about two ends of one family.
    ///
    /// # Errors
    /// [`EndError::Families`].
    pub fn new(client: ClientEnd, vip: VipEnd, protocol: Option<Transport>) -> Result<Self, EndError> {
        if client.address.is_ipv4() != vip.0.is_ipv4() {
            return Err(EndError::Families { client: client.address, vip: vip.0.ip() });
        }
        Ok(Self { client, vip, protocol })
    }

    /// The client's port; where none is named, one that stands for any.
    #[must_use]
    pub fn client_port(&self) -> u16 {
        self.client.port.unwrap_or(ANY_PORT)
    }

    /// Reads a query string (percent-encoded, without the `?`).
    ///
    /// # Errors
    /// A parameter that is missing, unknown, repeated, or has no valid value.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let (mut client, mut vip, mut protocol) = (None, None, None);
        for (name, value) in query::pairs(text)? {
            match name.as_str() {
                "client" => client = Some(value.parse()?),
                "vip" => vip = Some(value.parse()?),
                "protocol" => protocol = Some(transport(value)?),
                _ => return Err(QueryError::Unknown { name, known: "client, vip, protocol" }),
            }
        }
        let client = client.ok_or(QueryError::Missing("client"))?;
        Ok(Self::new(client, vip.ok_or(QueryError::Missing("vip"))?, protocol)?)
    }

    /// The query string that [`Self::parse`] reads back.
    #[must_use]
    pub fn encode(&self) -> String {
        query::encode(&[
            ("client", Some(self.client.to_string())),
            ("vip", Some(self.vip.0.to_string())),
            ("protocol", self.protocol.map(|protocol| protocol.word().to_lowercase())),
        ])
    }
}

/// The first of those that are tried for a client whose port does not matter.
pub(crate) const ANY_PORT: u16 = 50_000;

fn transport(got: String) -> Result<Transport, QueryError> {
    Transport::from_word(&got.to_uppercase()).ok_or_else(|| QueryError::Word {
        name: "protocol",
        got,
        allowed: "tcp, udp".to_owned(),
    })
}

words! {
    /// What one step of an explanation is about.
    StepKind {
        /// The virtual service.
        Service = "service",
        /// A flow that is remembered.
        Flow = "flow",
        /// What is remembered of the client.
        Persistence = "persistence",
        /// Who was compared, or whose turn it is.
        Scheduler = "scheduler",
        /// Why a real server was not considered.
        Others = "others",
        /// What becomes of the packet.
        Answer = "answer",
    }
}

/// One step on the way to the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What it is about.
    pub about: StepKind,
    /// What was found, one sentence.
    pub sentence: String,
}

/// What would become of the first packet of a connection, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// Who would send it.
    pub client: SocketAddr,
    /// Where to.
    pub vip: SocketAddr,
    /// Its protocol.
    pub protocol: Transport,
    /// What would become of it.
    pub action: CounterAction,
    /// The reason of the datapath, in kebab case.
    pub reason: String,
    /// Who answers for the VIP and port; `None`: nobody.
    pub virtual_service: Option<String>,
    /// Who would get the packet; `None`: nobody.
    pub real_server: Option<String>,
    /// The address of that real server.
    pub real_server_address: Option<IpAddr>,
    /// Where the packet would leave.
    pub next_hop: Option<NextHop>,
    /// How it came to this, one after the other.
    pub steps: Vec<Step>,
}

#[cfg(test)]
mod tests;
