//! Health checks: which settings belong to which type, and what is inherited.
//!
//! A real server's own check changes what it names of the service's. When it names a type, only the
//! timing is inherited.

use std::path::PathBuf;

use super::{Defaults, within_interval};
use crate::config::code::Code;
use crate::config::decode::{At, Context};
use crate::config::model::{BodyExpectation, HealthCheck, HttpProbe, Probe, Protocol};
use crate::config::places::Place;
use crate::config::raw::{CheckSection, CheckType, ExpectSection, Verify};
use crate::config::words::Word;

/// Called AE title when none is typed; what DICOM tools send by default.
const CALLED_AE_TITLE: &str = "ANY-SCP";
/// Calling AE title when none is typed.
const CALLING_AE_TITLE: &str = "LB";

/// The type of check that a section asks for, given the service's protocol.
pub(super) fn type_of(sections: &[&CheckSection], protocol: Protocol) -> CheckType {
    let typed = sections.iter().find_map(|section| section.r#type.as_ref());
    typed.map_or_else(|| default_type(protocol), |at| at.value)
}

/// Whether it verifies a certificate.
pub(super) fn verifies(sections: &[&CheckSection]) -> bool {
    pick(of_one_type(sections), |section| section.verify.as_ref()).is_some_and(|at| at.value == Verify::Full)
}

/// A section that names its type starts anew, so that a printed check means the same wherever it stands.
fn of_one_type<'s, 'r>(sections: &'s [&'r CheckSection]) -> &'s [&'r CheckSection] {
    match sections {
        [own, ..] if own.r#type.is_some() => &sections[..1],
        _ => sections,
    }
}

/// UDP services cannot be connected to (H1, H2).
fn default_type(protocol: Protocol) -> CheckType {
    if protocol == Protocol::Udp { CheckType::Ping } else { CheckType::Connect }
}

/// Builds the check from sections, the nearest first: the real server's, then the service's.
pub(super) fn health_check(
    sections: &[&CheckSection],
    protocol: Protocol,
    defaults: &Defaults,
    cx: &mut Context<'_>,
) -> Option<HealthCheck> {
    let kind = type_of(sections, protocol);
    let same_type = of_one_type(sections);
    if let Some(own) = sections.first() {
        only_its_settings(own, kind, cx);
    }
    let interval = pick(sections, |section| section.interval.as_ref()).map_or(defaults.interval, |at| at.value.0);
    let timeout = pick(sections, |section| section.timeout.as_ref()).map_or(defaults.timeout, |at| at.value.0);
    if let Some(own) = sections.first()
        && let Some(place) = own.timeout.as_ref().map(|at| at.place).or(own.interval.as_ref().map(|at| at.place))
    {
        within_interval(timeout, interval, place, cx);
    }
    let place = sections.first().map_or(Place::ROOT, |section| section.place);
    let probe = probe(kind, same_type, place, cx)?;
    let port = match kind {
        CheckType::Ping | CheckType::None => None,
        _ => pick(same_type, |section| section.port.as_ref()).map(|at| at.value.0),
    };
    Some(HealthCheck {
        probe,
        port,
        interval,
        timeout,
        rise: pick(sections, |section| section.rise.as_ref()).map_or(defaults.rise, |at| at.value.0),
        fall: pick(sections, |section| section.fall.as_ref()).map_or(defaults.fall, |at| at.value.0),
        flap_damping: pick(sections, |section| section.flap_damping.as_ref())
            .map_or(defaults.flap_damping, |at| at.value.0),
        proxy_protocol: None,
    })
}

fn pick<'a, T>(
    sections: &[&'a CheckSection],
    get: impl Fn(&'a CheckSection) -> Option<&'a At<T>>,
) -> Option<&'a At<T>> {
    sections.iter().find_map(|section| get(section))
}

fn probe(kind: CheckType, sections: &[&CheckSection], place: Place, cx: &mut Context<'_>) -> Option<Probe> {
    Some(match kind {
        CheckType::Connect => Probe::Connect,
        CheckType::Ping => Probe::Ping,
        CheckType::None => Probe::None,
        CheckType::Http => Probe::Http(http(sections, cx)?),
        CheckType::Https => https(sections, cx)?,
        CheckType::DicomEcho => {
            let title = |typed: Option<&At<_>>, default: &str| {
                // DICOM PS3.5 section 6.2: spaces at both ends do not count.
                typed.map_or(default.to_owned(), |at: &At<crate::config::values::Text<_>>| {
                    at.value.text.trim_matches(' ').to_owned()
                })
            };
            Probe::DicomEcho {
                called_ae_title: title(pick(sections, |section| section.called_ae_title.as_ref()), CALLED_AE_TITLE),
                calling_ae_title: title(pick(sections, |section| section.calling_ae_title.as_ref()), CALLING_AE_TITLE),
            }
        }
        CheckType::Script => match pick(sections, |section| section.path.as_ref()) {
            Some(path) => Probe::Script { path: PathBuf::from(&path.value.text) },
            None if sections.iter().any(|section| section.faulty) => return None,
            None => {
                cx.report(Code::MissingKey, place, "`path` is missing: a script check needs its program")
                    .help("add `path: /usr/lib/lb/checks/NAME`; it is called as PROGRAM VIP VIP-PORT RIP RIP-PORT");
                return None;
            }
        },
    })
}

