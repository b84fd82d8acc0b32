//! A program inside a host: its log in a file of the lab's folder, its end by pid.

use std::fs;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::wait_until;

/// Lines of a log that are shown when something fails.
const LOG_LINES_SHOWN: usize = 40;

/// What a program that has ended said.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// Exit status; 128 + signal when a signal ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    pub(super) fn of(command: String, output: &std::process::Output) -> Self {
        let status = output.status.code().or_else(|| output.status.signal().map(|signal| 128 + signal));
        Self {
            command,
            status: status.unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The output of a program that exited 0.
    ///
    /// # Errors
    /// When it did not, with all it said.
    pub fn success(self) -> Result<Self> {
        ensure!(self.status == 0, "{self}");
        Ok(self)
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` exited with {}", self.command, self.status)?;
        for text in [&self.stdout, &self.stderr] {
            if !text.trim().is_empty() {
                write!(f, "\n{}", last_lines(text))?;
            }
        }
        Ok(())
    }
}

/// A program that runs; killed with its children when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    pub(super) fn spawn(name: String, mut command: Command, log: &Path) -> Result<Self> {
        let file = fs::File::create(log).with_context(|| format!("cannot make {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            // A group of its own, so that children such as those of a forking server end with it.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, log: log.to_owned() })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All it has said so far.
    pub fn log(&self) -> String {
        fs::read(&self.log).map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Where all it says is written.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Removes its log.
    pub fn forget_log(&self) {
        // One that is still there is shown when the test fails: no more than noise.
        let _ = fs::remove_file(&self.log);
    }

    /// Its exit status once it has ended.
    ///
    /// # Errors
    /// When the process cannot be asked.
    pub fn ended(&mut self) -> Result<Option<i32>> {
        let status = self.child.try_wait().with_context(|| format!("cannot ask after {}", self.name))?;
        Ok(status.map(|status| status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))))
    }

    /// Waits until `ready` holds, and says why at once if the program ends before.
    ///
    /// # Errors
    /// When the program ended or the deadline passed, with its log.
    pub fn wait_ready(&mut self, what: &str, deadline: Duration, mut ready: impl FnMut() -> Result<()>) -> Result<()> {
        let mut ended = None;
        wait_until(what, deadline, || {
            ended = self.ended()?;
            if ended.is_some() { Ok(()) } else { ready() }
        })
        .with_context(|| format!("{} said:\n{}", self.name, last_lines(&self.log())))?;
        if let Some(status) = ended {
            bail!("{} ended with {status}:\n{}", self.name, last_lines(&self.log()));
        }
        Ok(())
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When it has not come at the deadline.
    pub fn wait_end(&mut self, deadline: Duration) -> Result<Output> {
        let what = format!("{} ends", self.name);
        let status = wait_until(&what, deadline, || self.ended()?.context("it still runs"))
            .with_context(|| format!("{} said:\n{}", self.name, last_lines(&self.log())))?;
        Ok(Output { command: self.name.clone(), status, stdout: self.log(), stderr: String::new() })
    }

    /// Sends a signal to the program and its children.
    pub fn signal(&mut self, signal: Signal) {
        // Once waited for, the number may belong to someone else.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = killpg(group_of(&self.child), signal);
        }
    }

    /// Ends it without giving it a chance to say goodbye.
    pub fn kill(&mut self) {
        // The program may have ended before its children: the group is signalled before it is waited for.
        let _ = killpg(group_of(&self.child), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}

/// Nothing when `program` is in the path, else a sentence that says what to install.
///
/// # Errors
/// When the program is not there.
pub fn require(program: &str, package: &str) -> Result<()> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/sbin", "/usr/bin"]);
    let found = folders.map(|folder| Path::new(folder).join(program)).any(|file| file.is_file());
    ensure!(found, "{program} is not installed: apt-get install -y --no-install-recommends {package}");
    Ok(())
}

fn group_of(child: &Child) -> Pid {
    #[expect(clippy::cast_possible_wrap, reason = "process ids are below 2^22")]
    Pid::from_raw(child.id() as i32)
}

/// The end of a log, as much as helps.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}
