//! What a configuration asks for and this build does not do.

use crate::config::model::{Config, Mode, VirtualService};

/// One sentence for each virtual service that asks for something this build does not do, and one
/// for a pair. Empty: everything will run.
#[must_use]
pub fn unsupported(config: &Config) -> Vec<String> {
    let mut sentences: Vec<String> = config.virtual_services.iter().filter_map(service).collect();
    if config.high_availability.is_some() {
        sentences.push(
            "high_availability: this version of lb runs on a single unit only; remove high_availability".to_owned(),
        );
    }
    sentences
}

fn service(service: &VirtualService) -> Option<String> {
    let (missing, advice): (Vec<String>, Vec<&str>) = [mode(service), tls(service)].into_iter().flatten().unzip();
    if missing.is_empty() {
        return None;
    }
    Some(format!(
        "virtual service {}: this version of lb does not have {}; {}",
        service.name,
        missing.join(", "),
        advice.join(", ")
    ))
}

fn mode(service: &VirtualService) -> Option<(String, &'static str)> {
    let name = match service.mode {
        Mode::L4Dr | Mode::L4Nat | Mode::L4Snat => return None,
        Mode::L7Tcp => "l7-tcp",
        Mode::L7Http => "l7-http",
    };
    Some((format!("mode {name}"), "use mode: l4-snat"))
}

fn tls(service: &VirtualService) -> Option<(String, &'static str)> {
    let asked = service.tls.is_some() || service.real_servers.iter().any(|real| real.tls.is_some());
    asked.then(|| ("TLS".to_owned(), "remove tls and let the real servers do it"))
}

#[cfg(test)]
mod tests;
