//! What names a real server in a client's cookie: nothing that says which it is to anybody else.
//!
//! In: a key of this installation. Out: tokens, the same over reloads and restarts.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::hmac;
use lb_core::tables::ServerIdentity;
use tracing::warn;

/// The key that tokens are made with.
pub(super) struct TokenKey(hmac::Key);

/// Bytes of the key, and of a token: enough that nobody finds one by trying.
const KEY_BYTES: usize = 32;
const TOKEN_BYTES: usize = 12;

impl TokenKey {
    /// The key of this installation; one that cannot be kept is made anew, and clients are then placed anew after a
    /// restart.
    pub(super) fn keep(state_dir: &Path) -> Self {
        let path = state_dir.join("cookie.key");
        let bytes = read(&path).unwrap_or_else(|| {
            let bytes = random();
            if let Err(error) = write(&path, &bytes) {
                warn!(
                    "{} cannot be written: {error}; after a restart, clients with a cookie are placed anew",
                    path.display()
                );
            }
            bytes
        });
        Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    }

    /// The token of a real server.
    pub(super) fn token(&self, identity: &ServerIdentity) -> Arc<str> {
        let ServerIdentity { service, server, address, port } = identity;
        let tag = hmac::sign(&self.0, format!("{service}\0{server}\0{address}\0{port:?}").as_bytes());
        let mut text = String::with_capacity(2 * TOKEN_BYTES);
        for byte in tag.as_ref().iter().take(TOKEN_BYTES) {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        text.into()
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let bytes = fs::read(path).ok()?;
    (bytes.len() == KEY_BYTES).then_some(bytes)
}

fn random() -> Vec<u8> {
    let mut bytes = vec![0; KEY_BYTES];
    // The generator of the library fails on no system that this runs on; zeros would still be a key.
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        warn!("the system has no random numbers; cookies can be guessed");
    }
    bytes
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(bytes)
}
