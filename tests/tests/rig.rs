//! The lab itself, without a balancer: what the other tests take for granted.
//!
//! A test of the product is worth as much as its lab: that the programs work directly, that a real
//! server which holds the VIP is silent about it, and that nothing stays behind.

use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::at;
use lb_tests::deployments::{self, DICOM_VIP, MEDIA_VIP, MEDIA_VIP_V6};
use lb_tests::frame;
use lb_tests::lab::{Direction, Lab, in_lab, wait_until};
use lb_tests::software::echo::{EchoServer, TcpClient, UdpClient};
use lb_tests::software::ffmpeg::{self, RtspMedia};
use lb_tests::software::{dicom, iperf, nginx, rtsp};

const ANSWER: Duration = Duration::from_secs(2);

#[test]
fn a_lab_leaves_nothing_behind_even_after_a_panic() -> Result<()> {
    let result = std::panic::catch_unwind(|| {
        let lab = Lab::new("panics").unwrap();
        let network = lab.network().unwrap();
        let host = lab.host_on("ho-st-1", &network, &["192.0.2.1/24"]).unwrap();
        let _sleeper = host.spawn(&["sleep", "600"]).unwrap();
        std::panic::panic_any(lab.id().to_owned());
    });
    let id = result.unwrap_err().downcast::<String>().unwrap();
    let namespaces = std::process::Command::new("ip").args(["netns", "list"]).output()?;
    ensure!(!String::from_utf8_lossy(&namespaces.stdout).contains(&*id), "the namespaces of {id} are still there");
    ensure!(!std::path::Path::new("/run/lb-lab").join(&*id).exists(), "the folder of {id} is still there");
    Ok(())
}

#[test]
fn a_real_server_that_holds_the_vip_is_silent_about_it() -> Result<()> {
    in_lab("silent", |lab| {
        let site = deployments::harmonic(lab)?;
        for vip in [MEDIA_VIP, MEDIA_VIP_V6] {
            let ping = site.client.run(&["ping", "-c", "1", "-W", "1", &vip.to_string()])?;
            ensure!(ping.status != 0, "somebody answered for {vip}: {ping}");
            // The proof that it was asked and that it is there: its own address answers.
            let own = if vip.is_ipv4() { site.servers[0].v4() } else { site.servers[0].v6() };
            site.client.run(&["ping", "-c", "1", "-W", "1", &own.to_string()])?.success()?;
            // Sent to its MAC, a request for the VIP is answered.
            let _server = EchoServer::udp(&site.servers[0], at(vip, 50_000))?;
            let mac = site.servers[0].mac("eth0")?.map(|byte| format!("{byte:02x}")).join(":");
            site.client.ip(&["neighbour", "replace", &vip.to_string(), "lladdr", &mac, "dev", "eth0"])?;
            let client = UdpClient::new(
                &site.client,
                at(if vip.is_ipv4() { site.client.v4() } else { site.client.v6() }, 0),
                at(vip, 50_000),
            )?;
            let answer = client.ask(100, ANSWER)?;
            assert_eq!((answer.server.as_str(), answer.peer), ("HT1", client.address()?));
        }
        Ok(())
    })
}

#[test]
fn captures_and_packet_sockets_see_each_others_bytes() -> Result<()> {
    in_lab("bytes", |lab| {
        let site = deployments::harmonic(lab)?;
        let (client, server) = (&site.client, &site.servers[0]);
        let at_server = server.capture("eth0", |_| true)?;
        let at_switch = server.capture_at_switch("eth0", |_| true)?;
        let delivered = server.frames_delivered("eth0")?;
        let sent = frame::udp(at(client.v4(), 9), at(server.v4(), 9), b"one of a kind");
        let sent = frame::ethernet(server.mac("eth0")?, client.mac("eth0")?, &sent);
        client.packet_socket("eth0")?.send(&sent)?;
        assert_eq!(at_server.wait_for("the server received it", |seen| seen.frame == sent)?.direction, Direction::In);
        assert_eq!(at_switch.wait_for("the switch sent it on", |seen| seen.frame == sent)?.direction, Direction::Out);
        ensure!(server.frames_delivered("eth0")? > delivered, "the delivery was not counted");
        Ok(())
    })
}

