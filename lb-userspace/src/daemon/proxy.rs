//! The daemon's side of the proxy: what it is told, and what it tells.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, anyhow};
use lb_core::config::model::SourceAddress;
use lb_core::view::{CertificateList, EventKind, Severity};

use tracing::warn;

use super::{Daemon, Options};
use crate::netlink::{Answerer, Transparent};
use crate::proxy::Prepared;
use crate::proxy::tls::Renewal;

/// Between two looks at the files of certificates.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// How long a stop waits for requests under way.
const FAREWELL: Duration = Duration::from_secs(2);

/// What is known of the files of certificates.
pub(super) struct Certificates {
    next: Instant,
    /// When it is tried again to serve what could not be.
    next_try: Instant,
    /// What is wrong with them, or soon will be.
    pub(super) problems: Vec<String>,
}

impl Certificates {
    pub(super) fn new(now: Instant) -> Self {
        Self { next: now, next_try: now + LOOK_AGAIN, problems: Vec::new() }
    }
}

impl Daemon {
    /// The states of real servers, whenever one of them may have changed.
    pub(super) fn tell_proxy(&mut self) {
        if self.control.wants_plan() {
            self.proxy.tell(self.control.proxied());
        }
    }

    /// Puts in force what was prepared for the configuration that is in force now.
    pub(super) fn commit_proxy(&mut self, prepared: Prepared, now: Instant) -> Result<()> {
        let states = self.control.proxied();
        let drain_timeout = self.control.config().node.proxy.drain_timeout;
        let committed = self.proxy.commit(prepared, &states, drain_timeout, now);
        // Not before: a real server that another one of its name replaces keeps its connections.
        self.proxy.tell(states);
        committed.map_err(|problem| anyhow!(problem))
    }

    /// Looks after the files of certificates: one that was renewed is shown from the next handshake on.
    pub(super) fn watch_certificates(&mut self, now: Instant) {
        if now < self.certificates.next {
            return;
        }
        self.certificates.next = now + LOOK_AGAIN;
        let Some(certificates) = self.proxy.certificates() else { return };
        let Renewal { taken, refused } = certificates.renew();
        let warnings = certificates.warnings(SystemTime::now());
        if !taken.is_empty() {
            let sentence = format!("shown anew, because its files have changed: {}", taken.join(", "));
            self.told(EventKind::Configuration, Severity::Info, None, sentence);
        }
        let problems: Vec<String> = refused.into_iter().chain(warnings).collect();
        let before = std::mem::replace(&mut self.certificates.problems, problems.clone());
        for problem in problems.into_iter().filter(|problem| !before.contains(problem)) {
            self.told(EventKind::Configuration, Severity::Warning, None, problem);
        }
    }

    /// What the configuration in force asks for and cannot have, for now.
    pub(super) fn not_served(&mut self, problems: Vec<String>) {
        let before = std::mem::replace(&mut self.unserved, problems.clone());
        for problem in problems.into_iter().filter(|problem| !before.contains(problem)) {
            self.told(EventKind::Configuration, Severity::Warning, None, problem);
        }
    }

    /// What was in the way when lbd started may be gone by now.
    pub(super) fn serve_the_unserved(&mut self, now: Instant) {
        if self.unserved.is_empty() || now < self.certificates.next_try {
            return;
        }
        self.certificates.next_try = now + LOOK_AGAIN;
        let config = self.control.config().clone();
        let (prepared, problems) = self.proxy.prepare(&config, &self.options.directory());
        if problems != self.unserved {
            if let Err(error) = self.commit_proxy(prepared, now) {
                self.told(EventKind::Configuration, Severity::Warning, None, error.to_string());
            }
            if problems.is_empty() {
                let sentence = "every layer 7 service is served now";
                self.told(EventKind::Configuration, Severity::Info, None, sentence);
            }
            self.not_served(problems);
        }
    }

    pub(super) fn certificate_list(&self) -> CertificateList {
        let now = SystemTime::now();
        let held = self.proxy.certificates();
        CertificateList {
            certificates: held.map(|held| held.views(now)).unwrap_or_default(),
            warnings: self.certificates.problems.clone(),
        }
    }

    /// Answers what is under way, for a short while: who stops lbd does not wait for idle connections.
    pub(super) async fn leave_proxy(&mut self) {
        self.proxy.leave();
        let until = Instant::now() + FAREWELL;
        while self.proxy.clients() > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sees to it that answers to connections with a client's address come to this machine's own sockets. Rules of a
    /// daemon that was killed are found, and go if nobody needs them.
    pub(super) async fn route_answers(&mut self) {
        const PROBLEM: &str = "transparent";
        let services = self.control.config().virtual_services.iter();
        let transparent = services.filter(|service| service.source_address == SourceAddress::Client);
        let wanted: BTreeSet<Answerer> =
            transparent.flat_map(|service| service.real_servers.iter().map(|real| (real.address, real.port))).collect();
        let set = match &mut self.transparent {
            Some(transparent) => transparent.set(&wanted).await,
            none => match Transparent::open() {
                Ok(opened) => none.insert(opened).set(&wanted).await,
                Err(error) => Err(error),
            },
        };
        match set {
            Ok(()) => drop(self.problems.remove(PROBLEM)),
            Err(error) => {
                let problem = format!("the routing that `source_address: client` needs cannot be set up: {error}");
                self.told(EventKind::Network, Severity::Warning, None, problem.clone());
                self.problems.insert(PROBLEM.to_owned(), problem);
            }
        }
    }

    /// Removes that routing; who takes over from this daemon still needs it.
    pub(super) async fn unroute_answers(&mut self) {
        if let Some(transparent) = &mut self.transparent
            && let Err(error) = transparent.remove_all().await
        {
            warn!(%error, "rules for `source_address: client` stay");
        }
    }

    /// Once a second, with the sweep: what the proxy has counted, and what has had its time.
    pub(super) fn count_proxied(&mut self) {
        let now = Instant::now();
        self.proxy.tidy(now);
        self.control.counted_proxied(&self.proxy.counted(), self.sweep_begun, now);
    }
}

impl Options {
    /// Where relative paths of the configuration begin.
    pub(super) fn directory(&self) -> PathBuf {
        self.config.parent().map_or_else(|| PathBuf::from("."), PathBuf::from)
    }
}
