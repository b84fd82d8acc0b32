//! One line for each connection, or for each request of a HTTP service, in the manner of HAProxy.
//!
//! In: a [`Record`] that the caller has filled in. Out: its line, and whether it is written. Absent: files, the clock.
//! `docs/reference/access-log.md` explains the line to those who read it.

use std::fmt::{self, Display, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

/// As much of a request's target as a line shows, in bytes as they came.
const MOST_TARGET: usize = 2048;

/// A connection, or a request, that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The client.
    pub client: SocketAddr,
    /// When it came, written by the caller: RFC 3339 with milliseconds.
    pub date: &'a str,
    /// The virtual service.
    pub service: &'a str,
    /// Whether the client spoke TLS.
    pub tls: bool,
    /// The pool; `None`: the main one.
    pub pool: Option<&'a str>,
    /// The real server; `None`: it came to none.
    pub server: Option<&'a str>,
    /// How long each part took.
    pub times: Times,
    /// Bytes that came from the client.
    pub received: u64,
    /// Bytes that went to it.
    pub sent: u64,
    /// How it ended.
    pub end: End,
    /// Connections of the service at that time, this one among them.
    pub service_connections: u32,
    /// Connections (`l7-http`: requests) of the real server at that time.
    pub server_connections: u32,
    /// How often it was tried on another real server, or again.
    pub retries: u32,
    /// What only requests have.
    pub http: Option<Exchange<'a>>,
}

/// How long each part took; `None`: it did not come to that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Tw: for room at a real server.
    pub queue: Option<Duration>,
    /// Tc: until the connection to the real server stood; zero when there was one.
    pub connect: Option<Duration>,
    /// Tt: all of it.
    pub total: Duration,
}

/// A request and its answer.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// Tq: until the request's header was there.
    pub request: Option<Duration>,
    /// Tr: from the request to the answer's header.
    pub response: Option<Duration>,
    /// The answer's status; `None`: there was none.
    pub status: Option<u16>,
    /// The rule that decided: its name or number.
    pub rule: Option<&'a str>,
    /// Host, as the client sent it.
    pub host: Option<&'a str>,
    /// `GET`, the target, `HTTP/1.1`; `None`: there was no request that could be read.
    pub line: Option<(&'a str, &'a str, &'a str)>,
}

macro_rules! letters {
    ($( #[doc = $about:literal] $kind:ident { $( #[doc = $doc:literal] $name:ident = $letter:literal, )* } )*) => { $(
        #[doc = $about]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub enum $kind { #[default] $( #[doc = $doc] $name, )* }

        impl $kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$( Self::$name, )*];

            /// As a line shows it.
            #[must_use]
            pub const fn letter(self) -> char {
                match self { $( Self::$name => $letter, )* }
            }
        }
    )* };
}

letters! {
    /// Who or what ended it.
    Cause {
        /// Nobody before its time.
        Normal = '-',
        /// The client closed or reset it.
        Client = 'C',
        /// The client did nothing for too long.
        ClientTimeout = 'c',
        /// The real server refused or reset it, or none could be asked.
        Server = 'S',
        /// The real server did nothing for too long.
        ServerTimeout = 's',
        /// The balancer refused the request, or the real server's answer.
        Refused = 'P',
        /// The balancer answered by itself, as the configuration says.
        Local = 'L',
        /// A limit was reached: of connections, of the queue, of retries.
        Limit = 'R',
        /// The real server went down and its connections were cut.
        Down = 'D',
        /// An administrator: halt, removal from the configuration, the end of a drain.
        Administrator = 'K',
        /// An error of the balancer itself, or of the system under it.
        Internal = 'I',
    }
    /// What was going on when it ended.
    Phase {
        /// All was done.
        Done = '-',
        /// The request was on its way, or what stands before it: a PROXY header, a TLS handshake.
        Request = 'R',
        /// It waited for room at a real server.
        Queue = 'Q',
        /// The connection to the real server was being opened.
        Connect = 'C',
        /// The real server was to answer.
        Header = 'H',
        /// Data was on its way.
        Data = 'D',
    }
}

/// How it ended: two letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct End {
    /// Who or what ended it.
    pub cause: Cause,
    /// What was going on.
    pub phase: Phase,
}

impl Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char(self.cause.letter())?;
        f.write_char(self.phase.letter())
    }
}

impl Record<'_> {
    /// Whether it is written whatever the sample. What a rule answers is none, whatever its status: who is turned
    /// away does not fill the log.
    #[must_use]
    pub fn is_error(&self) -> bool {
        let failed = self.http.and_then(|http| http.status).is_some_and(|status| status >= 500);
        match self.end.cause {
            Cause::Normal => failed,
            Cause::Local => false,
            Cause::Client
            | Cause::ClientTimeout
            | Cause::Server
            | Cause::ServerTimeout
            | Cause::Refused
            | Cause::Limit
            | Cause::Down
            | Cause::Administrator
            | Cause::Internal => true,
        }
    }
}

