//! Network namespaces without a name: they and everything in them are gone when the last handle
//! is closed, however this process ends.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace.
#[derive(Debug)]
pub struct Namespace {
    handle: File,
}

impl Namespace {
    /// An empty one, without IPv6: nothing in it sends by itself.
    ///
    /// # Errors
    /// Without root.
    pub fn new() -> Result<Self> {
        let home = Home::now()?;
        unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")?;
        let handle = File::open(THREAD_NAMESPACE).context("keeping the network namespace")?;
        drop(home);
        let namespace = Self { handle };
        namespace.sysctl("net/ipv6/conf/all/disable_ipv6", 1)?;
        namespace.sysctl("net/ipv6/conf/default/disable_ipv6", 1)?;
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Does `work` on this thread inside the namespace. Processes it starts are inside too.
    ///
    /// # Errors
    /// Those of `work`, or when the namespace cannot be entered.
    pub fn within<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let _home = Home::now()?;
        setns(&self.handle, CloneFlags::CLONE_NEWNET).context("entering a network namespace")?;
        work()
    }

    /// A path by which other processes find the namespace while this one lives.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.handle.as_raw_fd())
    }

    /// Runs a program inside, its words separated by blanks.
    ///
    /// # Errors
    /// When it is not there or fails, with what it said.
    pub fn run(&self, line: &str) -> Result<()> {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().context("no program is named")?);
        self.within(|| finish(command.args(words), line))
    }

    /// `ip`.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn ip(&self, line: &str) -> Result<()> {
        self.run(&format!("ip {line}"))
    }

    /// `sh -c`, with a `/sys` that shows the devices of the namespace.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn in_sysfs(&self, script: &str) -> Result<()> {
        let script = format!("mount -t sysfs sysfs /sys && {script}");
        self.within(|| finish(Command::new("unshare").args(["--mount", "sh", "-c", &script]), &script))
    }

    /// Writes a setting below `/proc/sys`.
    ///
    /// # Errors
    /// When the kernel does not know it or refuses the value.
    pub fn sysctl(&self, name: &str, value: u32) -> Result<()> {
        self.within(|| fs::write(format!("/proc/sys/{name}"), value.to_string()).with_context(|| name.to_owned()))
    }

    /// Kernel number of a device.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn ifindex(&self, device: &str) -> Result<u32> {
        self.within(|| nix::net::if_::if_nametoindex(device).with_context(|| format!("looking for {device}")))
    }
}

const THREAD_NAMESPACE: &str = "/proc/thread-self/ns/net";

/// The namespace that this thread is in, and returns to.
struct Home(File);

impl Home {
    fn now() -> Result<Self> {
        Ok(Self(File::open(THREAD_NAMESPACE).context("noting the network namespace")?))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Err(error) = setns(&self.0, CloneFlags::CLONE_NEWNET) {
            // Anything done from now on would be done in the wrong place.
            eprintln!("cannot return to the network namespace: {error}");
            std::process::abort();
        }
    }
}

fn finish(command: &mut Command, line: &str) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting `{line}`"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{line}` failed: {}", complaint.trim());
    Ok(())
}
