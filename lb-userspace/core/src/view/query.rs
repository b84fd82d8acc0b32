//! Query parameters, checked: text in, typed parameters or a sentence out; and the bounded
//! selection that every listing makes.

use std::collections::BinaryHeap;
use std::ops::RangeInclusive;

use super::explain::EndError;
use super::network::{Network, NetworkError};

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
    /// A client that is neither an address nor a network.
    #[error("client: {0}")]
    Client(#[from] NetworkError),
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

pub(super) fn client(text: &str) -> Result<Network, QueryError> {
    Ok(text.parse()?)
}

/// The `limit` first of `items` by `key`, sorted, and how many there were.
///
/// Holds at most `limit` + 1 items, however many there are.
pub(super) fn first<T, K: Ord>(items: impl Iterator<Item = T>, limit: u32, key: impl Fn(&T) -> K) -> (Vec<T>, u64) {
    struct Ranked<T, K>(K, T);
    impl<T, K: Ord> PartialEq for Ranked<T, K> {
        fn eq(&self, other: &Self) -> bool {
            self.cmp(other).is_eq()
        }
    }
    impl<T, K: Ord> Eq for Ranked<T, K> {}
    impl<T, K: Ord> PartialOrd for Ranked<T, K> {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }
    impl<T, K: Ord> Ord for Ranked<T, K> {
        fn cmp(&self, other: &Self) -> std::cmp::Ordering {
            self.0.cmp(&other.0)
        }
    }

    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut total = 0;
    let mut heap = BinaryHeap::new();
    for item in items {
        total += 1;
        heap.push(Ranked(key(&item), item));
        if heap.len() > limit {
            heap.pop();
        }
    }
    (heap.into_sorted_vec().into_iter().map(|ranked| ranked.1).collect(), total)
}
