//! HL7 over MLLP with the package `hl7` of PyPI: a receiver that acknowledges in its own name, a sender of one
//! message, and a feed that goes on.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::python;
use crate::lab::{Host, Process, wait_until};

/// The well-known port of MLLP.
pub const PORT: u16 = 2575;
const SERVER: &str = include_str!("../../data/hl7_server.py");
const CLIENT: &str = include_str!("../../data/hl7_client.py");
/// Whose `MSA-2` an acknowledgement has to repeat.
const CONTROL_ID: &str = "4711";
/// For one acknowledgement; the client of a feed gives up after this too.
const ANSWER: Duration = Duration::from_secs(5);

/// A receiver of messages.
#[derive(Debug)]
pub struct Receiver {
    process: Process,
}

impl Receiver {
    /// Starts one at the port of every IPv4 address of `host`; it acknowledges as the host's name.
    ///
    /// # Errors
    /// When the package is missing, or the port is not opened.
    pub fn start(host: &Host) -> Result<Self> {
        let script = python::script(host, "hl7_server.py", SERVER)?.display().to_string();
        let (python, port) = (python::in_environment("python")?, PORT.to_string());
        let mut process = host.spawn(&[&python, &script, host.name(), &port])?;
        host.wait_listening(&mut process, "tcp", PORT)?;
        Ok(Self { process })
    }

    /// The client of each message so far, as this receiver sees it.
    ///
    /// # Errors
    /// When its log says something else.
    pub fn clients(&self) -> Result<Vec<IpAddr>> {
        let log = self.process.log();
        let messages = log.lines().filter_map(|line| line.strip_prefix("message ")?.split(' ').next());
        messages.map(|client| client.parse().with_context(|| format!("{client:?} is no address"))).collect()
    }

    /// Ends it as a power cut would end the program.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

/// Sends one message with `mllp_send`; the name that acknowledged it.
///
/// # Errors
/// When the package is missing, or the message is not acknowledged.
pub fn send(client: &Host, server: SocketAddr) -> Result<String> {
    let file = client.folder().join("adt.hl7");
    let message =
        format!("MSH|^~\\&|MODALITY|LAB|ARCHIVE|LAB|20260101120000||ADT^A01|{CONTROL_ID}|P|2.5\nPID|1||7||Doe^Jane\n");
    std::fs::write(&file, message).with_context(|| format!("cannot write {}", file.display()))?;
    let (file, address, port) = (file.display().to_string(), server.ip().to_string(), server.port().to_string());
    let limit = ANSWER.as_secs().to_string();
    let command =
        ["timeout", &limit, &python::in_environment("mllp_send")?, "--loose", "-p", &port, "-f", &file, &address];
    let output = client.run(&command)?.success()?;
    let acknowledged = output.stdout.contains(&format!("MSA|AA|{CONTROL_ID}"));
    ensure!(acknowledged, "the message was not acknowledged: {output}");
    let fields = output.stdout.trim_start_matches('\u{b}').split('|').nth(2);
    Ok(fields.filter(|name| !name.is_empty()).with_context(|| format!("nobody's name: {output}"))?.to_owned())
}

/// Which connections a feed uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// One for all messages.
    Kept,
    /// One for each message; the client half-closes it before the acknowledgement comes.
    OneEach,
}

/// A client that sends messages until it is stopped, or one is not acknowledged.
#[derive(Debug)]
pub struct Feed {
    process: Process,
    stop: PathBuf,
}

impl Feed {
    /// Starts one; `name` tells it from others of the lab.
    ///
    /// # Errors
    /// When the package is missing.
    pub fn start(client: &Host, name: &str, server: SocketAddr, connections: Connections) -> Result<Self> {
        let script = python::script(client, "hl7_client.py", CLIENT)?.display().to_string();
        let stop = client.folder().join(format!("{name}.stop"));
        let mode = if connections == Connections::Kept { "keep" } else { "each" };
        let (address, port, flag) = (server.ip().to_string(), server.port().to_string(), stop.display().to_string());
        let process = client.spawn(&[&python::in_environment("python")?, &script, mode, &address, &port, &flag])?;
        Ok(Self { process, stop })
    }

    /// Who has acknowledged so far, message by message.
    pub fn acknowledged(&self) -> Vec<String> {
        let log = self.process.log();
        log.lines().filter_map(|line| line.strip_prefix("acknowledged ")).map(str::to_owned).collect()
    }

    /// Waits until a message that is yet to be sent has been acknowledged; by whom.
    ///
    /// # Errors
    /// When the feed has ended or nobody acknowledges.
    pub fn goes_on(&mut self) -> Result<String> {
        // The next may have been on its way already.
        let wanted = self.acknowledged().len() + 2;
        wait_until("a feed goes on", ANSWER, || {
            let acknowledged = self.acknowledged();
            if acknowledged.len() >= wanted {
                return Ok(acknowledged.last().cloned());
            }
            ensure!(self.process.ended()?.is_some(), "nobody acknowledges");
            Ok(None)
        })?
        .with_context(|| format!("the feed has ended: {}", self.process.log()))
    }

    /// Waits until the connection has been cut.
    ///
    /// # Errors
    /// When it goes on.
    pub fn wait_cut(&mut self) -> Result<()> {
        let output = self.process.wait_end(ANSWER)?;
        ensure!(output.status == 1 && output.stdout.contains("ended: "), "the feed was not cut: {output}");
        Ok(())
    }

    /// Ends it; who acknowledged each message, every one of which was acknowledged.
    ///
    /// # Errors
    /// When one was not.
    pub fn finish(mut self) -> Result<Vec<String>> {
        std::fs::write(&self.stop, "").with_context(|| format!("cannot write {}", self.stop.display()))?;
        self.process.wait_end(2 * ANSWER)?.success().context("a message was not acknowledged")?;
        Ok(self.acknowledged())
    }
}
