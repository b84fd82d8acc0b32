//! From wanted VIPs and what the machine has to the ordered actions between the two.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::neighbour::Link;

/// Marks an address as added by this program (IFA_PROTO, Linux 5.18 and later), so that it is
/// recognised after a restart. 76 is `L`; the kernel uses 1 to 3, and the routing daemons that give
/// their route protocol number to addresses too (keepalived 18) are listed in iproute2's
/// `rt_protos`, where 76 is free. An older kernel drops the mark: after a restart the address then
/// counts as the machine's own, works, and stays until the administrator removes it.
pub const ADDRESS_PROTOCOL: u8 = 76;

/// The wanted VIPs, and for each the device if the configuration names one.
pub type Wanted = BTreeMap<IpAddr, Option<String>>;

/// An address the machine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// Kernel index of the device.
    pub ifindex: u32,
    /// The address.
    pub address: IpAddr,
    /// Length of the subnet's prefix, in bits.
    pub prefix: u8,
    /// Carries [`ADDRESS_PROTOCOL`].
    pub ours: bool,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Add the address, marked with [`ADDRESS_PROTOCOL`]; IPv6 without duplicate address detection,
    /// whose second of silence a failover cannot wait.
    Add {
        /// Kernel index of the device.
        ifindex: u32,
        /// The VIP.
        address: IpAddr,
        /// 32 or 128: a VIP brings no subnet, so that it is never chosen as source for it and its
        /// removal takes no other address along.
        prefix: u8,
    },
    /// Tell the network segment where the VIP is; see [`super::Announcer`].
    Announce {
        /// Kernel index of the device.
        ifindex: u32,
        /// The VIP.
        address: IpAddr,
    },
    /// Take down an address of ours.
    Remove {
        /// Kernel index of the device.
        ifindex: u32,
        /// The VIP.
        address: IpAddr,
        /// Its prefix, as it was added.
        prefix: u8,
    },
}

/// Why a VIP cannot be brought up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Nothing says on which device it belongs.
    #[error(
        "no interface has an address in a subnet that holds {address}: name the interface (`interface: …` in the virtual service), or give one an address in that subnet"
    )]
    NoSubnet {
        /// The VIP.
        address: IpAddr,
    },
    /// The configured device is not there.
    #[error("interface {device}, which {address} is to be on, does not exist: check its name with `ip link`")]
    NoDevice {
        /// The VIP.
        address: IpAddr,
        /// The name in the configuration.
        device: String,
    },
}

/// Where a VIP is once the plan is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Kernel index of the device.
    pub ifindex: u32,
    /// False: the machine had it, and it stays as it is.
    pub ours: bool,
}

/// What to do, and where every VIP then is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order: each VIP is added and announced where it belongs, then what is left over is
    /// removed, so that a plan cut short leaves an address too many and none missing.
    pub actions: Vec<Action>,
    /// The VIPs that can be served.
    pub holders: BTreeMap<IpAddr, Holder>,
    /// Why the others cannot.
    pub problems: BTreeMap<IpAddr, Problem>,
}

/// Plans the way from `present` to `wanted`. Nothing to do gives no actions, so it may be called on
/// every change.
#[must_use]
pub fn plan<'a>(wanted: &Wanted, links: impl IntoIterator<Item = &'a Link>, present: &[Present]) -> Plan {
    let links: BTreeMap<u32, &Link> = links.into_iter().map(|link| (link.ifindex, link)).collect();
    let mut plan = Plan::default();
    for (&address, device) in wanted {
        // An address the administrator configured is used where it is, whatever the file names.
        if let Some(theirs) = present.iter().find(|entry| entry.address == address && !entry.ours) {
            plan.holders.insert(address, Holder { ifindex: theirs.ifindex, ours: false });
            continue;
        }
        let ifindex = match place(address, device.as_deref(), &links, present) {
            Ok(ifindex) => ifindex,
            Err(problem) => {
                plan.problems.insert(address, problem);
                continue;
            }
        };
        plan.holders.insert(address, Holder { ifindex, ours: true });
        if !present.iter().any(|entry| entry.address == address && entry.ifindex == ifindex) {
            plan.actions.push(Action::Add { ifindex, address, prefix: host_prefix(address) });
            plan.actions.push(Action::Announce { ifindex, address });
        }
    }
    let left_over = present.iter().filter(|entry| entry.ours && !holds(&plan.holders, entry));
    let removals: Vec<Action> = left_over
        .map(|&Present { ifindex, address, prefix, .. }| Action::Remove { ifindex, address, prefix })
        .collect();
    plan.actions.extend(removals);
    plan
}

fn holds(holders: &BTreeMap<IpAddr, Holder>, entry: &Present) -> bool {
    holders.get(&entry.address) == Some(&Holder { ifindex: entry.ifindex, ours: true })
}

/// The device a VIP belongs on.
fn place(
    address: IpAddr,
    device: Option<&str>,
    links: &BTreeMap<u32, &Link>,
    present: &[Present],
) -> Result<u32, Problem> {
    if let Some(device) = device {
        let named = links.values().find(|link| link.device == device);
        return named.map(|link| link.ifindex).ok_or_else(|| Problem::NoDevice { address, device: device.to_owned() });
    }
    // fe80::/10 is on every device (RFC 4291 section 2.5.6): it tells nothing.
    let link_local = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    let on_ours = |entry: &Present| entry.ours && entry.address == address;
    present
        .iter()
        .filter(|entry| !entry.ours && !link_local && contains(entry, address))
        .filter_map(|entry| Some((entry, links.get(&entry.ifindex)?)))
        // The narrowest subnet; among equals a device that is up, then where it already is, then the first.
        .min_by_key(|(entry, link)| {
            let stays = present.iter().any(|other| on_ours(other) && other.ifindex == entry.ifindex);
            (Reverse(entry.prefix), !link.up, !stays, entry.ifindex)
        })
        .map(|(entry, _)| entry.ifindex)
        // An interface may lose its own address for a moment (DHCP): the VIP it has stays.
        .or_else(|| present.iter().find(|entry| on_ours(entry)).map(|entry| entry.ifindex))
        .ok_or(Problem::NoSubnet { address })
}

/// Whether the subnet of an address holds another one. Prefix 0 is no subnet.
fn contains(subnet: &Present, address: IpAddr) -> bool {
    let (bits, differ) = match (subnet.address, address) {
        (IpAddr::V4(subnet), IpAddr::V4(address)) => (32, u128::from(subnet.to_bits() ^ address.to_bits())),
        (IpAddr::V6(subnet), IpAddr::V6(address)) => (128, subnet.to_bits() ^ address.to_bits()),
        _ => return false,
    };
    let prefix = u32::from(subnet.prefix);
    prefix > 0 && prefix <= bits && differ.checked_shr(bits - prefix).unwrap_or(0) == 0
}

fn host_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}
