//! The configuration from file to force: what `lbd` accepts when it starts and when it is told to
//! read again.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};
use lb_core::config::diagnostic::{Diagnostic, Severity, render};
use lb_core::config::diff::diff;
use lb_core::config::model::Config;
use lb_core::config::{Loaded, check_against_host};
use lb_core::tables::unsupported;
use lb_core::view::{InvalidConfiguration, ReloadReport, ReloadResult};
use nix::net::if_::if_nametoindex;
use tracing::warn;

use super::Daemon;
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
    let host = config_files::host_addresses()
        .map_err(|error| ReloadRefused::Failed(format!("the addresses of this machine cannot be read: {error}")))?;
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

/// Why a configuration was refused, as text.
pub(super) fn sentence(refused: &ReloadRefused) -> String {
    match refused {
        ReloadRefused::Invalid(invalid) => format!("the file cannot run:\n{}", invalid.rendered),
        ReloadRefused::Failed(sentence) => sentence.clone(),
    }
}

impl Daemon {
    /// Reads the configuration again and puts it in force. When anything is wrong with it, the
    /// running one stays.
    pub(super) async fn reload(&mut self) -> Result<ReloadReport, ReloadRefused> {
        let (config, warnings) = accept(&self.options.config)?;
        let warnings = warnings.iter().map(render).collect();
        let changes: Vec<String> = diff(self.control.config(), &config).iter().map(ToString::to_string).collect();
        if changes.is_empty() {
            return Ok(ReloadReport {
                result: ReloadResult::Unchanged,
                changes,
                warnings,
                confirm_within_seconds: None,
            });
        }
        self.control
            .configure(config, Instant::now())
            .map_err(|refusal| ReloadRefused::Failed(format!("the configuration cannot be carried out: {refusal}")))?;
        let failed = |error: anyhow::Error| ReloadRefused::Failed(format!("not wholly carried out: {error:#}"));
        // In force from here on: what fails is told, and does not keep the rest from being done.
        self.loaded = Instant::now();
        let attached = self.attach().await;
        let written = self.write_plan();
        self.plan_vips().await;
        attached.and(written).map_err(failed)?;
        Ok(ReloadReport { result: ReloadResult::Applied, changes, warnings, confirm_within_seconds: None })
    }
}
