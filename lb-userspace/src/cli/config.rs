//! `lbctl check`, `diff`, `config show` and `schema`: the configuration, before and while it runs.
//!
//! In: files, and for some the text of the running configuration, which the caller gets from the
//! daemon. Out: text or JSON, and how it ended. Absent: the daemon; none of this needs it to run.

mod live;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lb_core::config::diagnostic::{Diagnostic, Severity, render, render_coloured};
use lb_core::config::diff::{Change, diff};
use lb_core::config::impact::impact;
use lb_core::config::model::Config;
use lb_core::config::{self, Loaded, check_against_host, check_files, effective};
use lb_core::tables::unsupported;
use lb_core::view::Status;
use serde::Serialize;

use self::live::LiveFlows;
use crate::config_files::{self, DEFAULT_PATH, LoadError};
use crate::proxy::unusable_files;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Fine = 0,
    /// It could not be done.
    Failed = 1,
    /// The configuration is not valid.
    Invalid = 3,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(outcome as u8)
    }
}

/// Arguments of `lbctl check`.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// The main file; conf.d beside it is read too. The installed one when none is named.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Check against the addresses, ports and files (certificates, pages) of this machine, which is always done for the installed file.
    #[arg(long)]
    on_this_machine: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `lbctl diff`.
#[derive(Clone, Debug, clap::Args)]
pub struct DiffArgs {
    /// The file that changes, when two are named; else the new one, compared with what runs. When none
    /// is named, the installed file is compared with what runs.
    #[arg(value_name = "OLD")]
    first: Option<PathBuf>,
    /// The new file.
    #[arg(value_name = "NEW")]
    second: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `lbctl config`.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum ConfigCommand {
    /// Print the configuration.
    Show(ShowArgs),
}

#[derive(Clone, Debug, clap::Args)]
struct ShowArgs {
    /// Print all files as one, with every default; secrets are left out.
    #[arg(long)]
    effective: bool,
    /// The main file; the installed one when none is named.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

impl DiffArgs {
    /// Whether the running configuration is one of the two.
    #[must_use]
    pub fn needs_running(&self) -> bool {
        self.second.is_none()
    }
}

/// Says whether a configuration is valid, and every mistake when it is not. Mistakes go to `err`, in
/// colours when `colour`; with `--json` everything goes to `out`.
///
/// # Errors
/// When the result cannot be written.
pub(super) fn check(args: &CheckArgs, colour: bool, out: &mut impl Write, err: &mut impl Write) -> io::Result<Outcome> {
    let path = args.file.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
    let loaded = match config_files::load(path) {
        Ok(loaded) => Ok(loaded),
        Err(LoadError::Invalid(diagnostics)) => Err(diagnostics),
        Err(LoadError::Read(error)) => return failed(&error.to_string(), err),
    };
    let (config, diagnostics) = match loaded {
        Ok(loaded) if args.on_this_machine || args.file.is_none() => match with_host(loaded, path) {
            Ok((config, diagnostics)) => (Some(config), diagnostics),
            Err(error) => return failed(&format!("cannot read what this machine has: {error}"), err),
        },
        Ok(loaded) => (Some(loaded.config), loaded.warnings),
        Err(diagnostics) => (None, diagnostics),
    };
    let errors = count(&diagnostics, Severity::Error);
    let not_built = config.as_ref().map(unsupported).unwrap_or_default();
    if args.json {
        let warnings = diagnostics.len() - errors;
        let report = Report { valid: errors == 0, errors, warnings, diagnostics, not_built };
        json(out, &report)?;
    } else {
        print_diagnostics(&diagnostics, colour, err)?;
        for sentence in &not_built {
            writeln!(err, "note: {sentence}; until then lbd does not run this file")?;
        }
        match config {
            Some(config) if errors == 0 => writeln!(out, "{} is valid: {}", path.display(), size(&config))?,
            _ => writeln!(err, "{} is not valid: {}", path.display(), plural(errors, "error"))?,
        }
    }
    Ok(if errors == 0 { Outcome::Fine } else { Outcome::Invalid })
}

/// What the daemon says of itself, for a comparison.
pub(super) struct Running {
    /// Its configuration, as [`effective`] printed it.
    pub(super) config: String,
    /// Who has how many connections; `None`: it could not say.
    pub(super) status: Option<Status>,
}

/// Says what differs between two configurations, and which live flows that would touch. `running` is
/// used when [`DiffArgs::needs_running`].
///
/// # Errors
/// When the result cannot be written.
pub(super) fn compare(
    args: &DiffArgs,
    running: Option<&Running>,
    colour: bool,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<Outcome> {
    let installed = PathBuf::from(DEFAULT_PATH);
    let (old, new) = match (&args.first, &args.second, running) {
        (Some(old), Some(new), _) => (config_files::load(old).map(|loaded| loaded.config), new),
        (new, _, Some(running)) => {
            (config::read_effective(&running.config).map_err(LoadError::Invalid), new.as_ref().unwrap_or(&installed))
        }
        (_, _, None) => return failed("the running configuration is not known; name two files to compare", err),
    };
    let new = config_files::load(new).map(|loaded| loaded.config);
    let (old, new) = match (old, new) {
        (Ok(old), Ok(new)) => (old, new),
        (old, new) => {
            let mut outcome = Outcome::Invalid;
            for error in [old.err(), new.err()].into_iter().flatten() {
                if explain(&error, colour, err)? == Outcome::Failed {
                    outcome = Outcome::Failed;
                }
            }
            return Ok(outcome);
        }
    };
    let changes = diff(&old, &new);
    let status = running.filter(|_| args.needs_running()).and_then(|running| running.status.as_ref());
    let flows = LiveFlows::of(impact(&old, &new), status);
    if args.json {
        json(out, &Difference { changes, live_flows: flows })?;
    } else if changes.is_empty() {
        writeln!(out, "nothing changes")?;
    } else {
        print_changes(&changes, out)?;
        write!(out, "\n{}", flows.text())?;
    }
    Ok(Outcome::Fine)
}

/// Prints the configuration: the files as they are, or with `--effective` as they are understood.
///
/// # Errors
/// When the result cannot be written.
pub(super) fn config(
    args: &ConfigArgs,
    colour: bool,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<Outcome> {
    let ConfigCommand::Show(args) = &args.command;
    let path = args.file.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
    if args.effective {
        return match config_files::load(path) {
            Ok(loaded) => {
                out.write_all(effective(&loaded.config).as_bytes())?;
                Ok(Outcome::Fine)
            }
            Err(error) => explain(&error, colour, err),
        };
    }
    match config_files::read(path) {
        Ok(sources) => {
            for source in &sources {
                writeln!(out, "# {}", source.path)?;
                writeln!(out, "{}", source.text.trim_end())?;
            }
            Ok(Outcome::Fine)
        }
        Err(error) => failed(&error.to_string(), err),
    }
}

/// Prints the JSON Schema of the configuration, for editors.
///
/// # Errors
/// When the result cannot be written.
pub(super) fn schema(out: &mut impl Write) -> io::Result<Outcome> {
    json(out, &config::schema())?;
    Ok(Outcome::Fine)
}

#[derive(Serialize)]
struct Report {
    valid: bool,
    errors: usize,
    warnings: usize,
    diagnostics: Vec<Diagnostic>,
    /// What it asks for and this version does not do, one sentence each.
    not_built: Vec<String>,
}

#[derive(Serialize)]
struct Difference {
    changes: Vec<Change>,
    live_flows: LiveFlows,
}

/// What this machine has: addresses, ports, and the files that the configuration names.
fn with_host(loaded: Loaded, path: &Path) -> io::Result<(Config, Vec<Diagnostic>)> {
    let host = config_files::host_facts()?;
    let mut diagnostics = loaded.warnings;
    diagnostics.extend(check_against_host(&loaded.config, &loaded.places, &host));
    let files = unusable_files(&loaded.config, path.parent().unwrap_or(Path::new(".")));
    diagnostics.extend(check_files(&loaded.places, &files));
    Ok((loaded.config, diagnostics))
}

fn failed(message: &str, err: &mut impl Write) -> io::Result<Outcome> {
    writeln!(err, "error: {message}")?;
    Ok(Outcome::Failed)
}

fn explain(error: &LoadError, colour: bool, err: &mut impl Write) -> io::Result<Outcome> {
    match error {
        LoadError::Read(error) => failed(&error.to_string(), err),
        LoadError::Invalid(diagnostics) => {
            print_diagnostics(diagnostics, colour, err)?;
            writeln!(err, "the configuration is not valid: {}", plural(count(diagnostics, Severity::Error), "error"))?;
            Ok(Outcome::Invalid)
        }
    }
}

fn print_diagnostics(diagnostics: &[Diagnostic], colour: bool, err: &mut impl Write) -> io::Result<()> {
    for diagnostic in diagnostics {
        let text = if colour { render_coloured(diagnostic) } else { render(diagnostic) };
        writeln!(err, "{text}")?;
    }
    Ok(())
}

fn print_changes(changes: &[Change], out: &mut impl Write) -> io::Result<()> {
    changes.iter().try_for_each(|change| writeln!(out, "{change}"))
}

fn count(diagnostics: &[Diagnostic], severity: Severity) -> usize {
    diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count()
}

fn size(config: &Config) -> String {
    let servers = config.virtual_services.iter().map(|service| service.real_servers.len()).sum();
    format!("{}, {}", plural(config.virtual_services.len(), "virtual service"), plural(servers, "real server"))
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

#[cfg(test)]
mod tests;
