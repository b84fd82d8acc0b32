//! The last text that the control loop gave, for as long as it is fresh.
//!
//! In: clients that want it. Out: at most one question at a time, and none while the last answer is
//! fresh. Absent: HTTP.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::api::{Handle, Request, Unanswered};

/// The last text.
#[derive(Debug)]
pub(super) struct Latest {
    handle: Handle,
    fresh: Duration,
    /// When it was asked for, and what came.
    last: Mutex<Option<(Instant, Bytes)>>,
}

impl Latest {
    pub(super) fn new(handle: Handle, fresh: Duration) -> Self {
        Self { handle, fresh, last: Mutex::new(None) }
    }

    /// The text; who comes while it is being asked for waits for the same answer.
    pub(super) async fn text(&self) -> Result<Bytes, Unanswered> {
        let mut last = self.last.lock().await;
        if let Some((asked, text)) = &*last
            && asked.elapsed() < self.fresh
        {
            return Ok(text.clone());
        }
        // It may be large: the old one goes before the new one is made.
        *last = None;
        let asked = Instant::now();
        let text = Bytes::from(self.handle.ask(|reply| Request::Metrics { reply }).await?);
        *last = Some((asked, text.clone()));
        Ok(text)
    }
}
