//! The modes that rewrite, on a site whose real servers are behind a router.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::routed::{Kind, Narrow, RAS_VIP, Routed};
use lb_tests::lab::Lab;
use lb_tests::software::echo::{EchoServer, UdpClient};
use lb_tests::software::nginx::{self, Nginx};
use lb_tests::traffic::exchange;

use super::{show, step};

const CONFIGURATION: &str = include_str!("../../../data/ras.yaml");
const UDP_PORT: u16 = 443;
const PAGE_PORT: u16 = 80;
const SERVER_PORT: u16 = 8080;
const EXCHANGES: usize = 2_000;
const REQUESTS: usize = 200;
/// Connections at a time.
const PARALLEL: usize = 20;
const ANSWER: Duration = Duration::from_secs(2);

/// Lays the site out, carries traffic through both modes, and takes everything down.
pub(super) fn run(lab: &Lab) -> Result<()> {
    let site = step("lay out a third site: clients 172.16.5.0/24, real servers 10.11.20.0/24 behind a router", || {
        let site = Routed::new(lab, Kind::SnatTwoArm, Narrow::Nowhere)?;
        Ok((site, format!("neither is in the network of the VIP {RAS_VIP}")))
    })?;
    let (_udp, web) = step("start the real servers", || {
        let udp = EchoServer::everywhere(&site.servers, UDP_PORT)?;
        let web = site.servers.iter().map(|host| Nginx::start(host, SERVER_PORT)).collect::<Result<Vec<_>>>()?;
        Ok(((udp, web), format!("UDP at port {UDP_PORT} and nginx at port {SERVER_PORT} on RAS1 and RAS2")))
    })?;
    let mut balancer = step("start lbd with RAS-SG-UDP in l4-snat and RAS-page in l4-nat", || {
        let balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;
        Ok((balancer, "every health check has spoken".into()))
    })?;
    carry_udp(&site)?;
    carry_pages(&site, &web)?;
    show(&balancer.lbctl(&["status"])?.success()?.stdout);
    lose_the_daemon(&site, &mut balancer)?;
    step("lbctl stop --detach", || {
        balancer.detach()?;
        Ok(((), "programs, tables and VIPs are gone".into()))
    })
}

fn carry_udp(site: &Routed) -> Result<()> {
    step(&format!("{EXCHANGES} short flows of 16 clients to {RAS_VIP}:{UDP_PORT}, through l4-snat"), || {
        let clients = Routed::client_addresses(RAS_VIP);
        let exchanges = exchange(&site.client, &clients, at(RAS_VIP, UDP_PORT), EXCHANGES)?;
        let of = |name: &str| exchanges.iter().filter(|it| it.answer.server == name).count();
        let homes: BTreeSet<_> = exchanges.iter().map(|it| (it.client.ip(), &it.answer.server)).collect();
        ensure!(homes.len() == clients.len(), "clients were moved: {homes:?}");
        let seen: BTreeSet<IpAddr> = exchanges.iter().map(|it| it.answer.peer.ip()).collect();
        ensure!(seen.len() == 1, "clients were seen as {seen:?}");
        let seen = seen.first().context("nobody was answered")?;
        Ok(((), format!("RAS1 answered {}, RAS2 {}; they saw every client as {seen}", of("RAS1"), of("RAS2"))))
    })
}

fn carry_pages(site: &Routed, web: &[Nginx]) -> Result<()> {
    step(&format!("{REQUESTS} requests to http://{RAS_VIP}, through l4-nat to port {SERVER_PORT}"), || {
        let bodies = nginx::fetch_numbered(&site.client, at(RAS_VIP, PAGE_PORT), REQUESTS, PARALLEL)?;
        let of = |name: &str| bodies.iter().filter(|body| *body == name).count();
        let body = nginx::fetch(&site.client, at(RAS_VIP, PAGE_PORT), "/")?;
        let (name, client) = body.trim().split_once(' ').context("no answer of nginx")?;
        ensure!(client == site.client.v4().to_string(), "{name} saw {client}");
        let served = format!("RAS1 served {}, RAS2 {}; {name} saw the client as {client}", of("RAS1"), of("RAS2"));
        ensure!(web.len() == 2 && of("RAS1") > 0 && of("RAS2") > 0, "{served}");
        Ok(((), served))
    })
}

fn lose_the_daemon(site: &Routed, balancer: &mut Balancer<'_>) -> Result<()> {
    step("ask in one flow, kill -9 lbd, ask again, start lbd, ask again", || {
        let flow = UdpClient::new(&site.client, at(site.client.v4(), 0), at(RAS_VIP, UDP_PORT))?;
        let first = flow.ask(300, ANSWER)?;
        balancer.kill();
        let without = flow.ask(300, ANSWER)?;
        nginx::fetch(&site.client, at(RAS_VIP, PAGE_PORT), "/")?;
        balancer.restart()?;
        ensure!(without == first && flow.ask(300, ANSWER)? == first, "the flow has changed");
        Ok(((), format!("{} answered each time, to {}", first.server, first.peer)))
    })
}
