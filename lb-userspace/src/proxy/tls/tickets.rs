//! Session tickets (RFC 5077, RFC 8446 section 4.6.1): keys that all workers and listeners of a service share, so that
//! a client resumes its session wherever its next connection comes in.
//!
//! In: sessions as rustls writes them. Out: tickets, and sessions again; the keys as bytes for the daemon that takes
//! over. Absent: any list of sessions: the client keeps its ticket.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

/// The keys of a service's tickets. One issues tickets for six hours; the two before it are still
/// accepted.
pub struct Tickets {
    ring: ArcSwap<Vec<Arc<TicketKey>>>,
    rotating: Mutex<()>,
}

/// A key, with the name that its tickets bear.
struct TicketKey {
    name: [u8; NAME],
    secret: Zeroizing<[u8; SECRET]>,
    /// When it began to issue, in seconds since 1970.
    since: u64,
    cipher: RandomizedNonceKey,
}

impl Tickets {
    /// Begins with a new key.
    ///
    /// # Errors
    /// The machine gives no random numbers.
    pub fn new(now: SystemTime) -> Result<Arc<Self>, String> {
        Ok(Self::of(vec![Arc::new(TicketKey::random(seconds(now))?)]))
    }

    /// Takes the keys that another daemon has [exported](Self::export), those that are too old aside.
    ///
    /// # Errors
    /// They are of another version, or damaged.
    pub fn import(bytes: &[u8], now: SystemTime) -> Result<Arc<Self>, String> {
        let wrong =
            || "the session ticket keys of the other daemon cannot be read; sessions are not resumed".to_owned();
        let (version, rest) = bytes.split_first().ok_or_else(wrong)?;
        let keys = rest.chunks_exact(NAME + SECRET + 8);
        if *version != VERSION || !keys.remainder().is_empty() || keys.len() == 0 || keys.len() > 1 + KEPT {
            return Err(wrong());
        }
        let mut ring = Vec::new();
        for key in keys {
            ring.push(Arc::new(TicketKey::read(key).ok_or_else(wrong)?));
        }
        let tickets = Self::of(ring);
        tickets.rotate(now)?;
        Ok(tickets)
    }

    fn of(ring: Vec<Arc<TicketKey>>) -> Arc<Self> {
        Arc::new(Self { ring: ArcSwap::from_pointee(ring), rotating: Mutex::new(()) })
    }

    /// All keys: who has them reads what was said in sessions of TLS 1.2 that they resume. They go over a Unix socket of root.
    #[must_use]
    pub fn export(&self) -> Zeroizing<Vec<u8>> {
        let ring = self.ring.load();
        // With its final size from the beginning: what grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(1 + ring.len() * (NAME + SECRET + 8)));
        bytes.push(VERSION);
        for key in ring.iter() {
            bytes.extend_from_slice(&key.name);
            bytes.extend_from_slice(&*key.secret);
            bytes.extend_from_slice(&key.since.to_be_bytes());
        }
        bytes
    }

    /// Begins with another key when it is time, and forgets those that are too old. Tickets do this by themselves; a
    /// service without clients keeps its old keys until then, unless somebody calls this.
    ///
    /// # Errors
    /// The machine gives no random numbers; the old key stays.
    pub fn rotate(&self, now: SystemTime) -> Result<(), String> {
        let now = seconds(now);
        if !self.is_due(now) {
            return Ok(());
        }
        let _one = self.rotating.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_due(now) {
            return Ok(());
        }
        let mut ring = vec![Arc::new(TicketKey::random(now)?)];
        let old = self.ring.load_full();
        // Of a clock that was set back, keys may be from the future: they are as good as new.
        let accepted = |key: &&Arc<TicketKey>| now.saturating_sub(key.since) < ISSUING * (1 + KEPT as u64);
        ring.extend(old.iter().filter(accepted).take(KEPT).cloned());
        self.ring.store(Arc::new(ring));
        Ok(())
    }

