//! WebSocket through the proxy, in the clear and over TLS.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, ICAS_VIP};
use lb_tests::lab::in_lab;
use lb_tests::software::certificate::Authority;
use lb_tests::software::websocket::{Server, talk};

const PORT: u16 = 8080;
/// Longer than the client and server timeouts, shorter than the tunnel's.
const IDLE: Duration = Duration::from_secs(4);

#[test]
fn websocket_is_carried_as_it_is_in_the_clear_and_over_tls() -> Result<()> {
    in_lab("websocket", |lab| {
        let (site, _) = deployments::icas(lab)?;
        let authority = Authority::new(&site.balancer, "authority")?;
        let certificate = authority.issue_for(&site.balancer, &["web", &ICAS_VIP.to_string()], 30)?;
        let _server = Server::start(&site.servers[0], PORT)?;
        let yaml = format!(
            "version: 1\nnode:\n  name: lb1\n  interfaces: [{{device: eth0}}]\n\
             certificates:\n  web: {{pem: {}, key: {}}}\n\
             virtual_services:\n  - name: web\n    address: {ICAS_VIP}\n    ports: [80]\n    mode: l7-http\n\
             \x20   tls: {{port: 443, certificate: web}}\n\
             \x20   timeouts: {{client: 2s, server: 2s, request: 2s, keep_alive: 2s, tunnel: 20s}}\n\
             \x20   health_check: {{type: connect, interval: 1s, timeout: 1s}}\n\
             \x20   real_servers: [{{name: s, address: {}, port: {PORT}}}]\n",
            certificate.certificate.display(),
            certificate.key.display(),
            site.servers[0].v4()
        );
        let mut balancer = Balancer::start(lab, &site.balancer, &yaml)?;
        for (port, authority) in [(80, None), (443, Some(authority.file()))] {
            let told = talk(&site.client, SocketAddr::new(ICAS_VIP, port), authority, IDLE)?;
            let wrong = told["wrong"].as_array().map_or(0, Vec::len);
            ensure!(wrong == 0, "port {port}: {wrong} cases went wrong: {}", told["wrong"]);
            ensure!(told["cases"] == 35, "{told}");
            println!("port {port}: {} cases", told["cases"]);
        }
        balancer.ensure_alive()
    })
}
