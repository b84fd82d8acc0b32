//! What an examination goes by.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::question::Question;
use crate::config::model::{Config, PortRange};
use crate::config::parse_local_ports;
use crate::neighbour::{Link, RouteAnswer, Status};
use crate::tables::ServerKey;
use crate::view::Network;
use crate::vip::Present;

/// What the daemon knows without asking anybody.
#[derive(Clone, Debug)]
pub struct Known {
    /// The configuration in force, or the part of it that is examined.
    pub config: Config,
    /// The next hop of each real server, as far as it is known.
    pub hops: BTreeMap<IpAddr, Status>,
    /// Real servers that an administrator has halted: they may be switched off, and nothing is expected of them.
    pub halted: BTreeSet<ServerKey>,
    /// Real servers that clients hear: they have a TCP flow whose client has answered them.
    pub heard: BTreeSet<ServerKey>,
}

/// What the kernel says of this machine.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// All network devices.
    pub devices: Vec<Device>,
    /// All addresses.
    pub addresses: Vec<Present>,
    /// The routes to the real servers, where there is one.
    pub routes: BTreeMap<IpAddr, RouteAnswer>,
    /// The settings below `/proc/sys/net` that [`super::settings`] asks for.
    pub settings: Settings,
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Name, MAC, state.
    pub link: Link,
    /// Bytes of the longest packet.
    pub mtu: u32,
    /// How XDP is attached.
    pub xdp: Attachment,
    /// Its driver; `None` where the kernel does not say, or nobody asked: it is asked of the interfaces of the
    /// configuration.
    pub driver: Option<String>,
    /// Features that are on, such as `rx-lro`; asked of the interfaces of the configuration.
    pub features: Vec<String>,
}

/// How XDP is attached to a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attachment {
    /// It is not.
    #[default]
    None,
    /// In the driver, or in the network card.
    Native,
    /// In the network stack.
    Generic,
}

/// Settings of the kernel by their path below `/proc/sys/net`; those that it does not have are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings(pub BTreeMap<String, String>);

impl Settings {
    /// The setting as a number.
    #[must_use]
    pub fn number(&self, path: &str) -> Option<i64> {
        self.0.get(path)?.trim().parse().ok()
    }

    /// The setting as a range of ports.
    #[must_use]
    pub fn range(&self, path: &str) -> Option<PortRange> {
        parse_local_ports(self.0.get(path)?)
    }
}

/// Everything that was found out.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// This machine.
    pub machine: Machine,
    /// What others answered.
    pub asked: Vec<Asked>,
    /// Packets that the kernel dropped during the examination because their source is routed by another
    /// interface.
    pub reverse_path_drops: u64,
    /// What could not be found out, one sentence each.
    pub untold: Vec<String>,
}

/// A question and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What was asked.
    pub question: Question,
    /// What came back.
    pub answer: Answer,
}

/// What came back to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Question::WhoAnswers`]: who did.
    Macs(Vec<[u8; 6]>),
    /// To [`Question::Accepts`].
    Acceptance(Acceptance),
    /// To [`Question::ComesBack`].
    CameBack {
        /// Whether an answer to an address far away came by this machine.
        by_us: bool,
        /// Whether it answers an address of this machine at all.
        answers: bool,
    },
    /// It could not be asked; why, in words that follow a colon.
    Failed(String),
}

/// What a real server made of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// For the VIP.
    pub vip: Heard,
    /// For its own address, asked where the other did not answer.
    pub own: Option<Heard>,
}

/// What comes back to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// An answer of the application.
    Answered,
    /// The machine takes the packet, and nothing listens there.
    Refused,
    /// Nothing.
    Silent,
}

impl Asked {
    /// Why nothing can be told from it, if that is so.
    pub(super) fn untold(&self) -> Option<String> {
        let subject = self.question.subject();
        match &self.answer {
            Answer::Failed(reason) => Some(format!("{subject}: {reason}")),
            Answer::Acceptance(Acceptance { vip: Heard::Silent, own: None | Some(Heard::Silent) }) => Some(format!(
                "{subject}: nothing comes back, and nothing for its own address either; a firewall may be in the way, or it is down"
            )),
            Answer::CameBack { by_us: false, answers: false } => Some(format!(
                "{subject}: nothing comes back, nor for an address of this machine; a firewall may be in the way, or it is down"
            )),
            Answer::Macs(_) | Answer::Acceptance(_) | Answer::CameBack { .. } => None,
        }
    }
}

impl Machine {
    pub(super) fn device(&self, ifindex: u32) -> Option<&Device> {
        self.devices.iter().find(|device| device.link.ifindex == ifindex)
    }

    pub(super) fn named(&self, name: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.link.device == name)
    }

    /// The device that holds an address.
    pub(super) fn holder(&self, address: IpAddr) -> Option<&Device> {
        let held = self.addresses.iter().find(|present| present.address == address)?;
        self.device(held.ifindex)
    }

    /// An address of this machine that others on the device know: of the family of `like`, none that this
    /// program brought up, and none of `vips`.
    pub(super) fn own_address(&self, ifindex: u32, like: IpAddr, vips: &[IpAddr]) -> Option<IpAddr> {
        let usable = |present: &&Present| {
            present.ifindex == ifindex
                && !present.ours
                && present.address.is_ipv4() == like.is_ipv4()
                && !vips.contains(&present.address)
                && !matches!(present.address, IpAddr::V6(address) if address.is_unicast_link_local())
        };
        self.addresses.iter().find(usable).map(|present| present.address)
    }

    /// Whether an address is in a subnet of a device.
    pub(super) fn has_in_subnet(&self, ifindex: u32, address: IpAddr) -> bool {
        let subnets = self.addresses.iter().filter(|present| present.ifindex == ifindex && present.prefix > 0);
        subnets.filter(|own| !own.ours).any(|own| Network::new(own.address, own.prefix).contains(address))
    }

    /// Whether a MAC is this machine's own.
    pub(super) fn is_own(&self, mac: [u8; 6]) -> bool {
        self.devices.iter().any(|device| device.link.mac == Some(mac))
    }
}
