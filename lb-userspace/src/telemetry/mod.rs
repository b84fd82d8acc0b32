//! The log of `lbd`: where it goes and in which form.
//!
//! In: what was asked for, and what standard error is. Out: every event of `tracing` as a line of
//! text, an object of JSON, or an entry of the journal with fields; and the last sentence of a
//! daemon that could not go on. Absent: what is logged.

mod format;
mod journal;

pub use format::LogFormat;

use std::process::ExitCode;

use tracing::{error, warn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use format::Form;

/// What is logged, as `tracing` filters it: `warn`, `info`, `lb_userspace::netlink=debug,info` …
const FILTER: &str = "LB_LOG";
/// Target of the last sentence, which no filter leaves out.
const LAST_WORD: &str = "lbd::end";

/// The log, from here to the end of the process.
#[derive(Clone, Copy, Debug)]
pub struct Telemetry {
    form: Form,
    stderr_is_journal: bool,
}

impl Telemetry {
    /// Starts logging; `default` filters where the environment does not.
    ///
    /// # Errors
    /// When the journal was asked for by name and there is none, in a sentence.
    pub fn start(format: LogFormat, default: &str) -> Result<Self, String> {
        let stderr_is_journal = journal::is_stderr();
        let (filter, bad) = filter(std::env::var(FILTER).ok(), default);
        let (form, journal) = match format.form(stderr_is_journal) {
            Form::Journal => match journal::layer() {
                Ok(layer) => (Form::Journal, Some(layer)),
                // Lines on standard error reach the journal too, without fields.
                Err(_) if format == LogFormat::Auto => (Form::Text, None),
                Err(error) => return Err(no_journal(&error)),
            },
            form => (form, None),
        };
        let registry = tracing_subscriber::registry();
        match journal {
            Some(journal) => registry.with(journal.with_filter(filter)).init(),
            None if form == Form::Json => {
                registry.with(format::json().with_writer(std::io::stderr).with_filter(filter)).init();
                // A panic too is an object on a line.
                std::panic::set_hook(Box::new(|panic| error!(target: LAST_WORD, "{panic}")));
            }
            None => {
                let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
                registry.with(lines.with_filter(filter)).init();
            }
        }
        if let Some(bad) = bad {
            warn!("{FILTER} is not a filter, `{default}` is used: {bad}");
        }
        Ok(Self { form, stderr_is_journal })
    }

    /// Says why the daemon ends, last and in any case.
    pub fn end(&self, error: &anyhow::Error) -> ExitCode {
        match self.form {
            Form::Json => error!(target: LAST_WORD, "{error:#}"),
            // sd-daemon(3): a number before a line that goes to the journal is its priority, 3 an error.
            Form::Text | Form::Journal if self.stderr_is_journal => {
                for line in format!("{error:#}").lines() {
                    eprintln!("<3>{line}");
                }
            }
            Form::Text | Form::Journal => eprintln!("lbd: {error:#}"),
        }
        ExitCode::FAILURE
    }
}

fn no_journal(error: &std::io::Error) -> String {
    format!("cannot log to the journal: {error}; start systemd-journald, or use `--log-format text`")
}

/// The filter, and what was wrong with the one of the environment.
fn filter(given: Option<String>, default: &str) -> (EnvFilter, Option<String>) {
    let read = given.filter(|text| !text.trim().is_empty()).map(EnvFilter::try_new);
    let (filter, bad) = match read {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new(default), Some(error.to_string())),
        None => (EnvFilter::new(default), None),
    };
    match format!("{LAST_WORD}=error").parse() {
        Ok(directive) => (filter.add_directive(directive), bad),
        Err(_) => (filter, bad),
    }
}

#[cfg(test)]
mod tests;
