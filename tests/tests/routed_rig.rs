//! The sites behind routers, without a balancer: what the tests of `l4-snat` and `l4-nat` take for granted.
//!
//! With forwarding on, the balancer's host is a router like the others, so every way leads through.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::at;
use lb_tests::deployments::ECHO_PORT;
use lb_tests::deployments::routed::{Kind, Narrow, Routed, forward, same_family};
use lb_tests::frame::{self, ETHERNET, UDP};
use lb_tests::lab::{Host, in_lab, require, wait_until};
use lb_tests::software::echo::{EchoServer, TcpClient, UdpClient};
use lb_tests::software::iperf::{self, Run};
use lb_tests::software::nginx::{self, Nginx};
use lb_tests::traffic::{Beat, Repeats, exchange, learn};

const ANSWER: Duration = Duration::from_secs(2);
const HTTP_PORT: u16 = 80;
const LOAD_PORT: u16 = 5201;

fn families(host: &Host) -> [IpAddr; 2] {
    [host.v4(), host.v6()]
}

#[test]
fn every_client_reaches_every_server_by_plain_routing() -> Result<()> {
    for kind in Kind::ALL {
        for narrow in [Narrow::Nowhere, Narrow::Clients, Narrow::Servers] {
            in_lab("routed", |lab| {
                let site = Routed::new(lab, kind, narrow)?;
                forward(&site.balancer)?;
                for server in &site.servers {
                    for address in families(server) {
                        let service = at(address, ECHO_PORT);
                        let (_udp, _tcp) = (EchoServer::udp(server, service)?, EchoServer::tcp(server, service)?);
                        for client in [&site.client, &site.near] {
                            let udp = UdpClient::new(client, at(same_family(client, address), 0), service)?;
                            assert_eq!(udp.ask(100, ANSWER)?.peer, udp.address()?);
                            // Longer than any link takes: it goes and comes in fragments. Over IPv6 no router
                            // makes them, so a datagram is lost in each direction that is narrow.
                            let answer =
                                wait_until("a long datagram is answered", 3 * ANSWER, || udp.ask(4_000, ANSWER / 10))?;
                            assert_eq!(answer.length, 4_000);
                            let mut tcp = TcpClient::connect(client, service, ANSWER)?;
                            assert_eq!(tcp.ask(ANSWER)?.peer, tcp.address()?);
                        }
                    }
                }
                assert_eq!(site.wrong_checksums()?, 0);
                Ok(())
            })
            .with_context(|| format!("{kind:?}, narrow {narrow:?}"))?;
        }
    }
    Ok(())
}

#[test]
fn every_request_is_answered_and_a_large_body_is_whole_by_plain_routing() -> Result<()> {
    in_lab("routed-http", |lab| {
        let site = Routed::new(lab, Kind::SnatOneArm, Narrow::Nowhere)?;
        let server = &site.servers[0];
        let _nginx = Nginx::start(server, HTTP_PORT)?;
        let sum = nginx::write_file(server, "large", 100_000_000)?;
        for address in families(server) {
            let bodies = nginx::fetch_numbered(&site.client, at(address, HTTP_PORT), 1_000, 40)?;
            ensure!(bodies.iter().all(|body| body == "RAS1"), "{bodies:?}");
            assert_eq!(nginx::fetch_hashed(&site.client, at(address, HTTP_PORT), "large")?, sum);
        }
        assert_eq!(site.wrong_checksums()?, 0);
        Ok(())
    })
}

