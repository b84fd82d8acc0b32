//! What touches the world: sockets, files, the kernel, the terminal. What decides is in `lb-core`.

pub mod api;
pub mod cli;
