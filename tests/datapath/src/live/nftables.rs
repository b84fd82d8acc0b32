//! The peer: destination NAT by nftables.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::lane::SERVERS;
use super::netns::Namespace;
use super::traffic::PORT;
use crate::peers::VIP;

/// As the wiki of nftables has it ("Load balancing", "Flowtables"), tuned: no chain but those
/// needed, checksums not verified again (a NIC has done that), timeouts longer than the bench.
pub(super) fn configure(ns: &Namespace, devices: [&str; 2], flowtable: bool) -> Result<()> {
    let [inside, outside] = devices;
    ns.sysctl("net/ipv4/ip_forward", 1)?;
    for setting in ["all/rp_filter", "default/rp_filter", "all/send_redirects"] {
        ns.sysctl(&format!("net/ipv4/conf/{setting}"), 0)?;
    }
    ns.ip(&format!("address add 192.168.94.1/24 dev {inside}"))?;
    ns.ip(&format!("neighbour add 192.168.94.2 lladdr 02:00:00:00:00:02 nud permanent dev {inside}"))?;
    ns.ip("route add 10.0.0.0/16 via 192.168.94.2")?;
    ns.ip(&format!("address add 10.1.0.254/24 dev {outside}"))?;
    for server in 0..SERVERS {
        let number = server + 1;
        ns.ip(&format!("neighbour add 10.1.0.{number} lladdr 06:00:00:00:00:0{server} nud permanent dev {outside}"))?;
    }
    load(ns, &ruleset(devices, flowtable))?;
    let settings = [
        ("nf_conntrack_checksum", 0),
        ("nf_conntrack_tcp_be_liberal", 1),
        ("nf_conntrack_udp_timeout", 3600),
        ("nf_conntrack_udp_timeout_stream", 3600),
        ("nf_conntrack_tcp_timeout_unacknowledged", 3600),
    ];
    for (name, value) in settings {
        ns.sysctl(&format!("net/netfilter/{name}"), value)?;
    }
    if flowtable {
        for protocol in ["tcp", "udp"] {
            ns.sysctl(&format!("net/netfilter/nf_flowtable_{protocol}_timeout"), 3600)?;
        }
    }
    Ok(())
}

fn ruleset([inside, outside]: [&str; 2], flowtable: bool) -> String {
    let vip = Ipv4Addr::from(VIP);
    let servers = "0 : 10.1.0.1, 1 : 10.1.0.2, 2 : 10.1.0.3, 3 : 10.1.0.4";
    let fast = format!(
        "flowtable fast {{ hook ingress priority filter; devices = {{ {inside}, {outside} }}; }}
         chain forward {{
             type filter hook forward priority filter;
             meta l4proto {{ tcp, udp }} flow add @fast
         }}"
    );
    let fast = if flowtable { fast.as_str() } else { "" };
    format!(
        "table ip balancer {{
             {fast}
             chain prerouting {{
                 type nat hook prerouting priority dstnat;
                 ip daddr {vip} tcp dport {PORT} dnat to numgen inc mod {SERVERS} map {{ {servers} }}
                 ip daddr {vip} udp dport {PORT} dnat to numgen inc mod {SERVERS} map {{ {servers} }}
             }}
         }}"
    )
}

fn load(ns: &Namespace, rules: &str) -> Result<()> {
    ns.within(|| {
        let mut nft = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting `nft`")?;
        nft.stdin.take().context("nft reads rules")?.write_all(rules.as_bytes())?;
        let output = nft.wait_with_output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "nft refuses the rules: {}", complaint.lines().next().unwrap_or_default());
        Ok(())
    })
}
