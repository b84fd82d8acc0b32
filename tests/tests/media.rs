//! Harmonic_Traffic of the VOS deployment: RTMP, RTSP, MPEG-TS and load through `l4-dr`, over TCP and
//! UDP of one virtual service with 15,538 ports.

use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, MEDIA_VIP, Site};
use lb_tests::lab::{in_lab, wait_until};
use lb_tests::software::ffmpeg::{self, RtspMedia};
use lb_tests::software::nginx::Nginx;
use lb_tests::software::rtsp::RtspServer;
use lb_tests::software::status_page::StatusPage;
use lb_tests::software::{iperf, rtsp};

const CONFIGURATION: &str = include_str!("../data/harmonic_traffic.yaml");
const HTTP_PORT: u16 = 50_080;
const LOAD_PORT: u16 = 50_001;
/// Clients that each claim is tried from: enough that both servers are used.
const CLIENTS: usize = 4;

/// The health check of the configuration asks for it, so every test needs it.
fn status_pages(site: &Site) -> Result<Vec<StatusPage>> {
    site.servers.iter().map(StatusPage::start).collect()
}

fn rtsp_servers(site: &Site) -> Result<Vec<RtspServer>> {
    site.servers.iter().map(RtspServer::start).collect()
}

#[test]
fn a_published_rtmp_stream_is_played_back_by_its_client() -> Result<()> {
    in_lab("rtmp", |lab| {
        let site = deployments::harmonic(lab)?;
        let _pages = status_pages(&site)?;
        let _nginx: Vec<_> =
            site.servers.iter().map(|server| Nginx::start(server, HTTP_PORT)).collect::<Result<_>>()?;
        let _balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;
        for (number, client) in site.client_addresses()[..CLIENTS].iter().enumerate() {
            site.client.speak_as(*client, MEDIA_VIP, "eth0")?;
            // The stream exists only on the server that it was published to: the player must get there too.
            let url = format!("rtmp://{MEDIA_VIP}:1935/live/stream{number}");
            let _publisher = ffmpeg::publish_rtmp(&site.client, &url)?;
            ensure!(ffmpeg::play_rtmp(&site.client, &url, 10)? >= 10, "too few pictures for {client}");
        }
        Ok(())
    })
}

#[test]
fn rtsp_is_played_over_tcp_and_over_udp() -> Result<()> {
    in_lab("rtsp", |lab| {
        let site = deployments::harmonic(lab)?;
        let _pages = status_pages(&site)?;
        let _rtsp = rtsp_servers(&site)?;
        let _balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;
        for client in &site.client_addresses()[..CLIENTS] {
            site.client.speak_as(*client, MEDIA_VIP, "eth0")?;
            for media in [RtspMedia::Tcp, RtspMedia::Udp] {
                let frames = ffmpeg::play_rtsp(&site.client, &rtsp::url(MEDIA_VIP), media, 10)?;
                ensure!(frames >= 10, "too few pictures over {media:?} for {client}");
            }
        }
        Ok(())
    })
}

#[test]
fn an_mpeg_transport_stream_reaches_one_server_whole() -> Result<()> {
    in_lab("mpegts", |lab| {
        let site = deployments::harmonic(lab)?;
        let _pages = status_pages(&site)?;
        let balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;
        let mut receivers =
            site.servers.iter().map(|server| ffmpeg::receive_mpegts(server, 50_000, 50)).collect::<Result<Vec<_>>>()?;
        let _sender = ffmpeg::send_mpegts(&site.client, &format!("{MEDIA_VIP}:50000"))?;
        let first = wait_until("one server has decoded the stream", Duration::from_secs(20), || {
            for (index, receiver) in receivers.iter_mut().enumerate() {
                if receiver.ended()?.is_some() {
                    return Ok(index);
                }
            }
            anyhow::bail!("no server has")
        })?;
        let log = receivers[1 - first].log();
        ensure!(!log.contains("Input #0"), "the other server got a part of the stream:\n{log}");
        let receiver = receivers.swap_remove(first);
        ensure!(!receiver.log().contains("corrupt"), "packets were lost:\n{}", receiver.log());
        ensure!(ffmpeg::finish(receiver)? >= 50, "too few pictures");
        let status = balancer.status()?;
        let packets = status.server("Harmonic_Traffic", site.servers[first].name())?["packets"].as_u64();
        ensure!(
            packets.is_some_and(|packets| packets > 20),
            "the status does not show the stream: {packets:?} packets"
        );
        Ok(())
    })
}

#[test]
fn tcp_and_udp_of_a_client_reach_one_server_under_load() -> Result<()> {
    in_lab("load", |lab| {
        let site = deployments::harmonic(lab)?;
        let _pages = status_pages(&site)?;
        let servers = site.servers.iter().map(|server| iperf::serve(server, MEDIA_VIP, LOAD_PORT));
        let _servers: Vec<_> = servers.collect::<Result<_>>()?;
        let balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;
        for client in &site.client_addresses()[..CLIENTS] {
            site.client.speak_as(*client, MEDIA_VIP, "eth0")?;
            // The control connection is TCP, the stream UDP, the port one: the other server would refuse.
            let load = iperf::udp(&site.client, MEDIA_VIP, LOAD_PORT, 1, "50M")?;
            ensure!(load.datagrams > 1_000 && load.lost * 100 <= load.datagrams, "{client}: {load:?}");
            let load = iperf::tcp(&site.client, MEDIA_VIP, LOAD_PORT, 1)?;
            ensure!(load.bytes > 10_000_000, "{client}: {load:?}");
        }
        let status = balancer.status()?;
        for (_, server) in status.servers() {
            ensure!(server["packets"].as_u64() > Some(0), "{} got none of {CLIENTS} clients", server["name"]);
        }
        Ok(())
    })
}
