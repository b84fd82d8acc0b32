//! Flows that end give back what they held; when every source port is taken, new flows wait outside and
//! the others go on.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::routed::{Kind, Narrow, RAS_VIPS, on_each, same_family};
use lb_tests::deployments::{ECHO_PORT, NAMES, Services};
use lb_tests::lab::wait_until;
use lb_tests::software::echo::{EchoServer, TcpClient, UdpClient};
use lb_tests::software::nginx::{self, Nginx};
use lb_tests::software::prometheus::scrape_socket;
use serde_json::Value;

const ANSWER: Duration = Duration::from_secs(2);
/// Of the configuration, and many times that for a busy machine.
const CLOSING: &str = "closing: 2s";
const FORGOTTEN: Duration = Duration::from_secs(40);
const HTTP_PORT: u16 = 80;
const CONNECTIONS: usize = 1_000;
const PARALLEL: usize = 40;
/// More flows than a lab has.
const ALL: &str = "10000";
/// As few as shows their end.
const FEW_PORTS: usize = 64;

/// TCP flows that are listed for a service.
fn listed(balancer: &Balancer<'_>, service: &str) -> Result<Vec<Value>> {
    let output = balancer.lbctl(&["connections", "--json", "--limit", ALL])?.success()?;
    let list: Value = serde_json::from_str(&output.stdout).with_context(|| format!("no JSON: {output}"))?;
    let flows = list["connections"].as_array().context("connections is no list")?;
    Ok(flows.iter().filter(|flow| flow["virtual_service"] == service && flow["protocol"] == "TCP").cloned().collect())
}

#[test]
fn closed_connections_are_forgotten_and_their_ports_are_used_again() -> Result<()> {
    on_each("closing", &Kind::ALL, Narrow::Nowhere, |lab, site| {
        let _nginx = Nginx::start(&site.servers[0], HTTP_PORT)?;
        // Enough for one round and not for two, unless the first has given its ports back.
        let services = Services::new(site.kind, "80").protocol("tcp").one_server().flow_timeouts(CLOSING);
        let services = services.node("source_ports: 20000-21199");
        let balancer = Balancer::start(lab, &site.balancer, &services.yaml())?;
        for (vip, name) in RAS_VIPS.into_iter().zip(NAMES) {
            for round in 1..=3 {
                nginx::fetch_numbered(&site.client, at(vip, HTTP_PORT), CONNECTIONS, PARALLEL)
                    .with_context(|| format!("round {round}"))?;
                wait_until(&format!("round {round}: no connection is listed any more"), FORGOTTEN, || {
                    let left = listed(&balancer, name)?;
                    ensure!(left.is_empty(), "{} still are, the first {}", left.len(), left[0]);
                    Ok(())
                })?;
            }
        }
        // A port rests for two sweeps after its flow: a client whose first SYN came in between has sent another.
        let status = balancer.status()?;
        let dropped = status.packets_with("drop") - status.packets_for("source-ports-exhausted");
        assert_eq!(dropped, 0, "{:?}", status.counters().collect::<Vec<_>>());
        assert_eq!(site.wrong_checksums()?, 0);
        Ok(())
    })
}

#[test]
fn the_flow_after_the_last_port_is_refused_and_counted_while_the_others_go_on() -> Result<()> {
    on_each("exhausted", &[Kind::SnatOneArm, Kind::SnatTwoArm], Narrow::Nowhere, |lab, site| {
        let _servers = EchoServer::everywhere(&site.servers, ECHO_PORT)?;
        let services = Services::new(site.kind, &ECHO_PORT.to_string()).one_server().flow_timeouts(CLOSING);
        let balancer = Balancer::start(lab, &site.balancer, &services.node("source_ports: 20000-20063").yaml())?;
        let refused = || -> Result<(u64, f64)> {
            let metrics = scrape_socket(&site.balancer, balancer.socket())?;
            let reason = [("reason", "source-ports-exhausted"), ("action", "drop")];
            let counted = balancer.status()?.packets_for("source-ports-exhausted");
            Ok((counted, metrics.value("lb_datapath_packets_total", &reason)?))
        };
        for vip in RAS_VIPS {
            let service = at(vip, ECHO_PORT);
            let connect = || TcpClient::connect(&site.client, service, ANSWER);
            let mut flows = (0..FEW_PORTS).map(|_| connect()).collect::<Result<Vec<_>>>()?;
            let mut seen = flows.iter_mut().map(|flow| Ok(flow.ask(ANSWER)?.peer)).collect::<Result<Vec<_>>>()?;
            seen.sort_unstable();
            seen.dedup();
            ensure!(seen.len() == FEW_PORTS, "{FEW_PORTS} flows are seen at {} ports", seen.len());
            ensure!(seen.iter().all(|peer| (20_000..20_064).contains(&peer.port())), "{seen:?}");

            let (before, _) = refused()?;
            ensure!(connect().is_err(), "flow {} found a port", FEW_PORTS + 1);
            wait_until("the refusal is counted, in the status and in the metrics", ANSWER, || {
                let (status, metrics) = refused()?;
                ensure!(status > before && metrics > f64::from(u32::try_from(before)?), "{status}, {metrics}");
                Ok(())
            })?;
            for flow in &mut flows {
                flow.ask(ANSWER).context("a flow that has its port goes on")?;
            }
            // UDP has ports of its own.
            UdpClient::new(&site.client, at(same_family(&site.client, vip), 0), service)?.ask(300, ANSWER)?;

            flows.truncate(FEW_PORTS - 4);
            let mut again = wait_until("a port that was given back serves a new flow", FORGOTTEN, connect)?;
            ensure!(seen.contains(&again.ask(ANSWER)?.peer), "it comes from another port");
            for flow in &mut flows {
                flow.ask(ANSWER).context("a flow that has its port goes on")?;
            }
        }
        assert_eq!(site.wrong_checksums()?, 0);
        Ok(())
    })
}
