//! What every proxied service has, printed.

use serde_yaml::{Mapping, Value};

use super::{duration, mapping, networks, path, put, put_some};
use crate::config::model::{AccessLog, Mode, PassiveHealth, ProxyProtocol, VirtualService};
use crate::config::raw::HeaderVersion;

/// `proxy_protocol` stands at each real server.
pub(super) fn put_proxy(section: &mut Mapping, service: &VirtualService) {
    let proxy = &service.proxy;
    if !proxy.accept_proxy_protocol.is_empty() {
        put(section, "accept_proxy_protocol", networks(&proxy.accept_proxy_protocol));
    }
    put(section, "max_connections", proxy.max_connections);
    put(section, "queue", proxy.queue);
    let passive = proxy.passive_health.as_ref();
    put(section, "passive_health", passive.map_or("none".into(), |passive| passive_health(passive, service.mode)));
    put(section, "access_log", proxy.access_log.as_ref().map_or("none".into(), access_log));
    let timeouts = &proxy.timeouts;
    let mut printed = Mapping::new();
    put(&mut printed, "connect", duration(timeouts.connect));
    put(&mut printed, "client", duration(timeouts.client));
    put(&mut printed, "server", duration(timeouts.server));
    put(&mut printed, "request", duration(timeouts.request));
    put(&mut printed, "queue", duration(timeouts.queue));
    if service.mode == Mode::L7Http {
        put(&mut printed, "keep_alive", duration(timeouts.keep_alive));
        put(&mut printed, "tunnel", duration(timeouts.tunnel));
    }
    put(section, "timeouts", Value::Mapping(printed));
}

fn passive_health(passive: &PassiveHealth, mode: Mode) -> Value {
    let mut section = Mapping::new();
    put(&mut section, "connect_failures", passive.connect_failures);
    if mode == Mode::L7Http {
        put(&mut section, "server_errors", passive.server_errors);
    }
    put(&mut section, "rest", duration(passive.rest));
    Value::Mapping(section)
}

fn access_log(log: &AccessLog) -> Value {
    match log {
        AccessLog { file: None, sample: 1 } => "journal".into(),
        AccessLog { file: None, sample } => mapping([("sample", (*sample).into())]),
        AccessLog { file, sample } => {
            let mut section = Mapping::new();
            put_some(&mut section, "file", file.as_deref().map(path));
            put(&mut section, "sample", *sample);
            Value::Mapping(section)
        }
    }
}

pub(super) const fn header_version(header: Option<ProxyProtocol>) -> HeaderVersion {
    match header {
        None => HeaderVersion::None,
        Some(ProxyProtocol::V1) => HeaderVersion::V1,
        Some(ProxyProtocol::V2) => HeaderVersion::V2,
    }
}
