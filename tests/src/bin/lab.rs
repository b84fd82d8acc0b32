//! A lab that is left standing for a person to play in: `lab up NAME`, `lab shell NAME [HOST]`,
//! `lab down NAME`.
//!
//! Two deployments on one balancer: DICOM studies go to DS1 and DS2, media to HT1 and HT2, as in
//! their guides. Every server runs, and `lbd` in front of them.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use lb_tests::balancer::{Balancer, SOCKET};
use lb_tests::deployments::{self, BothSites, DICOM_VIP, MEDIA_VIP};
use lb_tests::lab::{Lab, standing_namespace};
use lb_tests::software::dicom::Store;
use lb_tests::software::iperf;
use lb_tests::software::nginx::Nginx;
use lb_tests::software::rtsp::{self, RtspServer};

const CONFIGURATION: &str = include_str!("../../data/both_deployments.yaml");
const HTTP_PORT: u16 = 50_080;
const LOAD_PORT: u16 = 50_001;
const USAGE: &str = "usage: lab up NAME | lab shell NAME [HOST] | lab down NAME";
/// Where `shell` goes when no host is named.
const FIRST_HOST: &str = "lb1";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["up", name] => up(checked(name)?),
        ["shell", name] => shell(checked(name)?, FIRST_HOST),
        ["shell", name, host] => shell(checked(name)?, host),
        ["down", name] => {
            ensure!(Lab::remove_standing(checked(name)?)?, "there is no lab {name}");
            Ok(())
        }
        _ => bail!(USAGE),
    }
}

/// Names are parts of the names of namespaces and folders.
fn checked(name: &str) -> Result<&str> {
    let fits = !name.is_empty() && name.len() <= 20 && name.bytes().all(|byte| byte.is_ascii_lowercase());
    ensure!(fits, "{name:?} is no name for a lab: write 1 to 20 of the letters a to z");
    Ok(name)
}

fn up(name: &str) -> Result<()> {
    let lab = Lab::standing(name)?;
    let sites = deployments::both(&lab)?;
    start_servers(&sites)?;
    let balancer = Balancer::start(&lab, &sites.balancer, CONFIGURATION)?;
    let status = balancer.lbctl(&["status"])?.success()?;
    println!("{}", status.stdout);
    println!("files and logs      {}", lab.folder().display());
    println!("lbctl               lbctl --socket {} status", balancer.socket().display());
    println!("hosts               lb1  modality DS1 DS2  viewer HT1 HT2");
    println!("enter a host        cargo xtask lab shell {name} HOST");
    println!("then, at modality   echoscu -v -aec ARCHIVE {DICOM_VIP} 104");
    println!("or at viewer        ffmpeg -rtsp_transport tcp -i {} -frames:v 50 -f null -", rtsp::url(MEDIA_VIP));
    println!("                    iperf3 -c {MEDIA_VIP} -p {LOAD_PORT} -u -b 100M");
    println!("remove everything   cargo xtask lab down {name}");
    // They end with the lab, not with this program.
    std::mem::forget(balancer);
    lab.leave_standing();
    Ok(())
}

fn start_servers(sites: &BothSites) -> Result<()> {
    for server in &sites.stores {
        std::mem::forget(Store::start(server, server.name())?);
    }
    for server in &sites.media {
        std::mem::forget(RtspServer::start(server)?);
        std::mem::forget(Nginx::start(server, HTTP_PORT)?);
        std::mem::forget(iperf::serve(server, MEDIA_VIP, LOAD_PORT)?);
    }
    Ok(())
}

fn shell(name: &str, host: &str) -> Result<()> {
    let namespace = Path::new("/run/netns").join(standing_namespace(name, host));
    ensure!(namespace.exists(), "the lab {name} has no host {host}, or is not up: {USAGE}");
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", namespace.display())).args(["bash", "--norc"]);
    let socket = Lab::standing_folder(name).join(SOCKET);
    let error = command.env("PS1", format!("{host} \\w # ")).env("LB_SOCKET", socket).exec();
    Err(error).context("cannot start a shell")
}
