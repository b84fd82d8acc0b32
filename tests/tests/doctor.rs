//! `lbctl doctor` on live networks: a healthy one has no finding, and what is broken on purpose is found,
//! with the words to mend it.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, ECHO_PORT, MEDIA_VIP, MEDIA_VIP_V6, Site, TWO_ARM_VIP};
use lb_tests::lab::{Host, Lab, in_lab, require, wait_until};
use lb_tests::software::echo::{EchoServer, TcpClient};
use serde_json::Value;

const DUAL_STACK: &str = include_str!("../data/dual_stack.yaml");
const TWO_ARM: &str = include_str!("../data/two_arm.yaml");
const THROUGH: &str = include_str!("../data/through.yaml");
const ANSWER: Duration = Duration::from_secs(2);
/// Long enough for a changed route or link to be noticed.
const SOON: Duration = Duration::from_secs(20);

/// One service per family on the port of the echo servers, and UDP besides.
fn echo_port(yaml: &str) -> String {
    yaml.replace("[554, 50000-65535]", &format!("[{ECHO_PORT}]"))
}

fn echo_servers(site: &Site, vips: &[IpAddr]) -> Result<Vec<EchoServer>> {
    let mut servers = Vec::new();
    for (server, vip) in site.servers.iter().flat_map(|server| vips.iter().map(move |vip| (server, *vip))) {
        servers.push(EchoServer::udp(server, at(vip, ECHO_PORT))?);
        servers.push(EchoServer::tcp(server, at(vip, ECHO_PORT))?);
    }
    Ok(servers)
}

/// What an examination found.
struct Examined(Value);

impl Examined {
    fn of(balancer: &Balancer<'_>, arguments: &[&str]) -> Result<Self> {
        let output = balancer.lbctl(&[&["doctor", "--json"], arguments].concat())?;
        let value: Value = serde_json::from_str(&output.stdout).with_context(|| format!("no JSON: {output}"))?;
        let examined = Self(value);
        let expected = i32::from(!examined.findings().is_empty());
        ensure!(output.status == expected, "exit status {} with {}", output.status, examined.0);
        Ok(examined)
    }

    fn findings(&self) -> &[Value] {
        self.0["findings"].as_array().map_or(&[], Vec::as_slice)
    }

    /// `CODE SERVER INTERFACE` of each finding, sorted.
    fn short(&self) -> Vec<String> {
        let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let finding = |finding: &Value| {
            format!("{} {} {}", word(&finding["code"]), word(&finding["server"]), word(&finding["interface"]))
        };
        let mut short: Vec<String> = self.findings().iter().map(finding).collect();
        short.sort();
        short
    }

    fn ensure_found(&self, expected: &[&str]) -> Result<()> {
        let found = self.short();
        ensure!(found == expected, "found {found:?}, not {expected:?}: {:#}", self.0);
        let untold = self.0["untold"].as_array().context("no list of what could not be told")?;
        ensure!(untold.is_empty(), "could not tell: {untold:?}");
        Ok(())
    }

    /// The finding of that code.
    fn finding(&self, code: &str) -> Result<&Value> {
        let found = self.findings().iter().find(|finding| finding["code"] == code);
        found.with_context(|| format!("no {code} among {}", self.0))
    }

    /// Types what is to be typed, as far as it holds until the next boot.
    fn type_on(&self, code: &str, at: &str, host: &Host) -> Result<()> {
        let finding = self.finding(code)?;
        let fixes = finding["fix"].as_array().context("no fixes")?;
        let here = fixes.iter().find(|fix| fix["at"] == at);
        let here = here.with_context(|| format!("nothing is to be typed {at}: {finding}"))?;
        for command in here["commands"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !command.starts_with("echo ") {
                host.run(&["sh", "-c", command])?.success()?;
            }
        }
        Ok(())
    }
}

fn found(balancer: &Balancer<'_>, expected: &[&str]) -> Result<Examined> {
    let examined = Examined::of(balancer, &[])?;
    examined.ensure_found(expected)?;
    Ok(examined)
}

