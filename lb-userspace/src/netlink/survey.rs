//! What an examination asks the kernel about this machine: devices with MTU and XDP, addresses, routes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_core::doctor::Attachment;
use lb_core::neighbour::{Link, RouteAnswer};
use lb_core::vip::Present;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached};

use super::connection::Connection;
use super::{Error, actions, host, message};

/// This machine, read at one time.
#[derive(Clone, Debug, Default)]
pub struct Surveyed {
    /// All devices, with MTU and XDP.
    pub devices: Vec<(Link, u32, Attachment)>,
    /// All addresses.
    pub addresses: Vec<Present>,
    /// The routes to the destinations that have one.
    pub routes: BTreeMap<IpAddr, RouteAnswer>,
}

/// Reads them over a socket of its own, in the network namespace of the calling thread.
///
/// # Errors
/// When the kernel refuses, or what it says does not stop changing.
pub async fn survey(destinations: impl IntoIterator<Item = IpAddr>) -> Result<Surveyed, Error> {
    let mut connection = Connection::open(&[]).map_err(|error| Error::new("open a netlink socket", error))?;
    let answers = connection.dump(RouteNetlinkMessage::GetLink(LinkMessage::default())).await;
    let answers = answers.map_err(|error| Error::new("read the network interfaces", error))?;
    let devices = answers.iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewLink(link) => Some((message::link(link)?, mtu(link), attachment(link))),
        _ => None,
    });
    let devices = devices.collect();
    let addresses = host::host(&mut connection).await?.addresses;
    let mut routes = BTreeMap::new();
    for destination in destinations {
        // That there is none is told by the next hop.
        if let Ok(route) = actions::route(&mut connection, destination).await {
            routes.insert(destination, route);
        }
    }
    Ok(Surveyed { devices, addresses, routes })
}

fn mtu(message: &LinkMessage) -> u32 {
    let mtu = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    });
    mtu.unwrap_or_default()
}

fn attachment(message: &LinkMessage) -> Attachment {
    let xdp = message.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::Xdp(xdp) => Some(xdp),
        _ => None,
    });
    let attached = xdp.flatten().find_map(|xdp| match xdp {
        LinkXdp::Attached(attached) => Some(attached),
        _ => None,
    });
    match attached {
        None | Some(XdpAttached::None) => Attachment::None,
        Some(XdpAttached::SocketBuffer) => Attachment::Generic,
        // In several places at once: the one in the driver sees packets first.
        Some(_) => Attachment::Native,
    }
}
