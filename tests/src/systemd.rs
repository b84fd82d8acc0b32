//! A real systemd, as the first process of a pid namespace on a host, with the unit of `packaging`.
//!
//! In: a host, a configuration, settings of the unit that a test needs otherwise. Out: what
//! `systemctl` says. Absent: every other unit: targets are empty, so that nothing of the machine is
//! started; file systems, settings of the kernel and control groups that it writes to are its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::balancer;
use crate::lab::{Host, Lab, Output, Process, require, wait_until};

const UNIT: &str = include_str!("../../packaging/lbd.service");
const SYSTEMD: &str = "/usr/lib/systemd/systemd";
const BOOT_DEADLINE: Duration = Duration::from_secs(20);
const GONE_DEADLINE: Duration = Duration::from_secs(10);
/// Where programs and configuration lie for it: its `/tmp` is not the daemon's.
const FOLDER: &str = "/run/lb-systemd";
/// What a boot would bring before and after the service.
const TARGETS: [&str; 6] = ["sysinit", "basic", "network", "shutdown", "umount", "quiet"];

/// In a control group of its own: a namespace of it, and the others.
const ENTER: &str =
    "echo $$ > \"$0/cgroup.procs\"; exec unshare --fork --pid --mount --uts --cgroup --kill-child \"$@\"";

/// In its namespaces: the file systems, then systemd in place of the script. What it would change of
/// the machine is a copy or read-only: /etc, /var/lib, the settings of the kernel.
const BOOT: &str = r#"
set -e
mount --make-rprivate /
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -t tmpfs tmpfs /mnt
cp -a "$1" /mnt/files
cp -a /etc /mnt/etc
mount --bind /mnt/etc /etc
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /run
mkdir -p /run/lock
cp -a /mnt/files /run/lb-systemd
umount -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
export container=lab SYSTEMD_UNIT_PATH=/run/lb-systemd/units
exec /usr/lib/systemd/systemd --system --unit=quiet.target --log-target=null --show-status=no --dump-core=no
"#;

/// A running systemd; it and everything below it end with this.
#[derive(Debug)]
pub struct Systemd<'a> {
    host: &'a Host,
    // The program that made the namespaces and waits; its child is systemd.
    outer: Process,
    group: Group,
    pins: PathBuf,
    pid: u32,
}

impl<'a> Systemd<'a> {
    /// The unit with the built programs and these settings in place of its own; a file of the lab.
    ///
    /// # Errors
    /// When a setting is not in the unit, or the programs are not built.
    pub fn unit(lab: &Lab, settings: &[(&str, &str)]) -> Result<PathBuf> {
        let lbd = balancer::lbd()?;
        let lbctl = balancer::lbctl(&lbd)?;
        let unit = adapted(&format!("{} run", lbd.display()), &lbctl.display().to_string(), settings)?;
        let path = lab.folder().join("lbd.service");
        fs::write(&path, unit).context("cannot write the unit")?;
        Ok(path)
    }

    /// Starts systemd, and nothing below it.
    ///
    /// # Errors
    /// When it is not installed or does not come up.
    pub fn boot(lab: &Lab, host: &'a Host, yaml: &str, settings: &[(&str, &str)]) -> Result<Self> {
        require("systemctl", "systemd")?;
        ensure!(Path::new(SYSTEMD).is_file(), "{SYSTEMD} is not there: apt-get install -y systemd");
        let (files, pins) = (lab.folder().join("systemd"), lab.pin_directory());
        fs::create_dir_all(files.join("units")).context("cannot make a folder")?;
        let lbd = balancer::lbd()?;
        for (from, name) in [(&lbd, "lbd"), (&balancer::lbctl(&lbd)?, "lbctl")] {
            fs::copy(from, files.join(name)).with_context(|| format!("cannot copy {}", from.display()))?;
        }
        fs::write(files.join("lb.yaml"), yaml)?;
        let run = format!("{FOLDER}/lbd run --config {FOLDER}/lb.yaml --pin-dir {}", pins.display());
        let unit = adapted(&run, &format!("{FOLDER}/lbctl"), settings)?;
        let unit = unit.replace(
            "[Service]",
            &format!("[Service]\nStandardOutput=append:{FOLDER}/log\nStandardError=append:{FOLDER}/log"),
        );
        fs::write(files.join("units/lbd.service"), unit)?;
        for target in TARGETS {
            let text = format!("[Unit]\nDescription={target}\nDefaultDependencies=no\n");
            fs::write(files.join(format!("units/{target}.target")), text)?;
        }
        let files = files.display().to_string();
        let group = Group::new(lab.id())?;
        let place = group.0.display().to_string();
        let command = ["sh", "-e", "-c", ENTER, &place, "sh", "-c", BOOT, "sh", &files];
        let mut outer = host.spawn(&command)?;
        let (unshare, mut pid) = (outer.pid(), 0);
        outer.wait_ready("systemd is up", BOOT_DEADLINE, || {
            let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children"))?;
            pid = children.trim().parse().context("no child yet")?;
            let running = systemctl(host, pid, &["is-system-running"])?;
            ensure!(running.stdout.trim() == "running", "{running}");
            Ok(())
        })?;
        Ok(Self { host, outer, group, pins, pid })
    }

