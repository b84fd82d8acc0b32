//! The files that services and health checks name, read as they are when a configuration is put in force, and let go of.
//!
//! In: a configuration. Out: what cannot be used, in the words in which lbd would refuse it. Absent: sockets and log
//! files, which belong to a running daemon.

use std::iter::once;
use std::path::Path;
use std::time::SystemTime;

use lb_core::config::UnusableFile;
use lb_core::config::model::{Config, Fallback, Probe, VirtualService};

use super::prepare::{encryption, page, pages};
use super::tls::{Certificates, Tickets, server_config};
use crate::tls::trusted;

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
    for (index, service) in config.virtual_services.iter().enumerate() {
        let mut found = of_checks(service, base);
        if !service.mode.is_layer_4() {
            found.extend(of_service(service, &certificates, base));
        }
        unusable.extend(found.into_iter().map(|(path, problem)| UnusableFile {
            path: format!("virtual_services[{index}].{path}"),
            sentence: format!("virtual service {}: {problem}", service.name),
        }));
    }
    unusable
}

fn of_checks(service: &VirtualService, base: &Path) -> Vec<(String, String)> {
    let own = service.real_servers.iter().enumerate();
    let own =
        own.filter_map(|(at, real)| Some((format!("real_servers[{at}].health_check"), real.health_check.as_ref()?)));
    let checks = once(("health_check".to_owned(), &service.health_check)).chain(own);
    let found = checks.filter_map(|(path, check)| match &check.probe {
        Probe::Https { verify: true, ca_file: Some(file), .. } => Some((path, trusted(Some(&base.join(file))).err()?)),
        _ => None,
    });
    found.map(|(path, error)| (path, format!("health_check: {error}"))).collect()
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

#[cfg(test)]
mod tests {
    use lb_core::config::{Source, load};

    use super::*;
    use crate::tls::testing::{Authority, Folder};

    #[test]
    fn the_authorities_that_health_checks_trust_are_read_in_every_mode() {
        let text = "
version: 1
node: {interfaces: [{device: lo}]}
virtual_services:
  - name: web
    address: 192.0.2.80
    ports: [443]
    mode: l4-dr
    health_check: {type: https, host: web.example.org, ca_file: ca.pem, verify: full}
    real_servers:
      - {name: a, address: 192.0.2.81}
      - name: b
        address: 192.0.2.82
        health_check: {type: https, host: web.example.org, ca_file: other.pem, verify: full}
";
        let source = Source { path: "lb.yaml".to_owned(), text: text.to_owned() };
        let config = load(&[source], &|_| None).expect("a configuration").config;
        let folder = Folder::new();
        let found = || -> Vec<String> {
            let path = folder.path().display().to_string();
            let line = |file: UnusableFile| format!("{}: {}", file.path, file.sentence).replace(&path, "");
            unusable_files(&config, folder.path()).into_iter().map(line).collect()
        };
        let missing = |path: &str, file: &str| {
            format!(
                "virtual_services[0].{path}: virtual service web: health_check: its ca_file /{file} cannot be used: No \
                 such file or directory (os error 2)"
            )
        };
        let [own, other] = [missing("health_check", "ca.pem"), missing("real_servers[1].health_check", "other.pem")];
        assert_eq!(found(), [own, other.clone()]);
        folder.write("ca.pem", &Authority::new("Hospital CA").pem);
        assert_eq!(found(), [other]);
    }
}
