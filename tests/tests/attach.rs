//! What the daemon puts into the kernel: that it can be read, that it forwards without the daemon and
//! between interfaces, and that nothing is left when it is told to go.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, ECHO_PORT, MEDIA_VIP, MEDIA_VIP_V6, Site, TWO_ARM_VIP};
use lb_tests::frame;
use lb_tests::lab::{Host, in_lab, require};
use lb_tests::software::echo::{EchoServer, TcpClient, UdpClient};
use serde_json::Value;

const ONE_ARM: &str = include_str!("../data/dual_stack.yaml");
const TWO_ARM: &str = include_str!("../data/two_arm.yaml");
const ANSWER: Duration = Duration::from_secs(2);

fn echo_servers(site: &Site, vip: std::net::IpAddr) -> Result<Vec<EchoServer>> {
    let mut servers = Vec::new();
    for server in &site.servers {
        servers.push(EchoServer::udp(server, at(vip, ECHO_PORT))?);
        servers.push(EchoServer::tcp(server, at(vip, ECHO_PORT))?);
    }
    Ok(servers)
}

/// What `ip -j` says about the host: with XDP programs and addresses.
fn ip_json(host: &Host, what: &str) -> Result<String> {
    Ok(host.run(&["ip", "-d", "-j", what, "show"])?.success()?.stdout)
}

#[test]
fn after_a_stop_with_detach_nothing_is_left() -> Result<()> {
    in_lab("detach", |lab| {
        let site = deployments::harmonic(lab)?;
        let _servers = echo_servers(&site, MEDIA_VIP)?;
        let mut balancer = Balancer::start(lab, &site.balancer, ONE_ARM)?;
        UdpClient::new(&site.client, at(site.client.v4(), 0), at(MEDIA_VIP, ECHO_PORT))?.ask(9, ANSWER)?;
        ensure!(ip_json(&site.balancer, "link")?.contains("\"xdp\""), "no XDP program is attached");
        for vip in [MEDIA_VIP, MEDIA_VIP_V6] {
            let addresses = ip_json(&site.balancer, "address")?;
            ensure!(addresses.contains(&format!("\"{vip}\"")), "{vip} is not up: {addresses}");
        }

        balancer.detach()?;

        ensure!(!balancer.pin_directory().exists(), "{} is still there", balancer.pin_directory().display());
        ensure!(!ip_json(&site.balancer, "link")?.contains("\"xdp\""), "an XDP program is still attached");
        for vip in [MEDIA_VIP, MEDIA_VIP_V6] {
            ensure!(!ip_json(&site.balancer, "address")?.contains(&format!("\"{vip}\"")), "{vip} is still up");
        }
        ensure!(ip_json(&site.balancer, "address")?.contains("192.168.94.40"), "the machine's own address is gone");
        Ok(())
    })
}

#[test]
fn a_vip_that_the_machine_already_had_is_left_alone() -> Result<()> {
    in_lab("ownvip", |lab| {
        let site = deployments::harmonic(lab)?;
        site.balancer.add_address("eth0", &format!("{MEDIA_VIP}/32"))?;
        let mut balancer = Balancer::start(lab, &site.balancer, ONE_ARM)?;
        balancer.detach()?;
        ensure!(
            ip_json(&site.balancer, "address")?.contains(&format!("\"{MEDIA_VIP}\"")),
            "{MEDIA_VIP} was taken down"
        );
        Ok(())
    })
}

#[test]
fn the_kernel_forwards_without_the_daemon_and_the_next_one_adopts_it() -> Result<()> {
    in_lab("adopt", |lab| {
        let site = deployments::harmonic(lab)?;
        let _servers = echo_servers(&site, MEDIA_VIP)?;
        let mut balancer = Balancer::start(lab, &site.balancer, ONE_ARM)?;
        let connect = || TcpClient::connect(&site.client, at(MEDIA_VIP, ECHO_PORT), ANSWER);
        let mut flows = (0..4).map(|_| connect()).collect::<Result<Vec<_>>>()?;
        let homes = flows.iter_mut().map(|flow| Ok(flow.ask(ANSWER)?.server)).collect::<Result<Vec<_>>>()?;
        let mut all_goes_on = || -> Result<()> {
            for (flow, home) in flows.iter_mut().zip(&homes) {
                assert_eq!(flow.ask(ANSWER)?.server, *home, "a flow moved");
            }
            connect()?.ask(ANSWER)?;
            Ok(())
        };

        balancer.terminate()?;
        all_goes_on().context("after SIGTERM")?;
        balancer.restart()?;
        all_goes_on().context("after a restart")?;
        let counted = balancer.status()?.packets_with("forward");
        balancer.kill();
        all_goes_on().context("after SIGKILL")?;
        balancer.restart()?;
        all_goes_on().context("after a restart")?;
        ensure!(balancer.status()?.packets_with("forward") > counted, "counters began anew or did not count");
        Ok(())
    })
}

