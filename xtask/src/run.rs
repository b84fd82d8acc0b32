//! Starting other programs. A failure is said with the command line that failed.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::workspace;

/// A cargo to run in the workspace, without the variables that `cargo run` left for us.
pub(crate) fn cargo() -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    clean(Command::new(program))
}

/// `command` in the workspace's root, its environment freed of what `cargo run` set for this program.
pub(crate) fn clean(mut command: Command) -> Command {
    command.current_dir(workspace::root());
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name.to_string_lossy().starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    // Under `su` the folders of the administrator's programs and of cargo are often missing.
    command.env("PATH", search_path());
    command
}

/// Runs it with our own input and output.
///
/// # Errors
/// When it cannot be started or ends with a status other than 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start `{}`", show(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", show(command));
    }
    Ok(())
}

/// Its standard output.
///
/// # Errors
/// When it cannot be started or fails; the message ends with what it wrote to standard error.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start `{}`", show(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed ({}): {}", show(command), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs it, shows what it writes while it writes it, and returns its status and all of its text.
///
/// # Errors
/// When it cannot be started or waited for.
pub(crate) fn tee(command: &mut Command) -> Result<(ExitStatus, String)> {
    if std::io::stderr().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start `{}`", show(command)))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (mut text, errors) = thread::scope(|scope| {
        let errors = scope.spawn(|| err.map_or_else(String::new, |pipe| pass_on(pipe, &mut std::io::stderr())));
        let text = out.map_or_else(String::new, |pipe| pass_on(pipe, &mut std::io::stdout()));
        (text, errors.join().unwrap_or_default())
    });
    text.push_str(&errors);
    let status = child.wait().with_context(|| format!("cannot wait for `{}`", show(command)))?;
    Ok((status, text))
}

/// Runs it and gives each line of its standard output to `line`; standard error passes through.
///
/// # Errors
/// When it cannot be started or fails.
pub(crate) fn each_line(command: &mut Command, mut line: impl FnMut(&str)) -> Result<()> {
    command.stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start `{}`", show(command)))?;
    if let Some(pipe) = child.stdout.take() {
        BufReader::new(pipe).lines().map_while(Result::ok).for_each(|text| line(&text));
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{}`", show(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", show(command));
    }
    Ok(())
}

fn pass_on(pipe: impl Read, to: &mut impl Write) -> String {
    let mut text = String::new();
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        // A closed terminal must not stop the count; what cannot be shown is still collected.
        let _ = to.write_all(&line).and_then(|()| to.flush());
        text.push_str(&String::from_utf8_lossy(&line));
        line.clear();
    }
    text
}

/// The command line, as one would type it.
pub(crate) fn show(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    command.get_args().fold(name, |line, argument| line + " " + &quote(&argument.to_string_lossy()))
}

/// `word`, quoted for a shell if a shell would take it apart.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The first program of that name in the search path, the administrator's folders included.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    env::split_paths(&search_path()).map(|dir| dir.join(name)).find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn search_path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = env::split_paths(&path).collect();
    for extra in [cargo_home().join("bin"), "/usr/local/sbin".into(), "/usr/sbin".into(), "/sbin".into()] {
        if !dirs.contains(&extra) {
            dirs.push(extra);
        }
    }
    env::join_paths(dirs).unwrap_or(path)
}

fn cargo_home() -> PathBuf {
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    env::var_os("CARGO_HOME").map_or_else(|| home().join(".cargo"), PathBuf::from)
}

/// Whether we run as root: the owner of our own entry in /proc.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("/usr/bin/apt-get");
        command.args(["install", "a b", "it's"]);
        assert_eq!(show(&command), r"apt-get install 'a b' 'it'\''s'");
    }

    #[test]
    fn tee_collects_both_streams_and_the_status() {
        let (status, text) = tee(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"])).expect("sh runs");
        assert_eq!(status.code(), Some(3));
        assert!(text.contains("out\n") && text.contains("err\n"));
    }

    #[test]
    fn a_failed_command_says_what_it_said() {
        let error = capture(Command::new("sh").args(["-c", "echo no disk >&2; exit 1"])).expect_err("it fails");
        assert!(format!("{error:#}").ends_with("no disk"), "{error:#}");
    }
}
