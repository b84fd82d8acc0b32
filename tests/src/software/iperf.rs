//! iperf3: load over TCP and UDP, with loss counted.
//!
//! Over UDP it opens a TCP control connection and a UDP stream on one port: it works through a
//! virtual service only when both protocols of a client reach one real server.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::lab::{Host, Process, require};

const PACKAGE: &str = "iperf3";

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
    let report = run(client, server, port, seconds, &[])?;
    let bytes = report["end"]["sum_received"]["bytes"].as_u64().context("iperf3 reported no bytes")?;
    Ok(Load { bytes, datagrams: 0, lost: 0 })
}

/// Sends datagrams for `seconds` at `rate`, such as `20M` bits a second.
///
/// # Errors
/// When iperf3 is missing or says an error.
pub fn udp(client: &Host, server: IpAddr, port: u16, seconds: u32, rate: &str) -> Result<Load> {
    let report = run(client, server, port, seconds, &["--udp", "--bitrate", rate])?;
    let sum = &report["end"]["sum"];
    let number = |name: &str| sum[name].as_u64().with_context(|| format!("iperf3 reported no {name}"));
    Ok(Load { bytes: number("bytes")?, datagrams: number("packets")?, lost: number("lost_packets")? })
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
