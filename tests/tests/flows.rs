//! What an administrator sees of translated flows: which source each has, how many source ports are left,
//! and what is said when they run out.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, ECHO_PORT, MEDIA_VIP};
use lb_tests::lab::{in_lab, wait_until};
use lb_tests::software::echo::{EchoServer, UdpClient};
use serde_json::Value;

/// As few source ports as there may be: 64.
const CONFIGURATION: &str = "
version: 1
node:
  interfaces: [{device: eth0}]
  source_ports: 1024-1087
virtual_services:
  - name: gateway
    address: 192.168.94.110
    ports: [50002]
    protocol: tcp+udp
    mode: l4-snat
    health_check: {type: none}
    real_servers:
      - {name: HT1, address: 192.168.94.115, port: 50003}
";
const SERVER_PORT: u16 = 50_003;
const PORTS: usize = 64;
/// More than 80 % and 90 % of them.
const CLIENTS: usize = 60;
const ANSWER: Duration = Duration::from_secs(5);
/// Sweeps come every second or two.
const LAG: Duration = Duration::from_secs(15);

fn json(balancer: &Balancer<'_>, arguments: &[&str]) -> Result<Value> {
    let output = balancer.lbctl(&[arguments, &["--json"]].concat())?.success()?;
    serde_json::from_str(&output.stdout).with_context(|| format!("no JSON: {output}"))
}

#[test]
fn source_ports_are_listed_counted_and_told_of_before_and_when_they_run_out() -> Result<()> {
    in_lab("ports", |lab| {
        let site = deployments::harmonic(lab)?;
        let server = at(site.server("HT1").v4(), SERVER_PORT);
        let _echo = EchoServer::udp(site.server("HT1"), server)?;
        let balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;
        let client = || UdpClient::new(&site.client, at(site.client.v4(), 0), at(MEDIA_VIP, ECHO_PORT));
        let (mut clients, mut seen) = (Vec::new(), BTreeSet::new());
        for _ in 0..CLIENTS {
            let client = client()?;
            client.ask(1, ANSWER)?;
            seen.insert(client.ask(1, ANSWER)?.peer);
            clients.push(client);
        }
        ensure!(seen.len() == CLIENTS, "two flows had one source: {seen:?}");

        // What is listed is what the real server has seen.
        let asked = ["connections", "--protocol", "udp", "--vip", "192.168.94.110", "--port", "50002"];
        let list = json(&balancer, &[&asked[..], &["--server", "HT1", "--state", "udp", "--sort", "client"]].concat())?;
        let flows = list["connections"].as_array().context("connections is no list")?;
        let addresses = |field: &str| -> Result<BTreeSet<SocketAddr>> {
            let address = |flow: &Value| Ok(flow[field].as_str().context("no address")?.parse()?);
            flows.iter().map(address).collect()
        };
        assert_eq!(addresses("source")?, seen, "{list}");
        assert_eq!(addresses("destination")?, BTreeSet::from([server]), "{list}");
        let sorted: Vec<_> = flows.iter().map(|flow| flow["client"].to_string()).collect();
        let mut again = sorted.clone();
        again.sort();
        assert_eq!(sorted, again);
        let cut = balancer.lbctl(&["connections", "--limit", "2", "--reverse"])?.success()?.stdout;
        ensure!(cut.contains(&format!("2 of {CLIENTS} connections are shown")), "{cut}");
        assert_eq!(json(&balancer, &["connections", "--min-age", "1h"])?["total"], 0);

        wait_until("the status says how many source ports are in use", LAG, || {
            let status = balancer.status()?;
            let shown = status.server("gateway", "HT1")?;
            let udp = &shown["source_ports"][1];
            ensure!(udp["protocol"] == "UDP" && udp["in_use"] == CLIENTS && udp["size"] == PORTS, "{shown}");
            ensure!(shown["reply_packets"].as_u64() >= Some(2 * CLIENTS as u64), "{shown}");
            let problem = "virtual service gateway, real server HT1: 93 % of its 64 source ports for UDP are in use";
            ensure!(status.0["problems"].to_string().contains(problem), "{}", status.0["problems"]);
            Ok(())
        })?;
        wait_until("it is among the events", LAG, || {
            let events = json(&balancer, &["events", "--service", "gateway", "--server", "HT1"])?.to_string();
            ensure!(events.contains("93 % of its 64 source ports for UDP are in use"), "{events}");
            Ok(())
        })?;

        for _ in CLIENTS..2 * PORTS {
            let client = client()?;
            client.tell(1)?;
            clients.push(client);
        }
        wait_until("it is told that new flows are refused", LAG, || {
            let events = json(&balancer, &["events"])?.to_string();
            ensure!(events.contains("new flows of l4-snat are refused"), "{events}");
            let problems = balancer.status()?.0["problems"].to_string();
            ensure!(problems.contains("source ports of l4-snat run out"), "{problems}");
            Ok(())
        })
    })
}
