//! `lbd` started in another way than it should be: in mount namespaces with full or missing file
//! systems, without privileges, below a service manager that is made up.
//!
//! In: a host and what is odd about the start. Out: the daemon, or the one sentence it ends with.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::balancer;
use crate::lab::{Host, Lab, Output, Process, wait_until};

const START_DEADLINE: Duration = Duration::from_secs(20);

/// One start of `lbd` on a host.
#[derive(Clone, Debug)]
pub struct Start<'a> {
    host: &'a Host,
    /// Runs before it: programs that change the environment and then become `lbd`.
    before: Vec<String>,
    /// Where socket and numbers lie.
    pub folder: PathBuf,
    /// `--config`
    pub configuration: PathBuf,
    /// `--pin-dir`
    pub pins: PathBuf,
    /// `--socket`
    pub socket: PathBuf,
    more: Vec<String>,
}

impl<'a> Start<'a> {
    /// As it should be, with this configuration.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn new(lab: &Lab, host: &'a Host, yaml: &str) -> Result<Self> {
        let (configuration, folder) = (lab.folder().join("lb.yaml"), lab.folder().join("run"));
        fs::write(&configuration, yaml).context("cannot write the configuration")?;
        fs::create_dir_all(&folder).context("cannot make the folder")?;
        let socket = folder.join(balancer::SOCKET);
        Ok(Self {
            host,
            before: Vec::new(),
            folder,
            configuration,
            pins: lab.pin_directory(),
            socket,
            more: Vec::new(),
        })
    }

    /// Below these programs, which change something and then become what follows.
    #[must_use]
    pub fn below(mut self, programs: &[&str]) -> Self {
        self.before.extend(programs.iter().map(|&program| program.to_owned()));
        self
    }

    /// After this script, in a mount namespace of its own; `$0` is its folder.
    #[must_use]
    pub fn after(self, script: &str) -> Self {
        let folder = self.folder.display().to_string();
        self.below(&["unshare", "--mount", "sh", "-e", "-c", &format!("{script}; exec \"$@\""), &folder])
    }

    /// With this argument.
    #[must_use]
    pub fn with(mut self, argument: &str) -> Self {
        self.more.push(argument.to_owned());
        self
    }

    /// With its pins there.
    #[must_use]
    pub fn pinned_at(self, pins: PathBuf) -> Self {
        Self { pins, ..self }
    }

    /// With its socket there.
    #[must_use]
    pub fn listening_at(self, socket: PathBuf) -> Self {
        Self { socket, ..self }
    }

    /// With that configuration file.
    #[must_use]
    pub fn configured_by(self, configuration: PathBuf) -> Self {
        Self { configuration, ..self }
    }

    fn command(&self) -> Result<Vec<String>> {
        let mut command = self.before.clone();
        command.push(balancer::lbd()?.display().to_string());
        command.push("run".to_owned());
        let state = self.folder.join("state");
        let paths = [
            ("--config", &self.configuration),
            ("--pin-dir", &self.pins),
            ("--socket", &self.socket),
            ("--state-dir", &state),
        ];
        for (name, path) in paths {
            command.extend([name.to_owned(), path.display().to_string()]);
        }
        command.extend(self.more.iter().cloned());
        Ok(command)
    }

    /// Starts it and returns at once.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self) -> Result<Odd<'a>> {
        let command = self.command()?;
        let process = self.host.spawn(&command.iter().map(String::as_str).collect::<Vec<_>>())?;
        Ok(Odd { host: self.host, process, socket: self.socket.clone() })
    }

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// When it ends, or does not answer in time.
    pub fn serve(&self) -> Result<Odd<'a>> {
        let mut odd = self.spawn()?;
        odd.wait_answers()?;
        Ok(odd)
    }

    /// The sentence it ends with: status 1, and nothing else on standard error.
    ///
    /// # Errors
    /// When it does not end so.
    pub fn refusal(&self) -> Result<String> {
        let command = self.command()?;
        let output = self.host.run(&command.iter().map(String::as_str).collect::<Vec<_>>())?;
        ensure!(output.status == 1, "not refused: {output}");
        ensure!(output.stdout.is_empty(), "something on standard output: {output}");
        let [sentence] = output.stderr.lines().collect::<Vec<_>>()[..] else { anyhow::bail!("not one line: {output}") };
        let sentence = sentence.strip_prefix("lbd: ").with_context(|| format!("not by lbd: {output}"))?;
        ensure!(!sentence.contains("panicked"), "{sentence}");
        // What the system said is said once.
        ensure!(sentence.matches("(os error").count() <= 1, "a chain, not a sentence: {sentence}");
        Ok(sentence.to_owned())
    }
}

/// A daemon that runs all the same.
#[derive(Debug)]
pub struct Odd<'a> {
    host: &'a Host,
    /// It: the programs before it have become it.
    pub process: Process,
    socket: PathBuf,
}

impl Odd<'_> {
    /// Waits until it answers.
    ///
    /// # Errors
    /// When it ends, or does not in time.
    pub fn wait_answers(&mut self) -> Result<()> {
        let (host, pid, socket) = (self.host, self.process.pid(), self.socket.clone());
        self.process.wait_ready("lbd answers", START_DEADLINE, || {
            lbctl(host, pid, &socket, &["status", "--json"])?.success().map(|_| ())
        })
    }

    /// Runs a program among the file systems that the daemon sees.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn beside(&self, command: &[&str]) -> Result<Output> {
        beside(self.host, self.process.pid(), command)
    }

    /// Runs `lbctl` with these arguments.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn lbctl(&self, arguments: &[&str]) -> Result<Output> {
        lbctl(self.host, self.process.pid(), &self.socket, arguments)
    }

    /// The problems of the status.
    ///
    /// # Errors
    /// When it has none to show.
    pub fn problems(&self) -> Result<Vec<String>> {
        let output = self.lbctl(&["status", "--json"])?.success()?;
        let status: Value = serde_json::from_str(&output.stdout).context("not JSON")?;
        let problems = status["problems"].as_array().context("the status has no problems")?;
        Ok(problems.iter().filter_map(|problem| problem.as_str().map(str::to_owned)).collect())
    }

    /// Waits until the log has this text.
    ///
    /// # Errors
    /// When it has not in time.
    pub fn wait_log(&self, text: &str) -> Result<()> {
        wait_until(&format!("the log has {text:?}"), START_DEADLINE, || {
            ensure!(self.process.log().contains(text), "{}", self.process.log());
            Ok(())
        })
    }

    /// Ends it by SIGTERM.
    ///
    /// # Errors
    /// When it does not end with 0.
    pub fn terminate(mut self) -> Result<()> {
        self.process.signal(nix::sys::signal::Signal::SIGTERM);
        self.process.wait_end(START_DEADLINE)?.success().map(|_| ())
    }
}

fn beside(host: &Host, pid: u32, command: &[&str]) -> Result<Output> {
    let mounts = format!("--mount=/proc/{pid}/ns/mnt");
    let mut all = vec!["nsenter", &mounts];
    all.extend(command);
    host.run(&all)
}

fn lbctl(host: &Host, pid: u32, socket: &std::path::Path, arguments: &[&str]) -> Result<Output> {
    let lbctl = balancer::lbctl(&balancer::lbd()?)?.display().to_string();
    let socket = socket.display().to_string();
    let mut command = vec![lbctl.as_str(), "--socket", &socket];
    command.extend(arguments);
    beside(host, pid, &command)
}
