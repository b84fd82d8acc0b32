//! iperf3: load over TCP and UDP, with loss counted.
//!
//! Over UDP it opens a TCP control connection and a UDP stream on one port: it works through a
//! virtual service only when both protocols of a client reach one real server.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::deployments::routed::same_family;
use crate::lab::{Host, Process, require, wait_until};

const PACKAGE: &str = "iperf3";
/// Both ends report within this time.
const END: Duration = Duration::from_secs(10);

/// Starts a server at `address`, which the answers then leave from.
///
/// # Errors
/// When iperf3 is missing or the port is not opened.
pub fn serve(host: &Host, address: IpAddr, port: u16) -> Result<Process> {
    require("iperf3", PACKAGE)?;
    let (address, number) = (address.to_string(), port.to_string());
    let mut server = host.spawn(&["iperf3", "--server", "--bind", &address, "--port", &number, "--forceflush"])?;
    host.wait_listening(&mut server, "tcp", port)?;
    Ok(server)
}

/// What a run carried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Bytes that the receiver got (TCP) or the sender sent (UDP).
    pub bytes: u64,
    /// Datagrams sent; 0 for TCP.
    pub datagrams: u64,
    /// Datagrams of these that the server did not get.
    pub lost: u64,
}

/// Sends over TCP for `seconds`.
///
/// # Errors
/// When iperf3 is missing or says an error.
pub fn tcp(client: &Host, server: IpAddr, port: u16, seconds: u32) -> Result<Load> {
    tcp_run(client, server, port, seconds, &[])
}

/// The same at `rate`, such as `20M` bits a second, which links carry without loss.
///
/// # Errors
/// As for [`tcp`].
pub fn tcp_at(client: &Host, server: IpAddr, port: u16, seconds: u32, rate: &str) -> Result<Load> {
    tcp_run(client, server, port, seconds, &["--bitrate", rate])
}

/// The server sends, to the client.
///
/// # Errors
/// As for [`tcp`].
pub fn tcp_reverse(client: &Host, server: IpAddr, port: u16, seconds: u32) -> Result<Load> {
    tcp_run(client, server, port, seconds, &["--reverse"])
}

fn tcp_run(client: &Host, server: IpAddr, port: u16, seconds: u32, more: &[&str]) -> Result<Load> {
    let report = run(client, server, port, seconds, more)?;
    let bytes = report["end"]["sum_received"]["bytes"].as_u64().context("iperf3 reported no bytes")?;
    Ok(Load { bytes, datagrams: 0, lost: 0 })
}

/// Sends datagrams for `seconds` at `rate`, such as `20M` bits a second.
///
/// # Errors
/// When iperf3 is missing or says an error.
pub fn udp(client: &Host, server: IpAddr, port: u16, seconds: u32, rate: &str) -> Result<Load> {
    udp_run(client, server, port, seconds, &["--udp", "--bitrate", rate])
}

/// The server sends, to the client.
///
/// # Errors
/// As for [`udp`].
pub fn udp_reverse(client: &Host, server: IpAddr, port: u16, seconds: u32, rate: &str) -> Result<Load> {
    udp_run(client, server, port, seconds, &["--udp", "--bitrate", rate, "--reverse"])
}

fn udp_run(client: &Host, server: IpAddr, port: u16, seconds: u32, more: &[&str]) -> Result<Load> {
    let report = run(client, server, port, seconds, more)?;
    let sum = &report["end"]["sum"];
    let number = |name: &str| sum[name].as_u64().with_context(|| format!("iperf3 reported no {name}"));
    Ok(Load { bytes: number("bytes")?, datagrams: number("packets")?, lost: number("lost_packets")? })
}

/// A load that runs until it is ended.
#[derive(Debug)]
pub struct Run {
    client: Process,
    /// By name of the host; each ends with the one run that it serves.
    servers: Vec<(String, Process)>,
    /// Datagrams that each host had no room for before.
    no_room: Vec<u64>,
}

/// What a run carried, by both ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Carried {
    /// The host that got it.
    pub server: String,
    /// Bytes that it got.
    pub bytes: u64,
    /// Datagrams sent; 0 for TCP.
    pub datagrams: u64,
    /// Datagrams that the server missed, by the numbers of those that it got.
    pub lost: u64,
    /// Datagrams of these that reached the server's socket and found no room: iperf3 was kept waiting.
    pub no_room: u64,
    /// Datagrams that it got after later ones.
    pub out_of_order: u64,
    /// Segments that the client sent again, in each second; none for UDP.
    pub retransmits: Vec<u64>,
}

impl Run {
    /// Sends over TCP from `client` through a virtual service at `address`, at `rate` bits a second, to
    /// whichever of `hosts` it is led to.
    ///
    /// # Errors
    /// When iperf3 is missing or a port is not opened.
    pub fn tcp(client: &Host, hosts: &[Host], address: IpAddr, port: u16, rate: &str) -> Result<Self> {
        Self::start(client, hosts, address, |_| address, port, &["--bitrate", rate])
    }

    /// The same to hosts that get it at addresses of their own.
    ///
    /// # Errors
    /// As for [`Run::tcp`].
    pub fn tcp_rewritten(client: &Host, hosts: &[Host], address: IpAddr, port: u16, rate: &str) -> Result<Self> {
        Self::start(client, hosts, address, |host| same_family(host, address), port, &["--bitrate", rate])
    }

