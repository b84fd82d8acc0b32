//! The whole configuration as text, every default written out.
//!
//! In: a configuration. Out: YAML in the form that `load` reads; reading it gives an equal
//! configuration. Absent: secrets that are not in files. In their place stands `<secret>`, which
//! `load` refuses, so that a printed configuration cannot quietly run with a wrong secret.

mod http;
mod proxy;

use std::path::Path;
use std::time::Duration;

use serde_yaml::{Mapping, Value};

use super::environment::escape;
use super::model::{
    BodyExpectation, Certificate, Config, Fallback, HealthCheck, HighAvailability, HttpProbe, Interface, Mode,
    Persistence, PersistenceBy, PortRange, Probe, RealServer, Secret, ServerTls, TlsListener, VirtualService,
};
use super::parse::SECRET_PLACEHOLDER;
use super::values::print_duration;
use super::words::Word;
use crate::view::Network;

/// The configuration as YAML with every default, ready to be read again.
pub fn effective(config: &Config) -> String {
    // Mappings of texts and numbers can always be written.
    serde_yaml::to_string(&document(config)).unwrap_or_default()
}

/// The configuration in the form of the file, keys in the order of the reference.
pub(crate) fn document(config: &Config) -> Value {
    let mut root = Mapping::new();
    put(&mut root, "version", 1);
    put(&mut root, "node", node(config));
    let mut defaults = Mapping::new();
    let flow = &config.node.flow_timeouts;
    put(
        &mut defaults,
        "flow_timeouts",
        mapping([
            ("established", duration(flow.established)),
            ("half_closed", duration(flow.half_closed)),
            ("closing", duration(flow.closing)),
            ("pending", duration(flow.pending)),
            ("udp", duration(flow.udp)),
        ]),
    );
    put(&mut root, "defaults", Value::Mapping(defaults));
    let mut certificates = Mapping::new();
    for (label, read) in &config.certificates {
        // Keys are not subject to `${…}`.
        certificates.insert(Value::String(label.clone()), certificate(read));
    }
    put(&mut root, "certificates", Value::Mapping(certificates));
    if let Some(pair) = &config.high_availability {
        put(&mut root, "high_availability", high_availability(pair));
    }
    let services = config.virtual_services.iter().map(service).collect();
    put(&mut root, "virtual_services", Value::Sequence(services));
    Value::Mapping(root)
}

fn put(mapping: &mut Mapping, key: &str, value: impl Into<Value>) {
    mapping.insert(Value::String(key.to_owned()), value.into());
}

fn put_some(mapping: &mut Mapping, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        put(mapping, key, value);
    }
}

fn mapping<const N: usize>(entries: [(&str, Value); N]) -> Value {
    let mut mapping = Mapping::new();
    for (key, value) in entries {
        put(&mut mapping, key, value);
    }
    Value::Mapping(mapping)
}

fn text(text: impl AsRef<str>) -> Value {
    Value::String(escape(text.as_ref()))
}

fn texts<T: AsRef<str>>(list: &[T]) -> Value {
    Value::Sequence(list.iter().map(text).collect())
}

fn networks(list: &[Network]) -> Value {
    Value::Sequence(list.iter().map(|network| network.to_string().into()).collect())
}

fn path(path: &Path) -> Value {
    text(path.to_string_lossy())
}

fn duration(duration: Duration) -> Value {
    Value::String(print_duration(duration))
}

fn node(config: &Config) -> Value {
    let node = &config.node;
    let mut section = Mapping::new();
    put_some(&mut section, "name", node.name.as_ref().map(text));
    let interface =
        |interface: &Interface| mapping([("device", text(&interface.device)), ("xdp", interface.xdp.word().into())]);
    put(&mut section, "interfaces", Value::Sequence(node.interfaces.iter().map(interface).collect()));
    let limits = &node.limits;
    put(
        &mut section,
        "limits",
        mapping([
            ("flows", limits.flows.into()),
            ("pending_flows", limits.pending_flows.into()),
            ("translated_flows", limits.translated_flows.into()),
            ("persistence", limits.persistence.into()),
            ("new_flows_per_second", limits.new_flows_per_second.into()),
        ]),
    );
    put(&mut section, "source_ports", node.source_ports.to_string());
    put_some(&mut section, "metrics_address", node.metrics_address.map(|address| address.to_string()));
    let mut proxy = Mapping::new();
    put_some(&mut proxy, "threads", node.proxy.threads);
    put(&mut proxy, "max_connections", node.proxy.max_connections);
    put(&mut proxy, "drain_timeout", duration(node.proxy.drain_timeout));
    put(&mut section, "proxy", Value::Mapping(proxy));
    Value::Mapping(section)
}