    fn is_due(&self, now: u64) -> bool {
        self.ring.load().first().is_none_or(|key| now < key.since || now - key.since >= ISSUING)
    }

    /// Tickets that are good only where the same was asked of clients: rustls does not ask again for the certificate
    /// of a client who resumes a session.
    pub(super) fn bound_to(self: &Arc<Self>, asked: [u8; 32]) -> Arc<dyn ProducesTickets> {
        Arc::new(Bound { tickets: Arc::clone(self), asked })
    }

    pub(super) fn seal(&self, session: &[u8], asked: &[u8; 32]) -> Option<Vec<u8>> {
        let ring = self.ring.load();
        let key = ring.first()?;
        let mut sealed = Zeroizing::new(Vec::with_capacity(session.len() + TAG));
        sealed.extend_from_slice(session);
        let nonce = key.cipher.seal_in_place_append_tag(Aad::from(asked), &mut *sealed).ok()?;
        let mut ticket = Vec::with_capacity(NAME + NONCE_LEN + sealed.len());
        ticket.extend_from_slice(&key.name);
        ticket.extend_from_slice(nonce.as_ref());
        ticket.extend_from_slice(&sealed);
        Some(ticket)
    }

    pub(super) fn open(&self, ticket: &[u8], asked: &[u8; 32]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let ring = self.ring.load();
        let key = ring.iter().find(|key| key.name == name)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut session = sealed.to_vec();
        let length = key.cipher.open_in_place(nonce, Aad::from(asked), &mut session).ok()?.len();
        session.truncate(length);
        Some(session)
    }
}

impl TicketKey {
    fn random(since: u64) -> Result<Self, String> {
        let failed = || "the machine gives no random numbers for session ticket keys".to_owned();
        let (mut name, mut secret) = ([0; NAME], Zeroizing::new([0; SECRET]));
        rand::fill(&mut name).map_err(|_| failed())?;
        rand::fill(&mut *secret).map_err(|_| failed())?;
        Self::new(name, secret, since).ok_or_else(failed)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (name, rest) = bytes.split_at_checked(NAME)?;
        let (secret, since) = rest.split_at_checked(SECRET)?;
        let secret = Zeroizing::new(<[u8; SECRET]>::try_from(secret).ok()?);
        Self::new(name.try_into().ok()?, secret, u64::from_be_bytes(since.try_into().ok()?))
    }

    fn new(name: [u8; NAME], secret: Zeroizing<[u8; SECRET]>, since: u64) -> Option<Self> {
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, &*secret).ok()?;
        Some(Self { name, secret, since, cipher })
    }
}

/// See [`Tickets::bound_to`].
struct Bound {
    tickets: Arc<Tickets>,
    asked: [u8; 32],
}

impl ProducesTickets for Bound {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        // With the old key it goes on.
        let _ = self.tickets.rotate(SystemTime::now());
        self.tickets.seal(session, &self.asked)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let _ = self.tickets.rotate(SystemTime::now());
        self.tickets.open(ticket, &self.asked)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("keys", &self.ring.load().len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound").field("tickets", &self.tickets).finish_non_exhaustive()
    }
}

fn seconds(now: SystemTime) -> u64 {
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// How long a key issues tickets, in seconds. With nonces at random a key is good for 2^32 tickets (NIST SP 800-38D
/// section 8.3), which is 198,000 each second for this time.
const ISSUING: u64 = 6 * 3600;

/// Keys that do not issue any more and are accepted.
const KEPT: usize = 2;

/// What clients are told: every ticket is good for at least this time.
#[expect(clippy::cast_possible_truncation, reason = "12 hours in seconds")]
const LIFETIME: u32 = (ISSUING * KEPT as u64) as u32;

const NAME: usize = 16;
const SECRET: usize = 32;
const TAG: usize = 16;

/// Of what is exported.
const VERSION: u8 = 1;
