//! What a terminal shows: views in, text out. Pure: width and colour are arguments.

mod human;
mod listing;
mod status;
mod style;
mod table;
mod wrong;

#[cfg(test)]
mod tests;

pub use human::{age, count, cut_ports};
pub use listing::{connections, persistence, reload, stop, warnings};
pub use status::{Earlier, status, status_since};
pub use style::clean_text;
