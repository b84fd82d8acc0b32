//! The next hop of every real server: device, MACs and VLAN tags, kept fresh.
//!
//! In: what the kernel says about links, routes and neighbours ([`Input`]), and `now`. Out: what to
//! ask the kernel, and each next hop or problem that changed ([`Action`]). Absent: netlink, sockets,
//! clocks; the shell in `lb-userspace` carries those.
//!
//! The kernel decides the route (RTM_GETROUTE, so policy routing and metrics hold) and does the ARP
//! and neighbour discovery; this machine asks, remembers and asks again. Traffic that XDP forwards
//! never passes the kernel's neighbour table, so nothing there would keep an entry alive: the
//! machine has each one probed every [`PROBE_INTERVAL`].
//!
//! Where a route has several paths, the one the kernel picks for the real server's address is
//! used. The priority bits of a VLAN device's egress map are not carried.

mod link;
mod machine;
mod target;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;

pub use link::{LINKS_LIMIT, Link, Vlan};
pub use machine::{Neighbours, ROUTE_REFRESH, ROUTES_SETTLE, Status};
pub use target::{BACKOFF_LIMIT, BACKOFF_START, PROBE_INTERVAL};

/// What the datapath writes into a frame, and where it sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Device XDP transmits on: the physical one (or bond) under a VLAN device.
    pub ifindex: u32,
    /// MAC of the device the route leaves by (a VLAN device may have its own).
    pub source_mac: [u8; 6],
    /// MAC of the real server, or of the gateway to it.
    pub destination_mac: [u8; 6],
    /// VLAN id of the outer tag, host order; 0: untagged.
    pub outer_vlan: u16,
    /// VLAN id of the inner tag, host order; 0: at most one tag.
    pub inner_vlan: u16,
    /// The router on the way; an IPv4 address may have an IPv6 gateway (RFC 5549).
    pub gateway: Option<IpAddr>,
    /// The real server is on a directly attached subnet, as `l4-dr` requires.
    pub on_link: bool,
    /// The address of this machine that the kernel prefers on this way.
    pub source: Option<IpAddr>,
}

/// Why a real server cannot be reached, as far as links, routes and neighbours tell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The kernel has no route, or one that refuses (unreachable, blackhole, prohibit).
    #[error(
        "no route leads to it: give an interface an address in its subnet, or add a route (`ip route add … via …`)"
    )]
    NoRoute,
    /// The device, or the one under it, is down or has no carrier.
    #[error("interface {device} is down: plug its cable in, or set it up (`ip link set {device} up`)")]
    LinkDown {
        /// The device that is down.
        device: String,
    },
    /// Nobody answered ARP or neighbour solicitation.
    #[error(
        "{address} does not answer {} on {device}: check that it runs and is in this network segment",
        if address.is_ipv4() { "ARP" } else { "neighbour discovery" }
    )]
    Unresolved {
        /// Where it was asked for.
        device: String,
        /// The real server, or the gateway to it.
        address: IpAddr,
    },
    /// The route leaves by a tunnel, a loopback, or another device without Ethernet addresses.
    #[error(
        "the route leaves by {device}, which has no MAC address (a tunnel or loopback): use a route over an Ethernet interface"
    )]
    NoMac {
        /// The device the route leaves by.
        device: String,
    },
    /// The address is this machine's own.
    #[error("the address is this machine's own: give the address of the real server")]
    Local,
    /// A broadcast, multicast or anycast address.
    #[error("the address is a broadcast, multicast or anycast address: give the real server's own")]
    NotUnicast,
    /// More VLAN tags than the datapath writes, or a parent in another network namespace.
    #[error(
        "{device} is a VLAN device that cannot be followed to a physical one: at most two VLAN levels are possible, all in this network namespace"
    )]
    Tags {
        /// The VLAN device at which it ended.
        device: String,
    },
    /// The tag types of the VLAN device are not those that the datapath writes.
    #[error(
        "{device} uses VLAN tags of another type than the datapath writes: a single tag has to be 802.1Q, of two the outer one 802.1ad and the inner one 802.1Q (`ip link add … type vlan proto 802.1ad`)"
    )]
    TagType {
        /// The device the route leaves by.
        device: String,
    },
    /// The route names a device the kernel has not described.
    #[error("the route leaves by interface number {ifindex}, which is not known: check `ip link`")]
    UnknownDevice {
        /// Kernel index of the device.
        ifindex: u32,
    },
    /// The kernel could not be asked.
    #[error("the kernel did not answer for its route ({reason}); it is asked again every second")]
    NotAsked {
        /// What the kernel or the socket said.
        reason: String,
    },
}

