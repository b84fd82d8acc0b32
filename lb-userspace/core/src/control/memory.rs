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
    /// The health of each real server that is checked and has been up or down, if it is different from what was
    /// last asked for here.
    pub fn remember(&mut self, now: Instant) -> Option<Memories> {
        if std::mem::replace(&mut self.remembered, true) {
            return None;
        }
        let memory = |(key, known): (&ServerKey, &super::Known)| {
            let view = self.health.view(known.target?, now)?;
            let up = match view.state {
                State::Up => true,
                State::Down => false,
                State::Checking => return None,
            };
            Some(((key.clone(), known.address()), Memory { up, since: view.since, last_good: view.last_good }))
        };
        Some(self.servers.iter().filter_map(memory).collect())
    }
}
