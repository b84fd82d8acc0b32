//! The script check: a program exits 0.
//!
//! In: the program and its four arguments. Out: success, or how it ended and the first line that it wrote. Absent: a
//! timeout (the machine cancels, and dropping the future kills the program with its children).
//!
//! The program has the rights of the user `nobody`, whatever the daemon's are; see `sandbox.rs`.

mod output;
mod process;
mod sandbox;

#[cfg(test)]
pub(super) mod tests;

use std::fs;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use lb_core::health::{Detail, Ended, Failure};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use output::Output;
use process::Running;

/// One call of a script.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) program: &'a Path,
    pub(super) vip: IpAddr,
    pub(super) vip_port: u16,
    pub(super) address: IpAddr,
    /// `None`: the one that the client used.
    pub(super) port: Option<u16>,
    /// The time that it has; what it may use of a processor follows from it.
    pub(super) timeout: Duration,
}

/// Runs the script to its end.
pub(super) async fn run(call: Call<'_>) -> Result<(), Failure> {
    if !geteuid().is_root() {
        return Err(Failure::NoPrivilege("to be root, to start scripts as the user nobody"));
    }
    trusted(call.program)?;
    let (running, mut output) = start(&call)?;
    output.read_until(running.exited()).await.map_err(|error| cannot_run(call.program, &error.to_string()))?;
    // Children that it left behind, while its number is still its own.
    running.kill();
    let status = running.reap().map_err(|error| cannot_run(call.program, &error.to_string()))?;
    output.read_rest();
    match ended(status) {
        None => Ok(()),
        Some(ended) => Err(Failure::Script {
            program: Detail::new(call.program.to_string_lossy()),
            ended,
            said: Detail::new(output.first_line()),
        }),
    }
}

/// Whoever may write the file decides what the daemon starts.
fn trusted(program: &Path) -> Result<(), Failure> {
    let data = fs::metadata(program).map_err(|error| match error.kind() {
        ErrorKind::NotFound => cannot_run(program, "there is no such file"),
        _ => cannot_run(program, &error.to_string()),
    })?;
    let mode = data.permissions().mode();
    let refuse = |why: &str| Err(cannot_run(program, why));
    if !data.is_file() {
        return refuse("it is not a file");
    }
    if mode & 0o002 != 0 {
        return refuse("everybody may write it; chmod 755 it");
    }
    if data.uid() != 0 && mode & 0o200 != 0 {
        return refuse("its owner is not root and may write it; chown root it");
    }
    if data.gid() != 0 && mode & 0o020 != 0 {
        return refuse("a group other than root may write it; chmod 755 it");
    }
    if mode & 0o111 == 0 {
        return refuse("it is not executable; chmod 755 it");
    }
    Ok(())
}

fn start(call: &Call<'_>) -> Result<(Running, Output), Failure> {
    let failed = |error: io::Error| cannot_run(call.program, &in_words(&error));
    let (output, writer) = Output::pipe().map_err(failed)?;
    let mut command = Command::new(call.program);
    command
        .arg(call.vip.to_string())
        .arg(call.vip_port.to_string())
        .arg(call.address.to_string())
        .arg(call.port.unwrap_or(call.vip_port).to_string())
        .current_dir("/")
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(writer.try_clone().map_err(failed)?)
        .stderr(writer);
    sandbox::confine(&mut command, call.timeout);
    // The command holds our ends of the pipe and goes with this function.
    let running = Running::start(&mut command).map_err(failed)?;
    Ok((running, output))
}

fn ended(status: ExitStatus) -> Option<Ended> {
    if status.success() {
        return None;
    }
    Some(match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Exit(code),
        (None, number) => {
            let number = number.unwrap_or_default();
            Ended::Signal { number, name: Signal::try_from(number).map_or("unknown", Signal::as_str) }
        }
    })
}

/// What starting a file that exists can fail of.
fn in_words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EACCES) => {
            "the user nobody may not execute it; chmod 755 it, and chmod o+x the folders that lead to it".to_owned()
        }
        Some(libc::ENOENT) => "the interpreter that its first line names does not exist".to_owned(),
        Some(libc::ENOEXEC) => "it is no program, and has no #! line".to_owned(),
        Some(libc::ETXTBSY) => "somebody is writing it".to_owned(),
        _ => error.to_string(),
    }
}

fn cannot_run(program: &Path, why: &str) -> Failure {
    Failure::Local(Detail::new(format!("{} cannot be run: {why}", program.display())))
}
