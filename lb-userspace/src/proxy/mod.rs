//! The proxy: carries the connections of the layer 7 services.
//!
//! In: [`lb_core::proxy`]'s decisions, connections of clients. Out: connections to real servers, counts, lines
//! of access logs. Absent: decisions.

pub mod relay;
pub mod tls;
pub mod connect;
