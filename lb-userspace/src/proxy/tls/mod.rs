//! TLS of the proxy: the certificates that clients are shown, and connections to real servers that are encrypted anew.
//!
//! In: the configuration and the files that it names. Out: configurations for handshakes, and what is to be told of
//! certificates. Absent: connections, and when files are looked at again.
//!
//! What rustls offers is TLS 1.3, and TLS 1.2 with ECDHE and AEAD: nothing older can be had here whatever the policy.

mod bundle;
mod certificates;
mod facts;
mod failure;
mod identity;
mod listener;
mod ocsp;
mod pem;
mod pfx;
mod real_server;
mod resolver;
mod source;
mod tickets;

#[cfg(test)]
mod tests;

pub use bundle::{Bundle, bundle};
pub use certificates::{Certificates, Renewal};
pub use failure::{failure, server_failure};
pub use listener::server_config;
pub use real_server::{client_config, server_name};
pub use tickets::Tickets;
