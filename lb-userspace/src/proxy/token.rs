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
pub(super) struct TokenKey {
    key: hmac::Key,
    /// Why it is forgotten with this process, if it is.
    problem: Option<String>,
}

/// Bytes of the key, and of a token: enough that nobody finds one by trying.
const KEY_BYTES: usize = 32;
const TOKEN_BYTES: usize = 12;

impl TokenKey {
    /// The key of this installation; one that cannot be kept is made anew, and clients are then placed anew after a
    /// restart.
    pub(super) fn keep(state_dir: &Path) -> Self {
        let path = state_dir.join("cookie.key");
        let mut problem = None;
        let bytes = read(&path).unwrap_or_else(|| {
            let bytes = random();
            if let Err(error) = write(&path, &bytes) {
                let path = path.display();
                let told =
                    format!("{path} cannot be written: {error}; a restart of lbd places clients with a cookie anew");
                warn!("{told}");
                problem = Some(told);
            }
            bytes
        });
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &bytes), problem }
    }

    /// Why it is forgotten with this process, if it is.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// The token of a real server.
    pub(super) fn token(&self, identity: &ServerIdentity) -> Arc<str> {
        let ServerIdentity { service, server, address, port } = identity;
        let tag = hmac::sign(&self.key, format!("{service}\0{server}\0{address}\0{port:?}").as_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::Folder;

    fn identity(server: &str) -> ServerIdentity {
        ServerIdentity {
            service: "shop".into(),
            server: server.into(),
            address: "192.0.2.84".parse().unwrap(),
            port: None,
        }
    }

    #[test]
    fn tokens_outlive_the_process_and_differ_by_server_and_installation() {
        let (folder, other) = (Folder::new(), Folder::new());
        let key = TokenKey::keep(folder.path());
        assert_eq!(key.problem(), None);
        let token = key.token(&identity("a"));
        assert_eq!(token, TokenKey::keep(folder.path()).token(&identity("a")));
        assert_ne!(token, key.token(&identity("b")));
        assert_ne!(token, TokenKey::keep(other.path()).token(&identity("a")));
    }

    #[test]
    fn a_key_that_cannot_be_kept_is_told() {
        let folder = Folder::new();
        // Not even root writes to a folder by its name.
        fs::create_dir(folder.path().join("cookie.key")).unwrap();
        let key = TokenKey::keep(folder.path());
        let path = folder.path().join("cookie.key");
        let told =
            "cannot be written: Is a directory (os error 21); a restart of lbd places clients with a cookie anew";
        assert_eq!(key.problem(), Some(format!("{} {told}", path.display()).as_str()));
    }
}
