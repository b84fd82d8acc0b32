//! Sites for the modes that rewrite addresses: real servers and clients behind routers.
//!
//! In: a lab. Out: hosts whose routes lead to each other without a balancer's help, apart from the real
//! servers of [`Kind::Nat`], whose gateway is the balancer. Addresses of the RAS guide; the guide has
//! no IPv6, so that uses the prefix for documentation (RFC 3849). Absent: VIPs on real servers: none
//! holds one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};

use crate::lab::{Host, Lab, Network, in_lab};

/// The RAS deployment's VIP.
pub const RAS_VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 20, 90, 105));
/// The same over IPv6.
pub const RAS_VIP_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x90, 0, 0, 0, 0, 0x105));
/// Both.
pub const RAS_VIPS: [IpAddr; 2] = [RAS_VIP, RAS_VIP_V6];
/// The MTU of a narrow link: the smallest that IPv6 allows (RFC 8200 §5).
pub const NARROW_MTU: u16 = 1280;

/// The real servers, and the last parts of their addresses.
pub(super) const SERVERS: [(&str, u8); 2] = [("RAS1", 106), ("RAS2", 107)];
/// The clients' addresses: last part of the first, and how many.
const CLIENTS: std::ops::Range<u8> = 11..27;
/// Interfaces with a default route through them: `eth0` of hosts.
const HOST: &str = "eth0";

/// A network of both families: `10.20.90.` and `2001:db8:90::`.
struct Subnet(&'static str, &'static str);

/// The VIP, the balancer, and clients that are directly attached.
const FRONT: Subnet = Subnet("10.20.90.", "2001:db8:90::");
/// Clients behind a router.
const CLIENTS_NET: Subnet = Subnet("172.16.5.", "2001:db8:5::");
/// The real servers.
const BACK: Subnet = Subnet("10.11.20.", "2001:db8:20::");
/// Between a balancer of two arms and the router of its real servers.
const INNER: Subnet = Subnet("10.11.10.", "2001:db8:10::");
/// Between two routers.
const LINK: Subnet = Subnet("10.99.0.", "2001:db8:99::");

impl Subnet {
    fn host(&self, last: u8) -> [String; 2] {
        [format!("{}{last}/24", self.0), format!("{}{last}/64", self.1)]
    }

    fn address(&self, last: u8) -> [String; 2] {
        [format!("{}{last}", self.0), format!("{}{last}", self.1)]
    }

    fn number(&self, last: u8, like: IpAddr) -> IpAddr {
        let [v4, v6] = self.address(last).map(|text| text.parse().expect("an address is written above"));
        if like.is_ipv4() { v4 } else { v6 }
    }

    fn prefix(&self) -> [String; 2] {
        [format!("{}0/24", self.0), format!("{}/64", self.1)]
    }
}

/// How the balancer is placed, and the mode that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `l4-snat` with one interface.
    SnatOneArm,
    /// `l4-snat`, clients at `eth1`, real servers behind a router at `eth0`.
    SnatTwoArm,
    /// `l4-nat`, clients at `eth1`, real servers at `eth0` with the balancer as gateway.
    Nat,
}

/// Where a link is that takes no more than [`NARROW_MTU`], between two routers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Narrow {
    /// None is.
    Nowhere,
    /// Between the balancer and the clients that are behind a router.
    Clients,
    /// Between the balancer and the real servers.
    Servers,
}

impl Kind {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::SnatOneArm, Self::SnatTwoArm, Self::Nat];

    /// The mode, as a configuration writes it.
    pub fn mode(self) -> &'static str {
        if self == Self::Nat { "l4-nat" } else { "l4-snat" }
    }

    /// The balancer's interfaces.
    pub fn devices(self) -> &'static [&'static str] {
        if self == Self::SnatOneArm { &["eth0"] } else { &["eth0", "eth1"] }
    }

    /// The balancer's interface towards the clients.
    pub fn front(self) -> &'static str {
        if self == Self::SnatOneArm { "eth0" } else { "eth1" }
    }

    /// A short name, for a lab.
    pub fn name(self) -> &'static str {
        match self {
            Self::SnatOneArm => "one",
            Self::SnatTwoArm => "two",
            Self::Nat => "nat",
        }
    }
}