fn certificate(certificate: &Certificate) -> Value {
    let mut section = Mapping::new();
    match certificate {
        Certificate::Pem { pem, key, ocsp } => {
            put(&mut section, "pem", path(pem));
            put(&mut section, "key", path(key));
            put_some(&mut section, "ocsp_file", ocsp.as_deref().map(path));
        }
        Certificate::Pfx { pfx, password, ocsp } => {
            put(&mut section, "pfx", path(pfx));
            if let Some(password) = password {
                put_secret(&mut section, "password", password);
            }
            put_some(&mut section, "ocsp_file", ocsp.as_deref().map(path));
        }
    }
    Value::Mapping(section)
}

fn put_secret(section: &mut Mapping, key: &str, secret: &Secret) {
    match secret {
        Secret::Value(_) => put(section, key, SECRET_PLACEHOLDER),
        Secret::File(file) => put(section, &format!("{key}_file"), path(file)),
    }
}

fn high_availability(pair: &HighAvailability) -> Value {
    let vrrp = &pair.vrrp;
    let mut sync = Mapping::new();
    put_some(&mut sync, "listen", pair.sync.listen.map(|listen| listen.to_string()));
    put(&mut sync, "port", pair.sync.port);
    put_secret(&mut sync, "key", &pair.sync.key);
    mapping([
        ("role", pair.role.word().into()),
        ("peer", pair.peer.to_string().into()),
        (
            "vrrp",
            mapping([
                ("interface", text(&vrrp.interface)),
                ("virtual_router_id", vrrp.virtual_router_id.into()),
                ("priority", vrrp.priority.into()),
                ("advertisement_interval", duration(vrrp.advertisement_interval)),
                ("preempt", vrrp.preempt.into()),
            ]),
        ),
        ("sync", Value::Mapping(sync)),
    ])
}

fn service(service: &VirtualService) -> Value {
    let mut section = Mapping::new();
    put(&mut section, "name", text(&service.name));
    put(&mut section, "address", service.address.to_string());
    put_some(&mut section, "interface", service.interface.as_ref().map(text));
    put(&mut section, "ports", ports(service));
    put(&mut section, "protocol", service.protocol.word());
    put(&mut section, "mode", service.mode.word());
    if service.mode == Mode::L4Snat || !service.mode.is_layer_4() {
        put(&mut section, "source_address", service.source_address.to_string());
    }
    put_some(&mut section, "new_flows_per_second", service.new_flows_per_second);
    put(&mut section, "scheduler", service.scheduler.word());
    put(&mut section, "persistence", persistence(service));
    put(&mut section, "health_check", health_check(&service.health_check));
    put(&mut section, "slow_start", duration(service.slow_start));
    put(&mut section, "on_removal", service.on_removal.word());
    if !service.mode.is_layer_4() {
        proxy::put_proxy(&mut section, service);
    }
    if let Some(http) = &service.http {
        http::put_http_settings(&mut section, http);
    }
    put_some(&mut section, "tls", service.tls.as_ref().map(tls));
    put_some(&mut section, "fallback", service.fallback.as_ref().map(fallback));
    let servers = service.real_servers.iter().map(|server| real_server(server, service.mode)).collect();
    put(&mut section, "real_servers", Value::Sequence(servers));
    Value::Mapping(section)
}

/// The first port as typed stays first; the others are sorted.
fn ports(service: &VirtualService) -> Value {
    let (first, others): (Vec<_>, Vec<_>) = service.ports.iter().partition(|range| range.first == service.first_port);
    let port = |range: &&PortRange| match range.first == range.last {
        true => Value::from(range.first),
        false => Value::from(range.to_string()),
    };
    Value::Sequence(first.iter().chain(&others).map(port).collect())
}

fn persistence(service: &VirtualService) -> Value {
    let Some(Persistence { by, timeout, prefix_v4, prefix_v6 }) = &service.persistence else { return "none".into() };
    let mut section = Mapping::new();
    match by {
        PersistenceBy::SourceIp => {
            put(&mut section, "by", "source-ip");
            put(&mut section, "prefix", if service.address.is_ipv4() { *prefix_v4 } else { *prefix_v6 });
        }
        PersistenceBy::Cookie { name } => {
            put(&mut section, "by", "cookie");
            put(&mut section, "cookie", text(name));
        }
        PersistenceBy::RdpCookie => put(&mut section, "by", "rdp-cookie"),
    }
    put(&mut section, "timeout", duration(*timeout));
    Value::Mapping(section)
}

