//! What a daemon should know of the one before: the health of each real server.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use super::Control;
use crate::health::{Memory, State};
use crate::tables::ServerKey;

/// Health by server; another address is another server.
pub type Memories = BTreeMap<(ServerKey, IpAddr), Memory>;

impl Control {
    /// Whether [`Self::remember`] would give something else than the last time.
    #[must_use]
    pub fn has_news(&self) -> bool {
        !self.remembered
    }

    /// The health of each real server that is checked and has been up or down.
    pub fn remember(&mut self, now: Instant) -> Memories {
        self.remembered = true;
        let memory = |(key, known): (&ServerKey, &super::Known)| {
            let view = self.health.view(known.target?, now)?;
            let up = match view.state {
                State::Up => true,
                State::Down => false,
                State::Checking => return None,
            };
            Some(((key.clone(), known.address()), Memory { up, since: view.since, last_good: view.last_good }))
        };
        self.servers.iter().filter_map(memory).collect()
    }
}
