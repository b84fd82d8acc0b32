//! What `l4-dr` promises on the wire: only MACs change, replies never cross the balancer, the real
//! server sees the client. IPv4 and IPv6, TCP and UDP, fragments and ICMP errors.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, ECHO_PORT, MEDIA_VIP, MEDIA_VIP_V6, Site};
use lb_tests::frame::{self, ETHERNET, ICMP, ICMPV6, Seen};
use lb_tests::lab::{Captured, Direction, in_lab, wait_until};
use lb_tests::software::echo::{EchoServer, TcpClient, UdpClient};
use lb_tests::software::nginx::{self, Nginx};

const CONFIGURATION: &str = include_str!("../data/dual_stack.yaml");
const VIPS: [IpAddr; 2] = [MEDIA_VIP, MEDIA_VIP_V6];
const ANSWER: Duration = Duration::from_secs(2);
const HTTP_PORT: u16 = 50_080;
/// Flows tried per claim: with two servers in turn, both are used.
const FLOWS: usize = 6;

fn echo_servers(site: &Site, vip: IpAddr) -> Result<Vec<EchoServer>> {
    let mut servers = Vec::new();
    for server in &site.servers {
        servers.push(EchoServer::udp(server, at(vip, ECHO_PORT))?);
        servers.push(EchoServer::tcp(server, at(vip, ECHO_PORT))?);
    }
    Ok(servers)
}

fn client_address(site: &Site, vip: IpAddr) -> IpAddr {
    if vip.is_ipv4() { site.client.v4() } else { site.client.v6() }
}

fn seen(captured: &Captured) -> Option<Seen> {
    frame::see(&captured.frame)
}

/// Whether a frame belongs to the echo service at `vip`, in either direction.
fn is_echo(vip: IpAddr) -> impl Fn(&[u8]) -> bool + Send + 'static {
    move |frame| {
        frame::see(frame).is_some_and(|seen| {
            let Some((from, to)) = seen.ports else { return false };
            (seen.destination == vip && to == ECHO_PORT) || (seen.source == vip && from == ECHO_PORT)
        })
    }
}

#[test]
fn only_the_macs_change_and_replies_never_cross_the_balancer() -> Result<()> {
    in_lab("macs", |lab| {
        let site = deployments::harmonic(lab)?;
        let _balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;
        let balancer_mac = site.balancer.mac("eth0")?;
        let server_macs = site.servers.iter().map(|server| server.mac("eth0")).collect::<Result<Vec<_>>>()?;
        for vip in VIPS {
            let _servers = echo_servers(&site, vip)?;
            let at_balancer = site.balancer.capture_at_switch("eth0", is_echo(vip))?;
            let at_client = site.client.capture("eth0", is_echo(vip))?;

            let mut answered = Vec::new();
            for _ in 0..FLOWS {
                let udp = UdpClient::new(&site.client, at(client_address(&site, vip), 0), at(vip, ECHO_PORT))?;
                let mut tcp = TcpClient::connect(&site.client, at(vip, ECHO_PORT), ANSWER)?;
                for _ in 0..3 {
                    let answer = udp.ask(300, ANSWER)?;
                    assert_eq!(answer.peer, udp.address()?, "the real server sees the client");
                    answered.push(answer.server);
                    let answer = tcp.ask(ANSWER)?;
                    assert_eq!(answer.peer, tcp.address()?, "the real server sees the client");
                    answered.push(answer.server);
                }
            }
            for server in &site.servers {
                ensure!(answered.iter().any(|name| name == server.name()), "{} answered no flow", server.name());
            }

            let side = |direction| -> Vec<Vec<u8>> {
                let frames = at_balancer.frames().into_iter().filter(|seen| seen.direction == direction);
                frames.map(|seen| seen.frame).collect()
            };
            let (mut received, mut sent) = wait_until("every frame that went in came out again", ANSWER, || {
                let (received, sent) = (side(Direction::Out), side(Direction::In));
                ensure!(received.len() == sent.len(), "{} went in, {} came out", received.len(), sent.len());
                Ok((received, sent))
            })?;
            ensure!(received.len() >= FLOWS * 3 * 2, "only {} frames were seen", received.len());
            received.sort_by(|a, b| a[12..].cmp(&b[12..]));
            sent.sort_by(|a, b| a[12..].cmp(&b[12..]));
            for (before, after) in received.iter().zip(&sent) {
                assert_eq!(before[12..], after[12..], "all behind the MACs is as it was, byte for byte");
                assert_eq!((&before[..6], &after[6..12]), (&balancer_mac[..], &balancer_mac[..]));
                ensure!(server_macs.iter().any(|mac| after[..6] == *mac), "a frame went to {:02x?}", &after[..6]);
            }
            let replies = at_balancer.frames().iter().filter_map(seen).filter(|seen| seen.source == vip).count();
            assert_eq!(replies, 0, "a reply crossed the balancer");

            let replies: Vec<_> =
                at_client.frames().iter().filter_map(seen).filter(|seen| seen.source == vip).collect();
            ensure!(replies.len() >= FLOWS * 3 * 2, "the client saw only {} replies", replies.len());
            ensure!(
                replies.iter().all(|seen| server_macs.contains(&seen.from_mac)),
                "a reply came from another machine"
            );
        }
        Ok(())
    })
}

