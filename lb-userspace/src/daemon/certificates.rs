//! The certificates that the daemon holds.

use std::path::Path;
use std::time::SystemTime;

use lb_core::config::model::Config;
use lb_core::view::CertificateList;
use tracing::warn;

use super::Daemon;
use crate::proxy::tls::Certificates;

/// Reads those of a configuration; `main` is its main file. What cannot be read is told, here and as a problem.
pub(super) fn read(config: &Config, main: &Path) -> Certificates {
    let (certificates, mistakes) = Certificates::read(config, main.parent().unwrap_or(Path::new("")));
    for mistake in mistakes {
        warn!("{mistake}");
    }
    certificates
}

impl Daemon {
    pub(super) fn certificate_list(&self) -> CertificateList {
        let now = SystemTime::now();
        CertificateList { certificates: self.certificates.views(now), warnings: self.certificates.warnings(now) }
    }
}
