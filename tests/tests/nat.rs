//! `l4-nat`: the real server sees the client, and what else the servers do through their gateway is not
//! touched.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::routed::{Kind, Narrow, RAS_VIPS, Routed, forward, on_each, same_family};
use lb_tests::deployments::{ECHO_PORT, Services};
use lb_tests::lab::wait_until;
use lb_tests::software::echo::{EchoServer, TcpClient, UdpClient};
use lb_tests::software::nginx::{self, Nginx};

const NAT: [Kind; 1] = [Kind::Nat];
const ANSWER: Duration = Duration::from_secs(2);
const HTTP_PORT: u16 = 80;
const FLOWS: usize = 6;

fn services(site: &Routed) -> Services {
    Services::new(site.kind, "80, 50002")
}

#[test]
fn the_real_server_sees_the_client_and_replies_come_from_the_vip() -> Result<()> {
    on_each("nat-seen", &NAT, Narrow::Nowhere, |lab, site| {
        let _servers = EchoServer::everywhere(&site.servers, ECHO_PORT)?;
        let _balancer = Balancer::start(lab, &site.balancer, &services(site).yaml())?;
        for vip in RAS_VIPS {
            for client in [&site.client, &site.near] {
                let mut served = BTreeSet::new();
                for _ in 0..FLOWS {
                    let udp = UdpClient::new(client, at(same_family(client, vip), 0), at(vip, ECHO_PORT))?;
                    let mut tcp = TcpClient::connect(client, at(vip, ECHO_PORT), ANSWER)?;
                    for _ in 0..3 {
                        let answer = udp.ask(300, ANSWER)?;
                        assert_eq!(answer.peer, udp.address()?, "the server sees the client");
                        served.insert(answer.server);
                        let answer = tcp.ask(ANSWER)?;
                        assert_eq!(answer.peer, tcp.address()?, "the server sees the client");
                        served.insert(answer.server);
                    }
                }
                assert_eq!(served.len(), site.servers.len(), "{served:?}");
            }
        }
        assert_eq!(site.wrong_checksums()?, 0);
        Ok(())
    })
}

#[test]
fn what_else_the_servers_do_through_their_gateway_is_not_touched() -> Result<()> {
    on_each("nat-other", &NAT, Narrow::Nowhere, |lab, site| {
        forward(&site.balancer)?;
        let _servers = EchoServer::everywhere(&site.servers, ECHO_PORT)?;
        let _web = (Nginx::start(&site.near, HTTP_PORT)?, Nginx::start(&site.client, HTTP_PORT)?);
        let clients = [&site.near, &site.client];
        let outside =
            clients.map(|host| [host.v4(), host.v6()].map(|address| EchoServer::udp(host, at(address, ECHO_PORT))));
        let _outside = outside.into_iter().flatten().collect::<Result<Vec<_>>>()?;
        let balancer = Balancer::start(lab, &site.balancer, &services(site).yaml())?;
        for server in &site.servers {
            for vip in RAS_VIPS {
                let own = same_family(server, vip);
                for host in clients {
                    let address = same_family(host, vip);
                    // A flow through the service at the same time, between the same two machines.
                    let flow = UdpClient::new(host, at(address, 0), at(vip, ECHO_PORT))?;
                    flow.ask(300, ANSWER)?;
                    // The server as a client: from its own address, to the port that it serves itself too.
                    let body = nginx::fetch(server, at(address, HTTP_PORT), "/")?;
                    assert_eq!(body.trim(), format!("{} {own}", host.name()));
                    let asks = UdpClient::new(server, at(own, 0), at(address, ECHO_PORT))?;
                    for length in [300, 4_000] {
                        assert_eq!(asks.ask(length, ANSWER)?.peer, asks.address()?);
                    }
                    // Somebody who knows the server's own address reaches it there, and is answered from there.
                    let direct = UdpClient::new(host, at(address, 0), at(own, ECHO_PORT))?;
                    assert_eq!(direct.ask(300, ANSWER)?.peer, direct.address()?);
                    let mut tcp = TcpClient::connect(host, at(own, ECHO_PORT), ANSWER)?;
                    assert_eq!(tcp.ask(ANSWER)?.peer, tcp.address()?);
                    server.run(&["ping", "-c", "2", "-i", "0.2", "-W", "1", &address.to_string()])?.success()?;
                    flow.ask(300, ANSWER)?;
                }
            }
        }
        assert_eq!(balancer.status()?.packets_with("drop"), 0);
        assert_eq!(site.wrong_checksums()?, 0);
        Ok(())
    })
}

/// Without forwarding the balancer carries its services and nothing else.
#[test]
fn the_service_needs_no_forwarding_by_the_kernel() -> Result<()> {
    on_each("nat-alone", &NAT, Narrow::Nowhere, |lab, site| {
        let _servers = EchoServer::everywhere(&site.servers, ECHO_PORT)?;
        let _balancer = Balancer::start(lab, &site.balancer, &services(site).yaml())?;
        for (vip, setting) in RAS_VIPS.into_iter().zip(["ipv4/ip_forward", "ipv6/conf/all/forwarding"]) {
            site.balancer.set(setting, "0")?;
            let address = same_family(&site.client, vip);
            UdpClient::new(&site.client, at(address, 0), at(vip, ECHO_PORT))?.ask(300, ANSWER)?;
            let own = same_family(&site.servers[0], vip);
            let direct = UdpClient::new(&site.client, at(address, 0), at(own, ECHO_PORT))?.ask(300, ANSWER);
            ensure!(direct.is_err(), "the kernel forwards: {direct:?}");
        }
        Ok(())
    })
}

#[test]
fn a_source_port_that_two_services_would_show_one_server_is_refused_for_the_second() -> Result<()> {
    const SERVER_PORT: u16 = 8080;
    on_each("nat-clash", &NAT, Narrow::Nowhere, |lab, site| {
        let _servers = EchoServer::everywhere(&site.servers, SERVER_PORT)?;
        let yaml = Services::new(site.kind, "80").server_port(SERVER_PORT).one_server().yaml();
        let (_, services) = yaml.split_once("virtual_services:\n").context("no services")?;
        let second = services.replace("RAS-", "second-").replace("ports: [80]", "ports: [81]");
        let balancer = Balancer::start(lab, &site.balancer, &format!("{yaml}{second}"))?;
        for vip in RAS_VIPS {
            let source = at(same_family(&site.client, vip), 9_000);
            let before = balancer.status()?.packets_for("nat-conflict");
            let first = UdpClient::new(&site.client, source, at(vip, 80))?;
            first.ask(300, ANSWER)?;
            drop(first);
            let refused = UdpClient::new(&site.client, source, at(vip, 81))?.ask(300, ANSWER / 4);
            ensure!(refused.is_err(), "two flows are one to the server: {refused:?}");
            wait_until("the refusal is counted", ANSWER, || {
                ensure!(balancer.status()?.packets_for("nat-conflict") == before + 1, "it is not");
                Ok(())
            })?;
            // The first is as it was, and any other source port will do for the second.
            UdpClient::new(&site.client, source, at(vip, 80))?.ask(300, ANSWER)?;
            UdpClient::new(&site.client, at(source.ip(), 9_001), at(vip, 81))?.ask(300, ANSWER)?;
        }
        Ok(())
    })
}
