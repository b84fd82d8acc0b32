//! Requests and connections through the proxy while configurations change and lbd is upgraded: none fails.

use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::lab::{Host, Lab, in_lab, wait_until};
use lb_tests::software::echo::{EchoServer, TcpClient};
use lb_tests::software::nginx::Nginx;
use lb_tests::traffic::Requests;

const VIP: [u8; 4] = [192, 168, 70, 10];
const ECHO: u16 = 7000;
/// Of each service.
const CLIENTS: usize = 3;
const RELOADS: usize = 1_000;
const UPGRADES: usize = 10;
/// Between two upgrades, at least; each is under load.
const REQUESTS: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(20);

struct Site {
    client: Host,
    balancer: Host,
    servers: [Host; 3],
}

fn site(lab: &Lab) -> Result<Site> {
    let network = lab.network()?;
    let server = |number: u8| lab.host_on(&format!("web{number}"), &network, &[&format!("192.168.70.2{number}/24")]);
    Ok(Site {
        client: lab.host_on("client", &network, &["192.168.70.1/24"])?,
        balancer: lab.host_on("lb", &network, &["192.168.70.2/24"])?,
        servers: [server(1)?, server(2)?, server(3)?],
    })
}

/// One of several configurations; every two of them differ in something of the proxy.
fn configuration(variant: usize) -> String {
    let weight = 50 + variant % 7;
    let third = if variant.is_multiple_of(2) { "" } else { "\n      - {name: web3, address: 192.168.70.23}" };
    let scheduler = ["weighted-round-robin", "weighted-least-connection", "maglev"][variant % 3];
    let edits = ["", "\n    response_headers: [{set: X-Variant, value: two}]"][variant % 2];
    let rules = match variant % 4 {
        3 => "\n    rules: [{when: {path: /elsewhere}, redirect: 'https://example.test/'}]",
        _ => "",
    };
    let extra = match variant % 5 {
        4 => {
            "
  - name: extra
    address: 192.168.70.11
    ports: [80, 9000-9100]
    mode: l7-tcp
    health_check: {type: none}
    real_servers: [{name: web1, address: 192.168.70.21}]"
        }
        _ => "",
    };
    format!(
        "version: 1
node: {{interfaces: [{{device: eth0}}]}}
defaults: {{health_check: {{interval: 1s, timeout: 900ms}}}}
virtual_services:
  - name: web
    address: 192.168.70.10
    ports: [80]
    mode: l7-http
    scheduler: {scheduler}{edits}{rules}
    health_check: {{type: http, path: /admin/status}}
    real_servers:
      - {{name: web1, address: 192.168.70.21, weight: {weight}}}
      - {{name: web2, address: 192.168.70.22}}{third}
  - name: pass
    address: 192.168.70.10
    ports: [7000]
    mode: l7-tcp
    scheduler: {scheduler}
    timeouts: {{client: 5m, server: 5m}}
    health_check: {{type: connect, port: 80}}
    real_servers:
      - {{name: web1, address: 192.168.70.21, weight: {weight}}}
      - {{name: web2, address: 192.168.70.22}}
  - name: plain
    address: 192.168.70.10
    ports: [8080]
    mode: l7-tcp
    scheduler: {scheduler}
    health_check: {{type: connect}}
    real_servers:
      - {{name: web1, address: 192.168.70.21, port: 80, weight: {weight}}}
      - {{name: web2, address: 192.168.70.22, port: 80}}{extra}
"
    )
}

#[test]
fn a_thousand_reloads_fail_no_request_and_cut_no_connection() -> Result<()> {
    in_lab("reloads", |lab| {
        let site = site(lab)?;
        let _web = serve(&site)?;
        let balancer = Balancer::start(lab, &site.balancer, &configuration(0))?;
        let mut long = TcpClient::connect(&site.client, at(VIP.into(), ECHO), ANSWER)?;
        let home = long.ask(ANSWER)?.server;
        let load = Requests::start(&site.client, &[at(VIP.into(), 80), at(VIP.into(), 8080)], CLIENTS)?;
        for variant in 1..=RELOADS {
            balancer.write_configuration(&configuration(variant))?;
            balancer.lbctl(&["reload"])?.success()?;
        }
        let went_on = load.end();
        ensure!(went_on.failed.is_empty(), "after {} requests: {:#?}", went_on.answered, went_on.failed);
        ensure!(went_on.answered > RELOADS as u64, "only {} requests within {RELOADS} reloads", went_on.answered);
        assert_eq!(long.ask(ANSWER)?.server, home, "the connection from before goes on");
        Ok(())
    })
}

#[test]
fn ten_upgrades_fail_no_request_and_old_connections_end_with_the_daemon_that_has_them() -> Result<()> {
    in_lab("upgrades", |lab| {
        let site = site(lab)?;
        let _web = serve(&site)?;
        let mut balancer = Balancer::start(lab, &site.balancer, &configuration(0))?;
        let mut long = TcpClient::connect(&site.client, at(VIP.into(), ECHO), ANSWER)?;
        let home = long.ask(ANSWER)?.server;
        let load = Requests::start(&site.client, &[at(VIP.into(), 80), at(VIP.into(), 8080)], CLIENTS)?;
        let mut before = balancer.status()?.0["pid"].clone();
        for upgrade in 1..=UPGRADES {
            balancer.lbctl(&["upgrade"])?.success()?;
            let status = balancer.status()?;
            assert_ne!(status.0["pid"], before, "upgrade {upgrade}");
            before = status.0["pid"].clone();
            if upgrade == 1 {
                let left = status.0["predecessor"]["connections"].as_u64().unwrap_or_default();
                ensure!(left >= 1, "the connection from before is not shown: {}", status.0["predecessor"]);
            }
            assert_eq!(long.ask(ANSWER)?.server, home, "the connection from before upgrade {upgrade} goes on");
            let answered = load.answered();
            wait_until("requests go on", PATIENCE, || {
                ensure!(load.answered() > answered + REQUESTS, "{} so far", load.answered());
                Ok(())
            })?;
        }
        let went_on = load.end();
        ensure!(went_on.failed.is_empty(), "after {} requests: {:#?}", went_on.answered, went_on.failed);
        balancer.ensure_alive()?;
        drop(long);
        // The first daemon had one connection left, and ends with it.
        balancer.wait_end()?.success()?;
        Ok(())
    })
}

/// The real servers answer: nginx, and who is there.
fn serve(site: &Site) -> Result<(Vec<Nginx>, Vec<EchoServer>)> {
    let servers = site.servers.iter();
    let web = servers.clone().map(|host| Nginx::start(host, 80)).collect::<Result<_>>()?;
    let echo = servers.map(|host| EchoServer::tcp(host, at(host.v4(), ECHO))).collect::<Result<_>>()?;
    Ok((web, echo))
}
