//! The product at work, in about a minute: two deployments on one balancer, real software at
//! both ends, a server that dies, one that is drained, a daemon that is killed, a configuration that changes,
//! and the kernel's tables; then a third site, whose real servers are behind a router, and a fourth, whose TLS ends at the balancer.
//!
//! Prints what it does line by line; ends with nothing left behind, and with status 0 only if all of
//! it worked.

mod proxying;
mod rewriting;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, BothSites, DICOM_VIP, MEDIA_VIP};
use lb_tests::frame;
use lb_tests::lab::{Lab, require, wait_until};
use lb_tests::software::dicom::{Store, Study};
use lb_tests::software::ffmpeg::{self, RtspMedia};
use lb_tests::software::iperf;
use lb_tests::software::nginx::Nginx;
use lb_tests::software::rtsp::{self, RtspServer};
use serde_json::Value;

const CONFIGURATION: &str = include_str!("../../../data/both_deployments.yaml");
const HTTP_PORT: u16 = 50_080;
const LOAD_PORT: u16 = 50_001;
const CLIENTS: u8 = 8;
/// Of the configuration: two failed checks a second apart, a second's timeout, and one to spare.
const DOWN_WITHIN: Duration = Duration::from_secs(4);

fn main() -> ExitCode {
    let start = Instant::now();
    match run() {
        Ok(()) => {
            println!("\nAll of it worked, in {} seconds; nothing is left behind.", start.elapsed().as_secs());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("\nThe demo stopped: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says what is being done, does it, says what came of it and how long it took.
fn step<T>(what: &str, work: impl FnOnce() -> Result<(T, String)>) -> Result<T> {
    let start = Instant::now();
    println!("-> {what}");
    let (value, outcome) = work().with_context(|| what.to_owned())?;
    println!("   {outcome} ({:.1} s)", start.elapsed().as_secs_f32());
    Ok(value)
}

fn run() -> Result<()> {
    let (lab, sites) = step("lay out two sites: a hospital (172.26.11.0/24) and a studio (192.168.94.0/24)", || {
        let lab = Lab::new("demo")?;
        lab.remove_on_interrupt()?;
        let sites = deployments::both(&lab)?;
        Ok(((lab, sites), "seven hosts, each a network namespace".into()))
    })?;
    let mut servers = step("start the real servers", || {
        Ok((Servers::start(&sites)?, "storescp on DS1 and DS2; RTMP, RTSP and iperf3 on HT1 and HT2".into()))
    })?;
    let mut balancer = step("start lbd with DS_DICOM and Harmonic_Traffic in l4-dr", || {
        let balancer = Balancer::start(&lab, &sites.balancer, CONFIGURATION)?;
        let interfaces = balancer.status()?;
        let modes: Vec<_> = interfaces.0["interfaces"].as_array().into_iter().flatten().map(interface).collect();
        Ok((balancer, format!("every health check has spoken; XDP is {}", modes.join(", "))))
    })?;
    show(&balancer.lbctl(&["status"])?.success()?.stdout);

    carry_dicom(&lab, &sites, &servers)?;
    carry_media(&sites)?;
    show(&balancer.lbctl(&["status"])?.success()?.stdout);
    lose_a_server(&lab, &sites, &mut servers, &balancer)?;
    drain_a_server(&lab, &sites, &servers, &balancer)?;
    lose_the_daemon(&lab, &sites, &servers, &mut balancer)?;
    change_the_configuration(&balancer)?;
    read_the_kernel(&sites, &balancer)?;
    step("lbctl stop --detach", || {
        balancer.detach()?;
        ensure!(!balancer.pin_directory().exists(), "{} is still there", balancer.pin_directory().display());
        Ok(((), "programs, tables and VIPs are gone".into()))
    })?;
    drop(balancer);
    rewriting::run(&lab)?;
    proxying::run(&lab)
}

struct Servers {
    stores: Vec<Store>,
    _rtsp: Vec<RtspServer>,
    _nginx: Vec<Nginx>,
    _iperf: Vec<lb_tests::lab::Process>,
}

impl Servers {
    fn start(sites: &BothSites) -> Result<Self> {
        let media = &sites.media;
        Ok(Self {
            stores: sites.stores.iter().map(|server| Store::start(server, server.name())).collect::<Result<_>>()?,
            _rtsp: media.iter().map(RtspServer::start).collect::<Result<_>>()?,
            _nginx: media.iter().map(|server| Nginx::start(server, HTTP_PORT)).collect::<Result<_>>()?,
            _iperf: media.iter().map(|server| iperf::serve(server, MEDIA_VIP, LOAD_PORT)).collect::<Result<_>>()?,
        })
    }

    fn studies(&self) -> Result<Vec<usize>> {
        self.stores.iter().map(Store::studies).collect()
    }
}

fn interface(value: &Value) -> String {
    let text = |name: &str| value[name].as_str().unwrap_or("?").to_owned();
    format!("{} on {}", text("xdp"), text("device"))
}

fn carry_dicom(lab: &Lab, sites: &BothSites, servers: &Servers) -> Result<()> {
    step(&format!("send DICOM studies to {DICOM_VIP}:104 from {CLIENTS} clients, two each"), || {
        let replies = sites.balancer.capture_at_switch("eth0", |bytes| {
            frame::see(bytes).is_some_and(|seen| seen.source == DICOM_VIP && seen.protocol == frame::TCP)
        })?;
        for client in 0..CLIENTS {
            let address = format!("172.26.11.{}", 11 + client).parse()?;
            sites.modality.speak_as(address, DICOM_VIP, "eth0")?;
            for study in 0..2 {
                let number = u32::from(client) * 2 + study;
                Study::write(lab.folder(), number)?.send(&sites.modality, DICOM_VIP)?.success()?;
            }
        }
        let stored = servers.studies()?;
        ensure!(stored.iter().sum::<usize>() == usize::from(CLIENTS) * 2, "{stored:?} studies were stored");
        ensure!(stored.iter().all(|count| *count > 0), "one store got everything: {stored:?}");
        ensure!(stored.iter().all(|count| count % 2 == 0), "a client's studies were torn apart: {stored:?}");
        let crossed = replies.count(|_| true);
        ensure!(crossed == 0, "{crossed} replies crossed the balancer");
        Ok(((), format!("DS1 stored {}, DS2 stored {}; no reply crossed the balancer", stored[0], stored[1])))
    })
}

fn carry_media(sites: &BothSites) -> Result<()> {
    let viewer = &sites.viewer;
    step(&format!("publish RTMP to {MEDIA_VIP}:1935 and play it back"), || {
        let url = format!("rtmp://{MEDIA_VIP}:1935/live/demo");
        let _publisher = ffmpeg::publish_rtmp(viewer, &url)?;
        Ok(((), format!("{} pictures played", ffmpeg::play_rtmp(viewer, &url, 25)?)))
    })?;
    for (media, how) in [(RtspMedia::Tcp, "TCP"), (RtspMedia::Udp, "UDP")] {
        step(&format!("play RTSP from {MEDIA_VIP}:554, media over {how}"), || {
            Ok(((), format!("{} pictures played", ffmpeg::play_rtsp(viewer, &rtsp::url(MEDIA_VIP), media, 25)?)))
        })?;
    }
    step(&format!("send an MPEG transport stream over UDP to {MEDIA_VIP}:50000"), || {
        let receivers = sites.media.iter().map(|server| ffmpeg::receive_mpegts(server, 50_000, 25));
        let mut receivers = receivers.collect::<Result<Vec<_>>>()?;
        let _sender = ffmpeg::send_mpegts(viewer, &format!("{MEDIA_VIP}:50000"))?;
        let first = wait_until("one server has decoded it", Duration::from_secs(20), || {
            for (index, receiver) in receivers.iter_mut().enumerate() {
                if receiver.ended()?.is_some() {
                    return Ok(index);
                }
            }
            anyhow::bail!("no server has")
        })?;
        let pictures = ffmpeg::finish(receivers.swap_remove(first))?;
        Ok(((), format!("{pictures} pictures arrived at {}", sites.media[first].name())))
    })?;
    step("iperf3: TCP control and 100 Mbit/s of UDP at one port, which must reach one server", || {
        let load = iperf::udp(viewer, MEDIA_VIP, LOAD_PORT, 2, "100M")?;
        ensure!(load.lost * 50 <= load.datagrams, "{} of {} datagrams were lost", load.lost, load.datagrams);
        Ok(((), format!("{} datagrams, {} lost", load.datagrams, load.lost)))
    })
}

fn lose_a_server(lab: &Lab, sites: &BothSites, servers: &mut Servers, balancer: &Balancer<'_>) -> Result<()> {
    step("kill the DICOM store on DS1", || {
        servers.stores[0].kill();
        let down = balancer.wait_state("DS_DICOM", "DS1", "down", DOWN_WITHIN)?;
        Ok(((), format!("the status says: {}", down["reason"].as_str().unwrap_or("nothing"))))
    })?;
    step("every client sends again, those of DS1 too", || {
        let before = servers.stores[1].studies()?;
        for client in 0..CLIENTS {
            sites.modality.speak_as(format!("172.26.11.{}", 11 + client).parse()?, DICOM_VIP, "eth0")?;
            Study::write(lab.folder(), 1_000 + u32::from(client))?.send(&sites.modality, DICOM_VIP)?.success()?;
        }
        let taken = servers.stores[1].studies()? - before;
        ensure!(taken == usize::from(CLIENTS), "DS2 took only {taken}");
        Ok(((), format!("DS2 took all {taken} studies")))
    })?;
    step("start the store on DS1 again", || {
        servers.stores[0] = Store::start(&sites.stores[0], "DS1")?;
        balancer.wait_state("DS_DICOM", "DS1", "up", DOWN_WITHIN)?;
        Ok(((), "DS1 is up".into()))
    })
}

/// Those who are remembered for DS1 go on going there; a client that nobody knows does not.
fn drain_a_server(lab: &Lab, sites: &BothSites, servers: &Servers, balancer: &Balancer<'_>) -> Result<()> {
    step("lbctl drain DS_DICOM/DS1, and a new client sends", || {
        show(&balancer.lbctl(&["drain", "DS_DICOM/DS1"])?.success()?.stdout);
        let before = servers.studies()?;
        sites.modality.speak_as(format!("172.26.11.{}", 11 + CLIENTS).parse()?, DICOM_VIP, "eth0")?;
        Study::write(lab.folder(), 2_000)?.send(&sites.modality, DICOM_VIP)?.success()?;
        let after = servers.studies()?;
        ensure!(after == [before[0], before[1] + 1], "the study went to the drained store: {before:?}, {after:?}");
        Ok(((), "DS2 took it".into()))
    })
}

fn lose_the_daemon(lab: &Lab, sites: &BothSites, servers: &Servers, balancer: &mut Balancer<'_>) -> Result<()> {
    step("kill -9 lbd, and send all the same", || {
        balancer.kill();
        let before: usize = servers.studies()?.iter().sum();
        Study::write(lab.folder(), 2_001)?.send(&sites.modality, DICOM_VIP)?.success()?;
        let after: usize = servers.studies()?.iter().sum();
        ensure!(after == before + 1, "the study was not stored");
        Ok(((), "stored, without a daemon".into()))
    })?;
    step("start lbd again", || {
        balancer.restart()?;
        let status = balancer.status()?;
        let state = status.server("DS_DICOM", "DS1")?["state"].clone();
        ensure!(state == "draining", "DS1 is {state}");
        show(&balancer.lbctl(&["events", "--limit", "6"])?.success()?.stdout);
        show(&balancer.lbctl(&["health"])?.success()?.stdout);
        balancer.lbctl(&["online", "DS_DICOM/DS1"])?.success()?;
        Ok(((), "it went on where the other ended: DS1 was still drained, and is online again".into()))
    })
}

fn change_the_configuration(balancer: &Balancer<'_>) -> Result<()> {
    step("reload a file with a mistake", || {
        let (before, mistake) = ("address: 192.168.94.115}", "address: 192.168.94.115, port: 8080}");
        balancer.write_configuration(&CONFIGURATION.replace(before, mistake))?;
        let reload = balancer.lbctl(&["reload"])?;
        ensure!(reload.status == 3, "it was not refused: {reload}");
        show(&format!("{}{}", reload.stdout, reload.stderr));
        Ok(((), "refused, and the running configuration stays".into()))
    })?;
    step("reload with HT2 at half the weight", || {
        let (before, after) = ("address: 192.168.94.116}", "address: 192.168.94.116, weight: 50}");
        balancer.write_configuration(&CONFIGURATION.replace(before, after))?;
        let file = balancer.configuration().display().to_string();
        show(&balancer.lbctl(&["diff", &file])?.success()?.stdout);
        let reload = balancer.lbctl(&["reload"])?.success()?;
        show(&reload.stdout);
        let status = balancer.status()?;
        ensure!(status.server("Harmonic_Traffic", "HT2")?["weight"] == 50, "the status shows another weight");
        Ok(((), "in force".into()))
    })
}

fn read_the_kernel(sites: &BothSites, balancer: &Balancer<'_>) -> Result<()> {
    require("bpftool", "bpftool")?;
    let map = balancer.pin_directory().join("flows").display().to_string();
    step(&format!("bpftool map dump pinned {map}"), || {
        let dump = sites.balancer.run(&["bpftool", "-j", "map", "dump", "pinned", &map])?.success()?;
        let entries: Value = serde_json::from_str(&dump.stdout).context("bpftool printed no JSON")?;
        let entries = entries.as_array().context("bpftool printed no list")?;
        let first = entries.first().context("the table of flows is empty after all this traffic")?;
        show(&serde_json::to_string_pretty(&first["formatted"])?);
        Ok(((), format!("the first of {} flows", entries.len())))
    })
}

/// Prints a program's output, set apart.
fn show(text: &str) {
    for line in text.trim_end().lines() {
        println!("   | {line}");
    }
}