#[test]
fn senders_learn_of_a_narrow_link_by_an_error_that_quotes_their_packet() -> Result<()> {
    for (kind, narrow) in [(Kind::SnatOneArm, Narrow::Clients), (Kind::Nat, Narrow::Servers)] {
        in_lab("routed-mtu", |lab| {
            let site = Routed::new(lab, kind, narrow)?;
            forward(&site.balancer)?;
            let (client, server) = (&site.client, &site.servers[0]);
            for address in families(server) {
                let _iperf = iperf::serve(server, address, LOAD_PORT)?;
                match narrow {
                    Narrow::Clients => {
                        let load = || iperf::tcp_reverse(client, address, LOAD_PORT, 1);
                        learn(server, same_family(client, address), load)?;
                    }
                    Narrow::Servers | Narrow::Nowhere => {
                        learn(client, address, || iperf::tcp(client, address, LOAD_PORT, 1))?;
                    }
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn streams_come_back_and_loads_are_whole_by_plain_routing() -> Result<()> {
    in_lab("routed-load", |lab| {
        let site = Routed::new(lab, Kind::SnatOneArm, Narrow::Nowhere)?;
        let (client, server) = (&site.client, &site.servers[..1]);
        for address in families(&site.servers[0]) {
            let source = at(same_family(client, address), 0);
            let beat = Beat::start_rewritten(client, source, server, at(address, ECHO_PORT))?;
            let udp = Run::udp_rewritten(client, server, address, LOAD_PORT, "20M")?;
            let tcp = Run::tcp_rewritten(client, server, address, LOAD_PORT + 1, "20M")?;
            wait_until("a second of traffic has passed", 5 * ANSWER, || {
                let arrived = beat.since(beat.beginning())?;
                ensure!(arrived.sent > 1_000, "{arrived}");
                Ok(())
            })?;
            udp.finish(server)?.ensure_whole()?;
            ensure!(tcp.finish(server)?.bytes > 1_000_000, "too little");
            let arrived = beat.finish()?;
            assert_eq!((arrived.lost, arrived.unanswered, arrived.twice), (0, 0, 0), "{arrived}");
        }
        Ok(())
    })
}

#[test]
fn a_stream_that_nobody_answers_is_not_taken_for_whole() -> Result<()> {
    in_lab("routed-mute", |lab| {
        let site = Routed::new(lab, Kind::SnatOneArm, Narrow::Nowhere)?;
        let (client, server) = (&site.client, &site.servers[0]);
        let service = at(server.v4(), ECHO_PORT);
        let beat = Beat::start_rewritten(client, at(client.v4(), 0), &site.servers[..1], service)?;
        // The way there stays, the way back leads nowhere.
        let event = beat.now();
        server.ip(&["route", "replace", "blackhole", &client.v4().to_string()])?;
        let arrived = wait_until("datagrams are sent meanwhile", 5 * ANSWER, || {
            let arrived = beat.since(event)?;
            ensure!(arrived.sent > 100, "{arrived}");
            Ok(arrived)
        })?;
        ensure!(arrived.lost == 0 && arrived.unanswered > 50, "{arrived}");
        Ok(())
    })
}

#[test]
fn a_segment_that_was_lost_is_not_taken_for_one_that_came_twice() -> Result<()> {
    in_lab("routed-lost", |lab| {
        let site = Routed::new(lab, Kind::SnatOneArm, Narrow::Nowhere)?;
        let (client, server) = (&site.client, &site.servers[0]);
        let _server = iperf::serve(server, server.v4(), LOAD_PORT)?;
        let whole = Repeats::take(client, &site.servers)?;
        iperf::tcp_at(client, server.v4(), LOAD_PORT, 1, "20M")?;
        whole.ensure_none_lost(client, &site.servers)?;

        require("nft", "nftables")?;
        for line in [
            "add table ip rig",
            "add chain ip rig input { type filter hook input priority 0; }",
            "add rule ip rig input meta length > 1000 numgen inc mod 100 0 drop",
        ] {
            server.run(&["nft", line])?.success()?;
        }
        let torn = Repeats::take(client, &site.servers)?;
        iperf::tcp_at(client, server.v4(), LOAD_PORT, 1, "20M")?;
        let told = torn.ensure_none_lost(client, &site.servers);
        ensure!(told.is_err(), "segments that were dropped are not missed");
        Ok(())
    })
}

#[test]
fn thousands_of_short_flows_are_answered_by_plain_routing() -> Result<()> {
    in_lab("routed-short", |lab| {
        let site = Routed::new(lab, Kind::SnatOneArm, Narrow::Nowhere)?;
        let server = &site.servers[0];
        for address in families(server) {
            let _server = EchoServer::udp(server, at(address, ECHO_PORT))?;
            let sources = Routed::client_addresses(address);
            let exchanges = exchange(&site.client, &sources, at(address, ECHO_PORT), 20_000)?;
            ensure!(exchanges.len() == 20_000, "{} were made", exchanges.len());
            let strange = exchanges.iter().find(|it| it.answer.peer != it.client);
            ensure!(strange.is_none(), "{strange:?}");
        }
        Ok(())
    })
}

#[test]
fn a_wrong_checksum_is_seen_by_the_receiver_and_by_a_capture() -> Result<()> {
    in_lab("routed-sum", |lab| {
        let site = Routed::new(lab, Kind::Nat, Narrow::Nowhere)?;
        let (from, to) = (&site.servers[0], &site.servers[1]);
        for (mine, theirs) in families(from).into_iter().zip(families(to)) {
            let _server = EchoServer::udp(to, SocketAddr::new(theirs, ECHO_PORT))?;
            let mut bad = frame::ethernet(
                to.mac("eth0")?,
                from.mac("eth0")?,
                &frame::udp(at(mine, 9), at(theirs, ECHO_PORT), b"bad"),
            );
            let last = bad.len() - 1;
            bad[last] ^= 1;
            ensure!(frame::wrong_checksum(&bad).is_some(), "a capture would not show it");
            let before = to.wrong_checksums()?;
            from.packet_socket("eth0")?.send(&bad)?;
            wait_until("the receiver has counted it", ANSWER, || {
                assert_eq!(to.wrong_checksums()? - before, 1);
                Ok(())
            })?;

            // And what a host sends has its checksum on the wire, not in an offload.
            let sent = to.capture_at_switch("eth0", move |bytes| {
                frame::see(bytes).is_some_and(|seen| seen.source == mine && seen.protocol == UDP)
            })?;
            UdpClient::new(from, at(mine, 0), at(theirs, ECHO_PORT))?.ask(1_000, ANSWER)?;
            let sent = sent.wait_for("the question passes the switch", |_| true)?;
            ensure!(frame::wrong_checksum(&sent.frame).is_none() && sent.frame.len() > ETHERNET + 1_000, "{sent:02x?}");
        }
        Ok(())
    })
}
