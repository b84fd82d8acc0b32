//! Traffic that runs for as long as a test disturbs the balancer, and says afterwards what became of it.
//!
//! In: hosts and a virtual service. Out: what arrived where, what was lost, how long nothing arrived.

mod beat;
mod homes;
mod studies;

pub use beat::{Arrived, Beat, Moment};
pub use homes::Homes;
pub use studies::Studies;
