//! The sites that the labs rebuild: the addresses of the deployment guides, one host per machine.
//!
//! In: a lab. Out: hosts on their networks, real servers that hold the VIP and do not answer for it.
//! Absent: programs; a test starts those it needs.

pub mod routed;
mod services;
mod whole;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use crate::lab::{Host, Lab, Network};

pub use services::{NAMES, Services};
pub use whole::{DA_VIP, HL7_VIP, IIS_VIP, MANAGEMENT_VIP, dynamyx, harmonic_whole, insignia_whole};

/// DICOM of the Insignia deployment.
pub const DICOM_VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 26, 11, 70));
/// Traffic of the Harmonic VOS deployment.
pub const MEDIA_VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 94, 110));
/// The same over IPv6; the guide has none.
pub const MEDIA_VIP_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x94, 0, 0, 0, 0, 0, 0x110));
/// A VIP in another subnet than its real servers.
pub const TWO_ARM_VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 20, 90, 105));
/// All three services of the iCAS FS deployment.
pub const ICAS_VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 110, 65));
/// The port of the echo servers in these tests, one that Harmonic's traffic uses.
pub const ECHO_PORT: u16 = 50_002;

/// Client addresses on each site: last byte of the first, and how many.
const CLIENTS: std::ops::Range<u8> = 11..27;

/// A balancer, a client and real servers on one network.
#[derive(Debug)]
pub struct Site {
    /// Where they are; in a layout with two networks, the real servers' one.
    pub network: Network,
    /// The balancer; nothing runs on it yet.
    pub balancer: Host,
    /// A machine with many client addresses, on `eth0`.
    pub client: Host,
    /// The real servers, on `eth0`.
    pub servers: Vec<Host>,
}

impl Site {
    /// The client's IPv4 addresses; enough to see traffic spread.
    pub fn client_addresses(&self) -> Vec<IpAddr> {
        let IpAddr::V4(first) = self.client.v4() else { unreachable!("v4 gives an IPv4 address") };
        let [a, b, c, _] = first.octets();
        CLIENTS.map(|last| IpAddr::from([a, b, c, last])).collect()
    }

    /// The real server of that name.
    ///
    /// # Panics
    /// When there is none: a mistake in the test.
    pub fn server(&self, name: &str) -> &Host {
        let found = self.servers.iter().find(|server| server.name() == name);
        found.unwrap_or_else(|| panic!("the site has no real server {name}"))
    }
}

/// Insignia: 172.26.11.0/24, balancer .40, DS1 .100 and DS2 .103 behind [`DICOM_VIP`].
///
/// # Errors
/// When the lab cannot be laid out.
pub fn insignia(lab: &Lab) -> Result<Site> {
    let network = lab.network()?;
    let balancer = lab.host_on("lb1", &network, &["172.26.11.40/24"])?;
    site(lab, network, balancer, "172.26.11", None, &[("DS1", 100), ("DS2", 103)], &[DICOM_VIP])
}

/// Harmonic VOS: 192.168.94.0/24 and fd00:94::/64, balancer .40, HT1 .115 and HT2 .116 behind
/// [`MEDIA_VIP`] and [`MEDIA_VIP_V6`].
///
/// # Errors
/// When the lab cannot be laid out.
pub fn harmonic(lab: &Lab) -> Result<Site> {
    let network = lab.network()?;
    let balancer = lab.host_on("lb1", &network, &["192.168.94.40/24", "fd00:94::40/64"])?;
    let (servers, vips) = ([("HT1", 115), ("HT2", 116)], [MEDIA_VIP, MEDIA_VIP_V6]);
    site(lab, network, balancer, "192.168.94", Some("fd00:94::"), &servers, &vips)
}

/// iCAS FS: 192.168.110.0/24, balancer .40, iCAS-FS-1 .70 and iCAS-FS-2 .71 behind [`ICAS_VIP`], and a host .80 where
/// the nodes keep their objects.
///
/// # Errors
/// When the lab cannot be laid out.
pub fn icas(lab: &Lab) -> Result<(Site, Host)> {
    let network = lab.network()?;
    let balancer = lab.host_on("lb1", &network, &["192.168.110.40/24"])?;
    let storage = lab.host_on("storage", &network, &["192.168.110.80/24"])?;
    // A proxy's real servers need no VIP.
    let servers = [("iCAS-FS-1", 70), ("iCAS-FS-2", 71)];
    Ok((site(lab, network, balancer, "192.168.110", None, &servers, &[])?, storage))
}

