//! Harmonic_Management of the VOS deployment: two ports through `l7-tcp`, one client on one server over both,
//! servers judged by what their status page says.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, MANAGEMENT_VIP, Site};
use lb_tests::lab::in_lab;
use lb_tests::proxied::{NOTICED, Proxied, quickly_checked};
use lb_tests::software::web::{self, Kept, Listen, WebServer};

const CONFIGURATION: &str = include_str!("../../configs/harmonic-vos.yaml");
const NAME: &str = "Harmonic_Management";
const SERVERS: [(&str, &str); 2] = [("HM1", "HM1"), ("HM2", "HM2")];
const HTTP_PORT: u16 = 8080;
const HTTPS_PORT: u16 = 8443;

fn start(site: &Site, name: &str) -> Result<WebServer> {
    WebServer::start(site.server(name), &[Listen::Plain(HTTP_PORT), Listen::Tls(HTTPS_PORT)])
}

/// Who answers this client on both ports.
fn ask_both(site: &Site, client: IpAddr) -> Result<[web::Page; 2]> {
    let urls = [format!("http://{MANAGEMENT_VIP}:{HTTP_PORT}/"), format!("https://{MANAGEMENT_VIP}:{HTTPS_PORT}/")];
    let [plain, tls] = urls.map(|url| web::fetch(&site.client, client, &url));
    Ok([plain?, tls?])
}

#[test]
fn a_client_finds_one_healthy_server_on_both_ports() -> Result<()> {
    in_lab("management", |lab| {
        let site = deployments::harmonic_whole(lab)?;
        let (mut first, second) = (start(&site, "HM1")?, start(&site, "HM2")?);
        let configuration = quickly_checked(CONFIGURATION);
        let balancer = Balancer::start(lab, &site.balancer, &configuration)?;
        let clients = site.client_addresses();
        let plain = |client| Ok(Box::new(Kept::plain(&site.client, client, at(MANAGEMENT_VIP, HTTP_PORT))?) as _);
        let tls = |client| Ok(Box::new(Kept::tls(&site.client, client, at(MANAGEMENT_VIP, HTTPS_PORT))?) as _);
        let over = |open| Proxied { balancer: &balancer, name: NAME, servers: SERVERS, persistent: true, open };
        let (plain, tls): (Proxied<'_>, Proxied<'_>) = (over(&plain), over(&tls));

        for client in &clients[..4] {
            let [http, https] = ask_both(&site, *client)?;
            assert_eq!(http.heard, https.heard, "{client} is on one server");
            let server = if https.heard.server == "HM1" { &first } else { &second };
            assert_eq!(https.certificate, server.certificate()?, "TLS passes through");
            assert_eq!(https.heard.client, site.balancer.v4());
        }
        plain.spreads(&clients)?;

        // Who is remembered for the one port is drained on the other like anybody else's.
        tls.drains(&clients[..8])?;
        plain.halts(&clients)?;

        // The page decides, whatever else the server does.
        let unwell = || first.say("Unhealthy\n");
        let well = || first.say("Healthy\n");
        tls.survives(&clients[..6], unwell, well)?;
        first.kill();
        let down = balancer.wait_state(NAME, "HM1", "down", NOTICED)?;
        ensure!(down["reason"].as_str().is_some_and(|it| !it.contains("Unhealthy")), "{down}");
        for client in &clients[..4] {
            let [http, https] = ask_both(&site, *client)?;
            assert_eq!((http.heard.server.as_str(), https.heard.server.as_str()), ("HM2", "HM2"));
        }
        let _first = start(&site, "HM1")?;
        balancer.wait_state(NAME, "HM1", "up", NOTICED)?;

        let with_third = configuration.replace("ports: [8080, 8443]", "ports: [8080, 8443, 8081]");
        ensure!(with_third != configuration, "nothing changes");
        plain.reloads(&clients, &[&with_third, &configuration, &with_third, &configuration])
    })
}