#[test]
fn flows_can_be_read_with_bpftool_by_the_names_of_their_fields() -> Result<()> {
    in_lab("bpftool", |lab| {
        require("bpftool", "bpftool")?;
        let site = deployments::harmonic(lab)?;
        let _servers = echo_servers(&site, MEDIA_VIP)?;
        let balancer = Balancer::start(lab, &site.balancer, ONE_ARM)?;
        let mut flow = TcpClient::connect(&site.client, at(MEDIA_VIP, ECHO_PORT), ANSWER)?;
        flow.ask(ANSWER)?;
        let map = balancer.pin_directory().join("flows").display().to_string();
        let dump = site.balancer.run(&["bpftool", "-j", "map", "dump", "pinned", &map])?.success()?;
        let entries: Value = serde_json::from_str(&dump.stdout).context("bpftool printed no JSON")?;
        let entries = entries.as_array().context("bpftool printed no list")?;
        let port = flow.address()?.port();
        let ours = entries.iter().map(|entry| &entry["formatted"]).find(|entry| entry["key"]["client_port"] == port);
        let flow = ours.with_context(|| format!("the flow of port {port} is not in {dump}"))?;
        assert_eq!((&flow["key"]["vip_port"], &flow["key"]["protocol"]), (&ECHO_PORT.into(), &frame::TCP.into()));
        let fields = flow["value"].as_object().context("the value has no named fields")?;
        ensure!(fields.len() >= 2, "the value has only these fields: {fields:?}");
        Ok(())
    })
}

#[test]
fn clients_at_one_interface_reach_real_servers_at_another() -> Result<()> {
    in_lab("twoarm", |lab| {
        let (site, _router) = deployments::two_arm(lab)?;
        let _servers = echo_servers(&site, TWO_ARM_VIP)?;
        let balancer = Balancer::start(lab, &site.balancer, TWO_ARM)?;
        let (entered, left) = (site.balancer.frames_delivered("eth1")?, site.balancer.frames_sent("eth0")?);
        let mut servers = Vec::new();
        for _ in 0..6 {
            let udp = UdpClient::new(&site.client, at(site.client.v4(), 0), at(TWO_ARM_VIP, ECHO_PORT))?;
            let answer = udp.ask(4_000, ANSWER)?;
            assert_eq!((answer.peer, answer.length), (udp.address()?, 4_000));
            servers.push(answer.server);
            let mut tcp = TcpClient::connect(&site.client, at(TWO_ARM_VIP, ECHO_PORT), ANSWER)?;
            let answer = tcp.ask(ANSWER)?;
            assert_eq!(answer.peer, tcp.address()?);
            servers.push(answer.server);
        }
        ensure!(servers.iter().any(|name| name == "HT1") && servers.iter().any(|name| name == "HT2"), "{servers:?}");
        let entered = site.balancer.frames_delivered("eth1")? - entered;
        let left = site.balancer.frames_sent("eth0")? - left;
        ensure!(entered >= 24 && left >= 24, "{entered} frames came to eth1 and {left} left eth0");
        ensure!(
            balancer.status()?.packets_with("forward") >= 24,
            "the redirected packets were not counted as forwarded"
        );
        Ok(())
    })
}

#[test]
fn generic_xdp_forwards_too_and_the_status_says_so() -> Result<()> {
    in_lab("generic", |lab| {
        let site = deployments::harmonic(lab)?;
        let _servers = echo_servers(&site, MEDIA_VIP)?;
        let generic = ONE_ARM.replace("{device: eth0}", "{device: eth0, xdp: generic}");
        let balancer = Balancer::start(lab, &site.balancer, &generic)?;
        for _ in 0..4 {
            UdpClient::new(&site.client, at(site.client.v4(), 0), at(MEDIA_VIP, ECHO_PORT))?.ask(300, ANSWER)?;
            TcpClient::connect(&site.client, at(MEDIA_VIP, ECHO_PORT), ANSWER)?.ask(ANSWER)?;
        }
        assert_eq!(balancer.status()?.0["interfaces"][0]["xdp"], "generic");
        Ok(())
    })
}
