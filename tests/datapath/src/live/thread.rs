//! The threads in which frames are forwarded: where they are, and what CPU time they have had.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Pid;

/// Puts a thread before the others of the machine, whose work would be measured too.
pub(super) fn hurry(thread: Pid) -> Result<()> {
    let status = Command::new("renice").args(["-n", "-20", "-p", &thread.to_string()]).output();
    let status = status.context("starting `renice`")?.status;
    ensure!(status.success(), "`renice` cannot raise the priority of {thread}");
    Ok(())
}

/// A thread of the kernel by the beginning of its name.
pub(super) fn kernel_thread(name: &str) -> Result<Pid> {
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(comm) = fs::read_to_string(entry.path().join("comm")) else { continue };
        if comm.starts_with(name) {
            return Ok(Pid::from_raw(pid));
        }
    }
    bail!("the kernel has no thread {name}")
}

/// What the scheduler counts for a thread.
pub(super) fn cpu_time(thread: &str) -> Result<Duration> {
    let path = format!("/proc/{thread}/schedstat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let nanoseconds = text.split_whitespace().next().and_then(|first| first.parse().ok());
    Ok(Duration::from_nanos(nanoseconds.with_context(|| format!("{path} says `{text}`"))?))
}

/// Whether a thread's CPU time includes the interrupts handled on its account, as all forwarding on
/// the CPU that sends is; where the kernel counts them apart, CPU time says nothing.
#[must_use]
pub fn cpu_time_is_whole() -> bool {
    let script = "zgrep -qs '^CONFIG_IRQ_TIME_ACCOUNTING=y' /proc/config.gz /boot/config-\"$(uname -r)\"";
    !Command::new("sh").args(["-c", script]).output().is_ok_and(|output| output.status.success())
}
