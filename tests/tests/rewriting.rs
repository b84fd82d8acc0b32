//! What `l4-nat` and `l4-snat` do to packets: ports, fragments, hop limits, errors of ICMP.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::routed::{Kind, Narrow, RAS_VIPS, Routed, on_each, same_family};
use lb_tests::deployments::{ECHO_PORT, Services};
use lb_tests::frame::{self, UDP};
use lb_tests::lab::{Host, wait_until};
use lb_tests::software::echo::{EchoServer, TcpClient, UdpClient};
use lb_tests::software::nginx::{self, Nginx};

const ANSWER: Duration = Duration::from_secs(2);
/// Flows tried per claim: with two servers in turn, both are used.
const FLOWS: usize = 6;
/// Lengths of datagrams in two fragments, in several, and as long as IPv4 allows, less what an answer
/// says before it repeats the question.
const FRAGMENTED: [usize; 4] = [1_480, 4_000, 9_001, 60_000];

fn client(site: &Routed, vip: IpAddr, port: u16) -> Result<UdpClient> {
    UdpClient::new(&site.client, at(same_family(&site.client, vip), 0), at(vip, port))
}

fn clients(site: &Routed) -> [&Host; 2] {
    [&site.client, &site.near]
}

#[test]
fn a_service_is_translated_to_another_port_of_its_servers_and_back() -> Result<()> {
    const PORTS: (u16, u16) = (80, 8080);
    on_each("translate", &Kind::ALL, Narrow::Nowhere, |lab, site| {
        let _nginx = site.servers.iter().map(|host| Nginx::start(host, PORTS.1)).collect::<Result<Vec<_>>>()?;
        let udp = site.servers.iter().flat_map(|host| [(host, host.v4()), (host, host.v6())]);
        let _udp = udp.map(|(host, it)| EchoServer::udp(host, at(it, PORTS.1))).collect::<Result<Vec<_>>>()?;
        // No port of the check: it is that of the real servers.
        let services = Services::new(site.kind, "80").server_port(PORTS.1);
        let balancer = Balancer::start(lab, &site.balancer, &services.yaml())?;
        for vip in RAS_VIPS {
            let mut served = BTreeSet::new();
            for host in clients(site) {
                let address = same_family(host, vip);
                for _ in 0..FLOWS {
                    let body = nginx::fetch(host, at(vip, PORTS.0), "/")?;
                    let (name, seen) = body.trim().split_once(' ').context("no answer of nginx")?;
                    assert_eq!(seen.parse::<IpAddr>()?, site.seen_as(address));
                    served.insert(name.to_owned());
                    // Connected: an answer from another port than 80 would not be received.
                    let answer = UdpClient::new(host, at(address, 0), at(vip, PORTS.0))?.ask(300, ANSWER)?;
                    assert_eq!(answer.peer.ip(), site.seen_as(address));
                    served.insert(answer.server);
                }
                let refused = TcpClient::connect(host, at(vip, PORTS.1), ANSWER);
                ensure!(refused.is_err(), "the port of the servers is served at the VIP");
            }
            assert_eq!(served.len(), site.servers.len(), "{served:?}");
        }
        assert_eq!(site.wrong_checksums()?, 0);
        assert_eq!(balancer.status()?.packets_with("drop"), 0);
        Ok(())
    })
}

#[test]
fn every_port_of_a_service_arrives_at_that_port_and_others_do_not() -> Result<()> {
    const PORTS: [u16; 5] = [7000, 7001, 7004, 7010, 50_002];
    on_each("ports", &Kind::ALL, Narrow::Nowhere, |lab, site| {
        let all = PORTS.iter().chain(&[7005]).map(|port| EchoServer::everywhere(&site.servers, *port));
        let _servers = all.collect::<Result<Vec<_>>>()?;
        let services = Services::new(site.kind, "7000-7004, 7010, 50002").persistent();
        let _balancer = Balancer::start(lab, &site.balancer, &services.yaml())?;
        for vip in RAS_VIPS {
            let mut homes = BTreeSet::new();
            for port in PORTS {
                homes.insert(client(site, vip, port)?.ask(300, ANSWER)?.server);
                homes.insert(TcpClient::connect(&site.client, at(vip, port), ANSWER)?.ask(ANSWER)?.server);
            }
            assert_eq!(homes.len(), 1, "one client, one server, by all ports and both protocols: {homes:?}");
            ensure!(TcpClient::connect(&site.client, at(vip, 7005), ANSWER).is_err(), "7005 is no port of the service");
        }
        Ok(())
    })
}

