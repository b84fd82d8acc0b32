//! The end of a lab, whether its run is ending or was killed: processes, namespaces, pins, files.
//!
//! In: the lab's id. Out: nothing of it is left. Processes are found by the namespaces they are
//! in, never by their names.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::FlockArg;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::turn::lock;
use super::{BPF_DIRECTORY, RUN_DIRECTORY, pass_pin, run_here, wait_until};

/// Removes every lab of this name whose run is over.
pub(super) fn remove_labs_named(name: &str) -> Result<()> {
    for entry in fs::read_dir(RUN_DIRECTORY).with_context(|| format!("cannot read {RUN_DIRECTORY}"))? {
        let entry = entry?;
        let id = entry.file_name().to_string_lossy().into_owned();
        if !is_run_of(&id, name) {
            continue;
        }
        // A lock that can be taken was held by a process that is gone.
        let Some(_lock) = lock(&entry.path().join("alive"), FlockArg::LockExclusiveNonblock)? else { continue };
        remove_lab(&id)?;
    }
    Ok(())
}

/// Whether `id` is `lb-NAME-PID-NUMBER`.
fn is_run_of(id: &str, name: &str) -> bool {
    let Some(run) = id.strip_prefix("lb-").and_then(|rest| rest.strip_prefix(name)).and_then(|r| r.strip_prefix('-'))
    else {
        return false;
    };
    run.split('-').count() == 2 && run.split('-').all(|part| part.parse::<u32>().is_ok())
}

/// Removes one lab by its id; false when there was nothing.
pub(super) fn remove_lab(id: &str) -> Result<bool> {
    let namespaces = namespaces_of(id)?;
    let folder = Path::new(RUN_DIRECTORY).join(id);
    let found = !namespaces.is_empty() || folder.exists();
    for namespace in &namespaces {
        kill_all_in(namespace)?;
    }
    for namespace in &namespaces {
        run_here("ip", &["netns", "del", namespace])?;
    }
    for folder in [Path::new(BPF_DIRECTORY).join(id), folder] {
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
    }
    let pin = pass_pin(id);
    if pin.exists() {
        fs::remove_file(&pin).with_context(|| format!("cannot remove {}", pin.display()))?;
    }
    Ok(found)
}

fn namespaces_of(id: &str) -> Result<Vec<String>> {
    let prefix = format!("{id}-");
    let listing = run_here("ip", &["netns", "list"])?;
    let names = listing.lines().filter_map(|line| line.split_whitespace().next());
    // Of a standing lab `lb-x` the runs `lb-x-PID-NUMBER-HOST` are no part.
    let is_host = |name: &&str| name.strip_prefix(&prefix).is_some_and(|host| !host.contains('-'));
    Ok(names.filter(is_host).map(str::to_owned).collect())
}

fn kill_all_in(namespace: &str) -> Result<()> {
    wait_until(&format!("the processes in {namespace} are gone"), Duration::from_secs(5), || {
        let pids = run_here("ip", &["netns", "pids", namespace])?;
        for pid in pids.lines().filter_map(|line| line.trim().parse().ok()) {
            // A process that ended by itself in between is no error.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        ensure!(pids.trim().is_empty(), "still there: {}", pids.split_whitespace().collect::<Vec<_>>().join(" "));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::is_run_of;

    #[test]
    fn a_lab_of_another_name_is_not_stale() {
        assert!(is_run_of("lb-media-123-0", "media"));
        assert!(!is_run_of("lb-media-two-123-0", "media"));
        assert!(!is_run_of("lb-media", "media"));
        assert!(!is_run_of("lb-mediaeval-1-0", "media"));
    }
}
