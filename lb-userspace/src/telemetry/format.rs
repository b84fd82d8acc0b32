//! The forms of a log.

use tracing_subscriber::fmt::format::{Format, Json, JsonFields};
use tracing_subscriber::fmt::{Layer, layer};

/// What `--log-format` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// The journal when standard error goes there, else text.
    Auto,
    /// Entries of the systemd journal, with fields: `journalctl -u lbd SERVER=HT1`.
    Journal,
    /// One JSON object a line on standard error.
    Json,
    /// Lines for people on standard error.
    Text,
}

/// What it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Journal,
    Json,
    Text,
}

impl LogFormat {
    pub(super) const fn form(self, stderr_is_journal: bool) -> Form {
        match self {
            Self::Journal => Form::Journal,
            Self::Json => Form::Json,
            Self::Auto if stderr_is_journal => Form::Journal,
            Self::Auto | Self::Text => Form::Text,
        }
    }
}

/// Objects with `timestamp`, `level`, `message` and the fields of the event beside them.
pub(super) fn json<S>() -> Layer<S, JsonFields, Format<Json>>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    layer().json().flatten_event(true).with_current_span(false).with_span_list(false).with_target(false)
}
