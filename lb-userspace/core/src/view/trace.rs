//! A trace: what is asked for, and the lines that are answered while it runs.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::network::Network;
use super::words::{CounterAction, words};

/// The longest trace: whoever forgets one does not leave it behind.
pub const MAX_TRACE_SECONDS: u32 = 3600;

/// How long a trace goes on unless told otherwise.
pub const DEFAULT_TRACE_SECONDS: u32 = 60;

/// The body of `POST /v1/trace`: `{"client": "192.0.2.7", "seconds": 30}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceRequest {
    /// Whose frames.
    pub client: Network,
    /// The trace ends after so long.
    #[serde(default = "default_seconds")]
    pub seconds: u32,
    /// And after so many frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Who asks, for the record: a login name. Absent: the user at the other end of the socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

fn default_seconds() -> u32 {
    DEFAULT_TRACE_SECONDS
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "kebab-case")]
pub enum TraceLine {
    /// The first: from now on nothing of the client goes unseen.
    Begin {
        /// Whose frames.
        client: Network,
        /// Where they are seen.
        interfaces: Vec<String>,
        /// It ends after so long.
        seconds: u32,
    },
    /// A frame.
    Frame(Box<TracedFrame>),
    /// Frames that could not be shown: too many came, or they were not read in time.
    NotShown {
        /// How many, since the last such line.
        frames: u64,
    },
    /// The last.
    End {
        /// Why.
        why: TraceEnd,
        /// Frames shown.
        frames: u64,
        /// Frames that were not.
        not_shown: u64,
    },
}

words! {
    /// Why a trace ended.
    TraceEnd {
        /// The time is over.
        Time = "time",
        /// As many frames as were asked for are shown.
        Count = "count",
        /// Whoever asked has gone.
        Reader = "reader",
        /// lbd stops.
        Stopping = "stopping",
        /// It could not go on; the log says why.
        Failed = "failed",
    }
}

/// A frame and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedFrame {
    /// When it came: milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// The interface that received it.
    pub interface: String,
    /// As it came.
    pub frame: Frame,
    /// What became of it.
    pub verdict: CounterAction,
    /// Why: one of the counters' reasons.
    pub reason: String,
    /// The virtual service, if it was for one or came from one.
    pub service: Option<String>,
    /// The real server, likewise.
    pub server: Option<String>,
    /// How it left, if it did.
    pub leaves: Option<Leaving>,
}

/// How a frame left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// By this interface.
    pub interface: String,
    /// Like this.
    pub frame: Frame,
}

/// What a frame says of itself. Where something is missing, the frame does not have it, or ends before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Bytes, from the destination MAC address on.
    pub length: u32,
    /// MAC address of the sender.
    pub source_mac: Option<String>,
    /// MAC address that it is for.
    pub destination_mac: Option<String>,
    /// VLAN tags, the outer one first.
    pub vlans: Vec<u16>,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `arp`, `ip protocol 47`, `ethertype 0x88cc`.
    pub protocol: String,
    /// Source address; of ARP the sender's.
    pub source: Option<IpAddr>,
    /// Destination address; of ARP the one that is asked for or told.
    pub destination: Option<IpAddr>,
    /// Source port.
    pub source_port: Option<u16>,
    /// Destination port.
    pub destination_port: Option<u16>,
    /// Flags of TCP that are set.
    pub tcp_flags: Vec<TcpFlag>,
    /// If it is a part of a datagram.
    pub fragment: Option<Fragment>,
    /// What ICMP or ARP says, in words.
    pub message: Option<String>,
    /// The packet that an ICMP error is about.
    pub about: Option<Box<Self>>,
    /// It ends before its headers do.
    pub cut_short: bool,
}

/// Which part of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fragment {
    /// The same in all its parts.
    pub identification: u32,
    /// Bytes of the datagram before this part.
    pub offset: u32,
    /// Whether others follow.
    pub more: bool,
}

words! {
    /// Flags of TCP, in the order of their bits.
    TcpFlag {
        /// No more data from the sender.
        Fin = "FIN",
        /// Opens a connection.
        Syn = "SYN",
        /// The connection is void.
        Rst = "RST",
        /// To be delivered at once.
        Psh = "PSH",
        /// Acknowledges.
        Ack = "ACK",
        /// Urgent data.
        Urg = "URG",
        /// Congestion was experienced.
        Ece = "ECE",
        /// The sender slowed down.
        Cwr = "CWR",
    }
}
