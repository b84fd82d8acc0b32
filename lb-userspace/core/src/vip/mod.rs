//! Virtual addresses on this machine: which to add, which to take down, which to announce when.
//!
//! In: the wanted VIPs, and the links and addresses that are there ([`plan`]); `now`
//! ([`Announcer`]). Out: ordered actions, and problems as sentences. Absent: netlink, sockets, clocks;
//! and who is Active: in a pair, a Backup wants no VIPs.

mod announcer;
mod plan;
#[cfg(test)]
mod tests;

pub use announcer::{ANNOUNCEMENT_INTERVAL, ANNOUNCEMENTS, Announcement, Announcer, disturbed};
pub use plan::{ADDRESS_PROTOCOL, Action, Holder, Plan, Present, Problem, Wanted, plan};
