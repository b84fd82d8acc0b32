//! The product: `lbd` on a host of the lab, and `lbctl` that asks it.
//!
//! In: a host and a configuration. Out: its status as an administrator's script would read it.
//! Everything it pins is removed when it is dropped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::attached;
use crate::lab::{Host, Lab, Output, Process, wait_until};

/// Until the API answers and every health check has spoken; checks of the labs run every second.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// Name of the API's socket in the lab's folder: short, as the path of a Unix socket has at most 107
/// bytes.
pub const SOCKET: &str = "lbd.sock";
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// A running balancer.
#[derive(Debug)]
pub struct Balancer<'a> {
    host: &'a Host,
    daemon: Process,
    lbd: PathBuf,
    lbctl: PathBuf,
    configuration: PathBuf,
    pins: PathBuf,
    socket: PathBuf,
    /// Beside those that say where things are.
    options: Vec<String>,
}

impl<'a> Balancer<'a> {
    /// Starts `lbd` with this configuration and waits until it knows the state of every real server.
    ///
    /// # Errors
    /// When the programs are not built, or `lbd` does not get so far in time, with its log.
    pub fn start(lab: &Lab, host: &'a Host, yaml: &str) -> Result<Self> {
        Self::start_with(lab, host, yaml, &[])
    }

    /// The same with more options of `lbd run`.
    ///
    /// # Errors
    /// As [`Balancer::start`].
    pub fn start_with(lab: &Lab, host: &'a Host, yaml: &str, options: &[&str]) -> Result<Self> {
        let mut balancer = Self::launch(lab, host, yaml, options)?;
        let mut last = None;
        let (lbctl, socket) = (balancer.lbctl.clone(), balancer.socket.clone());
        balancer.daemon.wait_ready("lbd answers and all health checks have spoken", START_DEADLINE, || {
            let status = status(host, &lbctl, &socket)?;
            let checking = status.servers().filter(|(_, server)| server["state"] == "checking").count();
            last = Some(status);
            ensure!(checking == 0, "{checking} real servers are still being checked");
            Ok(())
        })?;
        Ok(balancer)
    }

    /// Starts `lbd` and returns at once.
    ///
    /// # Errors
    /// When the programs are not built or cannot be started.
    pub fn start_without_waiting(lab: &Lab, host: &'a Host, yaml: &str) -> Result<Self> {
        Self::launch(lab, host, yaml, &[])
    }

    fn launch(lab: &Lab, host: &'a Host, yaml: &str, options: &[&str]) -> Result<Self> {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let lbd = lbd()?;
        let lbctl = lbctl(&lbd)?;
        let configuration = lab.folder().join("lb.yaml");
        fs::write(&configuration, yaml).with_context(|| format!("cannot write {}", configuration.display()))?;
        let (pins, socket) = (lab.pin_directory(), lab.folder().join(SOCKET));
        let daemon = Self::spawn(host, &lbd, &configuration, &pins, &socket, &options)?;
        Ok(Self { host, daemon, lbd, lbctl, configuration, pins, socket, options })
    }

    fn spawn(
        host: &Host,
        lbd: &Path,
        configuration: &Path,
        pins: &Path,
        socket: &Path,
        options: &[String],
    ) -> Result<Process> {
        let [lbd, configuration, pins, socket] =
            [lbd, configuration, pins, socket].map(|path| path.display().to_string());
        let state = Path::new(&socket).parent().map_or_else(String::new, |folder| folder.display().to_string());
        let places = ["--config", &configuration, "--pin-dir", &pins, "--socket", &socket, "--state-dir", &state];
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        host.spawn(&[&[lbd.as_str(), "run"], places.as_slice(), &options].concat())
    }

    /// What `lbctl status --json` says.
    ///
    /// # Errors
    /// When it fails or says no JSON.
    pub fn status(&self) -> Result<Status> {
        status(self.host, &self.lbctl, &self.socket)
    }

    /// Runs `lbctl` with these arguments.
    ///
    /// # Errors
    /// When it cannot be run; its own failure is in the output.
    pub fn lbctl(&self, arguments: &[&str]) -> Result<Output> {
        run_lbctl(self.host, &self.lbctl, &self.socket, arguments)
    }

