//! An examination of the live network, for `lbctl doctor`: how far it is, and what it found.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::query::{self, QueryError};
use super::words::words;

words! {
    /// How much a finding matters.
    FindingSeverity {
        /// Clients are not served, or not all of them.
        Problem = "problem",
        /// It hurts later, or under load, or only some traffic.
        Warning = "warning",
    }
}

macro_rules! codes {
    ($( $variant:ident = $word:literal $severity:ident : $meaning:literal : $means:literal; )*) => {
        words! {
            /// What kind of thing was found. A word never changes its meaning.
            FindingCode { $( #[doc = $meaning] $variant = $word, )* }
        }

        impl FindingCode {
            /// How much findings of this kind matter.
            #[must_use]
            pub const fn severity(self) -> FindingSeverity {
                match self { $( Self::$variant => FindingSeverity::$severity, )* }
            }

            /// What it means, one sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $( Self::$variant => $meaning, )* }
            }

            /// How it is found.
            #[must_use]
            pub const fn means(self) -> &'static str {
                match self { $( Self::$variant => $means, )* }
            }
        }
    };
}

codes! {
    VipAnswered = "vip-answered" Problem:
        "A real server answers ARP or neighbour discovery for a VIP.":
        "The VIP is asked for on its interface, and on those of the real servers that are in its subnet; the MAC that answers is a real server's.";
    VipDuplicate = "vip-duplicate" Problem:
        "Another machine has the address of a VIP.":
        "As above; the MAC that answers is not this machine's, nor a real server's.";
    VipMissing = "vip-missing" Problem:
        "A VIP is on no interface of this machine, so nobody finds it.":
        "The addresses of this machine.";
    VipNotAccepted = "vip-not-accepted" Problem:
        "A real server of an `l4-dr` service does not take packets for the VIP.":
        "A packet for the VIP is sent to its MAC and stays unanswered, while the same packet for its own address is answered.";
    VipRefused = "vip-refused" Problem:
        "The application of a real server of an `l4-dr` service answers on the server's own address and not on the VIP.":
        "A TCP connection to the VIP is refused by the real server, one to its own address and the same port is accepted.";
    NatGateway = "nat-gateway" Problem:
        "The answers of a real server of an `l4-nat` service do not come back through the balancer.":
        "A packet from an address far away stays unanswered here, while one from the balancer's own address is answered.";
    NoRoute = "no-route" Problem:
        "The kernel has no route to a real server.":
        "The next hop as `lbd` follows it.";
    NeighbourUnresolved = "neighbour-unresolved" Problem:
        "A real server, or the gateway to it, does not answer ARP or neighbour discovery.":
        "The next hop as `lbd` follows it.";
    NotOnLink = "not-on-link" Problem:
        "A real server of an `l4-dr` service is behind a router.":
        "The next hop as `lbd` follows it.";
    NextHopUnusable = "next-hop-unusable" Problem:
        "The way to a real server is one that the datapath cannot send on.":
        "The next hop as `lbd` follows it.";
    LinkDown = "link-down" Problem:
        "An interface that carries virtual services or real servers has no link.":
        "The interfaces of this machine, and the next hop as `lbd` follows it.";
    XdpNotAttached = "xdp-not-attached" Problem:
        "There is no XDP program on an interface of the configuration: nothing that arrives there is balanced.":
        "What the kernel says of the interface.";
    XdpGeneric = "xdp-generic" Warning:
        "XDP runs in the network stack and not in the driver, which costs most of its speed.":
        "What the kernel says of the interface, where the configuration does not ask for `xdp: generic`.";
    XdpMtu = "xdp-mtu" Warning:
        "The MTU of an interface is too large for XDP in the driver.":
        "The MTU of an interface on which XDP runs in the network stack although the configuration does not ask for it.";
    Offload = "offload" Warning:
        "The network card joins the packets it receives before XDP sees them.":
        "The features of the interface (`rx-lro`, `rx-gro-hw`).";
    RpFilter = "rp-filter" Warning:
        "The kernel drops packets to this machine because their source is routed by another interface.":
        "The kernel's counter of such packets moves during the examination, and an interface of the configuration is strict.";
    IpForward = "ip-forward" Warning:
        "Real servers of `l4-nat` services have this machine as their gateway, and it does not forward.":
        "The kernel's setting, where an `l4-nat` service exists.";
    IcmpRedirects = "icmp-redirects" Warning:
        "The kernel sends real servers of an `l4-nat` service ICMP redirects, which lead their answers around the balancer.":
        "The kernel's settings, where clients and real servers are at the same interface.";
    NeighbourTable = "neighbour-table" Problem:
        "The kernel's neighbour table has no room for all real servers.":
        "The kernel's limit and the number of real servers on attached subnets.";
    SourcePortsOverlap = "source-ports-overlap" Warning:
        "The kernel gives its own connections ports that `l4-snat` services use.":
        "The kernel's range of ports and `node.source_ports`.";
    MtuMismatch = "mtu-mismatch" Warning:
        "The interface towards a real server has a smaller MTU than the one of the clients.":
        "The MTU of both, for `l4-nat` and `l4-snat` services.";
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What kind of thing.
    pub code: FindingCode,
    /// How much it matters.
    pub severity: FindingSeverity,
    /// What was found, one sentence.
    pub what: String,
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// What comes of it, one or two sentences.
    pub why: String,
    /// What to do about it, the best first.
    pub fix: Vec<Remedy>,
}

