//! A host's interfaces: made, given addresses, watched.
//!
//! In: networks and addresses. Out: MACs, counters, captures, sockets for whole frames.

use std::net::IpAddr;

use anyhow::{Context as _, Result};

use super::host::{Host, in_namespace};
use super::{Capture, Network, PacketSocket, address_of, ip_in, run_here};

impl Host {
    /// Gives the host an interface on `network`, with addresses such as `192.0.2.1/24`.
    ///
    /// Checksums and VLAN tags are written by the host, as no NIC follows that would.
    ///
    /// # Errors
    /// When the kernel refuses the interface or an address.
    pub fn attach(&mut self, network: &Network, device: &str, addresses: &[&str]) -> Result<()> {
        let port = self.port(device);
        let mac = format!("02:1b:00:00:{:02x}:{:02x}", self.number, self.interfaces);
        self.interfaces += 1;
        let (switch, namespace) = (self.switch.as_str(), self.namespace.as_str());
        ip_in(
            switch,
            &["link", "add", &port, "type", "veth", "peer", "name", device, "address", &mac, "netns", namespace],
        )?;
        ip_in(switch, &["link", "set", &port, "master", &network.bridge, "up"])?;
        without_offloads(switch, &port)?;
        without_offloads(namespace, device)?;
        let pass = self.pass.pin().display().to_string();
        in_network_of(switch, "ip", &["link", "set", &port, "xdpdrv", "pinned", &pass])?;
        ip_in(namespace, &["link", "set", device, "up"])?;
        for address in addresses {
            self.add_address(device, address)?;
            self.addresses.push((device.to_owned(), address_of(address)?));
        }
        Ok(())
    }

    /// Gives an interface and the switch's port an MTU of any size. The port loses its XDP program, which
    /// bounds the MTU: frames that the host sends by XDP in its driver do not arrive any more.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_long_mtu(&self, device: &str, mtu: u32) -> Result<()> {
        let (port, mtu) = (self.port(device), mtu.to_string());
        ip_in(&self.switch, &["link", "set", &port, "xdpdrv", "off"])?;
        ip_in(&self.switch, &["link", "set", &port, "mtu", &mtu])?;
        self.ip(&["link", "set", device, "mtu", &mtu])
    }

    /// Adds an address such as `192.0.2.1/24` or `2001:db8::1/64`.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn add_address(&self, device: &str, address: &str) -> Result<()> {
        let mut arguments = vec!["address", "add", address, "dev", device];
        if address_of(address)?.is_ipv6() {
            arguments.push("nodad");
        }
        self.ip(&arguments)
    }

    /// Makes this host a real server of a direct-routing VIP: it holds the address and does not
    /// answer for it.
    ///
    /// IPv6 needs no setting against answers: neighbour solicitations are answered only for
    /// addresses of the interface that they arrive on, and the VIP is on `lo`.
    ///
    /// # Errors
    /// When the kernel refuses the address.
    pub fn hold_vip(&self, vip: IpAddr) -> Result<()> {
        let prefix = if vip.is_ipv6() { 128 } else { 32 };
        if vip.is_ipv4() {
            self.set("ipv4/conf/all/arp_ignore", "1")?;
            self.set("ipv4/conf/all/arp_announce", "2")?;
        }
        self.add_address("lo", &format!("{vip}/{prefix}"))
    }

    /// Connections to `destination` leave from `source` from now on, an address the host has.
    ///
    /// # Errors
    /// When the kernel refuses the route.
    pub fn speak_as(&self, source: IpAddr, destination: IpAddr, device: &str) -> Result<()> {
        let destination = format!("{destination}/{}", if destination.is_ipv6() { 128 } else { 32 });
        self.ip(&["route", "replace", &destination, "dev", device, "src", &source.to_string()])
    }

    /// Its first IPv4 address.
    ///
    /// # Panics
    /// When it has none: a mistake in the layout.
    pub fn v4(&self) -> IpAddr {
        self.address_where(IpAddr::is_ipv4)
    }

    /// Its first IPv6 address.
    ///
    /// # Panics
    /// When it has none: a mistake in the layout.
    pub fn v6(&self) -> IpAddr {
        self.address_where(IpAddr::is_ipv6)
    }

    fn address_where(&self, family: impl Fn(&IpAddr) -> bool) -> IpAddr {
        let found = self.addresses.iter().map(|(_, address)| *address).find(family);
        found.unwrap_or_else(|| panic!("{} has no address of that family", self.name))
    }

    /// The MAC of an interface.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn mac(&self, device: &str) -> Result<[u8; 6]> {
        let text = run_here("ip", &["-n", &self.namespace, "-j", "link", "show", device])?;
        let links: serde_json::Value = serde_json::from_str(&text)?;
        let address = links[0]["address"].as_str().context("the interface has no address")?;
        let bytes: Vec<u8> = address.split(':').map(|part| u8::from_str_radix(part, 16)).collect::<Result<_, _>>()?;
        bytes.try_into().map_err(|_| anyhow::anyhow!("{address} is not a MAC"))
    }

    /// Captures on an interface of the host, at most `limit` frames that `wanted` accepts.
    ///
    /// # Errors
    /// When the socket cannot be opened.
    pub fn capture(&self, device: &str, wanted: impl Fn(&[u8]) -> bool + Send + 'static) -> Result<Capture> {
        Capture::start(self.packet_socket(device)?, wanted)
    }

    /// Captures on the switch's side of an interface: [`super::Direction::Out`] is towards the
    /// host. An XDP program on the host takes frames before a capture on the host would see them.
    ///
    /// # Errors
    /// When the socket cannot be opened.
    pub fn capture_at_switch(&self, device: &str, wanted: impl Fn(&[u8]) -> bool + Send + 'static) -> Result<Capture> {
        let port = self.port(device);
        let socket = in_namespace(&self.switch, || PacketSocket::open(&port))??;
        Capture::start(socket, wanted)
    }

    /// A socket that sends and receives whole frames on an interface.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn packet_socket(&self, device: &str) -> Result<PacketSocket> {
        self.enter(|| PacketSocket::open(device))?
    }

    /// Frames that the switch has delivered to an interface, dropped ones aside.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn frames_delivered(&self, device: &str) -> Result<u64> {
        self.port_counter(device, "tx")
    }

    /// Frames that an interface has sent to the switch.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn frames_sent(&self, device: &str) -> Result<u64> {
        self.port_counter(device, "rx")
    }

    fn port_counter(&self, device: &str, direction: &str) -> Result<u64> {
        let text = run_here("ip", &["-n", &self.switch, "-j", "-s", "link", "show", &self.port(device)])?;
        let links: serde_json::Value = serde_json::from_str(&text)?;
        links[0]["stats64"][direction]["packets"].as_u64().context("the interface has no counters")
    }

    fn port(&self, device: &str) -> String {
        format!("{}-{device}", self.name)
    }
}

/// Has the kernel write checksums and VLAN tags of `device` into the frames, and keep them apart.
fn without_offloads(namespace: &str, device: &str) -> Result<()> {
    let off = ["tx", "off", "txvlan", "off", "tx-vlan-stag-hw-insert", "off", "gro", "off"];
    in_network_of(namespace, "ethtool", &[&["-K", device], &off[..]].concat())
}

/// Runs a program that sees the machine's /sys, which `ip -n` would hide.
fn in_network_of(namespace: &str, program: &str, arguments: &[&str]) -> Result<()> {
    let net = format!("--net=/run/netns/{namespace}");
    run_here("nsenter", &[&[net.as_str(), program], arguments].concat()).map(|_| ())
}
