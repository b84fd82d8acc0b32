//! What happens to the balancer and to other people's flows when somebody sends rubbish or floods.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::at;
use lb_tests::balancer::{Balancer, Status};
use lb_tests::deployments::{self, ECHO_PORT, MEDIA_VIP, MEDIA_VIP_V6, Site};
use lb_tests::frame;
use lb_tests::lab::{Lab, in_lab, wait_until};
use lb_tests::noise::{Random, Target};
use lb_tests::software::echo::{EchoServer, TcpClient, UdpClient};

const CONFIGURATION: &str = include_str!("../data/dual_stack.yaml");
const HOSTILE_FRAMES: u32 = 20_000;
const SPOOFED_SYNS: u32 = 200_000;
/// A port of the service where no server listens: the flood must not fill a server's backlog.
const FLOODED_PORT: u16 = 50_003;
/// TCP repeats what a full queue of the lab's interfaces dropped.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks over an open TCP connection and a UDP flow until told to stop; how often it was answered.
fn keep_asking(site: &Site, stop: &AtomicBool) -> Result<u32> {
    let mut tcp = TcpClient::connect(&site.client, at(MEDIA_VIP, ECHO_PORT), PATIENCE)?;
    let udp = UdpClient::new(&site.client, at(site.client.v4(), 0), at(MEDIA_VIP, ECHO_PORT))?;
    let (tcp_server, udp_server) = (tcp.ask(PATIENCE)?.server, ask_udp(&udp)?);
    let mut answers = 0;
    while !stop.load(Ordering::Relaxed) {
        let server = tcp.ask(PATIENCE).context("the TCP flow was harmed")?.server;
        ensure!(server == tcp_server, "the TCP flow moved from {tcp_server} to {server}");
        let server = ask_udp(&udp).context("the UDP flow was harmed")?;
        ensure!(server == udp_server, "the UDP flow moved from {udp_server} to {server}");
        answers += 2;
    }
    Ok(answers)
}

/// The server that answers; datagrams that a full queue drops are sent again.
fn ask_udp(client: &UdpClient) -> Result<String> {
    let ask = || client.ask(64, Duration::from_millis(500));
    Ok(wait_until("a datagram is answered", PATIENCE, ask)?.server)
}

/// Runs `attack` while flows go on; they must not notice, and every frame delivered to the
/// balancer must be in a counter.
fn flows_survive(lab: &Lab, site: &Site, attack: impl FnOnce() -> Result<()>) -> Result<(Status, Status)> {
    let mut servers = Vec::new();
    for server in &site.servers {
        servers.push(EchoServer::udp(server, at(MEDIA_VIP, ECHO_PORT))?);
        servers.push(EchoServer::tcp(server, at(MEDIA_VIP, ECHO_PORT))?);
    }
    let mut balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;
    let (before, delivered_before) = (balancer.status()?, site.balancer.frames_delivered("eth0")?);

    let stop = AtomicBool::new(false);
    let answers = std::thread::scope(|scope| {
        let asking = scope.spawn(|| keep_asking(site, &stop));
        let attacked = attack();
        stop.store(true, Ordering::Relaxed);
        let answers = asking.join().map_err(|_| anyhow::anyhow!("the asking thread panicked"))?;
        attacked.and(answers)
    })?;
    ensure!(answers > 0, "nothing was asked during the attack");

    balancer.ensure_alive()?;
    let delivered = site.balancer.frames_delivered("eth0")? - delivered_before;
    let after = wait_until("the counters account for every frame", PATIENCE, || {
        let after = balancer.status()?;
        let counted = after.packets_counted() - before.packets_counted();
        ensure!(counted >= delivered, "{delivered} frames were delivered, {counted} were counted");
        Ok(after)
    })?;
    Ok((before, after))
}

fn attack_with_rubbish(site: &Site, vip: IpAddr, seed: u64) -> Result<()> {
    let client = if vip.is_ipv4() { site.client.v4() } else { site.client.v6() };
    let (to_mac, from_mac) = (site.balancer.mac("eth0")?, site.client.mac("eth0")?);
    let target = Target { to_mac, from_mac, client, service: at(vip, ECHO_PORT) };
    let socket = site.client.packet_socket("eth0")?;
    let mut random = Random::new(seed);
    for _ in 0..HOSTILE_FRAMES {
        socket.send(&target.frame(&mut random))?;
    }
    Ok(())
}

#[test]
fn rubbish_is_counted_and_harms_nobody() -> Result<()> {
    in_lab("rubbish", |lab| {
        let site = deployments::harmonic(lab)?;
        let (before, after) = flows_survive(lab, &site, || {
            attack_with_rubbish(&site, MEDIA_VIP, 0x5eed)?;
            attack_with_rubbish(&site, MEDIA_VIP_V6, 0xfeed)
        })?;
        for reason in ["bad-length", "port-zero", "fragment-unknown", "not-vip", "no-service"] {
            let counted = after.packets_for(reason) - before.packets_for(reason);
            ensure!(counted > 0, "of all the rubbish nothing was counted as {reason}: {}", after.0["counters"]);
        }
        Ok(())
    })
}

#[test]
fn a_flood_of_spoofed_connections_harms_no_established_flow() -> Result<()> {
    in_lab("flood", |lab| {
        let site = deployments::harmonic(lab)?;
        let (before, after) = flows_survive(lab, &site, || {
            let socket = site.client.packet_socket("eth0")?;
            let (to, from) = (site.balancer.mac("eth0")?, site.client.mac("eth0")?);
            for number in 0..SPOOFED_SYNS {
                // 10.0.0.0/8 is nowhere in this lab: what the servers answer goes nowhere.
                let [_, a, b, c] = number.to_be_bytes();
                let source = at(IpAddr::from([10, a, b, c]), 1_024 + u16::from(c));
                let syn = frame::tcp(source, at(MEDIA_VIP, FLOODED_PORT), number, 0x02);
                socket.send(&frame::ethernet(to, from, &syn))?;
            }
            Ok(())
        })?;
        let counted = after.packets_counted() - before.packets_counted();
        ensure!(counted > u64::from(SPOOFED_SYNS) / 4, "the lab delivered too little to call it a flood: {counted}");
        for table in after.0["tables"].as_array().into_iter().flatten() {
            ensure!(table["entries"].as_u64() <= table["capacity"].as_u64(), "a table outgrew itself: {table}");
        }
        Ok(())
    })
}
