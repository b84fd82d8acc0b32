//! What touches the world: files, the command line.

pub mod cli;
pub mod config_files;
