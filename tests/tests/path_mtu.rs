//! Path-MTU discovery (RFC 1191, RFC 8201) through the modes that rewrite: a router between the balancer and
//! one end tells the other end, in words that this one understands.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::Services;
use lb_tests::deployments::routed::{Kind, NARROW_MTU, Narrow, RAS_VIPS, Routed, on_each, same_family};
use lb_tests::lab::wait_until;
use lb_tests::software::echo::{EchoServer, UdpClient};
use lb_tests::software::iperf;
use lb_tests::software::nginx::{self, Nginx};
use lb_tests::traffic::learn;

const HTTP_PORT: u16 = 80;
const LOAD_PORTS: [u16; 2] = [5201, 5202];
const UDP_PORT: u16 = 7000;
const LARGE: u64 = 20_000_000;
const ANSWER: Duration = Duration::from_secs(2);
/// Fits all links but the narrow one.
const LONG: usize = 1_400;

fn services(site: &Routed) -> Services {
    Services::new(site.kind, "80, 5201, 5202, 7000").one_server()
}

/// Asks with long datagrams until the ends have learnt how long they may be.
fn ask_until_learnt(site: &Routed, vip: IpAddr) -> Result<()> {
    let client = UdpClient::new(&site.client, at(same_family(&site.client, vip), 0), at(vip, UDP_PORT))?;
    let answer = wait_until("a long datagram is answered", 5 * ANSWER, || client.ask(LONG, ANSWER / 10))?;
    assert_eq!(answer.length, LONG);
    // From then on none is lost.
    for _ in 0..20 {
        assert_eq!(client.ask(LONG, ANSWER)?.length, LONG);
    }
    Ok(())
}

#[test]
fn a_server_learns_of_a_narrow_link_towards_the_clients() -> Result<()> {
    on_each("mtu-tcp-s", &Kind::ALL, Narrow::Clients, |lab, site| {
        let server = &site.servers[0];
        let (v4, v6) = (server.v4(), server.v6());
        let _loads = (iperf::serve(server, v4, LOAD_PORTS[0])?, iperf::serve(server, v6, LOAD_PORTS[1])?);
        let balancer = Balancer::start(lab, &site.balancer, &services(site).yaml())?;
        for (vip, port) in RAS_VIPS.into_iter().zip(LOAD_PORTS) {
            let receiver = site.seen_as(same_family(&site.client, vip));
            let error = learn(server, receiver, || iperf::tcp_reverse(&site.client, vip, port, 1))?;
            ensure!(error.inner.ports.is_some_and(|(from, _)| from == port), "{error:?}");
            ensure!(error.inner.source == same_family(server, vip), "{error:?}");
        }
        ensure!(balancer.status()?.packets_for("icmp-error") >= 2, "the errors are not counted");
        assert_eq!(site.wrong_checksums()?, 0);
        Ok(())
    })
}

#[test]
fn a_client_learns_of_a_narrow_link_towards_the_servers() -> Result<()> {
    on_each("mtu-tcp-c", &Kind::ALL, Narrow::Servers, |lab, site| {
        let server = &site.servers[0];
        let (v4, v6) = (server.v4(), server.v6());
        let _loads = (iperf::serve(server, v4, LOAD_PORTS[0])?, iperf::serve(server, v6, LOAD_PORTS[1])?);
        let balancer = Balancer::start(lab, &site.balancer, &services(site).yaml())?;
        for (vip, port) in RAS_VIPS.into_iter().zip(LOAD_PORTS) {
            let error = learn(&site.client, vip, || iperf::tcp(&site.client, vip, port, 1))?;
            ensure!(error.inner.ports.is_some_and(|(_, to)| to == port), "{error:?}");
            ensure!(error.inner.source == same_family(&site.client, vip), "{error:?}");
            // The one in the VIP's own network learns as well, though no router is before it.
            learn(&site.near, vip, || iperf::tcp(&site.near, vip, port, 1))?;
        }
        ensure!(balancer.status()?.packets_for("reply-error") >= 4, "the errors are not counted");
        assert_eq!(site.wrong_checksums()?, 0);
        Ok(())
    })
}

#[test]
fn a_large_body_is_whole_behind_a_narrow_link_on_either_side() -> Result<()> {
    for narrow in [Narrow::Clients, Narrow::Servers] {
        on_each("mtu-http", &Kind::ALL, narrow, |lab, site| {
            let _nginx = Nginx::start(&site.servers[0], HTTP_PORT)?;
            let sum = nginx::write_file(&site.servers[0], "large", LARGE)?;
            let _balancer = Balancer::start(lab, &site.balancer, &services(site).yaml())?;
            for vip in RAS_VIPS {
                assert_eq!(nginx::fetch_hashed(&site.client, at(vip, HTTP_PORT), "large")?, sum);
            }
            assert_eq!(site.wrong_checksums()?, 0);
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn udp_programs_learn_on_both_sides() -> Result<()> {
    for narrow in [Narrow::Clients, Narrow::Servers] {
        on_each("mtu-udp", &Kind::ALL, narrow, |lab, site| {
            let server = &site.servers[0];
            let _echo = EchoServer::everywhere(&site.servers, UDP_PORT)?;
            let _balancer = Balancer::start(lab, &site.balancer, &services(site).yaml())?;
            for vip in RAS_VIPS {
                ask_until_learnt(site, vip)?;
                let client = same_family(&site.client, vip);
                let known = match narrow {
                    Narrow::Clients => server.path_mtu(site.seen_as(client))?,
                    Narrow::Servers | Narrow::Nowhere => site.client.path_mtu(vip)?,
                };
                assert_eq!(known, Some(u64::from(NARROW_MTU)), "{vip}");
            }
            assert_eq!(site.wrong_checksums()?, 0);
            Ok(())
        })?;
    }
    Ok(())
}