/// The line of a record, without a line break.
#[must_use]
pub fn line(record: &Record<'_>) -> String {
    let target = record.http.and_then(|http| http.line).map_or(0, |(_, target, _)| target.len().min(MOST_TARGET));
    let mut line = String::with_capacity(192 + target);
    let written = write!(line, "{record}");
    debug_assert!(written.is_ok(), "a string takes everything");
    line
}

impl Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, date, times, received, sent, end, retries, .. } = self;
        let tls = if self.tls { "~" } else { "" };
        let (pool, server) = (Word(self.pool), Word(self.server));
        write!(f, "{client} [{date}] {}{tls} {pool}/{server} ", Word(Some(self.service)))?;
        let (queue, connect, total) = (Milliseconds(times.queue), Milliseconds(times.connect), times.total.as_millis());
        match &self.http {
            None => write!(f, "{queue}/{connect}/{total}")?,
            Some(http) => {
                let (request, response) = (Milliseconds(http.request), Milliseconds(http.response));
                write!(f, "{request}/{queue}/{connect}/{response}/{total} ")?;
                match http.status {
                    Some(status) => write!(f, "{status}")?,
                    None => f.write_str("-1")?,
                }
            }
        }
        write!(f, " {received}/{sent} {end} {}/{}/{retries}", self.service_connections, self.server_connections)?;
        let Some(http) = &self.http else { return Ok(()) };
        write!(f, " {} {{{}}} ", Word(http.rule), Escaped(http.host.unwrap_or_default(), SPECIAL_IN_WORDS))?;
        match http.line {
            None => f.write_str("\"-\""),
            Some((method, target, version)) => {
                write!(f, "\"{} {} {version}\"", Escaped(method, SPECIAL_IN_QUOTES), Target(target))
            }
        }
    }
}

/// Whole milliseconds, as all times of a line; -1: it did not come to that.
struct Milliseconds(Option<Duration>);

impl Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(time) => write!(f, "{}", time.as_millis()),
            None => f.write_str("-1"),
        }
    }
}

const SPECIAL_IN_QUOTES: &[u8] = b"\"\\";
const SPECIAL_IN_WORDS: &[u8] = b"\"\\ {}";

/// A name that stays one word; `-` without one.
struct Word<'a>(Option<&'a str>);

impl Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(self.0.unwrap_or("-"), SPECIAL_IN_WORDS).fmt(f)
    }
}

/// The beginning of a target, with dots where it was cut.
struct Target<'a>(&'a str);

impl Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = self.0.floor_char_boundary(MOST_TARGET);
        let (shown, rest) = self.0.split_at_checked(cut).unwrap_or((self.0, ""));
        Escaped(shown, SPECIAL_IN_QUOTES).fmt(f)?;
        f.write_str(if rest.is_empty() { "" } else { "..." })
    }
}

/// A text in which every byte that is no visible ASCII, or special where it stands, is written as `\x0A`: a line
/// stays a line, and nothing in it can be taken for something else.
struct Escaped<'a>(&'a str, &'static [u8]);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |byte: u8| (byte == b' ' || byte.is_ascii_graphic()) && !self.1.contains(&byte);
        let mut rest = self.0;
        while let Some(at) = rest.bytes().position(|byte| !plain(byte)) {
            let (before, after) = rest.split_at_checked(at).unwrap_or((rest, ""));
            f.write_str(before)?;
            let Some(special) = after.chars().next() else { return Ok(()) };
            for byte in special.encode_utf8(&mut [0; 4]).bytes() {
                write!(f, "\\x{byte:02X}")?;
            }
            rest = after.get(special.len_utf8()..).unwrap_or_default();
        }
        f.write_str(rest)
    }
}

/// Which lines are written: one of so many, and all that tell of an error. Each thread counts for itself.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    one_of: u32,
    /// Lines left out since the last one.
    left_out: u32,
}

impl Sampling {
    /// One of `one_of` lines; 0 and 1: all.
    #[must_use]
    pub fn new(one_of: u32) -> Self {
        // The first one is written.
        Self { one_of, left_out: one_of }
    }

    /// Whether this one is written.
    pub fn takes(&mut self, error: bool) -> bool {
        if error {
            return true;
        }
        self.left_out = self.left_out.saturating_add(1);
        let takes = self.left_out >= self.one_of;
        if takes {
            self.left_out = 0;
        }
        takes
    }
}

#[cfg(test)]
mod tests;