/// A balancer, clients near and far, and real servers.
#[derive(Debug)]
pub struct Routed {
    /// How it is laid out.
    pub kind: Kind,
    /// The balancer; nothing runs on it yet.
    pub balancer: Host,
    /// Clients behind a router, with many addresses on `eth0`.
    pub client: Host,
    /// A client in the VIP's own network, on `eth0`.
    pub near: Host,
    /// RAS1 and RAS2, on `eth0`.
    pub servers: Vec<Host>,
    /// The network of the real servers.
    pub back: Network,
    /// Between the balancer and everybody else, in the order of their making.
    pub routers: Vec<Host>,
}

impl Routed {
    /// Lays one out.
    ///
    /// # Errors
    /// When the lab cannot be laid out.
    pub fn new(lab: &Lab, kind: Kind, narrow: Narrow) -> Result<Self> {
        let (front, clients, back) = (lab.network()?, lab.network()?, lab.network()?);
        let one_arm = kind == Kind::SnatOneArm;
        let mut balancer = lab.host("balancer")?;
        let mut router = router(lab, "router", &front, FRONT.host(1))?;
        let mut routers = Vec::new();

        // Towards the servers: the router of the clients, one of their own, or the balancer itself.
        let far_servers = if one_arm {
            attach(&mut balancer, &front, "eth0", FRONT.host(40))?;
            extend(lab, &mut router, "eth1", &back, &BACK, narrow == Narrow::Servers)?
        } else if kind == Kind::Nat && narrow != Narrow::Servers {
            attach(&mut balancer, &back, "eth0", BACK.host(1))?;
            None
        } else {
            let inner = lab.network()?;
            attach(&mut balancer, &inner, "eth0", INNER.host(40))?;
            let mut gateway = self::router(lab, "gateway", &inner, INNER.host(1))?;
            let far = extend(lab, &mut gateway, "eth1", &back, &BACK, narrow == Narrow::Servers)?;
            default_route(&gateway, &INNER.address(40))?;
            add_route(&balancer, &BACK, &INNER.address(1))?;
            routers.push(gateway);
            far
        };
        if !one_arm {
            attach(&mut balancer, &front, "eth1", FRONT.host(40))?;
            add_route(&router, &BACK, &FRONT.address(40))?;
            add_route(&router, &INNER, &FRONT.address(40))?;
        }
        default_route(&balancer, &FRONT.address(1))?;
        let far_clients = extend(lab, &mut router, "eth2", &clients, &CLIENTS_NET, narrow == Narrow::Clients)?;
        routers.push(router);
        routers.extend(far_servers.into_iter().chain(far_clients));

        let near = host(lab, "near", &front, FRONT.host(11), &FRONT.address(1))?;
        if !one_arm {
            add_route(&near, &BACK, &FRONT.address(40))?;
        }
        let mut client = lab.host("client")?;
        let addresses: Vec<String> = CLIENTS.flat_map(|last| CLIENTS_NET.host(last)).collect();
        client.attach(&clients, HOST, &addresses.iter().map(String::as_str).collect::<Vec<_>>())?;
        for (gateway, source) in CLIENTS_NET.address(1).iter().zip(CLIENTS_NET.address(CLIENTS.start)) {
            let family = if gateway.contains(':') { "-6" } else { "-4" };
            client.ip(&[family, "route", "add", "default", "via", gateway, "src", &source])?;
        }
        let servers = SERVERS.map(|(name, last)| host(lab, name, &back, BACK.host(last), &BACK.address(1)));
        Ok(Self { kind, balancer, client, near, servers: servers.into_iter().collect::<Result<_>>()?, back, routers })
    }

    /// Another real server beside those that are there.
    ///
    /// # Errors
    /// When the lab cannot be laid out.
    pub fn add_server(&self, lab: &Lab, name: &str, last: u8) -> Result<Host> {
        host(lab, name, &self.back, BACK.host(last), &BACK.address(1))
    }

    /// The VIP of the family of `address`.
    pub fn vip_like(address: IpAddr) -> IpAddr {
        if address.is_ipv4() { RAS_VIP } else { RAS_VIP_V6 }
    }

    /// The real server of that name.
    ///
    /// # Panics
    /// When there is none: a mistake in the test.
    pub fn server(&self, name: &str) -> &Host {
        let found = self.servers.iter().find(|server| server.name() == name);
        found.unwrap_or_else(|| panic!("the site has no real server {name}"))
    }

