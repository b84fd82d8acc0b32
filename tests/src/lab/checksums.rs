//! Checksums that a host has found wrong in what it received.

use anyhow::Result;

use super::Host;

/// Counters of /proc/net/snmp and /proc/net/netstat; TCP's is of both families.
const OF_IPV4: &[(&str, &str)] =
    &[("Tcp", "InCsumErrors"), ("Udp", "InCsumErrors"), ("Icmp", "InCsumErrors"), ("IpExt", "InCsumErrors")];
/// Counters of /proc/net/snmp6.
const OF_IPV6: &[&str] = &["Udp6InCsumErrors", "Icmp6InCsumErrors"];

impl Host {
    /// How many checksums of IP, TCP, UDP and ICMP it has found wrong.
    ///
    /// # Errors
    /// When the kernel does not count one of them.
    pub fn wrong_checksums(&self) -> Result<u64> {
        let mut wrong = 0;
        for (group, name) in OF_IPV4 {
            wrong += self.counter(group, name)?;
        }
        for name in OF_IPV6 {
            wrong += self.counter_v6(name)?;
        }
        Ok(wrong)
    }
}
