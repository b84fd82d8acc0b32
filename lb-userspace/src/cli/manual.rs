//! Manual pages, made from the same arguments that are parsed.
//!
//! In: a command. Out: one page for it and one for each of its subcommands, as files for a package.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man;

use super::exit::Failure;

/// Arguments of `lbctl manual`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where to write them; made if it is missing.
    #[arg(long, value_name = "DIRECTORY")]
    directory: PathBuf,
}

pub(super) fn run(args: &Args, command: Command) -> Result<(), Failure> {
    write(command, "1", &args.directory).map_err(|error| Failure::System("cannot write the manual", error))
}

/// Writes `lbctl.1`, `lbctl-status.1`, ... for a command in this section of the manual.
///
/// # Errors
/// A page cannot be written.
pub fn write(command: Command, section: &str, directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let mut command = command.disable_help_subcommand(true);
    // Arguments that count everywhere are then on each page, and each knows its whole name.
    command.build();
    pages(&command, section, directory)
}

fn pages(command: &Command, section: &str, directory: &Path) -> io::Result<()> {
    let mut page = Vec::new();
    Man::new(command.clone()).section(section).render(&mut page)?;
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    fs::write(directory.join(format!("{name}.{section}")), page)?;
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    shown.into_iter().try_for_each(|command| pages(command, section, directory))
}
