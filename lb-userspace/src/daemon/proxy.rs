//! The daemon's side of the proxy: what it is told, and what it tells.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, anyhow};

use super::{Daemon, Options};
use crate::proxy::Prepared;

impl Daemon {
    /// The states of real servers, whenever one of them may have changed.
    pub(super) fn tell_proxy(&mut self) {
        if self.control.wants_plan() {
            self.proxy.tell(self.control.proxied());
        }
    }

    /// Puts in force what was prepared for the configuration that is in force now.
    pub(super) fn commit_proxy(&mut self, prepared: Prepared, now: Instant) -> Result<()> {
        self.proxy.tell(self.control.proxied());
        let drain_timeout = self.control.config().node.proxy.drain_timeout;
        self.proxy.commit(prepared, drain_timeout, now).map_err(|problem| anyhow!(problem))
    }

    /// Once a second, with the sweep: what the proxy has counted, and what has had its time.
    pub(super) fn count_proxied(&mut self) {
        let now = Instant::now();
        self.proxy.tidy(now);
        self.control.counted_proxied(&self.proxy.counted(), self.sweep_begun, now);
    }
}

impl Options {
    /// Where relative paths of the configuration begin.
    pub(super) fn directory(&self) -> PathBuf {
        self.config.parent().map_or_else(|| PathBuf::from("."), PathBuf::from)
    }
}
