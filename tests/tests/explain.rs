//! `lbctl explain` on a running balancer: where it says that a client goes is where the client's
//! traffic goes, and being asked is not seen by anybody.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, ECHO_PORT, MEDIA_VIP, MEDIA_VIP_V6, Site};
use lb_tests::lab::{in_lab, wait_until};
use lb_tests::software::echo::{EchoServer, TcpClient, UdpClient};
use serde_json::Value;

const DUAL_STACK: &str = include_str!("../data/dual_stack.yaml");
const ANSWER: Duration = Duration::from_secs(2);
/// Two probes, two sweeps and a slow machine.
const NOTICED: Duration = Duration::from_secs(15);

/// Two real servers that are checked; clients are remembered.
const CHECKED: &str = "
version: 1
node: {interfaces: [{device: eth0}]}
virtual_services:
  - name: traffic
    address: 192.168.94.110
    ports: [50002]
    mode: l4-dr
    persistence: {by: source-ip, timeout: 6h}
    health_check: {type: connect, port: 50002, interval: 500ms, timeout: 400ms}
    real_servers:
      - {name: HT1, address: 192.168.94.115}
      - {name: HT2, address: 192.168.94.116}
";

/// What was explained, as JSON and as a person reads it.
struct Told {
    json: Value,
    text: String,
}

impl Told {
    fn ensure(&self, reason: &str, server: Option<&str>, sentences: &[&str]) -> Result<()> {
        let Self { json, text } = self;
        ensure!(json["reason"] == reason && json["real_server"].as_str() == server, "{json}");
        for sentence in sentences {
            ensure!(text.contains(sentence), "{sentence:?} is not in\n{text}");
        }
        Ok(())
    }
}

fn explain(balancer: &Balancer<'_>, client: &dyn ToString, vip: SocketAddr, more: &[&str]) -> Result<Told> {
    let (client, vip) = (client.to_string(), vip.to_string());
    let arguments = [&["explain", &client, &vip], more].concat();
    let text = balancer.lbctl(&arguments)?.success()?.stdout;
    let json = balancer.lbctl(&[&arguments[..], &["--json"]].concat())?.success()?;
    let json = serde_json::from_str(&json.stdout).with_context(|| format!("no JSON: {json}"))?;
    Ok(Told { json, text })
}

fn connect(site: &Site, client: IpAddr) -> Result<TcpClient> {
    site.client.speak_as(client, MEDIA_VIP, "eth0")?;
    TcpClient::connect(&site.client, at(MEDIA_VIP, ECHO_PORT), ANSWER)
}

#[test]
fn a_new_client_goes_where_it_was_said_and_asking_takes_no_turn() -> Result<()> {
    in_lab("explained", |lab| {
        let site = deployments::harmonic(lab)?;
        let mut servers = Vec::new();
        for server in &site.servers {
            servers.push(EchoServer::tcp(server, at(MEDIA_VIP, ECHO_PORT))?);
            servers.push(EchoServer::udp(server, at(MEDIA_VIP, ECHO_PORT))?);
        }
        let balancer = Balancer::start(lab, &site.balancer, DUAL_STACK)?;
        let mut seen = std::collections::BTreeSet::new();
        for client in site.client_addresses() {
            let told = explain(&balancer, &client, at(MEDIA_VIP, ECHO_PORT), &[])?;
            let mut flow = connect(&site, client)?;
            let server = flow.ask(ANSWER)?.server;
            told.ensure("scheduled", Some(&server), &["weighted round robin: it is the turn of", "by eth0"])?;
            seen.insert(server);
        }
        ensure!(seen.len() == 2, "both had their turn: {seen:?}");
        // The text and the JSON are two questions each, and none of them was counted.
        let status = balancer.status()?;
        assert_eq!(status.packets_for("scheduled"), site.client_addresses().len() as u64);

        // A datagram from a port that is known before it is sent.
        let udp = UdpClient::new(&site.client, at(site.client.v4(), 0), at(MEDIA_VIP, ECHO_PORT))?;
        let address = udp.address()?;
        let told = explain(&balancer, &address, at(MEDIA_VIP, ECHO_PORT), &["--protocol", "udp"])?;
        let server = udp.ask(1, ANSWER)?.server;
        told.ensure("scheduled", Some(&server), &["50002/udp is virtual service four"])?;
        let told = explain(&balancer, &address, at(MEDIA_VIP, ECHO_PORT), &["--protocol", "udp"])?;
        told.ensure("pending", Some(&server), &["one packet seen", "its packets go there"])?;

        let told = explain(&balancer, &"fd00:94::77", at(MEDIA_VIP_V6, ECHO_PORT), &[])?;
        assert_eq!((&told.json["virtual_service"], &told.json["reason"]), (&"six".into(), &"scheduled".into()));

        let told = explain(&balancer, &site.client.v4(), at(MEDIA_VIP, 81), &[])?;
        told.ensure("no-service", None, &["on this VIP there are four (TCPUDP 554,50000-65535)"])?;
        let told = explain(&balancer, &site.client.v4(), "192.168.94.9:80".parse()?, &[])?;
        told.ensure("not-vip", None, &["192.168.94.9 is no VIP; there are 192.168.94.110 and fd00:94::110"])
    })
}

