//! The RAS gateway over UDP, as its guide has it: UDP 443 through `l4-snat` with persistence, TCP 443 of
//! the same address for somebody else, real servers behind a router.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::Services;
use lb_tests::deployments::routed::{Kind, Narrow, RAS_VIPS, Routed, on_each, same_family};
use lb_tests::frame;
use lb_tests::lab::{Capture, Host, wait_until};
use lb_tests::software::echo::{Answer, EchoServer, TcpClient, UdpClient};
use lb_tests::software::nginx::{self, Nginx};

const SNAT: [Kind; 2] = [Kind::SnatOneArm, Kind::SnatTwoArm];
const ANSWER: Duration = Duration::from_secs(2);
const PORT: u16 = 443;
/// What `node.source_ports` is by default.
const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 1024..=32_767;
/// Flows of each client.
const FLOWS: u16 = 3;
/// Source ports that the kernel gives nobody: a flow that was there before is not met again by chance.
const OWN_PORTS: u16 = 10_000;

fn services(site: &Routed) -> Services {
    Services::new(site.kind, "443").protocol("udp").persistent()
}

/// Asks in some flows from this address and from ports of this round; every answer is of one server, which
/// sees the address that is expected.
fn ask(host: &Host, client: IpAddr, round: u16, expected: IpAddr) -> Result<Vec<Answer>> {
    let vip = Routed::vip_like(client);
    let mut answers = Vec::new();
    for number in 0..FLOWS {
        let flow = UdpClient::new(host, at(client, OWN_PORTS + round * FLOWS + number), at(vip, PORT))?;
        for _ in 0..3 {
            let answer = flow.ask(300, ANSWER)?;
            ensure!(answer.peer.ip() == expected, "{client} is seen as {}, not {expected}", answer.peer);
            ensure!(SOURCE_PORTS.contains(&answer.peer.port()), "{client} is seen at port {}", answer.peer.port());
            answers.push(answer);
        }
    }
    ensure!(answers.iter().all(|answer| answer.server == answers[0].server), "{client} was moved: {answers:?}");
    Ok(answers)
}

/// Asks from every address there is; the answers, by client.
fn ask_all(site: &Routed, vip: IpAddr, round: u16, expected: IpAddr) -> Result<Vec<(IpAddr, Vec<Answer>)>> {
    let far = Routed::client_addresses(vip).into_iter().map(|client| (&site.client, client));
    let near = (&site.near, same_family(&site.near, vip));
    far.chain([near]).map(|(host, client)| Ok((client, ask(host, client, round, expected)?))).collect()
}

#[test]
fn each_client_stays_with_its_server_which_sees_the_address_that_was_chosen() -> Result<()> {
    on_each("ras-udp", &SNAT, Narrow::Nowhere, |lab, site| {
        // An address beside the balancer's own one, on the interface towards the servers.
        let given = RAS_VIPS.map(|vip| {
            let own = site.seen_as(vip).to_string();
            own.strip_suffix("40").map(|prefix| format!("{prefix}41")).unwrap_or(own)
        });
        // Not preferred: the kernel would take the last that was added for its own over IPv6.
        for (address, length, more) in [(&given[0], 24, None), (&given[1], 64, Some("nodad"))] {
            let address = format!("{address}/{length}");
            let add = ["address", "add", &address, "dev", "eth0", "preferred_lft", "0"];
            site.balancer.ip(&add.into_iter().chain(more).collect::<Vec<_>>())?;
        }
        let _servers = EchoServer::everywhere(&site.servers, PORT)?;
        let balancer = Balancer::start(lab, &site.balancer, &services(site).yaml())?;
        let mut homes: Vec<Vec<(IpAddr, String)>> = vec![Vec::new(); RAS_VIPS.len()];
        let choices = [None, Some(["auto", "auto"]), Some(["vip", "vip"]), Some([given[0].as_str(), &given[1]])];
        for (round, choice) in (0..).zip(choices) {
            let chosen = choice.map(|choice| services(site).source_address(&choice.map(str::to_owned)));
            balancer.write_configuration(&chosen.unwrap_or_else(|| services(site)).yaml())?;
            balancer.lbctl(&["reload"])?.success()?;
            for (of, vip) in RAS_VIPS.into_iter().enumerate() {
                let expected = match choice.map(|choice| choice[of]) {
                    None | Some("auto") => site.seen_as(vip),
                    Some("vip") => vip,
                    Some(address) => address.parse()?,
                };
                let answers = ask_all(site, vip, round, expected)?;
                let used: BTreeSet<&str> =
                    answers.iter().flat_map(|(_, all)| all).map(|answer| answer.server.as_str()).collect();
                ensure!(used.len() == site.servers.len(), "{choice:?}: only {used:?} answered");
                let now: Vec<_> = answers.into_iter().map(|(client, all)| (client, all[0].server.clone())).collect();
                if homes[of].is_empty() {
                    homes[of].clone_from(&now);
                }
                assert_eq!(homes[of], now, "{choice:?}: clients stay where they were");
            }
        }
        assert_eq!(site.wrong_checksums()?, 0);
        assert_eq!(balancer.status()?.packets_with("drop"), 0);
        Ok(())
    })
}

