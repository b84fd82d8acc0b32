//! `lbctl trace` on a balancer that forwards: the frames of one client, all of them and nobody else's; and
//! nobody notices when it begins or ends.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::at;
use lb_tests::attached;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, ECHO_PORT, MEDIA_VIP, MEDIA_VIP_V6, Site};
use lb_tests::frame;
use lb_tests::lab::{Direction, Process, in_lab, wait_until};
use lb_tests::software::echo::{EchoServer, TcpClient, UdpClient};
use lb_tests::software::iperf::Run;
use lb_tests::traffic::Beat;
use nix::sys::signal::Signal;
use serde_json::Value;

const CONFIGURATION: &str = include_str!("../data/dual_stack.yaml");
const ANSWER: Duration = Duration::from_secs(2);
/// For things that take a moment.
const SOON: Duration = Duration::from_secs(20);
/// No service of the configuration has it.
const NO_SERVICE: u16 = 81;

fn echo_servers(site: &Site) -> Result<Vec<EchoServer>> {
    let mut servers = Vec::new();
    for server in &site.servers {
        for vip in [MEDIA_VIP, MEDIA_VIP_V6] {
            servers.push(EchoServer::udp(server, at(vip, ECHO_PORT))?);
            servers.push(EchoServer::tcp(server, at(vip, ECHO_PORT))?);
        }
    }
    Ok(servers)
}

/// A trace that runs.
struct Trace {
    lbctl: Process,
}

impl Trace {
    /// Starts `lbctl trace --json` and waits until it sees.
    fn begin(balancer: &Balancer<'_>, arguments: &[&str]) -> Result<Self> {
        let lbctl = balancer.start_lbctl(&[&["trace", "--json"], arguments].concat())?;
        wait_until("the trace begins", SOON, || {
            let said = lbctl.log();
            ensure!(said.contains("\"line\":\"begin\""), "{said}");
            Ok(())
        })?;
        Ok(Self { lbctl })
    }

    fn lines(&self) -> Result<Vec<Value>> {
        lines(&self.lbctl.log())
    }

    fn frames(&self) -> Result<Vec<Value>> {
        Ok(frames(self.lines()?))
    }

    /// Ends it as Ctrl-C does; the frames it has shown.
    fn interrupt(mut self) -> Result<Vec<Value>> {
        self.lbctl.signal(Signal::SIGINT);
        Ok(frames(lines(&self.lbctl.wait_end(SOON)?.success()?.stdout)?))
    }

    /// Waits until it ends by itself; all of its lines.
    fn finish(mut self) -> Result<Vec<Value>> {
        lines(&self.lbctl.wait_end(SOON)?.success()?.stdout)
    }
}

fn lines(log: &str) -> Result<Vec<Value>> {
    // The last one may be on its way.
    let whole = log.rfind('\n').map_or("", |end| &log[..end]);
    whole.lines().map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))).collect()
}

fn frames(lines: Vec<Value>) -> Vec<Value> {
    lines.into_iter().filter(|line| line["line"] == "frame").collect()
}

fn is_traced(balancer: &Balancer<'_>) -> Result<bool> {
    let pins = balancer.pin_directory();
    Ok(attached::program(pins, "eth0")? != attached::pinned_program(pins)?)
}

/// Waits until the daemon has taken the traced program off.
fn wait_untraced(balancer: &Balancer<'_>) -> Result<()> {
    wait_until("the program without a trace is back", SOON, || {
        ensure!(!is_traced(balancer)?, "the traced program is still attached");
        Ok(())
    })
}

fn udp(site: &Site, client: IpAddr, service: SocketAddr) -> Result<(SocketAddr, String)> {
    let client = UdpClient::new(&site.client, at(client, 0), service)?;
    Ok((client.address()?, client.ask(9, ANSWER)?.server))
}

