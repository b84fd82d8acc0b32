//! The kernel side: loads the program, keeps it attached, carries table operations in and
//! counters out. Decides nothing: what is written comes from `lb_core::tables`.

mod clock;
mod error;
mod explain;
mod log;
mod machine;
mod object;
pub mod program;
mod source_ports;
mod steering;
mod sweep;
mod sys;
mod table;
mod tables;
mod trace;

pub use clock::Clock;
pub use error::Error;
pub use log::follow_log;
pub use machine::check_machine;
pub use program::{Options, Program};
pub use steering::Steering;
pub use sweep::Swept;
pub use table::Table;
pub use tables::Tables;
pub use trace::{Following, Trace};

#[cfg(test)]
mod tests;
