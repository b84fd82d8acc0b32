//! Waiting with a bound, in one place: nothing else in the labs sleeps.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

const PAUSE: Duration = Duration::from_millis(20);

/// Polls until `poll` gives a value; its last error is the reason when `deadline` has passed.
///
/// `what` completes the sentence "… did not happen", so write it as a claim.
///
/// # Errors
/// When the deadline has passed.
pub fn wait_until<T>(what: &str, deadline: Duration, mut poll: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match poll() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() >= deadline => {
                return Err(error).with_context(|| format!("within {deadline:?} this did not come true: {what}"));
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}