    /// Starts `lbctl` with these arguments and returns at once; what it says is its log.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_lbctl(&self, arguments: &[&str]) -> Result<Process> {
        let (lbctl, socket) = (self.lbctl.display().to_string(), self.socket.display().to_string());
        self.host.spawn(&[&[lbctl.as_str(), "--socket", &socket], arguments].concat())
    }

    /// Replaces the configuration file; nothing reads it before a reload.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_configuration(&self, yaml: &str) -> Result<()> {
        fs::write(&self.configuration, yaml).with_context(|| format!("cannot write {}", self.configuration.display()))
    }

    /// Waits until the real server is in this state.
    ///
    /// # Errors
    /// When it is not within the deadline.
    pub fn wait_state(&self, service: &str, server: &str, state: &str, deadline: Duration) -> Result<Value> {
        wait_until(&format!("{service}/{server} is {state}"), deadline, || {
            let status = self.status()?;
            let server = status.server(service, server)?;
            ensure!(server["state"] == state, "it is {}: {}", server["state"], server["reason"]);
            Ok(server.clone())
        })
    }

    /// Whether the daemon still runs, and as the process it was started as.
    ///
    /// # Errors
    /// When it has ended, with the last it said.
    pub fn ensure_alive(&mut self) -> Result<()> {
        if let Some(status) = self.daemon.ended()? {
            bail!("lbd ended with {status}:\n{}", self.daemon.log());
        }
        Ok(())
    }

    /// Ends the daemon as an upgrade would: forwarding goes on.
    ///
    /// # Errors
    /// When it does not end, or not with 0.
    pub fn terminate(&mut self) -> Result<()> {
        self.daemon.signal(Signal::SIGTERM);
        self.daemon.wait_end(STOP_DEADLINE)?.success().map(|_| ())
    }

    /// Sends the daemon a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.daemon.signal(signal);
    }

    /// Ends the daemon as a crash would.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Starts the daemon again with the pins that the last one left.
    ///
    /// # Errors
    /// As [`Balancer::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.restart_without_waiting()?;
        self.wait_answers()
    }

    /// Starts the daemon again and returns at once.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart_without_waiting(&mut self) -> Result<()> {
        self.daemon = Self::spawn(self.host, &self.lbd, &self.configuration, &self.pins, &self.socket, &self.options)?;
        Ok(())
    }

    /// Waits until the daemon answers.
    ///
    /// # Errors
    /// When it ends or does not in time, with its log.
    pub fn wait_answers(&mut self) -> Result<()> {
        let (host, lbctl, socket) = (self.host, self.lbctl.clone(), self.socket.clone());
        self.daemon.wait_ready("lbd answers again", START_DEADLINE, || status(host, &lbctl, &socket).map(|_| ()))
    }

    /// Waits for a daemon that ends by itself; its status and all it said.
    ///
    /// # Errors
    /// When it goes on.
    pub fn wait_end(&mut self) -> Result<Output> {
        self.daemon.wait_end(START_DEADLINE)
    }

    /// From the next start on the daemon is this program.
    pub fn change_program(&mut self, lbd: PathBuf) {
        self.lbd = lbd;
    }

    /// The tag of the program that is attached to `device`: another for other instructions.
    ///
    /// # Errors
    /// When none is attached, or bpftool is missing.
    pub fn attached_tag(&self, device: &str) -> Result<String> {
        let id = attached::program(&self.pins, device)?;
        let program = attached::bpftool(&["prog", "show", "id", &id.to_string()])?;
        Ok(program["tag"].as_str().with_context(|| format!("no tag: {program}"))?.to_owned())
    }

    /// The daemon's process id.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// Removes the daemon's log: that of one that was ended on purpose says nothing about a failure.
    pub fn forget_log(&self) {
        self.daemon.forget_log();
    }

    /// Ends the daemon and takes everything of it out of the kernel.
    ///
    /// # Errors
    /// When `lbctl` fails, or the daemon does not end with 0.
    pub fn detach(&mut self) -> Result<()> {
        self.lbctl(&["stop", "--detach"])?.success()?;
        self.daemon.wait_end(STOP_DEADLINE)?.success().map(|_| ())
    }

    /// The file that it reads.
    pub fn configuration(&self) -> &Path {
        &self.configuration
    }

    /// Where it pins its tables.
    pub fn pin_directory(&self) -> &Path {
        &self.pins
    }

    /// The API's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// All that the daemon has said.
    pub fn log(&self) -> String {
        self.daemon.log()
    }
}

impl Drop for Balancer<'_> {
    fn drop(&mut self) {
        // The last status is among the logs that a failing test shows.
        if let (Ok(status), Some(folder)) = (self.lbctl(&["status", "--json"]), self.socket.parent()) {
            let readable = serde_json::from_str::<Value>(&status.stdout).map(|value| in_short(&value));
            let _ = fs::write(folder.join("lbctl-status.log"), readable.unwrap_or_else(|_| status.to_string()));
        }
        // The lab removes pins and namespace anyway; this lets the daemon do it itself.
        if !matches!(self.daemon.ended(), Ok(Some(_))) {
            let _ = self.detach();
        }
    }
}

/// What `lbctl status --json` says.
#[derive(Clone, Debug)]
pub struct Status(pub Value);

