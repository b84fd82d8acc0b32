//! What a daemon that comes back must not undo: a real server that was down stays so until its check
//! says otherwise, one that was up never leaves, and clients are remembered.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, ECHO_PORT, MEDIA_VIP, Site};
use lb_tests::frame;
use lb_tests::lab::{Capture, Host, in_lab, wait_until};
use lb_tests::software::echo::{EchoServer, TcpClient, UdpClient};
use nix::sys::signal::Signal;
use serde_json::Value;

const DEPLOYMENT: &str = include_str!("../data/harmonic_traffic.yaml");
const SERVICE: &str = "Harmonic_Traffic";
const CHECK_PORT: u16 = 554;
const ANSWER: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_secs(15);
/// Clients that are remembered beside the real ones.
const CLIENTS: u16 = 5_000;
/// More than there are.
const ALL: &str = "10000";

/// The deployment, with a check that the echo servers answer.
fn configuration() -> Result<String> {
    let https = "{type: https, port: 8443, path: /admin/status, expect: {equals: Healthy}, ";
    ensure!(DEPLOYMENT.contains(https), "the deployment has another check");
    Ok(DEPLOYMENT.replace(https, &format!("{{type: connect, port: {CHECK_PORT}, ")))
}

/// Servers at the VIP over both protocols, and at the port that is checked.
fn servers(site: &Site) -> Result<Vec<EchoServer>> {
    let mut servers = Vec::new();
    for server in &site.servers {
        servers.push(EchoServer::tcp(server, at(server.v4(), CHECK_PORT))?);
        servers.push(EchoServer::tcp(server, at(MEDIA_VIP, ECHO_PORT))?);
        servers.push(EchoServer::udp(server, at(MEDIA_VIP, ECHO_PORT))?);
    }
    Ok(servers)
}

/// Ends the daemon as a crash or as an administrator would.
fn end(balancer: &mut Balancer<'_>, how: Signal) -> Result<()> {
    if how == Signal::SIGTERM {
        return balancer.terminate();
    }
    balancer.kill();
    Ok(())
}

/// Whether a frame is for the VIP.
fn for_the_vip(bytes: &[u8]) -> bool {
    frame::see(bytes).is_some_and(|seen| seen.destination == MEDIA_VIP)
}

/// Opens one flow after the other, over both protocols, while `work` is done; each is answered by `server`.
/// Returns how many there were.
fn under_new_flows(client: &Host, server: &str, work: impl FnOnce() -> Result<()>) -> Result<usize> {
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let one_after_the_other = || -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let udp = UdpClient::new(client, at(client.v4(), 0), at(MEDIA_VIP, ECHO_PORT))?.ask(9, ANSWER)?;
            let tcp = TcpClient::connect(client, at(MEDIA_VIP, ECHO_PORT), ANSWER)?.ask(ANSWER)?;
            for answer in [udp, tcp] {
                ensure!(answer.server == server, "{} answered a new flow", answer.server);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let flows = scope.spawn(one_after_the_other);
        let begun = wait_until("new flows are answered", SOON, || {
            ensure!(answered.load(Ordering::Relaxed) > 10 || flows.is_finished(), "not yet");
            Ok(())
        });
        let worked = begun.and_then(|()| work());
        stop.store(true, Ordering::Relaxed);
        flows.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        worked
    })?;
    Ok(answered.into_inner())
}

#[test]
fn a_server_that_was_down_gets_nothing_after_a_restart_until_its_check_succeeds() -> Result<()> {
    in_lab("staydown", |lab| {
        let site = deployments::harmonic(lab)?;
        let _servers = servers(&site)?;
        // Without persistence: nothing but the servers' states keeps a new flow from one of them.
        let deployment = configuration()?;
        let each_on_its_own = deployment.replace("    persistence: {by: source-ip, timeout: 5m}\n", "");
        assert_ne!(each_on_its_own, deployment);
        let mut balancer = Balancer::start(lab, &site.balancer, &each_on_its_own)?;
        let silent = site.server("HT1");
        let to_balancer = format!("{}/32", site.balancer.v4());
        // It answers ARP, and what comes from clients: only the check is without an answer, so that the
        // next daemon's first one takes its whole timeout.
        silent.ip(&["route", "add", "blackhole", &to_balancer])?;
        balancer.wait_state(SERVICE, "HT1", "down", SOON)?;

        let captured: Capture = silent.capture("eth0", for_the_vip)?;
        for how in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGKILL] {
            let flows = under_new_flows(&site.client, "HT2", || {
                end(&mut balancer, how)?;
                balancer.restart()?;
                balancer.wait_state(SERVICE, "HT1", "down", SOON)?;
                Ok(())
            })?;
            assert_eq!(captured.count(|_| true), 0, "frames for the VIP at HT1, which is down, after {how}");
            println!("{how}: {flows} new flows, all to HT2, none to HT1");
        }
        let status = balancer.status()?;
        assert_eq!((status.packets_with("drop"), status.packets_for("resumed")), (0, 0), "dropped, resumed");

        silent.ip(&["route", "del", "blackhole", &to_balancer])?;
        balancer.wait_state(SERVICE, "HT1", "up", SOON)?;
        wait_until("a new flow reaches HT1", SOON, || {
            let answer =
                UdpClient::new(&site.client, at(site.client.v4(), 0), at(MEDIA_VIP, ECHO_PORT))?.ask(9, ANSWER)?;
            ensure!(answer.server == "HT1", "it reached {}", answer.server);
            Ok(())
        })?;
        ensure!(captured.count(|_| true) > 0, "the capture sees nothing");
        Ok(())
    })
}

