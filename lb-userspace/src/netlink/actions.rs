//! Does what the machines want: routes and neighbours asked, neighbours probed, VIPs moved.
//!
//! In: actions. Out: the kernel's answers. Absent: retries; the machines ask again.

use std::io;
use std::net::IpAddr;

use lb_core::neighbour::{self, Input, NeighbourState, RouteAnswer, RouteError};
use lb_core::vip::{self, ADDRESS_PROTOCOL, Announcement};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol, AddressScope, CacheInfo,
};
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use tracing::debug;

use super::connection::Connection;
use super::message::{family, host_prefix};
use super::{Error, Netlink, announce, message};

/// Lifetime of an address that stays (RFC 4862, `INFINITY_LIFE_TIME` in the kernel).
const FOREVER: u32 = u32::MAX;

impl Netlink {
    /// Carries out an action of the neighbour machine, and returns the input that answers it.
    /// [`neighbour::Action::Changed`] and `Doubted` are for the tables and the log, not for here.
    pub async fn perform(&mut self, action: &neighbour::Action) -> Option<Input> {
        match *action {
            neighbour::Action::AskRoute(destination) => {
                let result = self.route(destination).await;
                Some(Input::Route { destination, result })
            }
            neighbour::Action::AskNeighbour { ifindex, address } => match self.neighbour(ifindex, address).await {
                Ok(input) => Some(input),
                // The machine goes on as if there were none: it solicits, and asks again.
                Err(error) => {
                    debug!(%error, "a neighbour could not be asked for");
                    None
                }
            },
            neighbour::Action::Solicit { ifindex, address } => {
                if let Err(error) = self.solicit(ifindex, address).await {
                    debug!(%error, "a neighbour could not be solicited");
                }
                None
            }
            neighbour::Action::Changed { .. } | neighbour::Action::Doubted { .. } => None,
        }
    }