fn health_check(check: &HealthCheck) -> Value {
    let mut section = Mapping::new();
    let kind = match &check.probe {
        Probe::Connect => "connect",
        Probe::Ping => "ping",
        Probe::Http(_) => "http",
        Probe::Https { .. } => "https",
        Probe::DicomEcho { .. } => "dicom-echo",
        Probe::Script { .. } => "script",
        Probe::None => "none",
    };
    put(&mut section, "type", kind);
    put_some(&mut section, "port", check.port);
    match &check.probe {
        Probe::Connect | Probe::Ping | Probe::None => {}
        Probe::Http(http) => put_http(&mut section, http),
        Probe::Https { http, verify, server_name, ca_file } => {
            put_http(&mut section, http);
            put(&mut section, "verify", if *verify { "full" } else { "none" });
            put_some(&mut section, "server_name", server_name.as_ref().map(text));
            put_some(&mut section, "ca_file", ca_file.as_deref().map(path));
        }
        Probe::DicomEcho { called_ae_title, calling_ae_title } => {
            put(&mut section, "called_ae_title", text(called_ae_title));
            put(&mut section, "calling_ae_title", text(calling_ae_title));
        }
        Probe::Script { path: program } => put(&mut section, "path", path(program)),
    }
    put(&mut section, "interval", duration(check.interval));
    put(&mut section, "timeout", duration(check.timeout));
    put(&mut section, "rise", check.rise);
    put(&mut section, "fall", check.fall);
    put(&mut section, "flap_damping", check.flap_damping);
    Value::Mapping(section)
}

fn put_http(section: &mut Mapping, http: &HttpProbe) {
    put(section, "path", text(&http.path));
    put_some(section, "host", http.host.as_ref().map(text));
    let mut expect = Mapping::new();
    put(&mut expect, "status", http.status);
    match &http.body {
        BodyExpectation::Any => {}
        BodyExpectation::Contains(body) => put(&mut expect, "contains", text(body)),
        BodyExpectation::Equals(body) => put(&mut expect, "equals", text(body)),
        BodyExpectation::Regex(pattern) => put(&mut expect, "regex", text(pattern)),
    }
    put(section, "expect", Value::Mapping(expect));
}

fn tls(tls: &TlsListener) -> Value {
    let mut section = Mapping::new();
    put(&mut section, "port", tls.port);
    put(&mut section, "certificates", texts(&tls.certificates));
    put(&mut section, "policy", tls.policy.word());
    put(&mut section, "redirect", tls.redirect);
    if let Some(certificate) = &tls.client_certificate {
        let (ca_file, required) = (path(&certificate.ca_file), certificate.required.into());
        put(&mut section, "client_certificate", mapping([("ca_file", ca_file), ("required", required)]));
    }
    Value::Mapping(section)
}

fn fallback(fallback: &Fallback) -> Value {
    let mut section = Mapping::new();
    match fallback {
        Fallback::Server { address, port } => {
            put(&mut section, "address", address.to_string());
            put_some(&mut section, "port", *port);
        }
        Fallback::Page(page) => put(&mut section, "page", path(page)),
        Fallback::Redirect(url) => put(&mut section, "redirect", text(url)),
    }
    Value::Mapping(section)
}

fn real_server(server: &RealServer, mode: Mode) -> Value {
    let mut section = Mapping::new();
    put(&mut section, "name", text(&server.name));
    put(&mut section, "address", server.address.to_string());
    put_some(&mut section, "port", server.port);
    put(&mut section, "weight", server.weight);
    put(&mut section, "min_connections", server.min_connections);
    put(&mut section, "max_connections", server.max_connections);
    put(&mut section, "backup", server.backup);
    put_some(&mut section, "pool", server.pool.as_ref().map(text));
    if !mode.is_layer_4() {
        put(&mut section, "proxy_protocol", proxy::header_version(server.proxy_protocol).word());
    }
    if mode == Mode::L7Http {
        put(&mut section, "http_version", server.http_version.word());
    }
    put_some(&mut section, "tls", server.tls.as_ref().map(server_tls));
    put_some(&mut section, "redirect", server.redirect.as_ref().map(text));
    put_some(&mut section, "health_check", server.health_check.as_ref().map(health_check));
    Value::Mapping(section)
}

fn server_tls(tls: &ServerTls) -> Value {
    let mut section = Mapping::new();
    put(&mut section, "verify", if tls.verify { "full" } else { "none" });
    put_some(&mut section, "server_name", tls.server_name.as_ref().map(text));
    put_some(&mut section, "ca_file", tls.ca_file.as_deref().map(path));
    Value::Mapping(section)
}
