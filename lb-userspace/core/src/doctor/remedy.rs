//! What to type, as it is typed.

use std::net::IpAddr;

use crate::view::Remedy;

pub(super) fn remedy(at: impl Into<String>, commands: impl IntoIterator<Item = String>) -> Remedy {
    Remedy { at: at.into(), commands: commands.into_iter().collect() }
}

/// Sets kernel settings now, and at every boot.
pub(super) fn set(settings: &[(&str, &str)]) -> Vec<String> {
    let now = settings.iter().map(|(name, value)| format!("sysctl -w {name}={value}"));
    let boot = settings.iter().map(|(name, value)| format!("echo '{name} = {value}' >> /etc/sysctl.d/90-lb.conf"));
    now.chain(boot).collect()
}

/// Makes a machine take packets for a VIP and not answer for it.
pub(super) fn hold_quietly(server: &str, vip: IpAddr) -> Vec<Remedy> {
    let mut linux = Vec::new();
    if vip.is_ipv4() {
        linux.extend(set(&[("net.ipv4.conf.all.arp_ignore", "1"), ("net.ipv4.conf.all.arp_announce", "2")]));
    }
    linux.push(format!("ip address replace {} dev lo", whole(vip)));
    let family = if vip.is_ipv4() { "ipv4" } else { "ipv6" };
    let address = match vip {
        IpAddr::V4(_) => format!("netsh interface ipv4 add address \"loopback\" {vip} 255.255.255.255"),
        IpAddr::V6(_) => format!("netsh interface ipv6 add address \"loopback\" {vip}/128"),
    };
    let windows = [
        address,
        format!("netsh interface {family} set interface \"loopback\" weakhostreceive=enabled weakhostsend=enabled"),
        format!("netsh interface {family} set interface \"LAN\" weakhostreceive=enabled weakhostsend=enabled"),
    ];
    vec![
        remedy(format!("on {server} (Linux)"), linux),
        remedy(
            format!(
                "on {server} (Windows, after a Microsoft KM-TEST Loopback Adapter was added and named `loopback`; \
                 `LAN` is the other adapter)"
            ),
            windows,
        ),
    ]
}

/// `192.168.94.110/32`.
pub(super) fn whole(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

pub(super) fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
