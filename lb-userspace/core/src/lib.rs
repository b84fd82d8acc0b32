//! What the daemon decides, as plain functions and state machines: configuration, schedule,
//! tables, health, neighbours.
//!
//! In: text, events and `now`. Out: table operations and actions. Absent: sockets, files, clocks,
//! threads, randomness without a seed; the shells in `lb-userspace` carry those.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make the first Instant and read recorded cases"))]

pub mod capacity;
pub mod config;
pub mod control;
pub mod doctor;
pub mod events;
pub mod explain;
pub mod health;
pub mod listing;
pub mod metrics;
pub mod neighbour;
pub mod proxy;
pub mod schedule;
pub mod tables;
pub mod trace;
pub mod view;
pub mod vip;
pub mod watchdog;
