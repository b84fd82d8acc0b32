//! The figures of this process, from `/proc` (proc(5)).

use std::fs;
use std::io;
use std::time::Duration;

use lb_core::metrics::Process;
use nix::unistd::{SysconfVar, sysconf};

/// What `/proc` says, as text, and the units it says it in.
struct Figures<'a> {
    /// `/proc/self/stat`.
    stat: &'a str,
    /// `/proc/self/statm`.
    statm: &'a str,
    /// `/proc/self/limits`.
    limits: &'a str,
    /// `/proc/stat`.
    machine: &'a str,
    open_files: u64,
    ticks_per_second: u64,
    page_bytes: u64,
}

/// The figures of this process.
///
/// # Errors
/// `/proc` cannot be read, or says something else than proc(5).
pub fn process() -> io::Result<Process> {
    let [stat, statm, limits] =
        ["stat", "statm", "limits"].map(|name| fs::read_to_string(format!("/proc/self/{name}")));
    let figures = Figures {
        stat: &stat?,
        statm: &statm?,
        limits: &limits?,
        machine: &fs::read_to_string("/proc/stat")?,
        // Without the one that reads the directory.
        open_files: (fs::read_dir("/proc/self/fd")?.count() as u64).saturating_sub(1),
        ticks_per_second: unit(SysconfVar::CLK_TCK)?,
        page_bytes: unit(SysconfVar::PAGE_SIZE)?,
    };
    figures.read().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc is not as proc(5) describes it"))
}

fn unit(variable: SysconfVar) -> io::Result<u64> {
    let value = sysconf(variable)?.and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0);
    value.ok_or_else(|| {
        io::Error::new(io::ErrorKind::Unsupported, "the system does not tell its units of time and memory")
    })
}

impl Figures<'_> {
    fn read(&self) -> Option<Process> {
        // The name of the program stands in parentheses and may hold any; what follows is numbers.
        let (_, after_name) = self.stat.rsplit_once(')')?;
        let after_name: Vec<_> = after_name.split_whitespace().collect();
        // proc(5) counts fields from 1; the first one after the name is the third.
        let field = |number: usize| after_name.get(number.checked_sub(3)?)?.parse::<u64>().ok();
        let cpu = self.milliseconds(field(14)?.checked_add(field(15)?)?)?;
        let pages: Vec<_> = self.statm.split_whitespace().map(str::parse::<u64>).collect();
        let [Ok(size), Ok(resident), ..] = pages[..] else { return None };
        let boot = number_after(self.machine, "btime ")?.parse::<u64>().ok()?;
        let max_files = match number_after(self.limits, "Max open files ")? {
            "unlimited" => None,
            number => Some(number.parse().ok()?),
        };
        Some(Process {
            started_at_ms: boot.checked_mul(1000)?.checked_add(self.milliseconds(field(22)?)?)?,
            cpu: Duration::from_millis(cpu),
            virtual_bytes: size.checked_mul(self.page_bytes)?,
            resident_bytes: resident.checked_mul(self.page_bytes)?,
            open_files: self.open_files,
            max_files,
        })
    }

    fn milliseconds(&self, ticks: u64) -> Option<u64> {
        ticks.checked_mul(1000)?.checked_div(self.ticks_per_second)
    }
}

/// The first word of the line that begins with `label`, after it.
fn number_after<'t>(text: &'t str, label: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(label))?.split_whitespace().next()
}

#[cfg(test)]
mod tests;
