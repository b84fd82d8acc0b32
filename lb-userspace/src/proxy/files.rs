//! The files that layer 7 services name, read as they are when a configuration is put in force, and let go of.
//!
//! In: a configuration. Out: what cannot be used, in the words in which lbd would refuse it. Absent: sockets and log
//! files, which belong to a running daemon.

use std::path::Path;
use std::time::SystemTime;

use lb_core::config::UnusableFile;
use lb_core::config::model::{Config, Fallback, VirtualService};

use super::prepare::{encryption, page, pages};
use super::tls::{Certificates, Tickets, server_config};

/// Everything that is wrong with the files. Relative paths begin at `base`, the folder of the main file.
#[must_use]
pub fn unusable_files(config: &Config, base: &Path) -> Vec<UnusableFile> {
    let (certificates, mistakes) = Certificates::read(config, base);
    let of_certificate = |sentence: String| {
        let names = |label: &&String| sentence.starts_with(&format!("certificate {label}: "));
        let path = config.certificates.keys().find(names).map(|label| format!("certificates.{label}"));
        UnusableFile { path: path.unwrap_or_else(|| "certificates".to_owned()), sentence }
    };
    let mut unusable: Vec<UnusableFile> = mistakes.into_iter().map(of_certificate).collect();
    for (index, service) in config.virtual_services.iter().enumerate().filter(|(_, of)| !of.mode.is_layer_4()) {
        let found = of_service(service, &certificates, base);
        unusable.extend(found.into_iter().map(|(path, problem)| UnusableFile {
            path: format!("virtual_services[{index}].{path}"),
            sentence: format!("virtual service {}: {problem}", service.name),
        }));
    }
    unusable
}

fn of_service(service: &VirtualService, certificates: &Certificates, base: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut note =
        |path: &str, problem: Option<String>| found.extend(problem.map(|problem| (path.to_owned(), problem)));
    if service.http.is_some() {
        if let Some(Fallback::Page(file)) = &service.fallback {
            note("fallback", page(file, base).err());
        }
        let others = VirtualService { fallback: None, ..service.clone() };
        note("http.error_pages", pages(&others, base).err());
    }
    if let Some(listener) = &service.tls {
        let http2 = service.http.as_ref().map(|http| http.http2);
        // A label without a certificate was noted with the certificate itself.
        let is_there = certificates.has_all(&listener.certificates);
        let built = Tickets::new(SystemTime::now())
            .and_then(|tickets| server_config(listener, certificates, &tickets, http2, base).map(drop));
        note("tls", built.err().filter(|_| is_there));
    }
    for (at, real) in service.real_servers.iter().enumerate() {
        note(&format!("real_servers[{at}].tls"), encryption(real, base).err());
    }
    found
}