#[test]
fn dicom_works_directly() -> Result<()> {
    in_lab("dicom-direct", |lab| {
        let site = deployments::insignia(lab)?;
        let server = &site.servers[0];
        let mut store = dicom::Store::start(server, "STORE1")?;
        dicom::echo(&site.client, server.v4())?.success()?;
        for number in 1..=3 {
            dicom::Study::write(lab.folder(), number)?.send(&site.client, server.v4())?.success()?;
        }
        assert_eq!(store.studies()?, 3);
        store.kill();
        ensure!(dicom::echo(&site.client, server.v4())?.status != 0, "a killed server answered");
        ensure!(dicom::echo(&site.client, DICOM_VIP)?.status != 0, "a VIP without a balancer answered");
        Ok(())
    })
}

#[test]
fn media_work_directly() -> Result<()> {
    in_lab("media-direct", |lab| {
        let site = deployments::harmonic(lab)?;
        let (client, server) = (&site.client, &site.servers[0]);

        let web = nginx::Nginx::start(server, 50_080)?;
        let body = nginx::fetch(client, at(server.v4(), 50_080), "/")?;
        assert_eq!(body.trim(), format!("HT1 {}", client.v4()));
        wait_until("the request is logged", ANSWER, || {
            let clients = web.clients()?;
            ensure!(clients == [client.v4()], "logged are {clients:?}");
            Ok(())
        })?;
        assert_eq!(nginx::fetch(client, at(server.v4(), 50_080), "/admin/status")?, "Healthy");

        let url = format!("rtmp://{}:1935/live/stream", server.v4());
        let publisher = ffmpeg::publish_rtmp(client, &url)?;
        ensure!(ffmpeg::play_rtmp(client, &url, 10)? >= 10, "too few pictures over RTMP");
        drop(publisher);

        let _rtsp = rtsp::RtspServer::start(server)?;
        for media in [RtspMedia::Tcp, RtspMedia::Udp] {
            ensure!(
                ffmpeg::play_rtsp(client, &rtsp::url(server.v4()), media, 10)? >= 10,
                "too few pictures over {media:?}"
            );
        }

        let receiver = ffmpeg::receive_mpegts(server, 50_000, 20)?;
        let _sender = ffmpeg::send_mpegts(client, &format!("{}:50000", server.v4()))?;
        ensure!(ffmpeg::finish(receiver)? >= 20, "too few pictures over MPEG-TS");
        Ok(())
    })
}

#[test]
fn iperf_and_echo_work_directly_over_both_families() -> Result<()> {
    in_lab("load-direct", |lab| {
        let site = deployments::harmonic(lab)?;
        let (client, server) = (&site.client, &site.servers[0]);
        for (address, from) in [(server.v4(), client.v4()), (server.v6(), client.v6())] {
            let _iperf = iperf::serve(server, address, 50_001)?;
            let load = iperf::udp(client, address, 50_001, 1, "20M")?;
            ensure!(load.datagrams > 100 && load.lost * 100 <= load.datagrams, "{load:?}");
            let load = iperf::tcp(client, address, 50_001, 1)?;
            ensure!(load.bytes > 1_000_000, "{load:?}");

            let (_udp, _tcp) =
                (EchoServer::udp(server, at(address, 50_002))?, EchoServer::tcp(server, at(address, 50_002))?);
            let udp = UdpClient::new(client, at(from, 0), at(address, 50_002))?;
            // Longer than the MTU: it goes and comes in fragments.
            assert_eq!(udp.ask(4_000, ANSWER)?.length, 4_000);
            let mut tcp = TcpClient::connect(client, at(address, 50_002), ANSWER)?;
            assert_eq!(tcp.ask(ANSWER)?.peer, tcp.address()?);
        }
        Ok(())
    })
}

#[test]
fn a_program_that_ends_early_is_reported_with_its_log() -> Result<()> {
    in_lab("early", |lab| {
        let network = lab.network()?;
        let host = lab.host_on("host", &network, &["192.0.2.1/24"])?;
        let mut process = host.spawn(&["sh", "-c", "echo the disk is full; exit 3"])?;
        let error = host.wait_listening(&mut process, "tcp", 80).unwrap_err();
        let text = format!("{error:#}");
        ensure!(text.contains("ended with 3") && text.contains("the disk is full"), "{text}");
        wait_until("the private /run is empty", ANSWER, || {
            let mut private = host.spawn_private(&["sh", "-c", "ls /run | wc -l"])?;
            ensure!(private.wait_end(ANSWER)?.success()?.stdout.trim() == "0", "it is not");
            Ok(())
        })
    })
}
