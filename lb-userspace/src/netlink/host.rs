//! What the machine has: its links and addresses, read once.

use std::collections::BTreeMap;
use std::io;

use lb_core::config::HostAddress;
use lb_core::neighbour::Link;
use lb_core::vip::Present;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;

use super::connection::Connection;
use super::{Error, Netlink, message};

/// The links and addresses of this network namespace, as [`lb_core::vip::plan`] takes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// All links, also those that are down.
    pub links: Vec<Link>,
    /// All addresses.
    pub addresses: Vec<Present>,
}

impl Host {
    /// Reads them over a socket of its own, in the network namespace of the calling thread; for
    /// commands that only check. Needs no privilege.
    ///
    /// # Errors
    /// When the kernel refuses, or the addresses do not stop changing.
    pub async fn read() -> Result<Self, Error> {
        let mut connection = Connection::open(&[]).map_err(|error| Error::new("open a netlink socket", error))?;
        host(&mut connection).await
    }

    /// The addresses by device name, without those that this program added: what configuration
    /// checks compare with.
    #[must_use]
    pub fn own_addresses(&self) -> Vec<HostAddress> {
        let names: BTreeMap<u32, &str> = self.links.iter().map(|link| (link.ifindex, link.device.as_str())).collect();
        let named = |entry: &Present| {
            let device = (*names.get(&entry.ifindex)?).to_owned();
            Some(HostAddress { device, address: entry.address, prefix: entry.prefix })
        };
        self.addresses.iter().filter(|entry| !entry.ours).filter_map(named).collect()
    }
}

impl Netlink {
    /// Reads the links and addresses as they are now.
    ///
    /// # Errors
    /// When the kernel refuses, or the addresses do not stop changing.
    pub async fn host(&mut self) -> Result<Host, Error> {
        host(&mut self.connection).await
    }
}

pub(super) async fn host(connection: &mut Connection) -> Result<Host, Error> {
    let links = links(connection).await.map_err(|error| Error::new("read the network interfaces", error))?;
    let addresses = addresses(connection).await.map_err(|error| Error::new("read the IP addresses", error))?;
    Ok(Host { links, addresses })
}

pub(super) async fn links(connection: &mut Connection) -> io::Result<Vec<Link>> {
    let answers = connection.dump(RouteNetlinkMessage::GetLink(LinkMessage::default())).await?;
    let links = answers.iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewLink(link) => message::link(link),
        _ => None,
    });
    Ok(links.collect())
}

async fn addresses(connection: &mut Connection) -> io::Result<Vec<Present>> {
    let answers = connection.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default())).await?;
    let addresses = answers.iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewAddress(address) => message::address(address),
        _ => None,
    });
    Ok(addresses.collect())
}
