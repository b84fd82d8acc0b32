//! Requests that hide others, through the proxy to two kinds of real servers.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, ICAS_VIP};
use lb_tests::lab::in_lab;
use lb_tests::software::abuse::{Echo, HTTP_PORT, smuggle};

#[test]
fn no_server_sees_a_request_that_its_client_did_not_send_as_one() -> Result<()> {
    in_lab("smuggling", |lab| {
        let (site, _) = deployments::icas(lab)?;
        let servers = [Echo::nginx(&site.servers[0])?, Echo::gunicorn(&site.servers[1])?];
        let mut yaml = "version: 1\nnode:\n  name: lb1\n  interfaces: [{device: eth0}]\n\
                        defaults:\n  health_check: {interval: 1s, timeout: 1s, rise: 1, fall: 2}\nvirtual_services:\n"
            .to_owned();
        for (port, host) in [80, 81].into_iter().zip(&site.servers) {
            yaml += &format!(
                "  - name: web{port}\n    address: {ICAS_VIP}\n    ports: [{port}]\n    mode: l7-http\n\
                 \x20   timeouts: {{client: 5s, server: 5s, request: 2s, keep_alive: 4s}}\n\
                 \x20   health_check: {{type: connect}}\n\
                 \x20   real_servers: [{{name: s, address: {}, port: {HTTP_PORT}}}]\n",
                host.v4()
            );
        }
        let mut balancer = Balancer::start(lab, &site.balancer, &yaml)?;
        for (port, server) in [80, 81].into_iter().zip(&servers) {
            let told = smuggle(&site.client, SocketAddr::new(ICAS_VIP, port))?;
            let wrong = told["wrong"].as_array().map_or(0, Vec::len);
            ensure!(wrong == 0, "{wrong} cases went wrong: {}", told["wrong"]);
            ensure!(told["cases"].as_u64() >= Some(120), "{told}");
            let own: Vec<String> = serde_json::from_value(told["own"].clone())?;
            for request in server.requests()? {
                let path = request.split(' ').nth(1).unwrap_or_default();
                let is_sent = ["/case-", "/marker-", "/after-"].iter().any(|begin| path.starts_with(begin));
                ensure!(is_sent || own.contains(&request), "a server saw {request:?}");
            }
            println!(
                "port {port}: {} cases, {} refused, {} passed on, {} markers, no hidden request seen; {:?}",
                told["cases"],
                told["refused"],
                told["passed"],
                told["markers"],
                balancer.status()?.failures(&format!("web{port}"))?
            );
        }
        balancer.ensure_alive()
    })
}