/// A unicast route, as RTM_GETROUTE answers for one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteAnswer {
    /// Device it leaves by; a VLAN device is named here, not what is under it.
    pub ifindex: u32,
    /// `None`: on link.
    pub gateway: Option<IpAddr>,
    /// The source address the kernel would use.
    pub source: Option<IpAddr>,
}

/// Why RTM_GETROUTE gave no unicast route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// No route, or one of the refusing kinds.
    NoRoute,
    /// One of this machine's addresses.
    Local,
    /// Broadcast, multicast or anycast.
    NotUnicast,
    /// Not answered; the reason as the kernel or the socket gave it.
    Failed(String),
}

impl From<RouteError> for Problem {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::NoRoute => Self::NoRoute,
            RouteError::Local => Self::Local,
            RouteError::NotUnicast => Self::NotUnicast,
            RouteError::Failed(reason) => Self::NotAsked { reason },
        }
    }
}

/// State of a kernel neighbour entry (NUD, `include/uapi/linux/neighbour.h`; RFC 4861 section 7.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourState {
    /// Being resolved for the first time.
    Incomplete,
    /// Confirmed lately.
    Reachable,
    /// Known, not confirmed lately.
    Stale,
    /// Known, about to be probed.
    Delay,
    /// Known, being probed.
    Probe,
    /// Did not answer.
    Failed,
    /// On a device that resolves nothing.
    NoArp,
    /// Written by the administrator.
    Permanent,
}

impl NeighbourState {
    /// A MAC that comes with this state may be used.
    #[must_use]
    pub fn is_usable(self) -> bool {
        !matches!(self, Self::Incomplete | Self::Failed)
    }

    /// The kernel never probes this entry, and must not be made to.
    #[must_use]
    pub fn is_fixed(self) -> bool {
        matches!(self, Self::NoArp | Self::Permanent)
    }
}

/// What the machine is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The addresses whose next hops are wanted; replaces the set before. Its size is the bound of
    /// everything the machine remembers, besides links.
    Watch(BTreeSet<IpAddr>),
    /// Netlink was opened, or it overran: these are all the links, and everything else is asked
    /// again. Nothing is asked before the first one.
    Resync(Vec<Link>),
    /// A link appeared or changed.
    Link(Link),
    /// A link disappeared.
    LinkGone {
        /// Kernel index of the device.
        ifindex: u32,
    },
    /// A neighbour entry appeared or changed.
    Neighbour {
        /// Kernel index of the device.
        ifindex: u32,
        /// The neighbour's address.
        address: IpAddr,
        /// `None` while it is not resolved.
        mac: Option<[u8; 6]>,
        /// State of the entry.
        state: NeighbourState,
    },
    /// There is no such neighbour entry, or no longer.
    NeighbourGone {
        /// Kernel index of the device.
        ifindex: u32,
        /// The neighbour's address.
        address: IpAddr,
    },
    /// Answer to [`Action::AskRoute`].
    Route {
        /// The address asked for.
        destination: IpAddr,
        /// The route to it.
        result: Result<RouteAnswer, RouteError>,
    },
    /// A route, rule or address of this machine changed: routes are asked again shortly.
    RoutesChanged,
}

/// What the machine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The next hop of a watched address, told first or changed. Until one is told there is none.
    Changed {
        /// The watched address.
        address: IpAddr,
        /// What to do from now on.
        next_hop: Result<NextHop, Problem>,
    },
    /// The neighbour stopped answering (`Some`) or answers again (`None`). The next hop told last
    /// stays in use: see [`Neighbours`].
    Doubted {
        /// The watched address.
        address: IpAddr,
        /// What is wrong.
        problem: Option<Problem>,
    },
    /// Ask the kernel for the route (RTM_GETROUTE); answer with [`Input::Route`].
    AskRoute(IpAddr),
    /// Ask the kernel for the neighbour entry (RTM_GETNEIGH); answer with [`Input::Neighbour`] or
    /// [`Input::NeighbourGone`].
    AskNeighbour {
        /// Kernel index of the device.
        ifindex: u32,
        /// The neighbour's address.
        address: IpAddr,
    },
    /// Make the kernel resolve or probe the neighbour.
    Solicit {
        /// Kernel index of the device.
        ifindex: u32,
        /// The neighbour's address.
        address: IpAddr,
    },
}
