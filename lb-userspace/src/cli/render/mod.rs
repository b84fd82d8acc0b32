//! What a terminal shows: views in, text out. Pure: width and colour are arguments.

mod certificates;
mod doctor;
mod event;
mod explained;
mod health;
mod human;
mod listing;
mod order;
mod status;
mod style;
mod table;
mod trace;
mod wrong;

#[cfg(test)]
pub(super) mod tests;

pub use certificates::certificates;
pub use doctor::{examination, progress};
pub use event::event;
pub use explained::explained;
pub use health::health;
pub use human::{age, count, cut_ports};
pub use listing::{confirmed, connections, kept_by_cookie, persistence, reload, stop, warnings};
pub use order::{counted, left, order, order_warnings};
pub use status::{Earlier, status, status_since};
pub use style::clean_text;
pub use trace::traced;
