//! What every proxied service has: timeouts, limits, PROXY headers, passive health, access log.

use super::service::{is_layer_7, not_in_mode};
use super::{Defaults, standard_timeouts};
use crate::config::code::Code;
use crate::config::decode::{At, Context};
use crate::config::model::{AccessLog, Mode, PassiveHealth, Proxy, ProxyProtocol, Timeouts};
use crate::config::places::Place;
use crate::config::raw::{self, AccessLogForm, AccessLogWord, HeaderVersion, PassiveForm};

pub(super) fn proxy(raw: &raw::Service, mode: Option<Mode>, defaults: &Defaults, cx: &mut Context<'_>) -> Proxy {
    let timeouts = timeouts(raw, mode, defaults, cx);
    let standard = Proxy::default();
    let settings = [
        ("accept_proxy_protocol", raw.accept_proxy_protocol.as_ref().map(|at| at.place)),
        ("proxy_protocol", raw.proxy_protocol.as_ref().map(|at| at.place)),
        ("max_connections", raw.max_connections.as_ref().map(|at| at.place)),
        ("queue", raw.queue.as_ref().map(|at| at.place)),
        ("passive_health", raw.passive_health.as_ref().map(|at| at.place)),
        ("access_log", raw.access_log.as_ref().map(|at| at.place)),
    ];
    if let Some(mode) = mode
        && !is_layer_7(mode)
    {
        for (key, place) in settings {
            if let Some(place) = place {
                not_in_mode(cx, place, &format!("`{key}`"), mode, "layer 7")
                    .help("remove it, or use mode: l7-tcp or l7-http");
            }
        }
        return Proxy { timeouts, ..standard };
    }
    Proxy {
        timeouts,
        accept_proxy_protocol: raw
            .accept_proxy_protocol
            .as_ref()
            .map_or_else(Vec::new, |several| several.value.0.iter().map(|network| network.value.0).collect()),
        max_connections: raw.max_connections.as_ref().map_or(standard.max_connections, |at| at.value.0),
        queue: raw.queue.as_ref().map_or(standard.queue, |at| at.value.0),
        passive_health: raw
            .passive_health
            .as_ref()
            .map_or(standard.passive_health, |form| passive_health(form, mode, cx)),
        access_log: raw.access_log.as_ref().map_or(standard.access_log, |form| access_log(&form.value)),
    }
}

fn timeouts(raw: &raw::Service, mode: Option<Mode>, defaults: &Defaults, cx: &mut Context<'_>) -> Timeouts {
    let standard = standard_timeouts();
    let mut timeouts = match mode {
        Some(Mode::L4Dr | Mode::L4Nat | Mode::L4Snat) => standard,
        Some(Mode::L7Tcp) => Timeouts { keep_alive: standard.keep_alive, tunnel: standard.tunnel, ..defaults.timeouts },
        Some(Mode::L7Http) | None => defaults.timeouts,
    };
    let Some(section) = &raw.timeouts else { return timeouts };
    if let Some(mode) = mode
        && !is_layer_7(mode)
    {
        not_in_mode(cx, section.place, "`timeouts`", mode, "layer 7")
            .help("remove it; `defaults.flow_timeouts` says how long idle layer 4 flows are remembered");
        return timeouts;
    }
    let section = &section.value;
    let set = |value: &mut std::time::Duration, typed: &Option<At<raw::IdlePeriod>>| {
        if let Some(at) = typed {
            *value = at.value.0;
        }
    };
    set(&mut timeouts.connect, &section.connect);
    set(&mut timeouts.client, &section.client);
    set(&mut timeouts.server, &section.server);
    set(&mut timeouts.request, &section.request);
    set(&mut timeouts.queue, &section.queue);
    if mode == Some(Mode::L7Tcp) {
        for (key, typed) in [("keep_alive", &section.keep_alive), ("tunnel", &section.tunnel)] {
            if let Some(at) = typed {
                not_in_mode(cx, at.place, &format!("timeout `{key}`"), Mode::L7Tcp, "l7-http")
                    .help("remove it; `client` and `server` say how long a connection may be idle");
            }
        }
        return timeouts;
    }
    set(&mut timeouts.keep_alive, &section.keep_alive);
    set(&mut timeouts.tunnel, &section.tunnel);
    timeouts
}

fn passive_health(form: &At<PassiveForm>, mode: Option<Mode>, cx: &mut Context<'_>) -> Option<PassiveHealth> {
    let PassiveForm::Full(section) = &form.value else { return None };
    let passive = PassiveHealth {
        connect_failures: section.connect_failures.value.0,
        server_errors: section.server_errors.value.0,
        rest: section.rest.value.0,
    };
    if mode == Some(Mode::L7Tcp) && passive.server_errors > 0 {
        not_in_mode(cx, section.server_errors.place, "`server_errors`", Mode::L7Tcp, "l7-http")
            .help("remove it: what is in a connection is not looked at");
    } else if (passive.connect_failures, passive.server_errors) == (0, 0) {
        cx.report_key(Code::NoEffect, form.place, "this `passive_health` counts nothing")
            .help("write `passive_health: none`, or a number above 0");
    }
    Some(passive)
}

fn access_log(form: &AccessLogForm) -> Option<AccessLog> {
    match form {
        AccessLogForm::Word(AccessLogWord::None) => None,
        AccessLogForm::Word(AccessLogWord::Journal) => Some(AccessLog { file: None, sample: 1 }),
        AccessLogForm::Full(section) => Some(AccessLog {
            file: section.file.as_ref().map(|file| file.value.path()),
            sample: section.sample.value.0,
        }),
    }
}

/// The PROXY header of one real server: its own choice, else the service's.
pub(super) fn header_towards(
    server: &raw::Server,
    service: &raw::Service,
    mode: Option<Mode>,
    cx: &mut Context<'_>,
) -> Option<ProxyProtocol> {
    let own: Option<(HeaderVersion, Place)> = server.proxy_protocol.as_ref().map(|at| (at.value, at.place));
    if let (Some((_, place)), Some(mode)) = (own, mode)
        && !is_layer_7(mode)
    {
        not_in_mode(cx, place, "`proxy_protocol`", mode, "layer 7").help("remove it, or use mode: l7-tcp or l7-http");
    }
    let version = own.map(|(version, _)| version).or(service.proxy_protocol.as_ref().map(|at| at.value))?;
    match version {
        HeaderVersion::None => None,
        HeaderVersion::V1 => Some(ProxyProtocol::V1),
        HeaderVersion::V2 => Some(ProxyProtocol::V2),
    }
}
