//! Machines on one segment: a bridge that sends every frame everywhere, as a switch does that has forgotten.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use lb_userspace::doctor::probe::{Device, Path};

use crate::namespace::Namespace;

/// Longest any condition may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Segment {
    switch: Namespace,
}

/// A machine with `eth0`, which has 192.0.2.N/24 and 2001:db8::N/64.
pub(crate) struct Host {
    pub(crate) namespace: Namespace,
}

impl Segment {
    pub(crate) fn new() -> Self {
        let switch = Namespace::new();
        switch.ip("link add switch type bridge mcast_snooping 0 ageing_time 0");
        switch.ip("link set switch up");
        Self { switch }
    }

    pub(crate) fn host(&self, number: u8) -> Host {
        let host = Host { namespace: Namespace::new() };
        let port = format!("port{number}");
        self.switch.ip(&format!("link add {port} type veth peer name eth0 netns {}", host.namespace.name()));
        self.switch.ip(&format!("link set {port} master switch up"));
        host.namespace.ip(&format!("addr add 192.0.2.{number}/24 dev eth0"));
        host.namespace.ip(&format!("addr add 2001:db8::{number}/64 dev eth0 nodad"));
        host.namespace.ip("link set eth0 up");
        let deadline = Instant::now() + PATIENCE;
        while !host.namespace.has_ipv6() {
            assert!(Instant::now() < deadline, "IPv6 did not start on the veth pair");
        }
        host
    }
}

impl Host {
    pub(crate) fn device(&self, name: &str) -> Device {
        Device { name: name.into(), ifindex: self.namespace.ifindex(name), mac: self.namespace.mac(name) }
    }

    pub(crate) fn mac(&self) -> [u8; 6] {
        self.namespace.mac("eth0")
    }

    /// Straight to another one.
    pub(crate) fn path_to(&self, other: &Self) -> Path {
        self.tagged_path_to(other, 0, 0)
    }

    pub(crate) fn tagged_path_to(&self, other: &Self, outer_vlan: u16, inner_vlan: u16) -> Path {
        let device = self.device("eth0");
        Path { source_mac: device.mac, device, destination_mac: other.mac(), outer_vlan, inner_vlan }
    }

    /// An address of it beside the first ones.
    pub(crate) fn add(&self, address: IpAddr, device: &str) {
        let (prefix, nodad) = if address.is_ipv4() { (32, "") } else { (128, "nodad") };
        self.namespace.ip(&format!("addr add {address}/{prefix} dev {device} {nodad}"));
    }

    /// A setting below /proc/sys/net.
    pub(crate) fn set(&self, setting: &str, value: &str) {
        self.namespace.inside(|| std::fs::write(format!("/proc/sys/net/{setting}"), value).unwrap());
    }
}
