//! The shells of the load balancer: what touches the kernel, the network and the administrator.
//! Decisions are in `lb_core`.

mod advice;
pub mod allocator;
pub mod api;
pub mod cli;
pub mod config_files;
pub mod daemon;
pub mod dataplane;
pub mod doctor;
pub mod health;
pub mod metrics;
pub mod netlink;
pub mod proxy;
pub mod service;
pub mod telemetry;
mod tls;
