//! How one probe ended, and each way to fail as a sentence.
//!
//! In: what a shell saw. Out: text for logs, the page and `lbctl`. Absent: what the outcome does to
//! the real server, which is [`super::Health`]'s to decide.

use std::fmt;
use std::time::Duration;

use super::words::Exactly;

/// How one probe ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As expected.
    Success {
        /// From the start of the probe to the answer.
        latency: Duration,
    },
    /// Otherwise.
    Failure(Failure),
}

/// Why a probe failed. [`fmt::Display`] gives the sentence with "the real server" for its subject,
/// [`Failure::about`] with its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The real server answered the connection with a reset: nothing listens on the port.
    Refused,
    /// No answer in time.
    Timeout {
        /// The time it had.
        after: Duration,
    },
    /// The network says that it cannot be reached.
    Unreachable(Detail),
    /// The connection was open, and was reset.
    Reset,
    /// The connection was closed before the answer was complete.
    ClosedEarly {
        /// What was still expected, as "before ...".
        before: &'static str,
    },
    /// A DICOM A-ASSOCIATE-RJ (PS3.8 section 9.3.4).
    DicomRejected {
        /// Whether the same request may succeed later.
        transient: bool,
        /// The reason in words.
        reason: Detail,
    },
    /// A DICOM A-ABORT (PS3.8 section 9.3.8), with its source and reason in words.
    DicomAborted(Detail),
    /// The association stands, but the Verification presentation context was refused.
    DicomVerificationRefused(Detail),
    /// A C-ECHO response whose status is not 0x0000 (PS3.7 annex C).
    DicomStatus(u16),
    /// An HTTP answer with another status than the check expects.
    HttpStatus {
        /// By the check.
        expected: u16,
        /// From the real server.
        got: u16,
    },
    /// An HTTP answer with the right status and another page than the check expects.
    HttpPage {
        /// The status that it came with.
        status: u16,
        /// What is wrong with it, as "its page ...".
        wrong: Detail,
        /// How it begins, as "it is ...".
        came: Detail,
    },
    /// A TLS handshake that failed; says how, and what to do.
    Tls(Detail),
    /// A certificate that does not stand up to verification; says why, as "the certificate of ... ...".
    Certificate(Detail),
    /// A script that did not exit 0.
    Script {
        /// The program.
        program: Detail,
        /// How it ended.
        ended: Ended,
        /// The first line that it wrote; empty: nothing.
        said: Detail,
    },
    /// An answer that does not follow the protocol; says what was wrong with it.
    BadAnswer(Detail),
    /// This machine does not let the daemon probe; says what the daemon needs.
    NoPrivilege(&'static str),
    /// This machine could not make the probe, so nothing is known of the real server.
    Local(Detail),
}

impl Failure {
    /// The sentence, without a full stop, about the real server called `who`.
    pub fn about(&self, who: impl fmt::Display) -> String {
        match self {
            Self::Refused => format!("connection refused by {who}"),
            Self::Timeout { after } => format!("no answer from {who} within {}", Exactly(*after)),
            Self::Unreachable(detail) => format!("{who} cannot be reached: {detail}"),
            Self::Reset => format!("connection reset by {who}"),
            Self::ClosedEarly { before } => format!("{who} closed the connection before {before}"),
            Self::DicomRejected { transient: false, reason } => {
                format!("{who} rejected the DICOM association: {reason}")
            }
            Self::DicomRejected { transient: true, reason } => {
                format!("{who} rejected the DICOM association for now: {reason}")
            }
            Self::DicomAborted(reason) => format!("{who} aborted the DICOM association: {reason}"),
            Self::DicomVerificationRefused(reason) => {
                format!("{who} does not take DICOM verification (C-ECHO): {reason}")
            }
            Self::DicomStatus(status) => {
                format!("{who} answered the C-ECHO with status {status:#06x} ({})", status_in_words(*status))
            }
            Self::HttpStatus { expected, got } => {
                format!("{who} answered with status {got}{} instead of {expected}", http_status_in_words(*got))
            }
            Self::HttpPage { status, wrong, came } => format!("{who} answered {status}, but its page {wrong}: {came}"),
            Self::Tls(detail) => format!("TLS with {who} failed: {detail}"),
            Self::Certificate(detail) => format!("the certificate of {who} {detail}"),
            Self::Script { program, ended, said } if said.is_empty() => {
                format!("the script {program}, called for {who}, {ended} and wrote nothing")
            }
            Self::Script { program, ended, said } => format!("the script {program}, called for {who}, {ended}: {said}"),
            Self::BadAnswer(detail) => format!("{who} gave an answer that cannot be understood: {detail}"),
            Self::NoPrivilege(needs) => format!("{who} was not checked: the daemon needs {needs}"),
            Self::Local(detail) => format!("{who} was not checked: {detail}"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.about("the real server"))
    }
}

// PS3.7 section 9.1.5.1.4 and annex C name the statuses of C-ECHO; the others are the vendor's.
fn status_in_words(status: u16) -> &'static str {
    match status {
        0x0000 => "success",
        0x0122 => "SOP class not supported",
        0x0124 => "not authorized",
        0x0210 => "duplicate invocation",
        0x0211 => "unrecognized operation",
        0x0212 => "mistyped argument",
        _ => "not success",
    }
}

// RFC 9110 section 15: those that a check meets when something is wrong.
fn http_status_in_words(status: u16) -> &'static str {
    match status {
        300..=399 => " (a redirect, which a check does not follow)",
        400 => " (bad request)",
        401 => " (unauthorized)",
        403 => " (forbidden)",
        404 => " (not found)",
        405 => " (method not allowed)",
        421 => " (misdirected request)",
        426 => " (upgrade required)",
        429 => " (too many requests)",
        500 => " (internal server error)",
        501 => " (not implemented)",
        502 => " (bad gateway)",
        503 => " (service unavailable)",
        504 => " (gateway timeout)",
        _ => "",
    }
}

/// How a program ended that did not exit 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this exit status.
    Exit(i32),
    /// By this signal.
    Signal {
        /// Its number.
        number: i32,
        /// Its name, where it has one.
        name: &'static str,
    },
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(status) => write!(f, "exited with status {status}"),
            Self::Signal { number, name } => write!(f, "was ended by signal {number} ({name})"),
        }
    }
}

/// A part of a sentence that came from outside: short, on one line, printable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail(String);

impl Detail {
    /// The most characters that are kept; the rest is cut.
    pub const LIMIT: usize = 160;

    /// `text`, with what cannot be printed replaced by `?`.
    pub fn new(text: impl AsRef<str>) -> Self {
        let printable = |c: char| if c.is_control() { '?' } else { c };
        Self(text.as_ref().chars().take(Self::LIMIT).map(printable).collect())
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
