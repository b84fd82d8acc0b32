//! The kernel's settings and counters below `/proc`, in the network namespace of this process.

use std::fs;
use std::path::Path;

use lb_core::doctor::Settings;

/// Reads the settings at these paths below `/proc/sys/net`; one that this kernel does not have is left out.
pub(super) fn read(paths: &[String]) -> Settings {
    let read = paths.iter().filter_map(|path| {
        let text = fs::read_to_string(Path::new("/proc/sys/net").join(path)).ok()?;
        Some((path.clone(), text))
    });
    Settings(read.collect())
}

/// Packets dropped because their source is routed by another interface.
pub(super) fn reverse_path_drops() -> Option<u64> {
    let text = fs::read_to_string("/proc/net/netstat").ok()?;
    counter(&text, "TcpExt", "IPReversePathFilter")
}

/// A counter of `/proc/net/netstat`: a line of names, then one of values.
fn counter(text: &str, group: &str, name: &str) -> Option<u64> {
    let prefix = format!("{group}:");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::split_whitespace);
    let (names, values) = (lines.next()?, lines.next()?);
    names.zip(values).find(|(named, _)| *named == name)?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_by_the_name_above_it() {
        let text = "TcpExt: SyncookiesSent IPReversePathFilter Last\nTcpExt: 3 17 9\nIpExt: InNoRoutes\nIpExt: 2\n";
        assert_eq!(counter(text, "TcpExt", "IPReversePathFilter"), Some(17));
        assert_eq!(counter(text, "IpExt", "InNoRoutes"), Some(2));
        assert_eq!(counter(text, "TcpExt", "InNoRoutes"), None);
        assert_eq!(counter("TcpExt: A\n", "TcpExt", "A"), None);
    }

    #[test]
    fn the_kernel_has_the_counter_and_the_settings() {
        assert!(reverse_path_drops().is_some());
        let paths = ["ipv4/ip_forward", "ipv4/conf/lo/rp_filter", "no/such/setting"].map(str::to_owned);
        let settings = read(&paths);
        assert!(settings.number("ipv4/ip_forward").is_some());
        assert!(settings.number("ipv4/conf/lo/rp_filter").is_some());
        assert_eq!(settings.number("no/such/setting"), None);
    }
}
