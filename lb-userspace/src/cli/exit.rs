//! Exit statuses, and what leads to them.

use std::io::{self, Write};
use std::process::ExitCode;

use super::render::clean_text;
use crate::api::ClientError;

/// How `lbctl` ends; scripts rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It is done.
    Fine = 0,
    /// It could not be done.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The configuration is not valid.
    InvalidConfiguration = 3,
    /// The daemon cannot be reached.
    Unreachable = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The daemon gave no answer, or said no.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// The daemon was not asked, or what it did is not what was wanted; one sentence.
    #[error("{0}")]
    Refused(String),
    /// It has been said already.
    #[error("not everything that was asked for was done")]
    Said,
    /// The result could not be written.
    #[error("cannot write the result: {0}")]
    Output(#[source] io::Error),
    /// The system refused something else.
    #[error("{0}: {1}")]
    System(&'static str, #[source] io::Error),
}

impl Failure {
    /// Says what is wrong on `err` and gives the exit status. There is nowhere left to report an
    /// error of `err` itself to.
    pub(super) fn report(&self, err: &mut impl Write) -> Exit {
        match self {
            // `lbctl connections | head` is not a mistake.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return Exit::Fine,
            Self::Said => return Exit::Failed,
            Self::Client(ClientError::InvalidConfiguration(mistakes)) => {
                let _ = writeln!(err, "{}\n", clean_text(mistakes.rendered.trim_end()));
            }
            _ => {}
        }
        let _ = writeln!(err, "error: {}", clean_text(&self.to_string()));
        self.exit()
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Client(ClientError::InvalidConfiguration(_)) => Exit::InvalidConfiguration,
            Self::Client(
                ClientError::NotRunning(_) | ClientError::NotPermitted(_) | ClientError::NotReachable { .. },
            ) => Exit::Unreachable,
            Self::Client(
                ClientError::Broken(_)
                | ClientError::TimedOut(_)
                | ClientError::Stopping(_)
                | ClientError::Refused(_)
                | ClientError::Misunderstood(_),
            )
            | Self::Refused(_)
            | Self::Said
            | Self::Output(_)
            | Self::System(..) => Exit::Failed,
        }
    }
}