#[test]
fn datagrams_in_fragments_are_whole_in_both_directions() -> Result<()> {
    on_each("pieces", &Kind::ALL, Narrow::Nowhere, |lab, site| {
        let _servers = EchoServer::everywhere(&site.servers, ECHO_PORT)?;
        let services = Services::new(site.kind, &ECHO_PORT.to_string());
        let balancer = Balancer::start(lab, &site.balancer, &services.yaml())?;
        for vip in RAS_VIPS {
            for host in clients(site) {
                for _ in 0..FLOWS {
                    let flow = UdpClient::new(host, at(same_family(host, vip), 0), at(vip, ECHO_PORT))?;
                    // The first packet of the flow is a fragment; whole datagrams come between.
                    let home = flow.ask(FRAGMENTED[1], ANSWER)?;
                    for length in FRAGMENTED.into_iter().flat_map(|length| [length, 10]) {
                        let answer = flow.ask(length, ANSWER)?;
                        let expected = (&home.server, home.peer, length);
                        assert_eq!((&answer.server, answer.peer, answer.length), expected);
                    }
                }
            }
        }
        assert_eq!(site.wrong_checksums()?, 0);
        assert_eq!(balancer.status()?.packets_with("drop"), 0);
        Ok(())
    })
}

#[test]
fn fragments_that_a_router_makes_are_put_together_by_the_receiver() -> Result<()> {
    for narrow in [Narrow::Clients, Narrow::Servers] {
        on_each("pieces-n", &Kind::ALL, narrow, |lab, site| {
            // Without path-MTU discovery, IPv4 has routers make fragments; of IPv6 hosts learn.
            for host in site.ends() {
                host.set("ipv4/ip_no_pmtu_disc", "1")?;
            }
            let _servers = EchoServer::everywhere(&site.servers, ECHO_PORT)?;
            let services = Services::new(site.kind, &ECHO_PORT.to_string());
            let _balancer = Balancer::start(lab, &site.balancer, &services.yaml())?;
            for vip in RAS_VIPS {
                let flow = client(site, vip, ECHO_PORT)?;
                if vip.is_ipv6() {
                    wait_until("a long datagram is answered", 5 * ANSWER, || flow.ask(4_000, ANSWER / 10))?;
                }
                for length in [1_300, 1_400, 4_000] {
                    assert_eq!(flow.ask(length, ANSWER)?.length, length);
                }
            }
            assert_eq!(site.wrong_checksums()?, 0);
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn the_balancer_is_one_hop_each_way() -> Result<()> {
    on_each("hops", &Kind::ALL, Narrow::Nowhere, |lab, site| {
        let _servers = EchoServer::everywhere(&site.servers, ECHO_PORT)?;
        let services = Services::new(site.kind, &ECHO_PORT.to_string()).protocol("udp");
        let balancer = Balancer::start(lab, &site.balancer, &services.yaml())?;
        for vip in RAS_VIPS {
            let of_echo = |bytes: &[u8]| frame::see(bytes).is_some_and(|seen| seen.protocol == UDP);
            let at_near = site.near.capture("eth0", of_echo)?;
            let devices = site.kind.devices().iter();
            let at_balancer = devices.map(|device| site.balancer.capture_at_switch(device, of_echo));
            let at_balancer = at_balancer.collect::<Result<Vec<_>>>()?;
            let near = same_family(&site.near, vip);
            UdpClient::new(&site.near, at(near, 0), at(vip, ECHO_PORT))?.ask(300, ANSWER)?;
            // All four frames: in and out again, there and back.
            let mut limits = wait_until("question and answer have passed the balancer", ANSWER, || {
                let frames: Vec<_> = at_balancer.iter().flat_map(lb_tests::lab::Capture::frames).collect();
                let limits: Vec<_> = frames.iter().filter_map(|it| frame::hop_limit(&it.frame)).collect();
                ensure!(limits.len() == 4, "{limits:?}");
                Ok(limits)
            })?;
            limits.sort_unstable();
            // The servers of RAS are behind one router, those of NAT are not.
            let server = if site.kind == Kind::Nat { 64 } else { 63 };
            let mut expected = vec![64, 63, server, server - 1];
            expected.sort_unstable();
            assert_eq!(limits, expected);
            let back = at_near.wait_for("the answer", |it| frame::see(&it.frame).is_some_and(|it| it.source == vip))?;
            assert_eq!(frame::hop_limit(&back.frame), Some(server - 1));

            // A packet that may go no further ends here, and is counted.
            let counted = balancer.status()?.packets_for("hop-limit");
            let mut last = frame::udp(at(near, 9_999), at(vip, ECHO_PORT), b"no further");
            if vip.is_ipv4() {
                (last[8], last[10], last[11]) = (1, 0, 0);
                let sum = frame::checksum(&[&last[..20]]);
                last[10..12].copy_from_slice(&sum);
            } else {
                last[7] = 1;
            }
            let device = site.kind.front();
            let last = frame::ethernet(site.balancer.mac(device)?, site.near.mac("eth0")?, &last);
            site.near.packet_socket("eth0")?.send(&last)?;
            wait_until("it is counted", ANSWER, || {
                ensure!(balancer.status()?.packets_for("hop-limit") == counted + 1, "it is not");
                Ok(())
            })?;
        }
        Ok(())
    })
}

#[test]
fn a_closed_port_of_a_server_is_closed_at_the_vip() -> Result<()> {
    on_each("closed", &Kind::ALL, Narrow::Nowhere, |lab, site| {
        let services = Services::new(site.kind, &ECHO_PORT.to_string());
        let balancer = Balancer::start(lab, &site.balancer, &services.yaml())?;
        for vip in RAS_VIPS {
            for host in clients(site) {
                // TCP: the server's RST reaches the client.
                let Err(error) = TcpClient::connect(host, at(vip, ECHO_PORT), 2 * ANSWER) else {
                    anyhow::bail!("somebody listens at {vip}");
                };
                ensure!(format!("{error:#}").contains("refused"), "not refused: {error:#}");

                // UDP: the server's "port unreachable" is about the packet as the client sent it.
                let address = same_family(host, vip);
                let errors = host.capture("eth0", |bytes| frame::quoted(bytes).is_some())?;
                let sent = host.capture("eth0", |bytes| frame::see(bytes).is_some_and(|seen| seen.protocol == UDP))?;
                let flow = UdpClient::new(host, at(address, 0), at(vip, ECHO_PORT))?;
                let Err(error) = flow.ask(300, ANSWER) else { anyhow::bail!("somebody answers at {vip}") };
                ensure!(format!("{error:#}").contains("refused"), "not refused: {error:#}");
                let error = errors.wait_for("the error", |_| true)?;
                let quoted = frame::quoted(&error.frame).context("no error")?;
                let unreachable = if vip.is_ipv4() { (3, 3) } else { (1, 4) };
                assert_eq!(quoted.kind, unreachable);
                sent.wait_for("the packet that is quoted", |it| frame::quotes(&quoted, &it.frame))?;
                let wrong = frame::wrong_checksum(&error.frame).or_else(|| frame::wrong_checksum(&quoted.packet));
                assert_eq!(wrong, None);
            }
        }
        assert_eq!(site.wrong_checksums()?, 0);
        assert_eq!(balancer.status()?.packets_with("drop"), 0);
        Ok(())
    })
}
