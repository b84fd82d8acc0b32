//! The configuration from file to force: what `lbd` accepts when it starts and when it is told to
//! read again.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use lb_core::config::diagnostic::{Diagnostic, Severity, render};
use lb_core::config::diff::diff;
use lb_core::config::model::Config;
use lb_core::config::{Loaded, check_against_host};
use lb_core::control::Orders;
use lb_core::tables::unsupported;
use lb_core::view::{self, EventKind, InvalidConfiguration, ReloadReport, ReloadRequest, ReloadResult};
use nix::net::if_::if_nametoindex;
use tracing::warn;

use super::Daemon;
use super::confirmation::{ROLLED_BACK, Trial};
use super::start::threads;
use crate::api::ReloadRefused;
use crate::config_files::{self, LoadError};
use crate::dataplane;

/// A configuration that this build can run on this machine, and its warnings.
fn accept(path: &Path) -> Result<(Config, Vec<Diagnostic>), ReloadRefused> {
    let loaded = config_files::load(path).map_err(|error| match error {
        LoadError::Invalid(diagnostics) => invalid(&diagnostics),
        LoadError::Read(error) => ReloadRefused::Failed(error.to_string()),
    })?;
    let Loaded { config, mut warnings, places } = loaded;
    let host = config_files::host_facts()
        .map_err(|error| ReloadRefused::Failed(format!("what this machine has cannot be read: {error}")))?;
    warnings.extend(check_against_host(&config, &places, &host));
    if warnings.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Err(invalid(&warnings));
    }
    for interface in &config.node.interfaces {
        if_nametoindex(interface.device.as_str()).map_err(|_| {
            let missing = dataplane::Error::NoInterface(interface.device.clone());
            ReloadRefused::Failed(format!("node.interfaces: {missing}"))
        })?;
    }
    let missing = unsupported(&config);
    if !missing.is_empty() {
        let rendered = missing.join("\n") + "\n";
        return Err(InvalidConfiguration { diagnostics: Vec::new(), rendered }.into());
    }
    Ok((config, warnings))
}

/// What the layer 7 services need and cannot have.
fn unprepared(problems: &[String]) -> ReloadRefused {
    InvalidConfiguration { diagnostics: Vec::new(), rendered: problems.join("\n") + "\n" }.into()
}

fn invalid(diagnostics: &[Diagnostic]) -> ReloadRefused {
    let values = diagnostics.iter().filter_map(|diagnostic| serde_json::to_value(diagnostic).ok()).collect();
    let rendered = diagnostics.iter().map(render).collect::<Vec<_>>().join("\n");
    InvalidConfiguration { diagnostics: values, rendered }.into()
}

/// The configuration to start with.
pub(super) fn load(path: &Path) -> Result<Config> {
    match accept(path) {
        Ok((config, warnings)) => {
            for warning in warnings {
                warn!("{}", render(&warning).trim_end());
            }
            Ok(config)
        }
        Err(ReloadRefused::Invalid(invalid)) => bail!("{} cannot run:\n{}", path.display(), invalid.rendered),
        Err(ReloadRefused::Failed(sentence)) => bail!("{sentence}"),
    }
}

/// Why a configuration was refused, in one sentence. The mistakes themselves go to the log.
fn sentence(refused: &ReloadRefused) -> String {
    match refused {
        ReloadRefused::Invalid(invalid) => {
            warn!("the file cannot run:\n{}", invalid.rendered.trim_end());
            "the file has mistakes, `lbctl check` lists them".to_owned()
        }
        ReloadRefused::Failed(sentence) => sentence.clone(),
    }
}

/// Threads are started once.
fn threads_wait(running: usize, wanted: usize) -> Option<String> {
    (running != wanted).then(|| {
        format!(
            "node.proxy.threads: {wanted} threads are started with the next start or upgrade of lbd (`lbctl upgrade`); \
             until then there are {running}"
        )
    })
}

