//! What the program logs about single frames: for debugging, off unless asked for.

use std::future::Future;
use std::time::Duration;

use aya_log::EbpfLogger;

use super::{Error, Program};

/// Between readings of the ring buffer, which drops what does not fit.
const INTERVAL: Duration = Duration::from_millis(50);

/// Prints what the program logs, until dropped. It logs only when it was loaded so.
///
/// # Errors
/// When the kernel refuses.
pub fn follow_log(program: &mut Program) -> Result<impl Future<Output = ()> + Send + use<>, Error> {
    let mut logger = EbpfLogger::init(program.ebpf()).map_err(Error::Log)?;
    Ok(async move {
        loop {
            logger.flush();
            tokio::time::sleep(INTERVAL).await;
        }
    })
}
