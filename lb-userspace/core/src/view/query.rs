//! Query parameters, checked: text in, typed parameters or a sentence out.

use std::ops::RangeInclusive;

use super::explain::EndError;
use super::network::{Network, NetworkError};
use super::persistent_client::{PersistentClient, PersistentClientError};

/// Rows in a listing when the query names no limit.
pub const DEFAULT_LIMIT: u32 = 1_000;

/// The largest limit: an answer stays below some 50 MB.
pub const MAX_LIMIT: u32 = 100_000;

/// A query that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// A parameter that the listing does not have.
    #[error("unknown parameter `{name}`; known are: {known}")]
    Unknown {
        /// As given.
        name: String,
        /// The parameters it has.
        known: &'static str,
    },
    /// A parameter given twice.
    #[error("parameter `{0}` is given more than once")]
    Repeated(String),
    /// A parameter that has to be there.
    #[error("parameter `{0}` is missing")]
    Missing(&'static str),
    /// A limit that is no number, 0 or too large.
    #[error("limit `{0}` is not a number from 1 to {MAX_LIMIT}")]
    Limit(String),
    /// A number that is none, or out of range.
    #[error("{name} `{got}` is not a number from {least} to {most}")]
    Number {
        /// The parameter.
        name: &'static str,
        /// As given.
        got: String,
        /// The smallest it may be.
        least: u64,
        /// The largest it may be.
        most: u64,
    },
    /// A word outside its closed set.
    #[error("{name} `{got}` is not one of: {allowed}")]
    Word {
        /// The parameter.
        name: &'static str,
        /// As given.
        got: String,
        /// What it may be.
        allowed: String,
    },
    /// What is neither an address nor a network.
    #[error("{name}: {reason}")]
    Network {
        /// The parameter.
        name: &'static str,
        /// What is wrong with it.
        reason: NetworkError,
    },
    /// A client that is none.
    #[error("{name}: {reason}")]
    Client {
        /// The parameter.
        name: &'static str,
        /// What is wrong with it.
        reason: PersistentClientError,
    },
    /// Two bounds that leave nothing between them.
    #[error("min_{of} {least} is above max_{of} {most}, so no flow could match")]
    Empty {
        /// Age or idle time.
        of: &'static str,
        /// The lower bound, seconds.
        least: u64,
        /// The upper bound, seconds.
        most: u64,
    },
    /// A client or VIP that is none.
    #[error(transparent)]
    End(#[from] EndError),
}

/// The pairs of a query string, each name at most once.
pub(super) fn pairs(query: &str) -> Result<Vec<(String, String)>, QueryError> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if pairs.iter().any(|(earlier, _)| *earlier == name) {
            return Err(QueryError::Repeated(name.into_owned()));
        }
        pairs.push((name.into_owned(), value.into_owned()));
    }
    Ok(pairs)
}

/// A query string from the parameters that are set.
pub(super) fn encode(parameters: &[(&str, Option<String>)]) -> String {
    let mut encoder = form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        if let Some(value) = value {
            encoder.append_pair(name, value);
        }
    }
    encoder.finish()
}

pub(super) fn limit(text: &str) -> Result<u32, QueryError> {
    match text.parse() {
        Ok(limit @ 1..=MAX_LIMIT) => Ok(limit),
        _ => Err(QueryError::Limit(text.to_owned())),
    }
}

pub(super) fn number(name: &'static str, text: &str, range: RangeInclusive<u64>) -> Result<u64, QueryError> {
    let (least, most) = (*range.start(), *range.end());
    let parsed = text.parse().ok().filter(|number| range.contains(number));
    parsed.ok_or_else(|| QueryError::Number { name, got: text.to_owned(), least, most })
}

pub(super) fn persistent_client(name: &'static str, text: &str) -> Result<PersistentClient, QueryError> {
    text.parse().map_err(|reason| QueryError::Client { name, reason })
}

pub(super) fn network(name: &'static str, text: &str) -> Result<Network, QueryError> {
    text.parse().map_err(|reason| QueryError::Network { name, reason })
}

/// A word of a closed set; `all` are its words.
pub(super) fn word<T>(
    name: &'static str,
    text: &str,
    read: impl FnOnce(&str) -> Option<T>,
    all: impl Iterator<Item = &'static str>,
) -> Result<T, QueryError> {
    read(text).ok_or_else(|| QueryError::Word {
        name,
        got: text.to_owned(),
        allowed: all.collect::<Vec<_>>().join(", "),
    })
}