impl Daemon {
    /// Reads the configuration again and puts it in force. When anything is wrong with it, the
    /// running one stays. What came of it is told as an event.
    pub(super) async fn reload(&mut self, request: ReloadRequest) -> Result<ReloadReport, ReloadRefused> {
        let result = self.try_reload(request).await;
        self.metrics.reloaded(result.is_ok());
        // Also when nothing else has changed: what was in the way of the metrics may be gone.
        self.serve_metrics().await;
        match &result {
            Ok(ReloadReport { result: ReloadResult::Unchanged, .. }) => {
                self.told(
                    EventKind::Configuration,
                    view::Severity::Info,
                    None,
                    "the file says what is in force already",
                );
            }
            Ok(report) => {
                let changes = report.changes.len();
                let trial = report.confirm_within_seconds;
                let trial = trial.map_or_else(String::new, |left| format!(", on trial for {left} seconds"));
                let sentence = format!("another configuration is in force, {changes} changes{trial}");
                self.told(EventKind::Configuration, view::Severity::Info, None, sentence);
            }
            Err(refused) => {
                let sentence = format!("the configuration stays as it is: {}", sentence(refused));
                self.told(EventKind::Configuration, view::Severity::Warning, None, sentence);
            }
        }
        result
    }

    async fn try_reload(&mut self, request: ReloadRequest) -> Result<ReloadReport, ReloadRefused> {
        let now = Instant::now();
        if let Some(trial) = &self.trial {
            return Err(ReloadRefused::Failed(format!(
                "the configuration in force is on trial for another {} seconds; `lbctl confirm` keeps it, `lbctl \
                 rollback` goes back to the one before",
                trial.seconds_left(now)
            )));
        }
        let (config, warnings) = accept(&self.options.config)?;
        let mut warnings: Vec<String> = warnings.iter().map(render).collect();
        warnings.extend(threads_wait(self.proxy.threads(), threads(&config.node.proxy)));
        let before = self.control.config().clone();
        let changes: Vec<String> = diff(&before, &config).iter().map(ToString::to_string).collect();
        self.problems.remove(ROLLED_BACK);
        if changes.is_empty() && self.unserved.is_empty() {
            let result = ReloadResult::Unchanged;
            return Ok(ReloadReport { result, changes, warnings, confirm_within_seconds: None });
        }
        let orders = self.control.orders();
        self.put_in_force(config, None).await?;
        let confirm_within_seconds = request.confirm_within_seconds;
        if let Some(seconds) = confirm_within_seconds {
            self.trial = Some(Trial::new(before, orders, Duration::from_secs(seconds), now));
        }
        Ok(ReloadReport { result: ReloadResult::Applied, changes, warnings, confirm_within_seconds })
    }

    /// Puts a configuration in force, with the orders that held with it if it comes back.
    pub(super) async fn put_in_force(&mut self, config: Config, orders: Option<Orders>) -> Result<(), ReloadRefused> {
        let now = Instant::now();
        let (prepared, problems) = self.proxy.prepare(&config, &self.options.directory());
        if !problems.is_empty() {
            return Err(unprepared(&problems));
        }
        let taken = match &orders {
            Some(orders) => self.control.restore(config, orders, now),
            None => self.control.configure(config, now),
        };
        taken
            .map_err(|refusal| ReloadRefused::Failed(format!("the configuration cannot be carried out: {refusal}")))?;
        // In force from here on: what fails is told, and does not keep the rest from being done.
        self.loaded = now;
        let attached = self.attach().await;
        // Before the plan, which tells the proxy how the new real servers are: those that they replace keep their
        // connections.
        let proxied = self.commit_proxy(prepared, now);
        let written = self.write_plan();
        self.unserved.clear();
        self.route_answers().await;
        self.keep_orders();
        self.plan_vips().await;
        self.serve_metrics().await;
        let failed = |error: anyhow::Error| ReloadRefused::Failed(format!("not wholly carried out: {error:#}"));
        attached.and(written).and(proxied).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::threads_wait;

    #[test]
    fn another_number_of_threads_waits_for_the_next_start_and_says_so() {
        assert_eq!(threads_wait(4, 4), None);
        let sentence = "node.proxy.threads: 2 threads are started with the next start or upgrade of lbd (`lbctl upgrade`); \
                        until then there are 4";
        assert_eq!(threads_wait(4, 2).as_deref(), Some(sentence));
    }
}