/// The lab's site with both families, its echo servers, and a balancer.
fn harmonic(name: &str, test: impl FnOnce(&Lab, &Site, &mut Balancer<'_>) -> Result<()>) -> Result<()> {
    in_lab(name, |lab| {
        let site = deployments::harmonic(lab)?;
        let _servers = echo_servers(&site, &[MEDIA_VIP, MEDIA_VIP_V6])?;
        let mut balancer = Balancer::start(lab, &site.balancer, &echo_port(DUAL_STACK))?;
        test(lab, &site, &mut balancer)
    })
}

/// Two more interfaces, joined to each other.
fn spare_pair(host: &Host) -> Result<()> {
    host.ip(&["link", "add", "spare0", "type", "veth", "peer", "name", "spare1"])?;
    host.ip(&["link", "set", "spare0", "up"])?;
    host.ip(&["link", "set", "spare1", "up"])
}

#[test]
fn a_healthy_network_has_no_finding() -> Result<()> {
    harmonic("doc-well", |_, _, balancer| {
        let examined = found(balancer, &[])?;
        // Each VIP once, and each real server of each.
        assert_eq!(examined.0["asked"], 6);
        let output = balancer.lbctl(&["doctor"])?.success()?;
        assert_eq!(output.stdout, "Nothing wrong was found; 6 questions of the network were answered.\n");
        assert_eq!(Examined::of(balancer, &["six"])?.0["asked"], 3);
        let unknown = balancer.lbctl(&["doctor", "sxi"])?;
        ensure!(unknown.status == 1 && unknown.stderr.contains("there is no virtual service sxi"), "{unknown}");
        balancer.terminate()?;
        assert_eq!(balancer.lbctl(&["doctor"])?.status, 4, "there is no daemon to ask");
        Ok(())
    })
}

#[test]
fn a_healthy_network_with_two_arms_has_no_finding() -> Result<()> {
    in_lab("doc-arms", |lab| {
        let (site, router) = deployments::two_arm(lab)?;
        let _servers = echo_servers(&site, &[TWO_ARM_VIP])?;
        let balancer = Balancer::start(lab, &site.balancer, TWO_ARM)?;
        // The VIP where its subnet is, and both real servers. Nobody listens at the first port: refused is accepted.
        assert_eq!(found(&balancer, &[])?.0["asked"], 3);
        // A router that answers for all it has a route to is no holder of the VIP.
        router.set("ipv4/conf/all/proxy_arp", "1")?;
        found(&balancer, &[])?;
        Ok(())
    })
}

#[test]
fn a_server_that_answers_for_the_vip_is_found_and_what_is_to_be_typed_mends_it() -> Result<()> {
    harmonic("doc-arp", |_, site, balancer| {
        let server = site.server("HT2");
        server.set("ipv4/conf/all/arp_ignore", "0")?;
        let examined = found(balancer, &["vip-answered HT2 eth0"])?;
        let finding = examined.finding("vip-answered")?;
        ensure!(finding["what"].as_str().is_some_and(|what| what.contains("192.168.94.110")), "{finding}");
        let human = balancer.lbctl(&["doctor"])?;
        ensure!(
            human.status == 1 && human.stdout.contains("\n    sysctl -w net.ipv4.conf.all.arp_ignore=1\n"),
            "{human}"
        );
        examined.type_on("vip-answered", "on HT2 (Linux)", server)?;
        found(balancer, &[])?;
        Ok(())
    })
}

#[test]
fn a_server_with_the_vip_on_its_interface_and_a_stranger_with_it_are_told_apart() -> Result<()> {
    harmonic("doc-dup", |lab, site, balancer| {
        // IPv6 addresses on `lo` are not answered for, whatever the settings; those on eth0 are.
        site.server("HT1").add_address("eth0", &format!("{MEDIA_VIP_V6}/128"))?;
        let stranger = lab.host_on("stranger", &site.network, &["192.168.94.200/24", "192.168.94.110/32"])?;
        let examined = found(balancer, &["vip-answered HT1 eth0", "vip-duplicate - eth0"])?;
        let mac = stranger.mac("eth0")?.map(|byte| format!("{byte:02x}")).join(":");
        let finding = examined.finding("vip-duplicate")?;
        ensure!(finding["what"].as_str().is_some_and(|what| what.contains(&mac)), "{finding}");
        Ok(())
    })
}

#[test]
fn a_server_without_the_vip_is_found_in_both_families_and_mended() -> Result<()> {
    in_lab("doc-vip", |lab| {
        let site = deployments::harmonic(lab)?;
        let balancer = Balancer::start(lab, &site.balancer, &echo_port(DUAL_STACK))?;
        let server = site.server("HT1");
        for vip in ["192.168.94.110/32", "fd00:94::110/128"] {
            server.ip(&["address", "del", vip, "dev", "lo"])?;
        }
        let expected = ["vip-not-accepted HT1 -", "vip-not-accepted HT1 -"];
        found(&balancer, &expected)?;
        // One that forwards sends such packets back to where they came from.
        server.set("ipv4/ip_forward", "1")?;
        server.set("ipv6/conf/all/forwarding", "1")?;
        found(&balancer, &expected)?;
        for service in ["four", "six"] {
            Examined::of(&balancer, &[service])?.type_on("vip-not-accepted", "on HT1 (Linux)", server)?;
        }
        found(&balancer, &[])?;
        Ok(())
    })
}

#[test]
fn an_application_that_does_not_listen_at_the_vip_is_found() -> Result<()> {
    in_lab("doc-bind", |lab| {
        let site = deployments::harmonic(lab)?;
        let server = site.server("HT2");
        let _elsewhere = EchoServer::tcp(server, at(server.v4(), ECHO_PORT))?;
        let balancer = Balancer::start(lab, &site.balancer, &echo_port(DUAL_STACK))?;
        found(&balancer, &["vip-refused HT2 -"])?;
        let _there = EchoServer::tcp(server, at(MEDIA_VIP, ECHO_PORT))?;
        found(&balancer, &[])?;
        Ok(())
    })
}

#[test]
fn a_server_behind_a_firewall_is_not_blamed() -> Result<()> {
    in_lab("doc-wall", |lab| {
        require("nft", "nftables")?;
        let site = deployments::harmonic(lab)?;
        let balancer = Balancer::start(lab, &site.balancer, &echo_port(DUAL_STACK))?;
        site.server("HT1").run(&["nft", "add table inet wall"])?.success()?;
        let chain = "add chain inet wall in { type filter hook input priority 0; policy accept; }";
        site.server("HT1").run(&["nft", chain])?.success()?;
        site.server("HT1").run(&["nft", "add rule inet wall in meta l4proto tcp drop"])?.success()?;
        let examined = Examined::of(&balancer, &[])?;
        ensure!(examined.findings().is_empty(), "{}", examined.0);
        let untold = examined.0["untold"].as_array().context("no list")?;
        assert_eq!(untold.len(), 2, "both of its addresses: {untold:?}");
        Ok(())
    })
}

#[test]
fn servers_that_cannot_be_reached_are_found() -> Result<()> {
    in_lab("doc-hop", |lab| {
        let site = deployments::harmonic(lab)?;
        let _servers = echo_servers(&site, &[MEDIA_VIP, MEDIA_VIP_V6])?;
        site.server("HT1").ip(&["link", "set", "eth0", "down"])?;
        let balancer = &Balancer::start(lab, &site.balancer, &echo_port(DUAL_STACK))?;
        found(balancer, &["neighbour-unresolved HT1 eth0", "neighbour-unresolved HT1 eth0"])?;
        // Nobody expects anything of one that is halted: it may be switched off.
        balancer.lbctl(&["halt", "four/HT1"])?.success()?;
        balancer.lbctl(&["halt", "six/HT1"])?.success()?;
        found(balancer, &[])?;
        balancer.lbctl(&["online", "four/HT1"])?.success()?;
        // The loopback has no MAC address.
        site.balancer.ip(&["route", "add", "192.168.94.115/32", "dev", "lo"])?;
        wait_until("the route leads to the loopback", SOON, || {
            let examined = Examined::of(balancer, &["four"])?;
            ensure!(examined.short() == ["next-hop-unusable HT1 lo"], "{}", examined.0);
            Ok(())
        })?;
        site.balancer.ip(&["route", "del", "192.168.94.115/32", "dev", "lo"])?;
        // The route to the real servers goes, and the VIP stays.
        site.balancer.ip(&["route", "del", "192.168.94.0/24", "dev", "eth0"])?;
        wait_until("there is no route", SOON, || {
            let examined = Examined::of(balancer, &["four"])?;
            ensure!(examined.short() == ["no-route HT1 -", "no-route HT2 -"], "{}", examined.0);
            Ok(())
        })?;
        // By a router, which l4-dr cannot use.
        site.balancer.ip(&["route", "add", "192.168.94.11/32", "dev", "eth0"])?;
        site.balancer.ip(&["route", "add", "192.168.94.0/24", "via", "192.168.94.11"])?;
        wait_until("the route leads by a router", SOON, || {
            let examined = Examined::of(balancer, &["four"])?;
            ensure!(examined.short() == ["not-on-link HT1 eth0", "not-on-link HT2 eth0"], "{}", examined.0);
            Ok(())
        })
    })
}

#[test]
fn a_vip_that_could_not_be_brought_up_is_found() -> Result<()> {
    in_lab("doc-gone", |lab| {
        let site = deployments::harmonic(lab)?;
        let _servers = echo_servers(&site, &[MEDIA_VIP, MEDIA_VIP_V6])?;
        let elsewhere = "address: 192.168.94.110\n    interface: eth9";
        let yaml = echo_port(DUAL_STACK).replace("address: 192.168.94.110", elsewhere);
        let balancer = Balancer::start(lab, &site.balancer, &yaml)?;
        let examined = found(&balancer, &["vip-missing - -"])?;
        assert_eq!(examined.finding("vip-missing")?["services"], serde_json::json!(["four"]));
        Ok(())
    })
}

#[test]
fn an_interface_without_link_is_found() -> Result<()> {
    harmonic("doc-link", |_, site, balancer| {
        site.balancer.ip(&["link", "set", "eth0", "down"])?;
        wait_until("the link is down", SOON, || {
            let short = Examined::of(balancer, &[])?.short();
            ensure!(short.contains(&"link-down - eth0".to_owned()), "{short:?}");
            ensure!(short.contains(&"link-down HT1 eth0".to_owned()), "{short:?}");
            Ok(())
        })
    })
}

#[test]
fn xdp_in_the_network_stack_is_found_with_its_reason() -> Result<()> {
    in_lab("doc-xdp", |lab| {
        let site = deployments::harmonic(lab)?;
        let _servers = echo_servers(&site, &[MEDIA_VIP, MEDIA_VIP_V6])?;
        // A macvlan device has no XDP of its own.
        spare_pair(&site.balancer)?;
        site.balancer.ip(&["link", "add", "mv0", "link", "spare0", "type", "macvlan"])?;
        site.balancer.ip(&["link", "set", "mv0", "up"])?;
        let both = echo_port(DUAL_STACK).replace("- {device: eth0}", "- {device: eth0}\n    - {device: mv0}");
        let balancer = Balancer::start(lab, &site.balancer, &both)?;
        found(&balancer, &["xdp-generic - mv0"])?;
        let asked_for = both.replace("{device: mv0}", "{device: mv0, xdp: generic}");
        balancer.write_configuration(&asked_for)?;
        balancer.lbctl(&["reload"])?.success()?;
        found(&balancer, &[])?;
        Ok(())
    })
}

#[test]
fn an_mtu_that_keeps_xdp_out_of_the_driver_is_found() -> Result<()> {
    in_lab("doc-mtu", |lab| {
        let site = deployments::harmonic(lab)?;
        let _servers = echo_servers(&site, &[MEDIA_VIP, MEDIA_VIP_V6])?;
        site.balancer.set_long_mtu("eth0", 9_000)?;
        let mut balancer = Balancer::start(lab, &site.balancer, &echo_port(DUAL_STACK))?;
        let examined = found(&balancer, &["xdp-mtu - eth0"])?;
        // What is to be typed restarts a service that is not one here.
        let fix = &examined.finding("xdp-mtu")?["fix"][0]["commands"];
        assert_eq!((&fix[0], &fix[1]), (&"ip link set eth0 mtu 1500".into(), &"systemctl restart lbd".into()));
        balancer.detach()?;
        site.balancer.set_long_mtu("eth0", 1_500)?;
        balancer.restart()?;
        found(&balancer, &[])?;
        Ok(())
    })
}

#[test]
fn an_interface_that_lost_its_program_is_found() -> Result<()> {
    harmonic("doc-lost", |_, site, balancer| {
        require("bpftool", "bpftool")?;
        let pin = balancer.pin_directory().join("links/eth0").display().to_string();
        site.balancer.run(&["bpftool", "link", "detach", "pinned", &pin])?.success()?;
        let examined = Examined::of(balancer, &[])?;
        ensure!(examined.short().contains(&"xdp-not-attached - eth0".to_owned()), "{}", examined.0);
        Ok(())
    })
}

#[test]
fn packets_that_the_reverse_path_filter_drops_are_found_while_they_come() -> Result<()> {
    harmonic("doc-rpf", |lab, site, balancer| {
        site.balancer.set("ipv4/conf/all/rp_filter", "1")?;
        found(balancer, &[]).context("a strict filter that drops nothing")?;
        // The way back to 10.9.9.9 leads by another interface than the one that its packets come by.
        let behind = lab.host_on("behind", &site.network, &["192.168.94.220/24"])?;
        behind.add_address("lo", "10.9.9.9/32")?;
        spare_pair(&site.balancer)?;
        site.balancer.ip(&["route", "add", "10.9.9.0/24", "dev", "spare0"])?;
        let mut pinging = behind.spawn(&["ping", "-i", "0.2", "-I", "10.9.9.9", "192.168.94.40"])?;
        let seen = wait_until("packets are dropped", SOON, || {
            let examined = Examined::of(balancer, &[])?;
            ensure!(examined.short() == ["rp-filter - eth0"], "{:#}", examined.0);
            Ok(examined)
        });
        pinging.kill();
        seen?.type_on("rp-filter", "on this machine", &site.balancer)?;
        Ok(())
    })
}

/// Clients at the balancer's `eth1`, real servers at its `eth0`, which are routed by it.
struct Through {
    balancer: Host,
    client: Host,
    servers: Vec<Host>,
}

fn through(lab: &Lab) -> Result<Through> {
    let (front, back) = (lab.network()?, lab.network()?);
    let mut balancer = lab.host_on("lb1", &back, &["192.168.94.40/24", "fd00:94::40/64"])?;
    balancer.attach(&front, "eth1", &["10.20.90.40/24", "fd00:90::40/64"])?;
    balancer.set("ipv4/ip_forward", "1")?;
    balancer.set("ipv6/conf/all/forwarding", "1")?;
    let client = lab.host_on("client", &front, &["10.20.90.11/24"])?;
    let mut servers = Vec::new();
    for (name, last) in [("HT1", 115), ("HT2", 116)] {
        let addresses = [format!("192.168.94.{last}/24"), format!("fd00:94::{last}/64")];
        let server = lab.host_on(name, &back, &addresses.each_ref().map(String::as_str))?;
        server.ip(&["route", "add", "default", "via", "192.168.94.40"])?;
        server.ip(&["-6", "route", "add", "default", "via", "fd00:94::40"])?;
        servers.push(server);
    }
    Ok(Through { balancer, client, servers })
}

#[test]
fn a_server_with_another_gateway_is_found_in_both_families_and_mended() -> Result<()> {
    in_lab("doc-gw", |lab| {
        let Through { balancer: host, servers, .. } = through(lab)?;
        let balancer = Balancer::start(lab, &host, THROUGH)?;
        // Three VIPs, and four real servers of l4-nat.
        assert_eq!(found(&balancer, &[])?.0["asked"], 7);

        let server = &servers[1];
        server.ip(&["route", "replace", "default", "via", "192.168.94.1"])?;
        server.ip(&["-6", "route", "replace", "default", "via", "fd00:94::1"])?;
        found(&balancer, &["nat-gateway HT2 -", "nat-gateway HT2 -"])?;
        for service in ["four", "six"] {
            Examined::of(&balancer, &[service])?.type_on("nat-gateway", "on HT2 (Linux)", server)?;
        }
        found(&balancer, &[])?;
        // A gateway that is a gateway, and not the balancer.
        server.ip(&["route", "del", "default"])?;
        let examined = found(&balancer, &["nat-gateway HT2 -"])?;
        assert_eq!(examined.finding("nat-gateway")?["services"], serde_json::json!(["four"]));
        Ok(())
    })
}

#[test]
fn a_server_that_lets_in_its_clients_only_is_not_blamed_while_they_hear_it() -> Result<()> {
    in_lab("doc-only", |lab| {
        require("nft", "nftables")?;
        let Through { balancer: host, client, servers } = through(lab)?;
        let echo = |server: &Host| EchoServer::tcp(server, at(server.v4(), ECHO_PORT));
        let _echo = servers.iter().map(echo).collect::<Result<Vec<_>>>()?;
        let balancer = Balancer::start(lab, &host, THROUGH)?;
        let vip = "10.20.90.105".parse()?;
        let mut flow = TcpClient::connect(&client, at(vip, ECHO_PORT), ANSWER)?;
        let name = flow.ask(ANSWER)?.server;
        let server = servers.iter().find(|server| server.name() == name).context("a stranger answered")?;
        server.run(&["nft", "add table inet wall"])?.success()?;
        let chain = "add chain inet wall in { type filter hook input priority 0; policy accept; }";
        server.run(&["nft", chain])?.success()?;
        server.run(&["nft", "add rule inet wall in ip saddr 192.0.2.0/24 drop"])?.success()?;
        let examined = Examined::of(&balancer, &["four"])?;
        ensure!(examined.findings().is_empty(), "{}", examined.0);
        let untold = examined.0["untold"].as_array().context("no list")?;
        ensure!(untold.len() == 1 && untold[0].as_str().is_some_and(|text| text.contains(&name)), "{untold:?}");
        assert_eq!(flow.ask(ANSWER)?.server, name, "the flow goes on");
        Ok(())
    })
}

#[test]
fn settings_of_this_machine_that_are_in_the_way_are_found_and_mended() -> Result<()> {
    in_lab("doc-set", |lab| {
        let Through { balancer: host, .. } = through(lab)?;
        let balancer = Balancer::start(lab, &host, THROUGH)?;

        host.set("ipv4/ip_forward", "0")?;
        let examined = found(&balancer, &["ip-forward - -"])?;
        examined.type_on("ip-forward", "on this machine", &host)?;
        found(&balancer, &[])?;

        host.ip(&["link", "set", "eth0", "mtu", "1400"])?;
        let examined = found(&balancer, &["mtu-mismatch - eth0"])?;
        assert_eq!(examined.finding("mtu-mismatch")?["services"], serde_json::json!(["four", "six", "hidden"]));
        examined.type_on(
            "mtu-mismatch",
            "on this machine, if the network of the real servers takes such packets",
            &host,
        )?;
        found(&balancer, &[])?;

        host.set("ipv4/ip_local_port_range", "10000 20000")?;
        let examined = found(&balancer, &["source-ports-overlap - -"])?;
        assert_eq!(examined.finding("source-ports-overlap")?["services"], serde_json::json!(["hidden"]));
        examined.type_on("source-ports-overlap", "on this machine", &host)?;
        found(&balancer, &[])?;
        Ok(())
    })
}

#[test]
fn redirects_are_found_where_clients_and_servers_are_at_one_interface() -> Result<()> {
    in_lab("doc-icmp", |lab| {
        let Through { balancer: host, .. } = through(lab)?;
        let one_arm = THROUGH.replace("10.20.90.", "192.168.94.").replace("fd00:90:", "fd00:94:");
        let balancer = Balancer::start(lab, &host, &one_arm)?;
        let examined = found(&balancer, &["icmp-redirects - eth0"])?;
        assert_eq!(examined.finding("icmp-redirects")?["services"], serde_json::json!(["four"]));
        examined.type_on("icmp-redirects", "on this machine", &host)?;
        found(&balancer, &[])?;
        Ok(())
    })
}
