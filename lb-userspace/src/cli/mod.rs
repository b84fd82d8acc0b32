//! `lbctl`, the administrator's command.

pub mod config;
