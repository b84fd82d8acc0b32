//! Debian packages: which are there, and installing those that are not, without starting services.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::run;

/// Options of every `apt-get install`: no more than asked for, nothing removed for it, and patience
/// with another apt that is running.
const INSTALL: &[&str] = &["install", "--yes", "--no-install-recommends", "--no-remove"];

/// Whether this is Debian or something built from it, by /etc/os-release.
pub(crate) fn is_debian() -> bool {
    fs::read_to_string("/etc/os-release").is_ok_and(|text| debian_like(&text)) && run::find_program("apt-get").is_some()
}

fn debian_like(os_release: &str) -> bool {
    let values =
        os_release.lines().filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")));
    values.flat_map(|value| value.trim_matches('"').split(' ')).any(|id| id == "debian")
}

/// Those of `names` that dpkg has not installed.
pub(crate) fn absent<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let mut query = run::clean(Command::new("dpkg-query"));
    query.args(["--show", "--showformat=${Package} ${db:Status-Status}\n"]).args(names);
    // It fails when it knows one of them not at all, and still lists the others.
    let listed = query.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let installed: Vec<&str> = listed.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    names.iter().copied().filter(|name| !installed.contains(name)).collect()
}

/// The command line a person would type.
pub(crate) fn command_line(packages: &[&str]) -> String {
    format!("apt-get update && apt-get {} {}", INSTALL.join(" "), packages.join(" "))
}

/// Updates apt's lists, then installs `packages` and says which is being set up. No service is started.
///
/// # Errors
/// When apt fails; what it wrote to standard error has been shown.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    println!("apt: updating the package lists");
    run::each_line(apt().arg("update"), |line| {
        // Only trouble is worth a line here.
        if line.starts_with("Err:") {
            println!("  {line}");
        }
    })?;
    let _no_services = NoServices::begin()?;
    println!("apt: installing {}", packages.join(" "));
    let (mut done, mut all) = (0, None);
    run::each_line(apt().args(INSTALL).args(packages), |line| {
        all = all.or_else(|| newly_installed(line));
        if let Some(package) = line.strip_prefix("Setting up ") {
            done += 1;
            println!("  [{done}/{}] {}", all.unwrap_or(packages.len()), package.trim_end_matches(" ..."));
        }
    })
}

/// Keeps a service that was just installed from starting at the next boot.
pub(crate) fn disable_service(service: &str) {
    if run::find_program("systemctl").is_some() {
        println!("  {service}: not to be started at boot");
        // It only removes links; where that cannot be done there is no boot that would read them.
        let _ = run::capture(run::clean(Command::new("systemctl")).args(["disable", "--quiet", service]));
    }
}

fn apt() -> Command {
    let mut command = run::clean(Command::new("apt-get"));
    command.args(["-q", "-o", "DPkg::Lock::Timeout=600", "-o", "Dpkg::Use-Pty=0"]);
    command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C.UTF-8");
    command
}

/// `12` of `0 upgraded, 12 newly installed, 0 to remove and 3 not upgraded.`
fn newly_installed(line: &str) -> Option<usize> {
    line.split(", ").find_map(|part| part.strip_suffix(" newly installed")).and_then(|count| count.parse().ok())
}

/// While it lives, installing a package starts no service: the policy file that invoke-rc.d asks says no.
struct NoServices {
    ours: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";
const MARK: &str = "# written by cargo xtask for the time of one installation";

impl NoServices {
    fn begin() -> Result<Self> {
        let path = Path::new(POLICY);
        let old = match fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("cannot read {POLICY}")),
        };
        // One with our mark was left by a run that was killed; anyone else's stays as it is.
        let ours = old.is_none_or(|text| text.contains(MARK));
        if ours {
            fs::write(path, format!("#!/bin/sh\n{MARK}\nexit 101\n"))
                .with_context(|| format!("cannot write {POLICY}"))?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self { ours })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("warning: remove {POLICY} by hand, it keeps every service from starting: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_what_descends_from_it_have_apt() {
        assert!(debian_like("PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n"));
        assert!(debian_like("ID=ubuntu\nID_LIKE=debian\n"));
        assert!(debian_like("ID=pop\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!debian_like("ID=fedora\nNAME=\"not debian\"\n"));
    }

    #[test]
    fn apt_says_how_many_packages_are_coming() {
        assert_eq!(newly_installed("0 upgraded, 12 newly installed, 0 to remove and 3 not upgraded."), Some(12));
        assert_eq!(newly_installed("Setting up socat (1.7.4.4-2) ..."), None);
    }
}
