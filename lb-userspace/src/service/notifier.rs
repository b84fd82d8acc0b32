//! What the daemon tells its service manager, and the thread that does the telling: a manager that
//! does not read must never hold up the control loop.

use std::ffi::OsString;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use lb_core::watchdog::{Action, Watchdog, Work};
use nix::time::{ClockId, clock_gettime};
use tracing::{debug, error, info, warn};

use super::socket::Manager;

/// Messages that wait for the thread.
const QUEUE: usize = 64;
/// Between looks when no service manager asks for them: for the log alone.
const LOOK: Duration = Duration::from_secs(10);
/// Looks within the time that the service manager gives.
const LOOKS: u32 = 3;
/// No watchdog is fed more often.
const SHORTEST: Duration = Duration::from_millis(100);

/// The service manager's side of the daemon. The thread ends with it.
#[derive(Debug)]
pub struct Notifier {
    messages: Option<SyncSender<String>>,
    watchdog: Arc<Mutex<Watchdog>>,
    thread: Option<JoinHandle<()>>,
    /// The line it was told last.
    status: String,
}

impl Notifier {
    /// Talks to the service manager that the environment names, if there is one.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start() -> std::io::Result<Self> {
        let variable = |name: &str| std::env::var(name).ok();
        let given = watchdog_time(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), std::process::id());
        Self::with(std::env::var_os("NOTIFY_SOCKET"), given)
    }

    fn with(socket: Option<OsString>, watchdog: Option<Duration>) -> std::io::Result<Self> {
        let manager = socket.filter(|name| !name.is_empty()).and_then(|name| {
            let opened = Manager::at(&name);
            // A service manager that cannot be told is no reason to forward nothing.
            opened.inspect_err(|error| warn!(%error, "NOTIFY_SOCKET {} cannot be used", name.display())).ok()
        });
        let interval = watchdog.map_or(LOOK, |given| (given / LOOKS).max(SHORTEST));
        let watchdog = Arc::new(Mutex::new(Watchdog::new(interval, Instant::now())));
        let (messages, queue) = sync_channel(QUEUE);
        let teller = Teller { manager, watchdog: Arc::clone(&watchdog) };
        let thread = thread::Builder::new().name("notifier".into()).spawn(move || teller.run(&queue))?;
        Ok(Self { messages: Some(messages), watchdog, thread: Some(thread), status: String::new() })
    }

    /// The daemon serves, or serves again after a reload.
    pub fn ready(&mut self, status: String) {
        self.tell(format!("READY=1\nSTATUS={status}\n"));
        self.status = status;
    }

    /// The configuration is being read again.
    pub fn reloading(&mut self) {
        // systemd compares this with its own clock, to know that a message is not about an earlier reload.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        self.tell(format!("RELOADING=1\nMONOTONIC_USEC={}\n", now.as_micros()));
    }

    /// The daemon ends.
    pub fn stopping(&mut self) {
        self.tell("STOPPING=1\nSTATUS=stopping\n".to_owned());
    }

    /// Another process is the service from now on; this one says nothing more.
    pub fn succeeded_by(&mut self, pid: i32) {
        self.tell(format!("MAINPID={pid}\n"));
        self.messages = None;
    }

    /// A line for people, told when it is another one than before.
    pub fn status(&mut self, status: String) {
        if self.status != status {
            self.tell(format!("STATUS={status}\n"));
            self.status = status;
        }
    }

    /// What the daemon owes from now on.
    pub fn watchdog(&self) -> MutexGuard<'_, Watchdog> {
        locked(&self.watchdog)
    }

    /// A piece of work is under way, and has to be done by the time that [`Work::patience`] gives it.
    pub fn begun(&self, work: Work) {
        self.watchdog().proved(work, Instant::now());
    }

    fn tell(&self, message: String) {
        let taken = self.messages.as_ref().is_some_and(|messages| messages.try_send(message).is_ok());
        if !taken {
            debug!("the service manager does not read, it is not told");
        }
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        drop(self.messages.take());
        if let Some(thread) = self.thread.take() {
            // What it was told last is sent; a panic of the thread has been said already.
            let _ = thread.join();
        }
    }
}

/// The thread.
struct Teller {
    manager: Option<Manager>,
    watchdog: Arc<Mutex<Watchdog>>,
}

impl Teller {
    fn run(&self, messages: &Receiver<String>) {
        loop {
            let next = locked(&self.watchdog).next_deadline();
            match messages.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(message) => self.tell(&message),
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn look(&self) {
        let mut watchdog = locked(&self.watchdog);
        watchdog.handle_timeout(Instant::now());
        let actions: Vec<Action> = std::iter::from_fn(|| watchdog.poll_action()).collect();
        // The loop must not wait for the log or the manager.
        drop(watchdog);
        for action in actions {
            match action {
                Action::Feed => self.tell("WATCHDOG=1\n"),
                Action::Stuck(work, late) => error!(
                    "{work}: stuck, late by {} seconds; the service manager is told no more that all is well, and \
                     starts lbd again when it has waited long enough (forwarding goes on meanwhile)",
                    late.as_secs()
                ),
                Action::Recovered(work) => info!("{work}: goes on"),
            }
        }
    }

    fn tell(&self, message: &str) {
        if let Some(manager) = &self.manager
            && let Err(error) = manager.tell(message)
        {
            debug!(%error, "the service manager cannot be told");
        }
    }
}

/// A thread that panicked while it held the lock has left no half-done change behind.
fn locked(watchdog: &Mutex<Watchdog>) -> MutexGuard<'_, Watchdog> {
    watchdog.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long the service manager waits for a sign of life from this process, as sd_watchdog_enabled(3)
/// reads it.
fn watchdog_time(usec: Option<String>, pid: Option<String>, own: u32) -> Option<Duration> {
    let usec: u64 = usec?.parse().ok().filter(|usec| *usec > 0)?;
    let ours = pid.is_none_or(|pid| pid.parse() == Ok(own));
    ours.then(|| Duration::from_micros(usec))
}

#[cfg(test)]
mod tests;
