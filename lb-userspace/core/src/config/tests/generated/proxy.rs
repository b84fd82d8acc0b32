//! What every proxied service has, as nobody wrote it.

use std::time::Duration;

use proptest::prelude::*;

use super::super::super::model::*;
use super::super::parse;
use super::seconds;
use crate::view::Network;

pub(super) fn node() -> BoxedStrategy<ProxyNode> {
    (proptest::option::of(1..=1024u16), 1..=10_000_000u32, seconds(0..2_592_000))
        .prop_map(|(threads, max_connections, drain_timeout)| ProxyNode { threads, max_connections, drain_timeout })
        .boxed()
}

pub(super) fn networks(least: usize) -> BoxedStrategy<Vec<Network>> {
    let network = (any::<std::net::IpAddr>(), any::<u8>()).prop_map(|(address, length)| Network::new(address, length));
    proptest::collection::vec(network, least..4).boxed()
}

/// The defaults in layer 4.
pub(super) fn proxy(mode: Mode) -> BoxedStrategy<Proxy> {
    if mode.is_layer_4() {
        return Just(Proxy { timeouts: parse::standard_timeouts(), ..Proxy::default() }).boxed();
    }
    (
        timeouts(mode),
        networks(0),
        any::<u32>(),
        0..=1_000_000u32,
        proptest::option::of(passive_health(mode)),
        proptest::option::of((proptest::option::of("/[a-z ]{1,9}"), 1..=1_000_000u32)),
    )
        .prop_map(|(timeouts, accept_proxy_protocol, max_connections, queue, passive_health, access_log)| Proxy {
            timeouts,
            accept_proxy_protocol,
            max_connections,
            queue,
            passive_health,
            access_log: access_log.map(|(file, sample)| AccessLog { file: file.map(Into::into), sample }),
        })
        .boxed()
}

fn timeouts(mode: Mode) -> BoxedStrategy<Timeouts> {
    let standard = parse::standard_timeouts();
    let http = move |timeout, otherwise| if mode == Mode::L7Http { timeout } else { otherwise };
    let some = || (1..604_800_000u64).prop_map(Duration::from_millis);
    (some(), some(), some(), some(), some(), some(), some())
        .prop_map(move |(connect, client, server, request, queue, keep_alive, tunnel)| Timeouts {
            connect,
            client,
            server,
            request,
            keep_alive: http(keep_alive, standard.keep_alive),
            queue,
            tunnel: http(tunnel, standard.tunnel),
        })
        .boxed()
}

fn passive_health(mode: Mode) -> BoxedStrategy<PassiveHealth> {
    (0..=1_000_000u32, 0..=1_000_000u32, 100..=3_600_000u64)
        .prop_map(move |(connect_failures, server_errors, rest)| PassiveHealth {
            connect_failures,
            server_errors: if mode == Mode::L7Http { server_errors } else { 0 },
            rest: Duration::from_millis(rest),
        })
        .boxed()
}

/// What a real server has in layer 7.
#[derive(Clone, Debug)]
pub(super) struct Towards {
    pub(super) pool: Option<String>,
    pub(super) proxy_protocol: Option<ProxyProtocol>,
    pub(super) http_version: HttpVersion,
}

pub(super) fn towards_server(mode: Mode) -> BoxedStrategy<Towards> {
    let header = prop_oneof![Just(None), Just(Some(ProxyProtocol::V1)), Just(Some(ProxyProtocol::V2))];
    let version = prop_oneof![Just(HttpVersion::Http1), Just(HttpVersion::Http2), Just(HttpVersion::Auto)];
    (proptest::option::of("pool [ab]"), header, version)
        .prop_map(move |(pool, proxy_protocol, http_version)| {
            let is_http = mode == Mode::L7Http;
            Towards {
                pool: pool.filter(|_| is_http),
                proxy_protocol: proxy_protocol.filter(|_| !mode.is_layer_4()),
                http_version: if is_http { http_version } else { HttpVersion::default() },
            }
        })
        .boxed()
}
