//! What the proxy of the layer 7 services decides: who gets a connection or a request, what becomes of a
//! request's fields, what is written about it.
//!
//! In: the configuration, what control says of each real server, bytes and `now`. Out: choices, edited heads,
//! lines of text. Absent: sockets, TLS, threads, clocks; `lb_userspace::proxy` carries those.

pub mod access_log;
pub mod balance;
pub mod clients;
pub mod failure;
pub mod http;
mod parsed;
pub mod passive;
pub mod proxy_protocol;
pub mod rdp;
pub mod retry;
pub mod steering;
pub mod wire;

pub use parsed::Parsed;
