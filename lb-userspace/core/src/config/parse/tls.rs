//! Certificates, and the TLS listener of a service.

use std::collections::BTreeMap;

use super::secret;
use super::service::{is_layer_7, not_in_mode};
use crate::config::code::Code;
use crate::config::decode::{At, Context};
use crate::config::model::{Certificate, ClientCertificate, Mode, TlsListener};
use crate::config::places::Place;
use crate::config::raw;
use crate::config::values::{Ports, Switch};

pub(super) fn certificates(root: &raw::Root, cx: &mut Context<'_>) -> BTreeMap<String, Certificate> {
    let mut certificates = BTreeMap::new();
    if let Some(section) = &root.certificates {
        for (label, raw) in &section.value.0 {
            certificates.extend(certificate(&raw.value, raw.place, cx).map(|read| (label.clone(), read)));
        }
    }
    certificates
}

fn certificate(raw: &raw::CertificateSection, place: Place, cx: &mut Context<'_>) -> Option<Certificate> {
    let ocsp = raw.ocsp_file.as_ref().map(|file| file.value.path());
    let password = secret(raw.password.as_ref(), raw.password_file.as_ref(), "password", cx);
    match (&raw.pem, &raw.key, &raw.pfx) {
        (Some(pem), Some(key), None) => {
            let stray = raw.password.as_ref().map(|at| at.place).or(raw.password_file.as_ref().map(|at| at.place));
            if let Some(stray) = stray {
                cx.report_key(
                    Code::IncompleteCertificate,
                    stray,
                    "a password belongs to `pfx`, not to `pem` and `key`",
                )
                .help("remove it; a PEM key must not be encrypted");
            }
            Some(Certificate::Pem { pem: pem.value.path(), key: key.value.path(), ocsp })
        }
        (None, None, Some(pfx)) => Some(Certificate::Pfx { pfx: pfx.value.path(), password, ocsp }),
        _ if raw.faulty => None,
        (pem, key, pfx) => {
            let message = match (pem, key, pfx) {
                (Some(_), None, None) => "`pem` needs its private key",
                (None, Some(_), None) => "`key` needs its certificate",
                (None, None, None) => "no file is named",
                _ => "both PEM and PFX are named",
            };
            cx.report_key(Code::IncompleteCertificate, place, message)
                .help("write `pem` and `key`, or `pfx` and, when it has one, `password_file`");
            None
        }
    }
}

pub(super) fn listener(raw: &raw::Service, mode: Option<Mode>, cx: &mut Context<'_>) -> Option<TlsListener> {
    let section = raw.tls.as_ref()?;
    if let Some(mode) = mode
        && !is_layer_7(mode)
    {
        not_in_mode(cx, section.place, "`tls`", mode, "layer 7")
            .help("remove it to pass TLS through to the real servers, or use mode: l7-http or l7-tcp");
    }
    redirect(raw, section, mode, cx);
    let client_certificate = section.value.client_certificate.as_ref().and_then(|section| {
        Some(ClientCertificate {
            ca_file: section.value.ca_file.as_ref()?.value.path(),
            required: section.value.required.value.0,
        })
    });
    let certificates = match (&section.value.certificate, &section.value.certificates) {
        (Some(one), None) => vec![one.value.text.clone()],
        (None, Some(several)) => several.value.0.iter().map(|label| label.value.text.clone()).collect(),
        (Some(_), Some(several)) => {
            cx.report_key(Code::ChooseOne, several.place, "both `certificate` and `certificates` are written")
                .help("keep `certificates`, with the default first");
            return None;
        }
        (None, None) => Vec::new(),
    };
    if certificates.is_empty() && section.value.faulty {
        return None;
    }
    if certificates.is_empty() {
        cx.report_key(Code::MissingKey, section.place, "`certificate` is missing")
            .help("add `certificate:` with a label from `certificates`");
        return None;
    }
    Some(TlsListener {
        port: section.value.port.value.0,
        certificates,
        policy: section.value.policy.value,
        redirect: section.value.redirect.value.0,
        client_certificate,
    })
}

/// Requests are redirected from plain ports, in HTTP.
fn redirect(raw: &raw::Service, section: &At<raw::TlsSection>, mode: Option<Mode>, cx: &mut Context<'_>) {
    let At { value: Switch(is_on), place } = section.value.redirect;
    if !is_on {
        return;
    }
    if let Some(mode) = mode
        && mode == Mode::L7Tcp
    {
        not_in_mode(cx, place, "`redirect` to its TLS port", mode, "l7-http").help("remove it, or use mode: l7-http");
    }
    let port = section.value.port.value.0;
    let only_tls = |ports: &Ports| ports.0.iter().all(|range| (range.first, range.last) == (port, port));
    if raw.ports.as_ref().is_some_and(|ports| only_tls(&ports.value)) {
        cx.report_key(
            Code::NoEffect,
            place,
            format!("`redirect` has no plain port to redirect from: {port} speaks TLS"),
        )
        .help("add the plain port to `ports`, for example 80, or remove `redirect`");
    }
}