    /// Runs `systemctl` with these arguments.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn systemctl(&self, arguments: &[&str]) -> Result<Output> {
        systemctl(self.host, self.pid, arguments)
    }

    /// A property of the service.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn property(&self, name: &str) -> Result<String> {
        Ok(self.systemctl(&["show", "lbd", "--value", "-p", name])?.success()?.stdout.trim().to_owned())
    }

    /// The daemon's pid, as this process sees it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn main_pid(&self) -> Result<u32> {
        let inside = self.property("MainPID")?;
        ensure!(inside != "0", "lbd does not run");
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid))?;
        let is_it = |pid: &&str| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.lines().any(|line| line.starts_with("NSpid:") && line.split_whitespace().last() == Some(&inside))
        };
        let found = children.split_whitespace().find(is_it).context("no child of systemd has this pid")?;
        Ok(found.parse()?)
    }

    /// Sends a signal to the daemon.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.main_pid()?)?;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).context("cannot send a signal")
    }

    /// Runs `lbctl` with these arguments, as an administrator would.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn lbctl(&self, arguments: &[&str]) -> Result<Output> {
        let lbctl = format!("{FOLDER}/lbctl");
        let mut command = vec![lbctl.as_str()];
        command.extend(arguments);
        inside(self.host, self.pid, &command)
    }

    /// Replaces the configuration file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_configuration(&self, yaml: &str) -> Result<()> {
        let path = format!("/proc/{}/root{FOLDER}/lb.yaml", self.pid);
        fs::write(&path, yaml).with_context(|| format!("cannot write {path}"))
    }

    /// All that the service has said.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn log(&self) -> Result<String> {
        let path = format!("/proc/{}/root{FOLDER}/log", self.pid);
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    }

    /// Whether this file is there for the service.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn sees(&self, path: &str) -> Result<bool> {
        Ok(inside(self.host, self.pid, &["test", "-e", path])?.status == 0)
    }

    /// Where it pins its tables.
    pub fn pins(&self) -> &Path {
        &self.pins
    }
}

impl Drop for Systemd<'_> {
    fn drop(&mut self) {
        // The log is among those that a failing test shows.
        if let Ok(log) = self.log() {
            let _ = fs::write(self.host.folder().join("systemd-lbd.log"), log);
        }
        // The kernel ends all of a pid namespace with its first process, which ends with this one.
        self.outer.kill();
        if let Err(error) = self.group.remove() {
            eprintln!("control group {} is not gone: {error:#}", self.group.0.display());
        }
    }
}

/// A control group, with those that systemd makes below it.
#[derive(Debug)]
struct Group(PathBuf);

impl Group {
    fn new(name: &str) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts").context("cannot read /proc/mounts")?;
        let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let place = fields.into_iter().find(|fields| fields.get(2) == Some(&"cgroup2"));
        let place = place.and_then(|fields| fields.get(1).map(|place| Path::new(place).join(name)));
        let place = place.context("no control groups of version 2 are mounted, which systemd needs")?;
        fs::create_dir(&place).with_context(|| format!("cannot make {}", place.display()))?;
        Ok(Self(place))
    }

    /// Waits for the last process to go.
    fn remove(&self) -> Result<()> {
        wait_until("the processes of the control group are gone", GONE_DEADLINE, || remove_groups(&self.0))
    }
}

fn remove_groups(group: &Path) -> Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_groups(&entry.path())?;
        }
    }
    fs::remove_dir(group).with_context(|| format!("cannot remove {}", group.display()))
}

fn systemctl(host: &Host, pid: u32, arguments: &[&str]) -> Result<Output> {
    let mut command = vec!["systemctl"];
    command.extend(arguments);
    inside(host, pid, &command)
}

fn inside(host: &Host, pid: u32, command: &[&str]) -> Result<Output> {
    let pid = pid.to_string();
    let mut all = vec!["nsenter", "--target", &pid, "--mount", "--pid", "--cgroup"];
    all.extend(command);
    host.run(&all)
}

/// The unit with other programs and settings.
fn adapted(run: &str, lbctl: &str, settings: &[(&str, &str)]) -> Result<String> {
    let mut unit = UNIT.to_owned();
    let programs = [("/usr/sbin/lbd run", run), ("/usr/bin/lbctl", lbctl)];
    for (from, to) in programs {
        ensure!(unit.contains(from), "the unit does not run {from}");
        unit = unit.replace(from, to);
    }
    for (name, value) in settings {
        let begin = format!("{name}=");
        let line = unit.lines().find(|line| line.starts_with(&begin)).map(str::to_owned);
        let line = line.with_context(|| format!("the unit has no {name}"))?;
        unit = unit.replace(&line, &format!("{begin}{value}"));
    }
    Ok(unit)
}