/// Where something was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The virtual services it concerns.
    pub services: Vec<String>,
    /// The real server.
    pub server: Option<String>,
    /// The interface of this machine.
    pub interface: Option<String>,
}

/// What to type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedy {
    /// Where, and what for: `on HT1 (Linux)`.
    pub at: String,
    /// Lines to type, in this order.
    pub commands: Vec<String>,
}

/// What an examination came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examination {
    /// Problems first, then warnings.
    pub findings: Vec<Finding>,
    /// What could not be told, and why, one sentence each.
    pub untold: Vec<String>,
    /// Questions that were asked of the network.
    pub asked: u64,
}

/// How far an examination is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Questions that are answered.
    pub done: u64,
    /// Questions there are.
    pub total: u64,
    /// The one that was answered last: `192.168.94.110 to HT1`.
    pub what: String,
}

/// Which part of the configuration is examined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DoctorQuery {
    /// Only this virtual service, and this machine itself.
    pub service: Option<String>,
}

impl DoctorQuery {
    /// The query of `GET /v1/doctor`.
    ///
    /// # Errors
    /// A parameter that it does not have, or one given twice.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let mut parsed = Self::default();
        for (name, value) in query::pairs(text)? {
            match name.as_str() {
                "service" => parsed.service = Some(value),
                _ => return Err(QueryError::Unknown { name, known: "service" }),
            }
        }
        Ok(parsed)
    }

    /// As it is asked for.
    #[must_use]
    pub fn encode(&self) -> String {
        query::encode(&[("service", self.service.clone())])
    }
}

/// A line of the answer to `GET /v1/doctor`; the last one is the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DoctorLine {
    /// It goes on.
    Progress(Progress),
    /// It has ended.
    Result(Examination),
}

const HEAD: &str = "\
# Findings of `lbctl doctor`

One kind of finding per row. How an examination goes, and what it does not see, is in
[doctor.md](../lifecycle/doctor.md).

| Code | Severity | Meaning | How it is found |
|---|---|---|---|
";

impl FindingCode {
    /// Every code, as Markdown.
    #[must_use]
    pub fn reference() -> String {
        let mut text = HEAD.to_owned();
        for code in Self::ALL {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "| `{code}` | {} | {} | {} |", code.severity(), code.meaning(), code.means());
        }
        text
    }
}
