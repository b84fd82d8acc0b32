//! What the daemon decides, as plain functions and state machines: configuration, schedule,
//! tables, health, neighbours.
//!
//! In: text, events and `now`. Out: table operations and actions. Absent: sockets, files, clocks,
//! threads, randomness without a seed; the shells in `lb-userspace` carry those.
#![forbid(unsafe_code)]

pub mod config;
pub mod health;
pub mod view;
