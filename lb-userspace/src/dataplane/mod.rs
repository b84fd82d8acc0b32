//! The kernel side: loads the program, keeps it attached, carries table operations in and
//! counters out. Decides nothing: what is written comes from `lb_core::tables`.

mod clock;
mod error;
mod object;
pub mod program;
mod sys;
mod table;

pub use clock::Clock;
pub use error::Error;
pub use program::{Options, Program};
pub use table::Table;
