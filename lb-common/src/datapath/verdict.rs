//! What becomes of a frame, and why. Each reason is a counter.

use crate::abi::MAX_REASONS;

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The kernel's network stack gets it, unchanged.
    Pass,
    /// It ends here.
    Drop,
    /// It leaves by the interface that received it.
    Transmit,
    /// It leaves by another interface, of this number.
    Redirect(u32),
}

/// What becomes of a frame, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What becomes of it.
    pub action: Action,
    /// Why.
    pub reason: Reason,
}

/// The three families of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Given to the kernel's stack.
    Pass,
    /// Sent to a real server.
    Forward,
    /// Dropped.
    Drop,
}

macro_rules! reasons {
    ($($(#[doc = $help:literal])+ $name:ident = $number:literal, $kind:ident, $text:literal;)+) => {
        /// Why a frame met its end. The number is its index in `verdicts`; numbers are never given
        /// to another reason.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[doc = $help])+ $name = $number,)+ }

        impl Reason {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The reason of a number; one that is not known is no more than a frame that cannot be read.
            #[inline(always)]
            #[must_use]
            pub fn from_number(number: u32) -> Self {
                BY_NUMBER[(number % MAX_REASONS) as usize]
            }

            /// Its family.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind),+ }
            }

            /// Its name in counters, metrics and listings.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// What it means, in a sentence.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => concat!($($help),+).trim_ascii()),+ }
            }
        }
    };
}

reasons! {
    /// Not IPv4 or IPv6: ARP, LLDP and the like.
    NotIp = 0, Pass, "not-ip";
    /// The frame ends inside a header before its destination is known.
    Truncated = 1, Pass, "truncated";
    /// The destination is not a VIP.
    NotVip = 2, Pass, "not-vip";
    /// The destination may be a VIP, but no virtual service has this port and protocol.
    NoService = 3, Pass, "no-service";
    /// ICMP to a VIP, answered by the balancer itself: ping, neighbour discovery.
    Icmp = 4, Pass, "icmp";
    /// Neither TCP nor UDP nor ICMP.
    OtherProtocol = 5, Pass, "other-protocol";
    /// A later fragment of a datagram whose first fragment was not seen before it.
    FragmentUnknown = 6, Pass, "fragment-unknown";
    /// An ICMP error about a packet that no virtual service sent.
    IcmpErrorUnknown = 7, Pass, "icmp-error-unknown";
    /// A packet of a real server of l4-nat or l4-snat that answers no flow: its other traffic.
    ReplyUnknown = 8, Pass, "reply-unknown";

    /// A packet of an established flow.
    Established = 16, Forward, "established";
    /// A packet of a flow whose client has not answered yet, or answers now.
    Pending = 17, Forward, "pending";
    /// A new flow, placed by the scheduler.
    Scheduled = 18, Forward, "scheduled";
    /// A new flow of a client with a persistence record.
    Persistent = 19, Forward, "persistent";
    /// A TCP packet of a flow that is not remembered, placed by the ring.
    Resumed = 20, Forward, "resumed";
    /// A new flow forwarded without a record, because more arrive than one CPU records per second.
    Untracked = 21, Forward, "untracked";
    /// A packet of an answered flow that found no room in the flow table.
    FlowTableFull = 22, Forward, "flow-table-full";
    /// A later fragment, sent where the first one went.
    Fragment = 23, Forward, "fragment";
    /// An ICMP error, sent to the real server whose packet it is about.
    IcmpError = 24, Forward, "icmp-error";
    /// A packet of a real server of l4-nat or l4-snat, sent back to the client.
    Reply = 25, Forward, "reply";
    /// An ICMP error about a packet to a real server, sent back to the client.
    ReplyError = 26, Forward, "reply-error";

    /// A header length or total length that contradicts the frame.
    BadLength = 40, Drop, "bad-length";
    /// Source or destination port 0.
    PortZero = 41, Drop, "port-zero";
    /// A first fragment without a whole transport header (RFC 1858 §3).
    FragmentTooSmall = 42, Drop, "fragment-too-small";
    /// A TCP fragment that would overwrite the transport header (RFC 1858 §4).
    FragmentOverlap = 43, Drop, "fragment-overlap";
    /// More IPv6 extension headers than are followed.
    TooManyExtensions = 44, Drop, "too-many-extensions";
    /// The source address is the VIP itself.
    Spoofed = 45, Drop, "spoofed";
    /// No real server of the service can take a flow.
    NoServer = 46, Drop, "no-server";
    /// Every real server that was tried is at its maximum of connections.
    ServersFull = 47, Drop, "servers-full";
    /// The MAC address of the next hop towards the real server is not known.
    NextHopUnknown = 48, Drop, "next-hop-unknown";
    /// No room in front of the frame for the VLAN tags of the next hop.
    NoHeadroom = 49, Drop, "no-headroom";
    /// A new flow of l4-snat, and every source port towards the real server that was tried is in use.
    SourcePortsExhausted = 50, Drop, "source-ports-exhausted";
    /// A new flow of l4-snat, and it is not known by which address the balancer reaches the real server.
    NoSourceAddress = 51, Drop, "no-source-address";
    /// A new flow of l4-nat or l4-snat that found no room in the tables of flows.
    TranslationTableFull = 52, Drop, "translation-table-full";
    /// A new flow of l4-nat of a client that uses this port with the same real server by another VIP, or whose first packets are being placed by two CPUs.
    NatConflict = 53, Drop, "nat-conflict";
    /// A new flow of l4-nat or l4-snat, and more arrive than one CPU records per second.
    NewFlowLimit = 54, Drop, "new-flow-limit";
    /// A packet that ends a flow of l4-nat or l4-snat that nobody remembers.
    NoFlow = 55, Drop, "no-flow";
    /// A packet whose hop limit ends at the balancer, which routes it in l4-nat and l4-snat.
    HopLimit = 56, Drop, "hop-limit";
    /// A first packet of l4-nat or l4-snat that was sent to a group MAC address.
    NotUnicast = 57, Drop, "not-unicast";
}

/// The reasons at their numbers. The kernel program looks them up: a `match` becomes a search there, on the
/// way of every packet.
static BY_NUMBER: [Reason; MAX_REASONS as usize] = {
    let mut reasons = [Reason::BadLength; MAX_REASONS as usize];
    let mut i = 0;
    while i < Reason::ALL.len() {
        reasons[Reason::ALL[i] as usize] = Reason::ALL[i];
        i += 1;
    }
    reasons
};

impl Verdict {
    /// The kernel gets it.
    #[inline(always)]
    #[must_use]
    pub const fn pass(reason: Reason) -> Self {
        Self { action: Action::Pass, reason }
    }

    /// It ends here.
    #[inline(always)]
    #[must_use]
    pub const fn drop(reason: Reason) -> Self {
        Self { action: Action::Drop, reason }
    }
}
