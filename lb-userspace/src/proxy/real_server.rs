//! A real server as all threads share it: what it carries now, and what it has carried.
//!
//! In: connections that begin and end. Out: counts; whether it is suspect; the signal that cuts its connections.
//! Absent: the configuration: it outlives reloads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use lb_core::config::model::PassiveHealth;
use lb_core::proxy::balance::Candidate;
use lb_core::proxy::passive::{Change, Passive};
use lb_core::tables::ServerIdentity;
use tokio::sync::Notify;

use super::relay::Meter;
use super::signal::Signal;

/// Lives as long as anybody uses it.
#[derive(Debug)]
pub(super) struct RealServer {
    pub(super) identity: ServerIdentity,
    /// Unique in this process; names it in records of persistence.
    pub(super) number: u32,
    active: AtomicU32,
    total: AtomicU64,
    to_server: AtomicU64,
    to_client: AtomicU64,
    connect_failures: AtomicU64,
    server_errors: AtomicU64,
    passive: Passive,
    /// Its connections are to be cut.
    pub(super) cut: Signal,
}

/// What a real server has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Connections (`l7-http`: requests) now.
    pub connections: u64,
    /// Connections (`l7-http`: requests) ever.
    pub total: u64,
    /// Bytes sent to it.
    pub to_server: u64,
    /// Bytes that came from it.
    pub to_client: u64,
    /// Connections that could not be opened.
    pub connect_failures: u64,
    /// Answers with a status of 500 to 599.
    pub server_errors: u64,
}

impl RealServer {
    pub(super) fn new(identity: ServerIdentity, number: u32, passive: Option<PassiveHealth>) -> Arc<Self> {
        Arc::new(Self {
            identity,
            number,
            active: AtomicU32::new(0),
            total: AtomicU64::new(0),
            to_server: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
            connect_failures: AtomicU64::new(0),
            server_errors: AtomicU64::new(0),
            passive: Passive::new(passive, Instant::now()),
            cut: Signal::default(),
        })
    }

    pub(super) fn carried(&self) -> Carried {
        Carried {
            connections: self.active.load(Ordering::Relaxed).into(),
            total: self.total.load(Ordering::Relaxed),
            to_server: self.to_server.load(Ordering::Relaxed),
            to_client: self.to_client.load(Ordering::Relaxed),
            connect_failures: self.connect_failures.load(Ordering::Relaxed),
            server_errors: self.server_errors.load(Ordering::Relaxed),
        }
    }

    /// Takes a place among its connections, unless there are `most` already; 0: no limit.
    pub(super) fn take_place(&self, most: u32) -> bool {
        let room = |active: u32| (most == 0 || active < most).then(|| active.saturating_add(1));
        let taken = self.active.fetch_update(Ordering::AcqRel, Ordering::Relaxed, room).is_ok();
        if taken {
            self.total.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    fn leave_place(&self) {
        self.active.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn connect_failed(&self, now: Instant) -> Option<Change> {
        self.connect_failures.fetch_add(1, Ordering::Relaxed);
        self.passive.connect_failed(now)
    }

    pub(super) fn connected(&self) -> Option<Change> {
        self.passive.connected()
    }

    pub(super) fn answered(&self, status: u16, now: Instant) -> Option<Change> {
        if status >= 500 {
            self.server_errors.fetch_add(1, Ordering::Relaxed);
        }
        self.passive.answered(status, now)
    }

    /// Its health check has found it well after it was down.
    pub(super) fn returned(&self) -> Option<Change> {
        self.passive.returned()
    }

    /// What makes it suspect is configured.
    pub(super) fn configure(&self, passive: Option<PassiveHealth>) -> Option<Change> {
        self.passive.configure(passive)
    }
}

impl Candidate for RealServer {
    fn connections(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    fn is_suspect(&self, now: Instant) -> bool {
        self.passive.is_suspect(now)
    }

    fn claim(&self, now: Instant) -> bool {
        self.passive.claim(now)
    }
}

impl Meter for RealServer {
    fn to_server(&self, bytes: u64) {
        self.to_server.fetch_add(bytes, Ordering::Relaxed);
    }

    fn to_client(&self, bytes: u64) {
        self.to_client.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A place among the connections of a real server; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    server: Option<Arc<RealServer>>,
    room: Arc<Notify>,
}

impl Place {
    /// `room` is told when the place is free again.
    pub(super) fn new(server: Arc<RealServer>, room: Arc<Notify>) -> Self {
        Self { server: Some(server), room }
    }

    /// Gives it back before it is dropped.
    pub(super) fn leave(&mut self) {
        if let Some(server) = self.server.take() {
            server.leave_place();
            self.room.notify_one();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}