/// Both on one balancer: Insignia at its `eth0`, Harmonic at its `eth1`. The hosts of the second
/// site have names of their own; its client is `viewer`.
#[derive(Debug)]
pub struct BothSites {
    /// The balancer, with an interface in each network.
    pub balancer: Host,
    /// Where DICOM studies come from.
    pub modality: Host,
    /// DS1 and DS2.
    pub stores: Vec<Host>,
    /// Where media are published and played.
    pub viewer: Host,
    /// HT1 and HT2.
    pub media: Vec<Host>,
}

/// Lays out [`BothSites`].
///
/// # Errors
/// When the lab cannot be laid out.
pub fn both(lab: &Lab) -> Result<BothSites> {
    let (hospital, studio) = (lab.network()?, lab.network()?);
    let mut balancer = lab.host_on("lb1", &hospital, &["172.26.11.40/24"])?;
    balancer.attach(&studio, "eth1", &["192.168.94.40/24"])?;
    let servers = |network, servers: &[(&str, &str)], vip| {
        servers.iter().map(|(name, address)| real_server(lab, network, name, &[address], &[vip])).collect()
    };
    let stores: Result<_> = servers(&hospital, &[("DS1", "172.26.11.100/24"), ("DS2", "172.26.11.103/24")], DICOM_VIP);
    let media: Result<_> = servers(&studio, &[("HT1", "192.168.94.115/24"), ("HT2", "192.168.94.116/24")], MEDIA_VIP);
    let clients = |prefix: &str| CLIENTS.map(|last| format!("{prefix}.{last}/24")).collect::<Vec<_>>();
    let (modality, viewer) = (clients("172.26.11"), clients("192.168.94"));
    Ok(BothSites {
        balancer,
        modality: lab.host_on("modality", &hospital, &modality.iter().map(String::as_str).collect::<Vec<_>>())?,
        stores: stores?,
        viewer: lab.host_on("viewer", &studio, &viewer.iter().map(String::as_str).collect::<Vec<_>>())?,
        media: media?,
    })
}

/// Clients and [`TWO_ARM_VIP`] on 10.20.90.0/24 at the balancer's `eth1`, real servers on
/// 192.168.94.0/24 at its `eth0`, and a router between the networks that carries the replies.
///
/// # Errors
/// When the lab cannot be laid out.
pub fn two_arm(lab: &Lab) -> Result<(Site, Host)> {
    let (front, back) = (lab.network()?, lab.network()?);
    let mut balancer = lab.host_on("lb1", &back, &["192.168.94.40/24"])?;
    balancer.attach(&front, "eth1", &["10.20.90.40/24"])?;
    let mut router = lab.host_on("router", &back, &["192.168.94.1/24"])?;
    router.attach(&front, "eth1", &["10.20.90.1/24"])?;
    router.set("ipv4/ip_forward", "1")?;
    let client = lab.host_on("client", &front, &["10.20.90.11/24"])?;
    let mut servers = Vec::new();
    for (name, address) in [("HT1", "192.168.94.115/24"), ("HT2", "192.168.94.116/24")] {
        let server = real_server(lab, &back, name, &[address], &[TWO_ARM_VIP])?;
        server.ip(&["route", "add", "default", "via", "192.168.94.1"])?;
        servers.push(server);
    }
    Ok((Site { network: back, balancer, client, servers }, router))
}

fn site(
    lab: &Lab,
    network: Network,
    balancer: Host,
    prefix: &str,
    prefix_v6: Option<&str>,
    servers: &[(&str, u8)],
    vips: &[IpAddr],
) -> Result<Site> {
    let addresses = |last: u8| {
        let v6 = prefix_v6.map(|prefix| format!("{prefix}{last}/64"));
        std::iter::once(format!("{prefix}.{last}/24")).chain(v6).collect::<Vec<_>>()
    };
    let client: Vec<String> = CLIENTS.flat_map(addresses).collect();
    let client = lab.host_on("client", &network, &client.iter().map(String::as_str).collect::<Vec<_>>())?;
    let mut hosts = Vec::new();
    for &(name, last) in servers {
        let own = addresses(last);
        hosts.push(real_server(lab, &network, name, &own.iter().map(String::as_str).collect::<Vec<_>>(), vips)?);
    }
    Ok(Site { network, balancer, client, servers: hosts })
}

/// A machine that holds these VIPs and does not answer for them.
///
/// # Errors
/// When the lab cannot be laid out.
pub fn real_server(lab: &Lab, network: &Network, name: &str, addresses: &[&str], vips: &[IpAddr]) -> Result<Host> {
    let server = lab.host_on(name, network, addresses)?;
    for vip in vips {
        server.hold_vip(*vip)?;
    }
    Ok(server)
}
