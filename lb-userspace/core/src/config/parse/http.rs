//! Settings of HTTP services.

use super::edit::{Side, edits};
use super::rule::rules;
use super::service::not_in_mode;
use crate::config::code::Code;
use crate::config::decode::{At, Context};
use crate::config::model::{Forwarded, Http, Mode, VirtualService};
use crate::config::places::Place;
use crate::config::raw;
use crate::proxy::http::{Pages, Policy};

/// `None` in other modes.
pub(super) fn http(raw: &raw::Service, mode: Option<Mode>, cx: &mut Context<'_>) -> Option<Http> {
    if let Some(mode) = mode
        && mode != Mode::L7Http
    {
        let settings = [
            ("http", raw.http.as_ref().map(|at| at.place)),
            ("request_headers", raw.request_headers.as_ref().map(|at| at.place)),
            ("response_headers", raw.response_headers.as_ref().map(|at| at.place)),
            ("rules", raw.rules.as_ref().map(|at| at.place)),
        ];
        for (key, place) in settings {
            if let Some(place) = place {
                not_in_mode(cx, place, &format!("`{key}`"), mode, "l7-http").help("remove it, or use mode: l7-http");
            }
        }
        return None;
    }
    let mut http = Http::default();
    if let Some(At { value: section, .. }) = &raw.http {
        http.http2 = section.http2.value.0;
        http.max_header_bytes = section.max_header_bytes.value.0;
        http.retries = section.retries.value.0;
        http.retry_budget = section.retry_budget.value.0;
        http.forwarded =
            section.forwarded.as_ref().map_or_else(Forwarded::default, |section| forwarded(&section.value, cx));
        let pages = section.error_pages.iter().flat_map(|pages| &pages.value.0);
        http.error_pages = pages.map(|(status, file)| (*status, file.value.path())).collect();
    }
    http.request_headers = edits(raw.request_headers.as_ref(), Side::Request, cx);
    http.response_headers = edits(raw.response_headers.as_ref(), Side::Answer, cx);
    http.rules = rules(raw, cx);
    Some(http)
}

/// What the proxy would not understand is a mistake of the file, whoever overlooked it above.
pub(super) fn compiles(raw: &raw::Service, service: &VirtualService, cx: &mut Context<'_>) {
    // A mistake that was found is told once, where it is.
    if service.http.is_none() || cx.problems.any_error() {
        return;
    }
    let Err(sentence) = Policy::new(service, Pages::default()) else { return };
    let rules = raw.rules.as_ref().map(|at| at.place).filter(|_| sentence.starts_with("rule "));
    let place = rules.or(raw.http.as_ref().map(|at| at.place)).or(raw.name.as_ref().map(|at| at.place));
    cx.report_key(Code::BadText, place.unwrap_or(Place::ROOT), sentence);
}

fn forwarded(section: &raw::ForwardedSection, cx: &mut Context<'_>) -> Forwarded {
    let (x_forwarded, forwarded) = (section.x_forwarded.value.0, section.forwarded.value.0);
    if let Some(trusted) = &section.trusted
        && !x_forwarded
        && !forwarded
    {
        cx.report_key(Code::NoEffect, trusted.place, "`trusted` is for headers that are not written")
            .help("remove it, or write `x_forwarded: true` or `forwarded: true`");
    }
    let trusted = section.trusted.iter().flat_map(|several| &several.value.0);
    Forwarded { x_forwarded, forwarded, trusted: trusted.map(|network| network.value.0).collect() }
}