#[test]
fn the_web_server_logs_the_address_of_the_client() -> Result<()> {
    in_lab("whoami", |lab| {
        let site = deployments::harmonic(lab)?;
        let servers: Vec<_> =
            site.servers.iter().map(|server| Nginx::start(server, HTTP_PORT)).collect::<Result<_>>()?;
        let _balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;
        for vip in VIPS {
            site.client.speak_as(client_address(&site, vip), vip, "eth0")?;
            for _ in 0..FLOWS {
                let body = nginx::fetch(&site.client, at(vip, HTTP_PORT), "/")?;
                let client = client_address(&site, vip).to_string();
                ensure!(body.split_whitespace().nth(1) == Some(&client), "{client} asked, the answer was {body:?}");
            }
        }
        let logged = wait_until("every request is logged", ANSWER, || {
            let logged = servers.iter().map(Nginx::clients).collect::<Result<Vec<_>>>()?;
            let count = logged.iter().map(Vec::len).sum::<usize>();
            ensure!(count == FLOWS * VIPS.len(), "{count} are");
            Ok(logged)
        })?;
        for (clients, server) in logged.iter().zip(&site.servers) {
            ensure!(!clients.is_empty(), "{} served no request", server.name());
            let ours = [site.client.v4(), site.client.v6()];
            ensure!(clients.iter().all(|client| ours.contains(client)), "{} logged {clients:?}", server.name());
        }
        Ok(())
    })
}

#[test]
fn the_balancer_itself_answers_ping_and_neighbour_requests_for_the_vip() -> Result<()> {
    in_lab("ping", |lab| {
        let site = deployments::harmonic(lab)?;
        let _balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;
        let balancer_mac = site.balancer.mac("eth0")?;
        for vip in VIPS {
            let replies = site.client.capture("eth0", move |bytes| {
                frame::see(bytes).is_some_and(|seen| seen.source == vip && matches!(seen.protocol, ICMP | ICMPV6))
            })?;
            site.client.run(&["ping", "-c", "3", "-i", "0.2", "-W", "1", &vip.to_string()])?.success()?;
            replies.wait_for("a reply", |_| true)?;
            let macs: Vec<_> = replies.frames().iter().filter_map(seen).map(|seen| seen.from_mac).collect();
            ensure!(macs.iter().all(|mac| *mac == balancer_mac), "{vip} was answered for by {macs:02x?}");
        }
        Ok(())
    })
}

#[test]
fn fragments_of_a_datagram_reach_one_real_server() -> Result<()> {
    in_lab("fragments", |lab| {
        let site = deployments::harmonic(lab)?;
        let _balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;
        for vip in VIPS {
            let _servers = echo_servers(&site, vip)?;
            for _ in 0..FLOWS {
                let client = UdpClient::new(&site.client, at(client_address(&site, vip), 0), at(vip, ECHO_PORT))?;
                let first = client.ask(4_000, ANSWER)?;
                assert_eq!(first.length, 4_000, "the datagram arrived whole");
                assert_eq!(client.ask(4_000, ANSWER)?.server, first.server, "the flow stays where it is");
                assert_eq!(client.ask(10, ANSWER)?.server, first.server, "whole datagrams go where fragments went");
            }
        }
        Ok(())
    })
}

#[test]
fn an_icmp_error_about_a_flow_reaches_the_real_server_that_has_it() -> Result<()> {
    in_lab("mtu", |lab| {
        let site = deployments::harmonic(lab)?;
        let _balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;
        let raw = site.client.packet_socket("eth0")?;
        let macs = (site.balancer.mac("eth0")?, site.client.mac("eth0")?);
        for vip in VIPS {
            let _servers = echo_servers(&site, vip)?;
            for flow in 0..FLOWS {
                let client = UdpClient::new(&site.client, at(client_address(&site, vip), 0), at(vip, ECHO_PORT))?;
                let owner = client.ask(100, ANSWER)?.server;
                // What a router between would say about a reply that is longer than its next link takes.
                let reply = frame::udp(at(vip, ECHO_PORT), client.address()?, &[0; 1_400]);
                let error = frame::too_big(client_address(&site, vip), &reply, 1_300);
                let sent = frame::ethernet(macs.0, macs.1, &error);
                let captures = site.servers.iter().map(|server| {
                    let wanted = sent[ETHERNET..].to_vec();
                    server.capture("eth0", move |frame| frame.get(ETHERNET..) == Some(&wanted))
                });
                let captures = captures.collect::<Result<Vec<_>>>()?;
                raw.send(&sent)?;
                for (server, capture) in site.servers.iter().zip(&captures) {
                    if server.name() == owner {
                        capture.wait_for(&format!("{owner} gets the error about its flow {flow}"), |_| true)?;
                    }
                }
                // A request behind the error: once it is answered, the error has arrived wherever it goes.
                client.ask(100, ANSWER)?;
                for (server, capture) in site.servers.iter().zip(&captures) {
                    let expected = usize::from(server.name() == owner);
                    assert_eq!(
                        capture.count(|_| true),
                        expected,
                        "errors at {} about a flow of {owner}",
                        server.name()
                    );
                }
            }
        }
        Ok(())
    })
}
