//! Segments of TCP that were sent again: for nothing, or because they were lost?
//!
//! On a busy machine an acknowledgement comes late, and a segment is sent again that had arrived. Its sender is told
//! so, but an acknowledgement names one repeated range only (RFC 2883 §4) and not all are said. The receiver knows:
//! it has counted each segment that it got and had already.

use anyhow::{Result, ensure};

use crate::lab::Host;

/// Counts of a moment.
#[derive(Clone, Copy, Debug)]
pub struct Repeats {
    sent_again: u64,
    had_already: u64,
}

impl Repeats {
    /// Of all connections between these hosts.
    ///
    /// # Errors
    /// When a host's counters cannot be read.
    pub fn take(sender: &Host, receivers: &[Host]) -> Result<Self> {
        let mut had_already = 0;
        for host in receivers {
            // In the first place what had been acknowledged before, in the second what waits for something earlier.
            had_already += host.counter("TcpExt", "DelayedACKLost")? + host.counter("TcpExt", "TCPOFOMerge")?;
        }
        Ok(Self { sent_again: sender.counter("Tcp", "RetransSegs")?, had_already })
    }

    /// Every segment that was sent again since had arrived before.
    ///
    /// # Errors
    /// When one had not: it was lost on the way.
    pub fn ensure_none_lost(&self, sender: &Host, receivers: &[Host]) -> Result<()> {
        let now = Self::take(sender, receivers)?;
        let (again, had) = (now.sent_again - self.sent_again, now.had_already - self.had_already);
        println!("TCP: {again} segments sent again, {had} of which had arrived");
        ensure!(again <= had, "{} segments were lost", again - had);
        Ok(())
    }
}
