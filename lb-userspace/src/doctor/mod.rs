//! What `lbctl doctor` finds out.

pub mod probe;