    /// The same with datagrams.
    ///
    /// # Errors
    /// As for [`Run::tcp`].
    pub fn udp(client: &Host, hosts: &[Host], address: IpAddr, port: u16, rate: &str) -> Result<Self> {
        Self::start(client, hosts, address, |_| address, port, &["--udp", "--bitrate", rate])
    }

    /// The same to hosts that get it at addresses of their own.
    ///
    /// # Errors
    /// As for [`Run::tcp`].
    pub fn udp_rewritten(client: &Host, hosts: &[Host], address: IpAddr, port: u16, rate: &str) -> Result<Self> {
        Self::start(client, hosts, address, |host| same_family(host, address), port, &["--udp", "--bitrate", rate])
    }

    fn start(
        client: &Host,
        hosts: &[Host],
        address: IpAddr,
        listen: impl Fn(&Host) -> IpAddr,
        port: u16,
        more: &[&str],
    ) -> Result<Self> {
        require("iperf3", PACKAGE)?;
        let (address, number) = (address.to_string(), port.to_string());
        let no_room = hosts.iter().map(Host::no_room).collect::<Result<_>>()?;
        let mut servers = Vec::new();
        for host in hosts {
            let at = listen(host).to_string();
            let serve = ["iperf3", "--server", "--json", "--one-off", "--bind", &at, "--port", &number];
            let mut server = host.spawn(&serve)?;
            host.wait_listening(&mut server, "tcp", port)?;
            servers.push((host.name().to_owned(), server));
        }
        let mut command = vec!["iperf3", "--json", "--connect-timeout", "3000", "--time", "0"];
        command.extend(["--client", &address, "--port", &number]);
        command.extend(more);
        Ok(Self { client: client.spawn(&command)?, servers, no_room })
    }

    /// Nothing while it goes on.
    ///
    /// # Errors
    /// When the client has given up, with its report.
    pub fn ensure_running(&mut self) -> Result<()> {
        ensure!(self.client.ended()?.is_none(), "the load has ended:\n{}", self.client.log());
        Ok(())
    }

    /// Ends it and reads what both ends report; `hosts` are those it was started with.
    ///
    /// # Errors
    /// When it had ended before, or a report lacks a number.
    pub fn finish(mut self, hosts: &[Host]) -> Result<Carried> {
        self.ensure_running()?;
        self.client.signal(Signal::SIGINT);
        self.client.wait_end(END)?;
        let sent = report(&self.client)?;
        let mut over = wait_until("the server has seen the end of its load", END, || {
            let over: Vec<usize> = (0..self.servers.len())
                .filter(|at| self.servers.get_mut(*at).is_some_and(|(_, server)| matches!(server.ended(), Ok(Some(_)))))
                .collect();
            ensure!(over.len() == 1, "{} servers have", over.len());
            Ok(over)
        })?;
        let at = over.remove(0);
        let no_room = hosts.get(at).context("another list of hosts")?.no_room()? - self.no_room[at];
        let (name, server) = self.servers.swap_remove(at);
        let got = report(&server)?;
        let number = |of: &Value, name: &str| of[name].as_u64().with_context(|| format!("no {name} in {of}"));
        let udp = sent["start"]["test_start"]["protocol"] == "UDP";
        let of_udp = |of: &Value, name: &str| if udp { number(of, name) } else { Ok(0) };
        let intervals = sent["intervals"].as_array().into_iter().flatten();
        Ok(Carried {
            server: name,
            bytes: number(&got["end"]["sum_received"], "bytes")?,
            datagrams: of_udp(&sent["end"]["sum"], "packets")?,
            lost: of_udp(&got["end"]["sum"], "lost_packets")?,
            no_room,
            out_of_order: of_udp(&got["end"]["streams"][0]["udp"], "out_of_order")?,
            retransmits: intervals.filter_map(|interval| interval["sum"]["retransmits"].as_u64()).collect(),
        })
    }
}

impl Carried {
    /// No datagram was lost between the client and the server's socket. Whether it was read in time, on a
    /// machine that has other things to do, is not the network's.
    ///
    /// # Errors
    /// When one was lost, or nearly none was sent.
    pub fn ensure_whole(&self) -> Result<()> {
        ensure!(self.lost <= self.no_room, "{} datagrams were lost: {self:?}", self.lost - self.no_room);
        ensure!(self.datagrams > 1_000, "only {} datagrams were sent: {self:?}", self.datagrams);
        Ok(())
    }
}

/// The report that is the whole of a program's log; that the client ended it is no error.
fn report(program: &Process) -> Result<Value> {
    let log = program.log();
    let report: Value = serde_json::from_str(&log).with_context(|| format!("no report: {log}"))?;
    let error = report["error"].as_str().unwrap_or_default();
    ensure!(error.is_empty() || error.contains("client has terminated"), "iperf3: {error}");
    Ok(report)
}

fn run(client: &Host, server: IpAddr, port: u16, seconds: u32, more: &[&str]) -> Result<Value> {
    require("iperf3", PACKAGE)?;
    let (server, port, seconds) = (server.to_string(), port.to_string(), seconds.to_string());
    let mut command = vec!["iperf3", "--json", "--connect-timeout", "3000"];
    command.extend(["--client", &server, "--port", &port, "--time", &seconds]);
    command.extend(more);
    let output = client.run(&command)?;
    let report: Value = serde_json::from_str(&output.stdout).with_context(|| format!("no report: {output}"))?;
    if let Some(error) = report["error"].as_str() {
        anyhow::bail!("iperf3 to {server} port {port}: {error}");
    }
    ensure!(output.status == 0, "{output}");
    Ok(report)
}