#[test]
fn a_trace_shows_every_frame_of_its_client_and_none_of_others() -> Result<()> {
    in_lab("trace", |lab| {
        let site = deployments::harmonic(lab)?;
        let _servers = echo_servers(&site)?;
        let balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;
        let [client, other] = [site.client_addresses()[0], site.client_addresses()[1]];
        assert_eq!(client, site.client.v4(), "TCP connections come from it");
        let (service, vip) = (at(MEDIA_VIP, ECHO_PORT), MEDIA_VIP.to_string());

        let trace = Trace::begin(&balancer, &[&client.to_string()])?;
        ensure!(is_traced(&balancer)?, "the traced program is not attached");
        let came = site.balancer.capture_at_switch("eth0", move |bytes| {
            frame::see(bytes).is_some_and(|seen| seen.source == client && seen.destination == MEDIA_VIP)
        })?;
        let flow = UdpClient::new(&site.client, at(client, 0), service)?;
        let servers = (0..3).map(|_| Ok(flow.ask(9, ANSWER)?.server)).collect::<Result<Vec<_>>>()?;
        udp(&site, other, service)?;
        udp(&site, site.client.v6(), at(MEDIA_VIP_V6, ECHO_PORT))?;
        let mut connection = TcpClient::connect(&site.client, service, ANSWER)?;
        connection.ask(ANSWER)?;
        ensure!(TcpClient::connect(&site.client, at(MEDIA_VIP, NO_SERVICE), ANSWER).is_err(), "port 81 is served");
        // A frame that the datapath drops.
        let raw = site.client.packet_socket("eth0")?;
        let packet = frame::udp(at(client, 4000), at(MEDIA_VIP, 0), b"x");
        raw.send(&frame::ethernet(site.balancer.mac("eth0")?, site.client.mac("eth0")?, &packet))?;
        let is_dropped = |frame: &Value| frame["verdict"] == "drop";
        wait_until("the last frame is told", SOON, || {
            ensure!(trace.frames()?.iter().any(is_dropped), "{} frames are", trace.frames()?.len());
            Ok(())
        })?;
        // What the switch sends to the balancer; what comes back has another MAC address by then. The connection is
        // still open, so that nothing more comes.
        let to_vip = |told: &&Value| {
            let frame = &told["frame"];
            frame["source"] == client.to_string() && frame["destination"] == vip && frame["protocol"] != "arp"
        };
        wait_until("every frame is told", SOON, || {
            let (told, came) =
                (trace.frames()?.iter().filter(to_vip).count(), came.count(|one| one.direction == Direction::Out));
            ensure!(told == came && came >= 8, "{told} of {came} frames to the VIP are");
            println!("{told} frames to the VIP came and are told");
            Ok(())
        })?;
        let tcp = connection.address()?;
        let frames = trace.interrupt()?;

        for told in &frames {
            let addresses = [&told["frame"]["source"], &told["frame"]["destination"]];
            ensure!(addresses.iter().any(|address| **address == client.to_string()), "not the client's: {told}");
            assert_eq!(told["interface"], "eth0", "{told}");
        }
        let of = |protocol: &str, port: u16| -> Vec<&Value> {
            let is_it = |told: &&Value| told["frame"]["protocol"] == protocol && told["frame"]["source_port"] == port;
            frames.iter().filter(is_it).collect()
        };
        let datagrams = of("udp", flow.address()?.port());
        let reasons: Vec<_> = datagrams.iter().map(|told| &told["reason"]).collect();
        assert_eq!(reasons, ["scheduled", "pending", "established"]);
        for (told, server) in datagrams.iter().zip(&servers) {
            assert_eq!((&told["service"], &told["server"]), (&"four".into(), &server.as_str().into()), "{told}");
            let [a, b, c, d, e, f] = site.server(server).mac("eth0")?;
            let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
            assert_eq!(told["leaves"]["frame"]["destination_mac"], mac, "{told}");
            assert_eq!(told["leaves"]["interface"], "eth0", "{told}");
            assert_eq!(told["leaves"]["frame"]["destination"], MEDIA_VIP.to_string(), "l4-dr leaves addresses alone");
        }
        let segments = of("tcp", tcp.port());
        assert_eq!(segments[0]["frame"]["tcp_flags"], serde_json::json!(["SYN"]));
        assert_eq!(segments[0]["reason"], "scheduled");
        ensure!(segments.len() >= 3, "{segments:?}");
        let refused: Vec<_> = frames.iter().filter(|told| told["frame"]["destination_port"] == NO_SERVICE).collect();
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert_eq!((&refused[0]["verdict"], &refused[0]["reason"]), (&"pass".into(), &"no-service".into()));
        let dropped: Vec<_> = frames.iter().filter(|told| is_dropped(told)).map(|told| &told["reason"]).collect();
        assert_eq!(dropped, ["port-zero"]);
        wait_untraced(&balancer)
    })
}

