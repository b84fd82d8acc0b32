//! What the dataplane needs of the machine, asked before anything is loaded: the kernel's own
//! answers to what it lacks are numbers.

use std::fmt;
use std::fs;

use nix::sys::utsname::uname;

use super::Error;

/// The oldest kernel that takes the datapath; docs/kernel-versions.md says what was tried.
pub(super) const OLDEST: Release = Release { major: 6, minor: 1 };

/// Capabilities and their numbers in linux/capability.h. CAP_SYS_ADMIN is not among them: it is
/// needed only where no BPF file system is mounted.
const CAPABILITIES: [(&str, u32); 4] =
    [("CAP_NET_ADMIN", 12), ("CAP_NET_RAW", 13), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];

/// Of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Release {
    major: u32,
    minor: u32,
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Whether this process on this machine can do what the dataplane does.
///
/// # Errors
/// When the kernel is too old, or capabilities are missing.
pub fn check_machine() -> Result<(), Error> {
    let release = release();
    if !kernel_is_new_enough(&release) {
        return Err(Error::Kernel { release });
    }
    // Without /proc the kernel's answers have to do.
    let missing = fs::read_to_string("/proc/self/status").map_or_else(|_| Vec::new(), |status| missing(&status));
    if missing.is_empty() { Ok(()) } else { Err(Error::Privileges(missing)) }
}

/// What `uname -r` says.
pub(super) fn release() -> String {
    uname().map_or_else(|_| "of this machine".to_owned(), |names| names.release().to_string_lossy().into_owned())
}

/// Whether a kernel with this `uname -r` takes the datapath. A release that is not understood is
/// left to the kernel itself.
fn kernel_is_new_enough(release: &str) -> bool {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Release { major, minor } >= OLDEST,
        _ => true,
    }
}

/// Capabilities that the process with this `/proc/PID/status` lacks.
fn missing(status: &str) -> Vec<&'static str> {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(effective) = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()) else {
        return Vec::new();
    };
    let lacks = |(_, number): &&(&str, u32)| effective & 1 << number == 0;
    CAPABILITIES.iter().filter(lacks).map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_before_6_1_are_too_old() {
        for (release, new_enough) in [
            ("6.1.0", true),
            ("6.1.0-32-amd64", true),
            ("6.1", true),
            ("6.12.38+deb13-cloud-arm64", true),
            ("10.0.1", true),
            ("6.0.19", false),
            ("5.10.0-28-amd64", false),
            ("5.15.167.4-microsoft-standard-WSL2", false),
            ("4.19.0", false),
            ("2.6.78", false),
            // Not understood: the kernel is asked instead of refused.
            ("", true),
            ("next", true),
            ("6", true),
            ("99999999999.1", true),
        ] {
            assert_eq!(kernel_is_new_enough(release), new_enough, "{release:?}");
        }
    }

    #[test]
    fn each_capability_that_is_missing_is_named() {
        let of = |mask: &str| missing(&format!("Name:\tlbd\nCapPrm:\t000001ffffffffff\nCapEff:\t{mask}\nCapBnd:\t0\n"));
        assert_eq!(of("000001ffffffffff"), [] as [&str; 0]);
        assert_eq!(of("000000c000003000"), [] as [&str; 0], "these four are enough");
        assert_eq!(of("0000000000000000"), ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_PERFMON", "CAP_BPF"]);
        assert_eq!(of("0000004000003000"), ["CAP_BPF"]);
        for unknown in ["", "Name:\tlbd\n", "CapEff:\tmany\n"] {
            assert_eq!(missing(unknown), [] as [&str; 0], "{unknown:?}");
        }
    }
}
