//! `lbd` as a service of the machine: what it tells the service manager that started it.
//!
//! In: how the daemon gets on. Out: datagrams as sd_notify(3) describes them: ready, reloading,
//! stopping, a line of status, and that the watchdog may be content. Absent: whether it may, which
//! [`lb_core::watchdog`] decides. Without a service manager nothing is sent, and the watchdog still
//! says in the log what is stuck.

mod notifier;
mod socket;
mod status;

pub use notifier::Notifier;
pub use status::status_line;
