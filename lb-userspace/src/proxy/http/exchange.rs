//! One request and its answer, from its first line until the last byte of the answer is handed on: what is counted
//! and logged of it.
//!
//! In: what happens. Out: counters, a line in the access log. Absent: what is sent.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hyper::header::HOST;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};
use lb_core::proxy::access_log::{self, End, Record, Times};
use lb_core::proxy::balance::Candidate as _;

use super::Connection;
use super::body::Progress;
use super::executor::Reading;
use super::upstream::Idle;
use crate::proxy::choose::Chosen;
use crate::proxy::service::Running;
use lb_core::proxy::failure::Failure;

/// A request under way.
pub(super) struct Exchange {
    pub(super) connection: Rc<Connection>,
    pub(super) running: Arc<Running>,
    pub(super) begun: Instant,
    /// For the log.
    line: Option<Line>,
    pub(super) pool: Option<Arc<str>>,
    /// The rule that decided.
    pub(super) rule: Option<Arc<str>>,
    pub(super) chosen: Option<Chosen>,
    pub(super) retries: u32,
    pub(super) connecting: Duration,
    /// From the request's beginning to the head of the answer.
    answered: Option<Duration>,
    status: Option<StatusCode>,
    sent: u64,
    failure: Option<Failure>,
    completed: bool,
    /// How far its body has come, if anybody was to get it.
    pub(super) progress: Option<Rc<Progress>>,
    /// HTTP/2.
    pub(super) reading: Option<Rc<Reading>>,
}

/// The line of a request, as it came.
struct Line {
    method: Method,
    target: String,
    version: &'static str,
    host: String,
}

impl Line {
    fn new(head: &Parts) -> Self {
        let version = match head.version {
            Version::HTTP_2 => "HTTP/2.0",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        };
        let field = || head.headers.get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
        let host = head.uri.authority().map(ToString::to_string).or_else(field).unwrap_or_default();
        let target = head.uri.path_and_query().map_or_else(|| head.uri.to_string(), ToString::to_string);
        Self { method: head.method.clone(), target, version, host }
    }
}

impl Exchange {
    /// `whole`: the request has no body.
    pub(super) fn begin(connection: Rc<Connection>, running: Arc<Running>, head: &Parts, whole: bool) -> Box<Self> {
        connection.watch.begin(whole);
        connection.unread.set(false);
        connection.service.counters.requests.fetch_add(1, Ordering::Relaxed);
        let line = running.log.is_some().then(|| Line::new(head));
        Box::new(Self {
            connection,
            running,
            begun: Instant::now(),
            line,
            pool: None,
            rule: None,
            chosen: None,
            retries: 0,
            connecting: Duration::ZERO,
            answered: None,
            status: None,
            sent: 0,
            failure: None,
            completed: false,
            progress: None,
            reading: None,
        })
    }

    /// Connections of this worker to real servers.
    pub(super) fn idle(&self) -> &Idle {
        &self.connection.local.idle
    }

    /// The head of the answer goes on.
    pub(super) fn answers(&mut self, status: StatusCode) {
        self.answered = Some(self.begun.elapsed());
        self.status = Some(status);
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.connection.service.counters.answers[class].fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes of the answer's body go on.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// A part of the answer's body is handed over.
    pub(super) fn holds(&self) {
        if let Some(reading) = &self.reading {
            reading.holds();
        }
    }

    /// What was handed over has gone, and there is no more yet.
    pub(super) fn waits(&self) {
        if let Some(reading) = &self.reading {
            reading.waits();
        }
    }

    /// All of the answer has come.
    pub(super) fn completed(&mut self) {
        self.completed = true;
        // Its place is another request's from here on.
        if let Some(chosen) = &mut self.chosen {
            chosen.place.leave();
        }
    }

    /// It ends badly.
    pub(super) fn failed(&mut self, failure: Failure) {
        if self.failure.is_none() {
            self.failure = Some(failure);
            self.connection.service.counters.failures.count(failure);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.connection.watch.end();
        if self.progress.as_ref().is_some_and(|progress| !progress.is_done()) {
            self.connection.unread.set(true);
        }
        if self.reading.as_ref().is_some_and(|reading| reading.is_given_up()) {
            self.failed(Failure::ClientTimeout);
        } else if !self.completed {
            self.failed(Failure::ClientGone);
        }
        let Some(log) = &self.running.log else { return };
        let connection = &self.connection;
        let chosen = self.chosen.as_ref();
        let counters = &connection.service.counters;
        log.write(&Record {
            client: connection.ends.client,
            date: "",
            service: &connection.service.name,
            tls: connection.ends.tls,
            pool: self.pool.as_deref(),
            server: chosen.map(|chosen| chosen.entry.config.name.as_str()),
            times: Times {
                queue: chosen.map(|chosen| chosen.waited),
                connect: chosen.map(|_| self.connecting),
                total: self.begun.elapsed(),
            },
            received: 0,
            sent: self.sent,
            end: self.failure.map_or_else(End::default, |failure| failure.end(self.answered.is_some())),
            service_connections: counters.clients.load(Ordering::Relaxed),
            server_connections: chosen.map_or(0, |chosen| chosen.entry.live.connections()),
            retries: self.retries,
            http: Some(access_log::Exchange {
                request: None,
                response: self.answered,
                status: self.status.map(|status| status.as_u16()),
                rule: self.rule.as_deref(),
                host: self.line.as_ref().map(|line| line.host.as_str()),
                line: self.line.as_ref().map(|line| (line.method.as_str(), line.target.as_str(), line.version)),
            }),
        });
    }
}
