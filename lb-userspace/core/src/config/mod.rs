//! From what the administrator typed to a [`model::Config`] that can be compiled.

pub mod model;
