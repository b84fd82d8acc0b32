//! What health checks and the proxy have in common when they speak TLS.
//!
//! In: names of files, errors of rustls. Out: whom to trust, and what went wrong in words. Absent: connections.

mod any;
mod roots;
mod stamp;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod words;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub(crate) use any::AnyCertificate;
pub(crate) use roots::{RootsError, SYSTEM_AGAIN, authorities, system, trusted};
pub(crate) use stamp::Stamp;

/// The cryptography of everything here.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
