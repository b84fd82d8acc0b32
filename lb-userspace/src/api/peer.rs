//! Who is at the other end of the socket, and what is written down of them.
//!
//! In: what the kernel says of the peer, and what the peer says of itself. Out: one short name for
//! the record. Absent: whether they may; the socket is for its owner only.

use std::time::Duration;

use nix::unistd::{Uid, User};
use tokio::net::UnixStream;

/// Characters of a name that are kept.
const LONGEST_NAME: usize = 64;

/// A directory of users elsewhere may be slow; an order is not held up by it.
const LOOKUP: Duration = Duration::from_secs(1);

/// Who is asking.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) uid: Option<u32>,
    pub(super) pid: Option<i32>,
}

impl Peer {
    pub(super) fn of(stream: &UnixStream) -> Self {
        stream.peer_cred().map_or(Self { uid: None, pid: None }, |credentials| Self {
            uid: Some(credentials.uid()),
            pid: credentials.pid(),
        })
    }

    /// The name for the record, with `by` as the peer calls itself.
    pub(super) async fn name(self, by: Option<&str>) -> String {
        let login = match self.uid {
            Some(uid) => login(uid).await,
            None => None,
        };
        recorded(by, self.uid, login.as_deref())
    }
}

/// The login name of a user. The C library decides where it is looked up, and may block.
async fn login(uid: u32) -> Option<String> {
    let lookup = tokio::task::spawn_blocking(move || User::from_uid(Uid::from_raw(uid)));
    let found = tokio::time::timeout(LOOKUP, lookup).await.ok()?.ok()?;
    Some(found.ok()??.name)
}

/// Whoever gives another name than their own login is recorded with both.
pub(super) fn recorded(by: Option<&str>, uid: Option<u32>, login: Option<&str>) -> String {
    let by = by.map(printable).filter(|by| !by.is_empty());
    let login = login.map(printable).filter(|login| !login.is_empty());
    match (by, uid) {
        (Some(by), _) if login.as_ref() == Some(&by) => by,
        (Some(by), Some(uid)) => format!("{by} (uid {uid})"),
        (Some(by), None) => format!("{by} (unknown user)"),
        (None, Some(uid)) => login.unwrap_or_else(|| format!("uid {uid}")),
        (None, None) => "unknown user".to_owned(),
    }
}

/// `name` on one line, without what could command a terminal or turn the reading direction.
fn printable(name: &str) -> String {
    let visible = |c: &char| {
        !c.is_control() && !matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let text: String = name.chars().filter(visible).take(LONGEST_NAME).collect();
    text.trim().to_owned()
}