#[test]
fn tcp_on_the_same_address_and_the_balancers_own_traffic_are_left_alone() -> Result<()> {
    on_each("ras-tcp", &SNAT, Narrow::Nowhere, |lab, site| {
        let _servers = EchoServer::everywhere(&site.servers, PORT)?;
        let balancer = Balancer::start(lab, &site.balancer, &services(site).yaml())?;
        // What stands for the proxy of TCP 443: a server on the balancer itself.
        let _web = Nginx::start(&site.balancer, PORT)?;
        for vip in RAS_VIPS {
            for client in [&site.client, &site.near] {
                let address = same_family(client, vip);
                ask(client, address, 0, site.seen_as(vip))?;
                let body = nginx::fetch(client, at(vip, PORT), "/")?;
                assert_eq!(body.trim(), format!("{} {address}", site.balancer.name()));
            }
            for server in &site.servers {
                let service = at(same_family(server, vip), PORT);
                let own = site.seen_as(vip);
                let udp = UdpClient::new(&site.balancer, at(own, 0), service)?;
                assert_eq!(udp.ask(300, ANSWER)?.peer, udp.address()?);
                let mut tcp = TcpClient::connect(&site.balancer, service, ANSWER)?;
                assert_eq!(tcp.ask(ANSWER)?.peer, tcp.address()?);
                // Nor is what the clients send to a real server past the balancer.
                let direct = UdpClient::new(&site.client, at(same_family(&site.client, vip), 0), service)?;
                if site.kind == Kind::SnatOneArm {
                    assert_eq!(direct.ask(300, ANSWER)?.peer, direct.address()?);
                }
            }
        }
        assert_eq!(balancer.status()?.packets_with("drop"), 0);
        Ok(())
    })
}

#[test]
fn only_addresses_and_ports_change_and_replies_come_from_the_vip() -> Result<()> {
    on_each("ras-wire", &Kind::ALL, Narrow::Nowhere, |lab, site| {
        let _servers = EchoServer::everywhere(&site.servers, PORT)?;
        let _balancer = Balancer::start(lab, &site.balancer, &services(site).yaml())?;
        for vip in RAS_VIPS {
            let of_port = move |bytes: &[u8]| {
                frame::see(bytes).is_some_and(|seen| seen.ports.is_some_and(|(from, to)| from == PORT || to == PORT))
            };
            let at_client = site.client.capture("eth0", of_port)?;
            let at_servers = site.servers.iter().map(|server| server.capture("eth0", of_port));
            let at_servers = at_servers.collect::<Result<Vec<_>>>()?;
            let address = same_family(&site.client, vip);
            let flow = UdpClient::new(&site.client, at(address, 0), at(vip, PORT))?;
            for length in [1, 18, 19, 300, 1_400] {
                flow.ask(length, ANSWER)?;
            }
            let port = flow.address()?.port();
            let (client, server) = wait_until("five questions and five answers are captured", ANSWER, || {
                let client = at_client.frames();
                let server: Vec<_> = at_servers.iter().flat_map(Capture::frames).collect();
                ensure!(client.len() == 10 && server.len() == 10, "{} and {} frames", client.len(), server.len());
                Ok((client, server))
            })?;
            for (here, there) in client.iter().zip(&server) {
                let (Some(near), Some(far)) = (frame::see(&here.frame), frame::see(&there.frame)) else {
                    anyhow::bail!("not IP: {here:02x?} {there:02x?}");
                };
                let question = near.destination == vip;
                let ports = if question { (port, PORT) } else { (PORT, port) };
                let ends = if question { (address, vip) } else { (vip, address) };
                assert_eq!(((near.source, near.destination), near.ports), (ends, Some(ports)));
                let seen = if question { far.source } else { far.destination };
                assert_eq!(seen, site.seen_as(address));
                // Behind addresses, ports and the checksum all is as it was.
                assert_eq!(here.frame[near.transport + 8..], there.frame[far.transport + 8..]);
                for bytes in [&here.frame, &there.frame] {
                    assert_eq!(frame::wrong_checksum(bytes), None);
                }
            }
        }
        Ok(())
    })
}

/// Its neighbours would get replies past the balancer, and it would talk to itself, did it see who asks.
#[test]
fn a_real_server_and_its_neighbours_are_clients_like_others() -> Result<()> {
    on_each("ras-inside", &SNAT, Narrow::Nowhere, |lab, site| {
        let neighbour = site.add_server(lab, "inside", 50)?;
        let _servers = EchoServer::everywhere(&site.servers, PORT)?;
        let services = Services::new(site.kind, "443");
        let balancer = Balancer::start(lab, &site.balancer, &services.yaml())?;
        for vip in RAS_VIPS {
            for host in [&neighbour, &site.servers[0], &site.servers[1]] {
                let mut served = BTreeSet::new();
                for _ in 0..2 * FLOWS {
                    let flow = UdpClient::new(host, at(same_family(host, vip), 0), at(vip, PORT))?;
                    let answer = flow.ask(300, ANSWER)?;
                    assert_eq!(answer.peer.ip(), site.seen_as(vip));
                    served.insert(answer.server);
                    let answer = TcpClient::connect(host, at(vip, PORT), ANSWER)?.ask(ANSWER)?;
                    assert_eq!(answer.peer.ip(), site.seen_as(vip));
                    served.insert(answer.server);
                }
                assert_eq!(served.len(), site.servers.len(), "{} was served by {served:?}", host.name());
            }
        }
        assert_eq!(site.wrong_checksums()?, 0);
        assert_eq!(balancer.status()?.packets_with("drop"), 0);
        Ok(())
    })
}
