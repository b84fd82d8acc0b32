//! Much traffic of real software through the modes that rewrite: all of it arrives, in both directions,
//! with right checksums.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::routed::{Kind, Narrow, RAS_VIPS, Routed, on_each};
use lb_tests::deployments::{ECHO_PORT, Services};
use lb_tests::lab::Host;
use lb_tests::software::echo::{EchoServer, UdpClient};
use lb_tests::software::iperf;
use lb_tests::software::nginx::{self, Nginx};
use lb_tests::traffic::exchange;

const HTTP_PORT: u16 = 80;
const LOAD_PORT: u16 = 5201;
const SECONDS: u32 = 1;
/// Far below what two CPUs carry over virtual links.
const RATE: &str = "20M";
const CONNECTIONS: usize = 1_000;
/// Connections at a time.
const PARALLEL: usize = 40;
const LARGE: u64 = 100_000_000;
const EXCHANGES: usize = 20_000;
const ANSWER: Duration = Duration::from_secs(2);

/// Datagrams that reached a socket of these hosts and found no room.
fn no_room(site: &Routed) -> Result<u64> {
    site.ends().map(Host::no_room).sum()
}

/// Nothing was dropped or damaged on the way.
fn ensure_clean(site: &Routed, balancer: &Balancer<'_>) -> Result<()> {
    let status = balancer.status()?;
    let dropped: Vec<_> = status.counters().filter(|(_, action, packets)| *action == "drop" && *packets > 0).collect();
    ensure!(dropped.is_empty(), "{dropped:?}");
    assert_eq!(site.wrong_checksums()?, 0, "wrong checksums");
    Ok(())
}

#[test]
fn loads_of_iperf3_are_carried_whole_in_both_directions() -> Result<()> {
    on_each("bulk-iperf", &Kind::ALL, Narrow::Nowhere, |lab, site| {
        let mut servers = Vec::new();
        for server in &site.servers {
            servers.push(iperf::serve(server, server.v4(), LOAD_PORT)?);
            servers.push(iperf::serve(server, server.v6(), LOAD_PORT + 1)?);
        }
        let services = Services::new(site.kind, "5201, 5202").persistent();
        let balancer = Balancer::start(lab, &site.balancer, &services.yaml())?;
        for (vip, port) in RAS_VIPS.into_iter().zip([LOAD_PORT, LOAD_PORT + 1]) {
            for client in [&site.client, &site.near] {
                for run in [iperf::tcp, iperf::tcp_reverse] {
                    let load = run(client, vip, port, SECONDS)?;
                    ensure!(load.bytes > 10_000_000, "TCP to {vip} carried only {} bytes", load.bytes);
                }
                for run in [iperf::udp, iperf::udp_reverse] {
                    let before = no_room(site)?;
                    let load = run(client, vip, port, SECONDS, RATE)?;
                    let no_room = no_room(site)? - before;
                    ensure!(
                        load.lost <= no_room && load.datagrams > 1_000,
                        "UDP to {vip}: {load:?}, {no_room} no room"
                    );
                }
            }
        }
        ensure_clean(site, &balancer)
    })
}

#[test]
fn a_thousand_connections_are_answered_and_a_large_body_is_whole() -> Result<()> {
    on_each("bulk-http", &Kind::ALL, Narrow::Nowhere, |lab, site| {
        let _nginx = site.servers.iter().map(|host| Nginx::start(host, HTTP_PORT)).collect::<Result<Vec<_>>>()?;
        let sum = nginx::write_file(&site.servers[0], "large", LARGE)?;
        let services = Services::new(site.kind, "80").protocol("tcp").check_connect(HTTP_PORT);
        let balancer = Balancer::start(lab, &site.balancer, &services.yaml())?;
        for vip in RAS_VIPS {
            let bodies = nginx::fetch_numbered(&site.client, at(vip, HTTP_PORT), CONNECTIONS, PARALLEL)?;
            let mut served: BTreeMap<&str, usize> = BTreeMap::new();
            bodies.iter().for_each(|name| *served.entry(name).or_default() += 1);
            // In turn: half and half, give or take what each CPU begins with.
            let fair = |name: &str| served.get(name).is_some_and(|count| *count > CONNECTIONS / 3);
            ensure!(fair("RAS1") && fair("RAS2"), "{served:?}");
            assert_eq!(nginx::fetch_hashed(&site.client, at(vip, HTTP_PORT), "large")?, sum, "a large body");
        }
        ensure_clean(site, &balancer)
    })
}

#[test]
fn twenty_thousand_short_flows_are_each_answered_to_their_own_client() -> Result<()> {
    on_each("bulk-short", &Kind::ALL, Narrow::Nowhere, |lab, site| {
        let _servers = EchoServer::everywhere(&site.servers, ECHO_PORT)?;
        let services = Services::new(site.kind, &ECHO_PORT.to_string()).protocol("udp").persistent();
        let services = services.flow_timeouts("pending: 10m");
        let balancer = Balancer::start(lab, &site.balancer, &services.yaml())?;
        for vip in RAS_VIPS {
            let sources = Routed::client_addresses(vip);
            let exchanges = exchange(&site.client, &sources, at(vip, ECHO_PORT), EXCHANGES)?;
            ensure!(exchanges.len() == EXCHANGES, "only {} were made", exchanges.len());
            let mut homes = BTreeMap::new();
            let mut seen = BTreeSet::new();
            for it in &exchanges {
                let home = homes.entry(it.client.ip()).or_insert(&it.answer.server);
                assert_eq!(*home, &it.answer.server, "{} was moved", it.client);
                assert_eq!(it.answer.peer.ip(), site.seen_as(it.client.ip()));
                ensure!(site.kind != Kind::Nat || it.answer.peer == it.client, "{it:?}");
                // None of these flows is forgotten yet, so no two look alike to a server.
                ensure!(seen.insert((&it.answer.server, it.answer.peer)), "two flows are one: {it:?}");
            }
            // Whoever was first still has its flow, and is told apart from all others.
            let first = &exchanges[0];
            let again = UdpClient::new(&site.client, first.client, at(vip, ECHO_PORT))?.ask(100, ANSWER)?;
            assert_eq!((again.peer, &again.server), (first.answer.peer, &first.answer.server));
        }
        ensure_clean(site, &balancer)
    })
}
