//! Which program is attached, as `bpftool` tells it of the pins.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::lab::require;

/// The number of the program that is attached to `device`: another for each that was ever loaded.
///
/// # Errors
/// When none is attached, or bpftool is missing.
pub fn program(pins: &Path, device: &str) -> Result<u64> {
    let link = bpftool(&["link", "show", "pinned", &pins.join("links").join(device).display().to_string()])?;
    let link = if link.is_array() { &link[0] } else { &link };
    link["prog_id"].as_u64().with_context(|| format!("no program: {link}"))
}

/// The number of the program that the daemon has loaded to stay.
///
/// # Errors
/// When none is pinned, or bpftool is missing.
pub fn pinned_program(pins: &Path) -> Result<u64> {
    let program = bpftool(&["prog", "show", "pinned", &pins.join("programs/lb_forward").display().to_string()])?;
    program["id"].as_u64().with_context(|| format!("no number: {program}"))
}

/// What `bpftool -j` says. Programs and pins are of no namespace.
///
/// # Errors
/// When it fails, or is missing.
pub fn bpftool(arguments: &[&str]) -> Result<Value> {
    require("bpftool", "bpftool")?;
    let output = Command::new("bpftool").arg("-j").args(arguments).output().context("cannot start bpftool")?;
    ensure!(output.status.success(), "bpftool {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).context("bpftool prints no JSON")
}