#[test]
fn each_frame_is_a_line_that_says_what_became_of_it() -> Result<()> {
    in_lab("tracetext", |lab| {
        let site = deployments::harmonic(lab)?;
        let _servers = echo_servers(&site)?;
        let balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;
        let mut lbctl = balancer.start_lbctl(&["trace", "fd00:94::/64", "--for", "5s"])?;
        wait_until("the trace begins", SOON, || {
            let said = lbctl.log();
            ensure!(said.contains("note: tracing fd00:94::/64 on eth0 for 5 s; Ctrl-C ends it\n"), "{said}");
            Ok(())
        })?;
        let service = at(MEDIA_VIP_V6, ECHO_PORT);
        let (source, server) = udp(&site, site.client.v6(), service)?;
        let said = lbctl.wait_end(SOON)?.success()?.stdout;
        println!("{said}");
        let line = format!(" eth0  {source} -> {service} udp 71 B  scheduled -> {server} by eth0: to ");
        ensure!(said.contains(&line), "no {line:?} in\n{said}");
        // The client asked for the VIP first.
        ensure!(said.contains("icmpv6 neighbour solicitation 86 B  pass "), "{said}");
        ensure!(said.ends_with(" frames shown\n"), "{said}");
        ensure!(!is_traced(&balancer)?, "the last line came before the program was put back");
        Ok(())
    })
}

#[test]
fn a_trace_that_begins_and_ends_costs_no_frame() -> Result<()> {
    in_lab("tracekeep", |lab| {
        let site = deployments::harmonic(lab)?;
        // The two connections of a load belong to one server.
        let scheduler = "scheduler: weighted-round-robin\n";
        let persistent = format!("{scheduler}    persistence: {{by: source-ip, timeout: 5m}}\n");
        let balancer = Balancer::start(lab, &site.balancer, &CONFIGURATION.replace(scheduler, &persistent))?;
        let client = site.client.v4();
        let beat = Beat::start(&site.client, at(client, 0), &site.servers, at(MEDIA_VIP, 50_005))?;
        let mut load = Run::udp(&site.client, &site.servers, MEDIA_VIP, 50_001, "20M")?;
        for round in 1..=5 {
            let event = beat.now();
            let trace = Trace::begin(&balancer, &[&client.to_string(), "--count", "200"])?;
            let told = trace.finish()?;
            ensure!(!is_traced(&balancer)?, "the last line came before the program was put back");
            let end = told.last().context("nothing was told")?;
            assert_eq!((&end["line"], &end["why"], &end["frames"]), (&"end".into(), &"count".into(), &200.into()));
            assert_eq!(frames(told).len(), 200);
            let arrived = beat.since(event)?;
            println!("round {round}: {arrived}");
            ensure!(arrived.lost == 0 && arrived.twice == 0, "round {round}: {arrived}");
        }
        // Another client's: the flows go on under the traced program, and nothing of them is told.
        let event = beat.now();
        let told = Trace::begin(&balancer, &["203.0.113.9", "--for", "2s"])?.finish()?;
        let kinds: Vec<_> = told.iter().map(|line| &line["line"]).collect();
        assert_eq!(kinds, ["begin", "end"]);
        assert_eq!(told[1]["why"], "time");
        // A reader that is killed.
        let mut killed = Trace::begin(&balancer, &[&client.to_string()])?;
        ensure!(is_traced(&balancer)?, "the traced program is not attached");
        killed.lbctl.kill();
        wait_untraced(&balancer)?;
        let arrived = beat.since(event)?;
        println!("another's trace, and one that is killed: {arrived}");
        load.ensure_running()?;
        let load = load.finish(&site.servers)?;
        println!("{load:?}");
        load.ensure_whole()?;
        let arrived = beat.finish()?;
        println!("all in all: {arrived}");
        assert_eq!((arrived.lost, arrived.twice, arrived.servers.len()), (0, 0, 1), "{arrived}");
        let problems = &balancer.status()?.0["problems"];
        assert_eq!(problems, &serde_json::json!([]), "problems");
        Ok(())
    })
}

#[test]
fn a_daemon_that_stops_or_dies_during_a_trace_is_not_missed() -> Result<()> {
    in_lab("tracedie", |lab| {
        let site = deployments::harmonic(lab)?;
        let mut balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;
        let client = site.client.v4();
        let beat = Beat::start(&site.client, at(client, 0), &site.servers, at(MEDIA_VIP, 50_005))?;

        let mut trace = Trace::begin(&balancer, &[&client.to_string()])?;
        balancer.terminate()?;
        ensure!(!is_traced(&balancer)?, "lbd stopped and left the traced program");
        let ended = trace.lbctl.wait_end(SOON)?;
        assert_eq!(ended.status, 1, "{ended}");
        ensure!(ended.stdout.contains("error: the trace ended early: lbd is stopping"), "{ended}");
        balancer.restart()?;

        let mut trace = Trace::begin(&balancer, &[&client.to_string()])?;
        balancer.kill();
        let ended = trace.lbctl.wait_end(SOON)?;
        assert_eq!(ended.status, 1, "{ended}");
        ensure!(is_traced(&balancer)?, "the traced program is not attached");
        // More than the ring buffer holds, with nobody who reads it.
        let before = beat.now();
        wait_until("thousands of frames arrive without a daemon", SOON, || {
            let sent = beat.since(before)?.sent;
            ensure!(sent > 5_000, "{sent} have");
            Ok(())
        })?;
        balancer.restart()?;
        wait_untraced(&balancer)?;
        let arrived = beat.finish()?;
        println!("{arrived}");
        assert_eq!((arrived.lost, arrived.twice, arrived.servers.len()), (0, 0, 1), "{arrived}");
        Ok(())
    })
}