    /// All addresses of the client behind a router, of the family of `like`.
    pub fn client_addresses(like: IpAddr) -> Vec<IpAddr> {
        CLIENTS.map(|last| CLIENTS_NET.number(last, like)).collect()
    }

    /// The address of a real server by its last part.
    pub fn server_address(last: u8, like: IpAddr) -> IpAddr {
        BACK.number(last, like)
    }

    /// The client's address as a real server sees it, with the balancer's own choice of a source.
    pub fn seen_as(&self, client: IpAddr) -> IpAddr {
        if self.kind == Kind::Nat { client } else { same_family(&self.balancer, client) }
    }

    /// Every host with an end of a conversation.
    pub fn ends(&self) -> impl Iterator<Item = &Host> {
        self.servers.iter().chain([&self.client, &self.near])
    }

    /// Checksums that the ends of conversations have found wrong so far.
    ///
    /// # Errors
    /// When a host's counters cannot be read.
    pub fn wrong_checksums(&self) -> Result<u64> {
        self.ends().map(Host::wrong_checksums).sum()
    }
}

/// Runs a test on a site of each kind, in a lab of its own.
///
/// # Errors
/// When one cannot be laid out or the test fails on it.
pub fn on_each(name: &str, kinds: &[Kind], narrow: Narrow, test: impl Fn(&Lab, &Routed) -> Result<()>) -> Result<()> {
    kinds.iter().try_for_each(|kind| {
        let on_one = |lab: &Lab| test(lab, &Routed::new(lab, *kind, narrow)?);
        in_lab(&format!("{name}-{}", kind.name()), on_one).with_context(|| format!("{kind:?}, narrow {narrow:?}"))
    })
}

/// The host's first address of the family of `like`.
pub fn same_family(host: &Host, like: IpAddr) -> IpAddr {
    if like.is_ipv4() { host.v4() } else { host.v6() }
}

fn host(lab: &Lab, name: &str, network: &Network, addresses: [String; 2], gateway: &[String; 2]) -> Result<Host> {
    let mut host = lab.host(name)?;
    attach(&mut host, network, HOST, addresses)?;
    default_route(&host, gateway)?;
    Ok(host)
}

fn router(lab: &Lab, name: &str, network: &Network, addresses: [String; 2]) -> Result<Host> {
    let mut router = lab.host(name)?;
    attach(&mut router, network, "eth0", addresses)?;
    forward(&router)?;
    Ok(router)
}

/// Makes a host forward what is not for it.
///
/// # Errors
/// When the kernel refuses.
pub fn forward(host: &Host) -> Result<()> {
    host.set("ipv4/ip_forward", "1")?;
    host.set("ipv6/conf/all/forwarding", "1")
}

/// Leads `router` to the hosts of `network`, as their gateway or through another router behind a narrow
/// link, which is returned.
fn extend(
    lab: &Lab,
    router: &mut Host,
    device: &str,
    network: &Network,
    subnet: &Subnet,
    narrow: bool,
) -> Result<Option<Host>> {
    if !narrow {
        attach(router, network, device, subnet.host(1))?;
        return Ok(None);
    }
    let link = lab.network()?;
    attach(router, &link, device, LINK.host(1))?;
    let mut far = self::router(lab, "far", &link, LINK.host(2))?;
    attach(&mut far, network, "eth1", subnet.host(1))?;
    default_route(&far, &LINK.address(1))?;
    add_route(router, subnet, &LINK.address(2))?;
    for (host, device) in [(&*router, device), (&far, "eth0")] {
        host.ip(&["link", "set", device, "mtu", &NARROW_MTU.to_string()])?;
    }
    Ok(Some(far))
}

fn attach(host: &mut Host, network: &Network, device: &str, addresses: [String; 2]) -> Result<()> {
    let [v4, v6] = addresses;
    host.attach(network, device, &[&v4, &v6])
}

fn default_route(host: &Host, gateway: &[String; 2]) -> Result<()> {
    gateway.iter().try_for_each(|gateway| {
        let family = if gateway.contains(':') { "-6" } else { "-4" };
        host.ip(&[family, "route", "add", "default", "via", gateway])
    })
}

fn add_route(host: &Host, subnet: &Subnet, gateway: &[String; 2]) -> Result<()> {
    let routes = subnet.prefix().into_iter().zip(gateway);
    routes.into_iter().try_for_each(|(prefix, gateway)| host.ip(&["route", "add", &prefix, "via", gateway]))
}