impl Status {
    /// The virtual service of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn service(&self, name: &str) -> Result<&Value> {
        let found = self.services().find(|service| service["name"] == name);
        found.with_context(|| format!("the status shows no virtual service {name}: {}", self.0))
    }

    /// A real server of a virtual service.
    ///
    /// # Errors
    /// When there is none.
    pub fn server(&self, service: &str, name: &str) -> Result<&Value> {
        let servers = self.service(service)?["real_servers"].as_array().context("real_servers is no list")?;
        let found = servers.iter().find(|server| server["name"] == name);
        found.with_context(|| format!("the status shows no real server {service}/{name}"))
    }

    /// How often connections and requests of a virtual service of layer 7 ended badly, by the reason.
    ///
    /// # Errors
    /// When there is no such service.
    pub fn failures(&self, service: &str) -> Result<BTreeMap<String, u64>> {
        let failures = self.service(service)?["proxied"]["failures"].as_array().context("failures is no list")?;
        let pair = |failure: &Value| Some((failure["reason"].as_str()?.to_owned(), failure["count"].as_u64()?));
        failures.iter().map(|failure| pair(failure).context("no failure")).collect()
    }

    /// Every real server with the name of its service.
    pub fn servers(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.services().flat_map(|service| {
            let name = service["name"].as_str().unwrap_or_default();
            service["real_servers"].as_array().into_iter().flatten().map(move |server| (name, server))
        })
    }

    /// Packets that were counted for any reason, with any outcome.
    pub fn packets_counted(&self) -> u64 {
        self.counters().map(|(_, _, packets)| packets).sum()
    }

    /// Packets that were counted with this outcome: `pass`, `forward` or `drop`.
    pub fn packets_with(&self, action: &str) -> u64 {
        self.counters().filter(|(_, of, _)| *of == action).map(|(_, _, packets)| packets).sum()
    }

    /// Packets that were counted for this reason.
    pub fn packets_for(&self, reason: &str) -> u64 {
        self.counters().filter(|(of, _, _)| *of == reason).map(|(_, _, packets)| packets).sum()
    }

    /// Every counter: reason, outcome, packets.
    pub fn counters(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.0["counters"].as_array().into_iter().flatten().map(|counter| {
            let text = |name: &str| counter[name].as_str().unwrap_or_default();
            (text("reason"), text("action"), counter["packets"].as_u64().unwrap_or_default())
        })
    }

    fn services(&self) -> impl Iterator<Item = &Value> {
        self.0["virtual_services"].as_array().into_iter().flatten()
    }
}

/// The part of a status that explains a failure: counters that moved, servers, problems.
fn in_short(status: &Value) -> String {
    let status = Status(status.clone());
    let counters = status.counters().filter(|(.., packets)| *packets > 0);
    let counters = counters.map(|(reason, action, packets)| format!("{packets} {action}: {reason}"));
    let servers = status.servers().map(|(service, server)| {
        format!(
            "{service}/{}: {}, {} packets, {}",
            server["name"], server["state"], server["packets"], server["reason"]
        )
    });
    let problems = status.0["problems"].as_array().into_iter().flatten().map(|problem| format!("problem: {problem}"));
    counters.chain(servers).chain(problems).collect::<Vec<_>>().join("\n")
}

fn status(host: &Host, lbctl: &Path, socket: &Path) -> Result<Status> {
    let output = run_lbctl(host, lbctl, socket, &["status", "--json"])?.success()?;
    let value = serde_json::from_str(&output.stdout).with_context(|| format!("not JSON: {}", output.stdout))?;
    Ok(Status(value))
}

fn run_lbctl(host: &Host, lbctl: &Path, socket: &Path, arguments: &[&str]) -> Result<Output> {
    let (lbctl, socket) = (lbctl.display().to_string(), socket.display().to_string());
    let mut command = vec![lbctl.as_str(), "--socket", socket.as_str()];
    command.extend(arguments);
    host.run(&command)
}

/// The `lbd` to upgrade to, with another program for the kernel: as the environment names it, else the
/// one that was built last.
///
/// # Errors
/// When it is not built.
pub fn next_lbd() -> Result<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target").join("next/lbd");
    let path = std::env::var_os("LBD_NEXT").map_or(built, PathBuf::from);
    let found = path.canonicalize().ok().filter(|path| path.is_file());
    let hint = "run `cargo xtask build-next`, or set LBD_NEXT";
    found.with_context(|| format!("{}, the lbd to upgrade to, is not built: {hint}", path.display()))
}

/// `lbd` as the environment names it, else the one of the debug build.
///
/// # Errors
/// When it is not built.
pub fn lbd() -> Result<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target").join("debug/lbd");
    existing(&std::env::var_os("LBD").map_or(built, PathBuf::from), "LBD")
}

/// `lbctl` as the environment names it, else the one beside `lbd`.
///
/// # Errors
/// When it is not built.
pub fn lbctl(lbd: &Path) -> Result<PathBuf> {
    existing(&std::env::var_os("LBCTL").map_or_else(|| lbd.with_file_name("lbctl"), PathBuf::from), "LBCTL")
}

fn existing(path: &Path, variable: &str) -> Result<PathBuf> {
    let found = path.canonicalize().ok().filter(|path| path.is_file());
    found.with_context(|| format!("{} is not built: run `cargo xtask build`, or set {variable}", path.display()))
}