#[test]
fn a_second_trace_is_told_who_runs_the_first() -> Result<()> {
    in_lab("tracetwo", |lab| {
        let site = deployments::harmonic(lab)?;
        let balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;
        let first = Trace::begin(&balancer, &["192.0.2.7", "--for", "30s"])?;
        let second = balancer.lbctl(&["trace", "192.0.2.8"])?;
        assert_eq!(second.status, 1, "{second}");
        ensure!(second.stderr.contains(" has been tracing 192.0.2.7 for "), "{second}");
        first.interrupt()?;
        wait_untraced(&balancer)?;
        // Now it may; and both are among the events.
        Trace::begin(&balancer, &["192.0.2.8", "--for", "1s"])?.finish()?;
        let events = balancer.lbctl(&["events"])?.success()?.stdout;
        for sentence in [
            "the frames of 192.0.2.7 are traced, for 30 s at most",
            "the trace of 192.0.2.7 has ended: 0 frames shown",
            "the frames of 192.0.2.8 are traced, for 1 s at most",
        ] {
            ensure!(events.contains(sentence), "no {sentence:?} in\n{events}");
        }
        Ok(())
    })
}

#[test]
fn a_reload_during_a_trace_keeps_it_and_renames_its_servers() -> Result<()> {
    in_lab("tracereload", |lab| {
        let site = deployments::harmonic(lab)?;
        let _servers = echo_servers(&site)?;
        let balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;
        let trace = Trace::begin(&balancer, &[&site.client.v4().to_string()])?;
        balancer.write_configuration(&CONFIGURATION.replace("{name: HT", "{name: renamed-HT"))?;
        balancer.lbctl(&["reload"])?.success()?;
        ensure!(is_traced(&balancer)?, "the reload took the traced program off");
        let (source, server) = udp(&site, site.client.v4(), at(MEDIA_VIP, ECHO_PORT))?;
        wait_until("the flow is told", SOON, || {
            let frames = trace.frames()?;
            let told = frames.iter().find(|told| told["frame"]["source_port"] == source.port()).context("not yet")?;
            ensure!(told["server"] == format!("renamed-{server}"), "{told}");
            Ok(())
        })?;
        trace.interrupt()?;
        wait_untraced(&balancer)
    })
}

#[test]
fn a_flood_is_shown_in_part_and_the_rest_is_counted() -> Result<()> {
    const FRAMES: u64 = 20_000;
    in_lab("traceflood", |lab| {
        let site = deployments::harmonic(lab)?;
        let balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;
        let client = "198.51.100.9";
        let trace = Trace::begin(&balancer, &[client, "--for", "5m"])?;
        let raw = site.client.packet_socket("eth0")?;
        let packet = frame::udp(at(client.parse()?, 4000), at(MEDIA_VIP, NO_SERVICE), b"x");
        let frame = frame::ethernet(site.balancer.mac("eth0")?, site.client.mac("eth0")?, &packet);
        let before = balancer.status()?.packets_for("no-service");
        for _ in 0..FRAMES {
            raw.send(&frame)?;
        }
        let (shown, not_shown) = wait_until("each frame is shown or counted", SOON, || {
            let counted = balancer.status()?.packets_for("no-service") - before;
            let told = trace.lines()?;
            let missed =
                told.iter().filter(|line| line["line"] == "not-shown").filter_map(|line| line["frames"].as_u64());
            let (not_shown, shown) = (missed.sum::<u64>(), frames(told).len() as u64);
            ensure!(counted == FRAMES, "{counted} of {FRAMES} were counted by the datapath");
            ensure!(shown + not_shown == counted, "{shown} are shown and {not_shown} are not, of {counted}");
            Ok((shown, not_shown))
        })?;
        println!("{shown} of {FRAMES} frames shown, {not_shown} not");
        ensure!(shown > 0, "none is shown");
        trace.interrupt()?;
        wait_untraced(&balancer)
    })
}
