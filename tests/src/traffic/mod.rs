//! Traffic that runs for as long as a test disturbs the balancer, and says afterwards what became of it.
//!
//! In: hosts and a virtual service. Out: what arrived where, what was lost, how long nothing arrived.

mod beat;
mod counts;
mod exchanges;
mod homes;
mod path_mtu;
mod repeats;
mod requests;
mod studies;

pub use beat::{Arrived, Beat, Moment};
pub use counts::Counts;
pub use exchanges::{Exchange, exchange};
pub use homes::Homes;
pub use path_mtu::learn;
pub use repeats::Repeats;
pub use requests::{Answered, Requests};
pub use studies::Studies;
