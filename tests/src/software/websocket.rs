//! WebSocket: a server that says everything back, and a client with many cases (the Python library `websockets`).

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::python;
use crate::lab::{Host, Process};

const SCRIPT: &str = include_str!("../../data/websocket.py");
const DEADLINE: Duration = Duration::from_secs(30);

/// A running server; it ends when dropped.
#[derive(Debug)]
pub struct Server {
    _process: Process,
}

impl Server {
    /// Starts one.
    ///
    /// # Errors
    /// When the Python packages are missing or the port is not opened.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        let (interpreter, script) = script(host)?;
        let address = host.v4().to_string();
        let mut process = host.spawn(&[&interpreter, &script, "serve", &address, &port.to_string()])?;
        process.wait_ready("the WebSocket server listens", DEADLINE, || host.listens("tcp", port))?;
        Ok(Self { _process: process })
    }
}

/// Has all cases; how many there were, and what was wrong. `authority`: over TLS. One connection is left alone for
/// `idle`.
///
/// # Errors
/// When the Python packages are missing or it does not end.
pub fn talk(client: &Host, service: SocketAddr, authority: Option<&Path>, idle: Duration) -> Result<Value> {
    let (interpreter, script) = script(client)?;
    let scheme = if authority.is_some() { "wss" } else { "ws" };
    let url = format!("{scheme}://{service}/");
    let trusted = authority.map_or_else(|| "-".to_owned(), |file| file.display().to_string());
    let idle = idle.as_secs().to_string();
    let output = client.run(&[&interpreter, &script, "talk", &url, &trusted, &idle])?.success()?;
    serde_json::from_str(&output.stdout).with_context(|| format!("not JSON: {output}"))
}

fn script(host: &Host) -> Result<(String, String)> {
    let script = python::script(host, "websocket.py", SCRIPT)?;
    Ok((python::in_environment("python")?, script.display().to_string()))
}