/// Whom each client is remembered with.
fn remembered(balancer: &Balancer<'_>) -> Result<BTreeMap<String, String>> {
    let output = balancer.lbctl(&["persistence", "--json", "--limit", ALL])?.success()?;
    let list: Value = serde_json::from_str(&output.stdout).with_context(|| format!("no JSON: {output}"))?;
    let rows = list["persistence"].as_array().context("persistence is no list")?;
    ensure!(list["total"].as_u64() == Some(rows.len() as u64), "not every client is listed: {}", list["total"]);
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    Ok(rows.iter().map(|row| (text(row, "client"), text(row, "real_server"))).collect())
}

#[test]
fn thousands_of_clients_keep_their_real_server_when_the_daemon_is_killed() -> Result<()> {
    in_lab("remember", |lab| {
        let site = deployments::harmonic(lab)?;
        let _servers = servers(&site)?;
        let mut balancer = Balancer::start(lab, &site.balancer, &configuration()?)?;
        let homes = || -> Result<Vec<String>> {
            let ask = |client: &IpAddr| {
                let ask = || UdpClient::new(&site.client, at(*client, 0), at(MEDIA_VIP, ECHO_PORT))?.ask(9, ANSWER);
                let first = ask()?.server;
                ensure!(ask()?.server == first, "two flows of {client} went to two servers");
                Ok(first)
            };
            site.client_addresses().iter().map(ask).collect()
        };
        let raw = site.client.packet_socket("eth0")?;
        let macs = (site.balancer.mac("eth0")?, site.client.mac("eth0")?);
        // Two datagrams of each: who has sent only one may be pushed out.
        let everyone_sends = |port: u16| -> Result<()> {
            for number in 0..CLIENTS {
                let [high, low] = number.to_be_bytes();
                let client = at(IpAddr::V4(Ipv4Addr::new(10, 9, high, low)), port);
                let packet = frame::udp(client, at(MEDIA_VIP, ECHO_PORT + 1), b"x");
                for _ in 0..2 {
                    raw.send(&frame::ethernet(macs.0, macs.1, &packet))?;
                }
            }
            Ok(())
        };
        everyone_sends(4_000)?;
        let before_homes = homes()?;
        let everyone = usize::from(CLIENTS) + site.client_addresses().len();
        let before = wait_until("every client is remembered", SOON, || {
            let list = remembered(&balancer)?;
            ensure!(list.len() == everyone, "{} of {everyone} are", list.len());
            Ok(list)
        })?;
        for server in ["HT1", "HT2"] {
            let count = before.values().filter(|home| *home == server).count();
            ensure!(count > everyone / 4, "{server} has only {count} clients");
        }

        for how in [Signal::SIGKILL, Signal::SIGTERM] {
            end(&mut balancer, how)?;
            // Some come with a new flow while there is no daemon, and some when there is one.
            everyone_sends(5_000)?;
            assert_eq!(homes()?, before_homes, "clients moved after {how}, without a daemon");
            balancer.restart()?;
            everyone_sends(6_000)?;
            assert_eq!(homes()?, before_homes, "clients moved after {how} and a start");
            let after = remembered(&balancer)?;
            let moved: Vec<_> = before.iter().filter(|(client, home)| after.get(*client) != Some(home)).collect();
            ensure!(moved.is_empty(), "{how}: {} clients moved or are forgotten: {:?}", moved.len(), moved.first());
            println!("{how}: {} clients, none moved", after.len());
        }
        assert_eq!(balancer.status()?.packets_with("drop"), 0, "frames were dropped");
        Ok(())
    })
}