    /// Adds or removes a VIP. An address that is there already, or gone already, is no error.
    /// [`vip::Action::Announce`] is for [`vip::Announcer`], not for here.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn perform_vip(&mut self, action: &vip::Action) -> Result<(), Error> {
        match *action {
            vip::Action::Add { ifindex, address, prefix } => self.add_address(ifindex, address, prefix).await,
            vip::Action::Remove { ifindex, address, prefix } => self.remove_address(ifindex, address, prefix).await,
            vip::Action::Announce { .. } => Ok(()),
        }
    }

    /// Asks for the route to an address, as a packet of this machine would take it: through policy
    /// rules, metrics and next hop groups.
    ///
    /// # Errors
    /// Those of the machine: no route, not a unicast one, or no answer.
    pub async fn route(&mut self, destination: IpAddr) -> Result<RouteAnswer, RouteError> {
        route(&mut self.connection, destination).await
    }

    /// Asks for a neighbour entry: [`Input::Neighbour`] or [`Input::NeighbourGone`].
    ///
    /// # Errors
    /// When the kernel refuses, for example because the device is gone.
    pub async fn neighbour(&mut self, ifindex: u32, address: IpAddr) -> Result<Input, Error> {
        let question = RouteNetlinkMessage::GetNeighbour(entry(ifindex, address));
        let answers = match self.connection.request(question, 0).await {
            Ok(answers) => answers,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Vec::new(),
            Err(error) => return Err(Error::new(format!("ask for neighbour {address}"), error)),
        };
        let answer = answers.iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewNeighbour(entry) => message::neighbour(entry, false),
            _ => None,
        });
        Ok(answer.unwrap_or(Input::NeighbourGone { ifindex, address }))
    }

    /// Makes the kernel resolve the neighbour, or probe it if it knows it and has not heard of it
    /// lately: NTF_USE does what a packet to it would do. An entry that is only stale is probed
    /// after `delay_first_probe_time` (5 s).
    ///
    /// # Errors
    /// When the kernel refuses, for example because the device is gone or down.
    pub async fn solicit(&mut self, ifindex: u32, address: IpAddr) -> Result<(), Error> {
        // NTF_USE would make a permanent entry a common one (__neigh_update in net/core/neighbour.c).
        let known = self.neighbour(ifindex, address).await?;
        if matches!(known, Input::Neighbour { state: NeighbourState::Permanent | NeighbourState::NoArp, .. }) {
            return Ok(());
        }
        let mut entry = entry(ifindex, address);
        entry.header.flags = NeighbourFlags::Use;
        let request = RouteNetlinkMessage::NewNeighbour(entry);
        self.connection
            .request(request, NLM_F_CREATE)
            .await
            .map_err(|error| Error::new(format!("solicit neighbour {address}"), error))?;
        Ok(())
    }

    /// Tells the network segment where a VIP is, once: gratuitous ARP or an unsolicited neighbour
    /// advertisement. On a device without MAC there is nobody to tell.
    ///
    /// # Errors
    /// When the device is gone or down, or its queue is full.
    pub async fn announce(&mut self, announcement: Announcement) -> Result<(), Error> {
        let Announcement { ifindex, address } = announcement;
        let context = |error| Error::new(format!("announce {address} on interface number {ifindex}"), error);
        let mut question = LinkMessage::default();
        question.header.index = ifindex;
        let answers = self.connection.request(RouteNetlinkMessage::GetLink(question), 0).await.map_err(context)?;
        let described = answers.iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(link) => Some((message::link(link)?, message::forwards_ipv6(link))),
            _ => None,
        });
        let (link, router) = described.ok_or_else(|| context(io::ErrorKind::NotFound.into()))?;
        let Some(mac) = link.mac else { return Ok(()) };
        match address {
            IpAddr::V4(address) => {
                for frame in announce::gratuitous_arp(mac, address) {
                    self.packets.send(ifindex, &frame).map_err(context)?;
                }
            }
            IpAddr::V6(address) => {
                let frame = announce::unsolicited_advertisement(mac, address, router);
                self.packets.send(ifindex, &frame).map_err(context)?;
            }
        }
        Ok(())
    }

    async fn add_address(&mut self, ifindex: u32, address: IpAddr, prefix: u8) -> Result<(), Error> {
        let mut message = address_message(ifindex, address, prefix);
        message.attributes.push(AddressAttribute::Protocol(AddressProtocol::from(ADDRESS_PROTOCOL)));
        if address.is_ipv6() {
            message.header.flags = AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            // Deprecated (RFC 4862 section 5.5.4): serves whoever calls it, but is not chosen as
            // source of the machine's own connections, which a failover would cut.
            let mut lifetimes = CacheInfo::default();
            lifetimes.ifa_valid = FOREVER;
            message.attributes.push(AddressAttribute::CacheInfo(lifetimes));
        }
        let request = RouteNetlinkMessage::NewAddress(message);
        match self.connection.request(request, NLM_F_CREATE | NLM_F_EXCL).await {
            Err(error) if error.raw_os_error() != Some(libc::EEXIST) => {
                Err(Error::new(format!("add {address} to interface number {ifindex}"), error))
            }
            _ => Ok(()),
        }
    }

    async fn remove_address(&mut self, ifindex: u32, address: IpAddr, prefix: u8) -> Result<(), Error> {
        let request = RouteNetlinkMessage::DelAddress(address_message(ifindex, address, prefix));
        match self.connection.request(request, 0).await {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => {
                Err(Error::new(format!("remove {address} from interface number {ifindex}"), error))
            }
            _ => Ok(()),
        }
    }
}

pub(super) async fn route(connection: &mut Connection, destination: IpAddr) -> Result<RouteAnswer, RouteError> {
    let mut question = RouteMessage::default();
    question.header.address_family = family(destination);
    question.header.destination_prefix_length = host_prefix(destination);
    let address = match destination {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    };
    question.attributes.push(RouteAttribute::Destination(address));
    let answers = match connection.request(RouteNetlinkMessage::GetRoute(question), 0).await {
        Ok(answers) => answers,
        Err(error) => return Err(refusal(&error)),
    };
    let answer = answers.iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewRoute(route) => Some(message::route(route)),
        _ => None,
    });
    answer.unwrap_or_else(|| Err(RouteError::Failed("an empty answer".into())))
}

/// A refused route question. The errors are those of the refusing route kinds (ip-route(8):
/// unreachable, prohibit, blackhole) and of no route at all.
fn refusal(error: &io::Error) -> RouteError {
    match error.raw_os_error() {
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL | libc::ENOENT) => {
            RouteError::NoRoute
        }
        _ => RouteError::Failed(error.to_string()),
    }
}

fn entry(ifindex: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = ifindex;
    message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::from(address)));
    message
}

fn address_message(ifindex: u32, address: IpAddr, prefix: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.index = ifindex;
    message.header.prefix_len = prefix;
    message.header.scope = AddressScope::Universe;
    message.attributes.push(AddressAttribute::Local(address));
    message.attributes.push(AddressAttribute::Address(address));
    message
}