#[test]
fn flows_clients_orders_and_failures_are_told_as_they_are() -> Result<()> {
    in_lab("explained", |lab| {
        let site = deployments::harmonic(lab)?;
        let mut servers = Vec::new();
        for server in &site.servers {
            let checked = EchoServer::tcp(server, at(server.v4(), ECHO_PORT))?;
            servers.push((server.name().to_owned(), checked, EchoServer::tcp(server, at(MEDIA_VIP, ECHO_PORT))?));
        }
        let vip = at(MEDIA_VIP, ECHO_PORT);
        let balancer = Balancer::start(lab, &site.balancer, CHECKED)?;
        let clients = site.client_addresses();
        let (old, new) = (clients[0], clients[1]);

        let told = explain(&balancer, &old, vip, &[])?;
        let mut flow = connect(&site, old)?;
        let home = flow.ask(ANSWER)?.server;
        told.ensure(
            "scheduled",
            Some(&home),
            &[
                "is not remembered; it stays for 6 h where it goes now",
                "weighted least connection compares ",
                "HT1 (0 connections, weight 100)",
            ],
        )?;
        let other = if home == "HT1" { "HT2" } else { "HT1" };
        let from = flow.address()?;
        let told = explain(&balancer, &from, vip, &[])?;
        told.ensure("established", Some(&home), &["established, opened ", "nobody else is asked"])?;
        // Another port of the client.
        let told = explain(&balancer, &old, vip, &[])?;
        told.ensure("persistent", Some(&home), &[&format!("{old} was with {home} "), "and stays there for another "])?;

        balancer.lbctl(&["drain", &format!("traffic/{home}")])?.success()?;
        let told = explain(&balancer, &old, vip, &[])?;
        told.ensure("persistent", Some(&home), &["it is drained, and keeps those whom it has"])?;
        let told = explain(&balancer, &new, vip, &[])?;
        told.ensure("scheduled", Some(other), &[&format!("{home} is not asked: it is drained by ")])?;
        assert_eq!(connect(&site, new)?.ask(ANSWER)?.server, other);

        balancer.lbctl(&["halt", &format!("traffic/{home}")])?.success()?;
        let told = explain(&balancer, &from, vip, &[])?;
        told.ensure("scheduled", Some(other), &[&format!("it is void: {home} is halted by "), "so it is placed anew"])?;
        let told = explain(&balancer, &old, vip, &[])?;
        told.ensure("scheduled", Some(other), &[&format!("{old} was with {home} ")])?;

        servers.retain(|(name, ..)| name != other);
        wait_until("nobody is left, and each says why", NOTICED, || {
            let told = explain(&balancer, &new, vip, &[])?;
            told.ensure(
                "no-server",
                None,
                &[
                    &format!("{home} is not asked: it is halted by "),
                    &format!("{other} is not asked: it is down for "),
                    "connection refused by ",
                ],
            )
        })
    })
}