fn https(sections: &[&CheckSection], cx: &mut Context<'_>) -> Option<Probe> {
    let verify = pick(sections, |section| section.verify.as_ref()).is_some_and(|at| at.value == Verify::Full);
    let ca_file = pick(sections, |section| section.ca_file.as_ref());
    if let Some(ca) = ca_file
        && !verify
    {
        cx.report_key(Code::ChooseOne, ca.place, "`ca_file` has no effect without `verify: full`")
            .help("write `verify: full`, or remove `ca_file`");
    }
    Some(Probe::Https {
        http: http(sections, cx)?,
        verify,
        server_name: pick(sections, |section| section.server_name.as_ref()).map(|at| at.value.text.clone()),
        ca_file: ca_file.map(|at| at.value.path()),
    })
}

fn http(sections: &[&CheckSection], cx: &mut Context<'_>) -> Option<HttpProbe> {
    let path = pick(sections, |section| section.path.as_ref());
    if let Some(path) = path
        && !path.value.text.bytes().all(|byte| byte.is_ascii_graphic())
    {
        cx.report(Code::BadText, path.place, "the path of a request has no spaces and no letters beyond ASCII")
            .help("write them percent-encoded: %20 for a space");
    }
    let expect = pick(sections, |section| section.expect.as_ref());
    let body = match expect {
        None => BodyExpectation::Any,
        Some(expect) => body(&expect.value, cx)?,
    };
    Some(HttpProbe {
        path: path.map_or_else(|| "/".to_owned(), |at| at.value.text.clone()),
        host: pick(sections, |section| section.host.as_ref()).map(|at| at.value.text.clone()),
        status: expect.map_or(200, |expect| expect.value.status.value.0),
        body,
    })
}

fn body(expect: &ExpectSection, cx: &mut Context<'_>) -> Option<BodyExpectation> {
    match (&expect.contains, &expect.equals, &expect.regex) {
        (None, None, None) => Some(BodyExpectation::Any),
        (Some(text), None, None) => Some(BodyExpectation::Contains(text.value.text.clone())),
        (None, Some(text), None) => Some(BodyExpectation::Equals(text.value.text.clone())),
        (None, None, Some(text)) => Some(BodyExpectation::Regex(text.value.text.clone())),
        _ => {
            cx.report(Code::ChooseOne, expect.place, "more than one of contains, equals and regex is written")
                .help("keep one; a regular expression can say what several would");
            None
        }
    }
}

/// Reports settings that the type of check would ignore.
fn only_its_settings(section: &CheckSection, kind: CheckType, cx: &mut Context<'_>) {
    use CheckType::{DicomEcho, Http, Https, None as Never, Ping, Script};
    let is_http = matches!(kind, Http | Https);
    let settings: [(&str, Option<Place>, bool, &str); 9] = [
        ("port", place(&section.port), !matches!(kind, Ping | Never), "a type that uses a port"),
        ("path", place(&section.path), is_http || kind == Script, "http, https and script"),
        ("host", place(&section.host), is_http, "http and https"),
        ("expect", place(&section.expect), is_http, "http and https"),
        ("verify", place(&section.verify), kind == Https, "https"),
        ("server_name", place(&section.server_name), kind == Https, "https"),
        ("ca_file", place(&section.ca_file), kind == Https, "https"),
        ("called_ae_title", place(&section.called_ae_title), kind == DicomEcho, "dicom-echo"),
        ("calling_ae_title", place(&section.calling_ae_title), kind == DicomEcho, "dicom-echo"),
    ];
    for (key, place, allowed, owner) in settings {
        if let Some(place) = place
            && !allowed
        {
            cx.report_key(Code::NotInCheck, place, format!("a {} check has no `{key}`", kind.word()))
                .label(format!("it belongs to {owner}"))
                .help(format!("remove `{key}`, or write the type that is meant"));
        }
    }
}

fn place<T>(value: &Option<At<T>>) -> Option<Place> {
    value.as_ref().map(|at| at.place)
}
