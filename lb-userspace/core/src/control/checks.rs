//! The listing of health checks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Control, Known};
use crate::config::model::{HealthCheck, Probe};
use crate::health::{HealthView, State, TargetId};
use crate::tables::{FALLBACK, ServerKey};
use crate::view::{Check, HealthList, HealthState, Sample};

impl Control {
    /// Every real server's check, in the order of the configuration.
    #[must_use]
    pub fn checks(&self, now: Instant) -> HealthList {
        let mut sharing: BTreeMap<TargetId, Vec<&ServerKey>> = BTreeMap::new();
        for (key, known) in self.servers.iter().filter(|(key, _)| key.server != FALLBACK) {
            if let Some(target) = known.target {
                sharing.entry(target).or_default().push(key);
            }
        }
        let services = self.config.virtual_services.iter();
        let keys = services.flat_map(|service| {
            let key = |name: &str| ServerKey { service: service.name.clone(), server: name.to_owned() };
            service.real_servers.iter().map(move |real| key(&real.name))
        });
        let checks = keys.filter_map(|key| {
            let known = self.servers.get(&key)?;
            let shared = known.target.and_then(|target| sharing.get(&target));
            let others = shared.into_iter().flatten().filter(|other| ***other != key);
            let shared_with = others.map(|other| format!("{}/{}", other.service, other.server)).collect();
            Some(self.check(&key, known, shared_with, now))
        });
        HealthList {
            checks: checks.collect(),
            under_way: self.health.under_way() as u64,
            latest_start_ms: milliseconds(self.health.latest_start()),
        }
    }

    fn check(&self, key: &ServerKey, known: &Known, shared_with: Vec<String>, now: Instant) -> Check {
        let view = known.target.and_then(|target| self.health.view(target, now));
        let check = known.described.check.as_ref();
        let number = |of: fn(&HealthView) -> u32| view.as_ref().map_or(0, of);
        Check {
            service: key.service.clone(),
            server: key.server.clone(),
            address: known.address(),
            port: check.and_then(|check| check.port),
            check: check.map_or_else(|| "none".to_owned(), question),
            interval_ms: check.map_or(0, |check| milliseconds(check.interval)),
            timeout_ms: check.map_or(0, |check| milliseconds(check.timeout)),
            state: match view.as_ref().map(|view| view.state) {
                None => HealthState::Unchecked,
                Some(State::Checking) => HealthState::Checking,
                Some(State::Up) => HealthState::Up,
                Some(State::Down) => HealthState::Down,
            },
            since_seconds: view
                .as_ref()
                .map_or_else(|| now.saturating_duration_since(known.since), |v| v.since)
                .as_secs(),
            reason: view.as_ref().map_or_else(|| "it is not checked".to_owned(), |view| view.reason.clone()),
            last_good_seconds: view.as_ref().and_then(|view| view.last_good).map(|ago| ago.as_secs()),
            successes: number(|view| view.successes),
            failures: number(|view| view.failures),
            rise: number(|view| view.rise),
            fall: check.map_or(0, |check| u32::from(check.fall)),
            history: view.map(|view| view.history.iter().map(sample).collect()).unwrap_or_default(),
            shared_with,
        }
    }
}

/// What is asked, in the words of the configuration.
fn question(check: &HealthCheck) -> String {
    match &check.probe {
        Probe::Connect => "connect".to_owned(),
        Probe::Ping => "ping".to_owned(),
        Probe::Http(http) => format!("http {}", http.path),
        Probe::Https { http, .. } => format!("https {}", http.path),
        Probe::DicomEcho { called_ae_title, .. } => format!("dicom-echo {called_ae_title}"),
        Probe::Script { path } => format!("script {}", path.display()),
        Probe::None => "none".to_owned(),
    }
}

fn sample(sample: &crate::health::Sample) -> Sample {
    Sample { ago_ms: milliseconds(sample.ago), good: sample.good, took_ms: sample.took.as_secs_f64() * 1e3 }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
