//! The RAS gateways over TCP: HTTPS and the web portal of one VIP through `l7-tcp`, beside UDP of the same VIP
//! through `l4-snat`, all three on the same two machines behind a router; and remote desktops.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::routed::{Kind, Narrow, RAS_VIP, Routed};
use lb_tests::lab::{Lab, in_lab};
use lb_tests::proxied::{Heard, Open, Proxied, quickly_checked};
use lb_tests::software::echo::{EchoServer, UdpClient};
use lb_tests::software::rdp::{Desktop, Gateway};
use lb_tests::software::web::{self, Kept, Listen, WebServer};
use lb_tests::{lab::wait_until, software::nginx};

const CONFIGURATION: &str = include_str!("../../configs/parallels-ras.yaml");
const HTTPS: &str = "RAS-SG-HTTPS";
const WEB: &str = "RAS-Web-HTTP";
const UDP: &str = "RAS-SG-UDP";
const SERVERS: [(&str, &str); 2] = [("RAS_Server1", "RAS1"), ("RAS_Server2", "RAS2")];
const HTTPS_PORT: u16 = 443;
const WEB_PORT: u16 = 80;
/// Where the web servers want a PROXY header.
const PROXY_PORT: u16 = 81;
const RDP_PORT: u16 = 3389;
const ANSWER: Duration = Duration::from_secs(5);

fn start_server(site: &Routed, name: &str) -> Result<WebServer> {
    let listen = [Listen::Tls(HTTPS_PORT), Listen::Plain(WEB_PORT), Listen::ProxyProtocol(PROXY_PORT)];
    WebServer::start(site.server(name), &listen)
}

fn in_site(name: &str, kind: Kind, test: impl FnOnce(&Lab, &Routed) -> Result<()>) -> Result<()> {
    in_lab(name, |lab| test(lab, &Routed::new(lab, kind, Narrow::Nowhere)?))
}

/// Who answers a datagram.
fn ask_udp(site: &Routed, client: IpAddr) -> Result<Heard> {
    let answer = UdpClient::new(&site.client, at(client, 0), at(RAS_VIP, HTTPS_PORT))?.ask(300, ANSWER)?;
    Ok(Heard { server: answer.server, client: answer.peer.ip() })
}

#[test]
fn gateway_portal_and_tunnel_share_two_machines_and_one_address() -> Result<()> {
    in_site("ras-proxied", Kind::SnatTwoArm, |lab, site| {
        let (first, second) = (start_server(site, "RAS1")?, start_server(site, "RAS2")?);
        let udp = site.servers.iter().map(|server| EchoServer::udp(server, at(server.v4(), HTTPS_PORT)));
        let _udp = udp.collect::<Result<Vec<_>>>()?;
        // As the file says for two arms.
        let configuration = CONFIGURATION.replace("# - {device: eth1}", "- {device: eth1}");
        ensure!(configuration != CONFIGURATION, "the file says nothing about two arms");
        let configuration = quickly_checked(&configuration);
        let balancer = Balancer::start(lab, &site.balancer, &configuration)?;
        let clients = Routed::client_addresses(RAS_VIP);
        let (https, plain) = (format!("https://{RAS_VIP}/"), format!("http://{RAS_VIP}/"));
        let own = site.seen_as(RAS_VIP);

        let mut used = BTreeSet::new();
        for client in &clients[..4] {
            let page = web::fetch(&site.client, *client, &https)?;
            let server = if page.heard.server == "RAS1" { &first } else { &second };
            assert_eq!(page.certificate, server.certificate()?, "the gateway's own certificate reaches the client");
            assert_eq!(web::fetch(&site.client, *client, &https)?, page, "{client} stays");
            used.insert(page.heard.server);
            for heard in [web::fetch(&site.client, *client, &plain)?.heard, ask_udp(site, *client)?] {
                assert_eq!(heard.client, own);
            }
        }
        assert_eq!(used.len(), 2, "both gateways have clients");

        let tls = |client| Ok(Box::new(Kept::tls(&site.client, client, at(RAS_VIP, HTTPS_PORT))?) as _);
        let kept = |client| Ok(Box::new(Kept::plain(&site.client, client, at(RAS_VIP, WEB_PORT))?) as _);
        let (tls, kept): (&Open<'_>, &Open<'_>) = (&tls, &kept);
        let over = |name, open| Proxied { balancer: &balancer, name, servers: SERVERS, persistent: true, open };
        let (gateway, portal) = (over(HTTPS, tls), over(WEB, kept));
        gateway.drains(&clients[..8])?;
        portal.drains(&clients)?;
        orders_are_each_services_own(&balancer, site, &portal, &clients)?;
        gateway.halts(&clients[..6])?;
        portal.halts(&clients)?;
        portal.refuses_without_servers(clients[0])?;
        let mut first = Some(first);
        let mut again = None;
        let kill = || {
            first.take();
            Ok(())
        };
        let revive = || {
            again = Some(start_server(site, "RAS1")?);
            Ok(())
        };
        portal.survives(&clients, kill, revive)?;

        // What the portal sees of its clients.
        let ports = "port: 80, weight: 100}";
        let told = configuration.replace(ports, &format!("port: {PROXY_PORT}, proxy_protocol: v2, weight: 100}}"));
        let at_vip = configuration.replace("name: RAS-Web-HTTP\n", "name: RAS-Web-HTTP\n    source_address: vip\n");
        ensure!(told != configuration && at_vip != configuration, "nothing changes");
        for (yaml, seen) in [(&told, clients[0]), (&at_vip, RAS_VIP), (&configuration, own)] {
            balancer.write_configuration(yaml)?;
            balancer.lbctl(&["reload"])?.success()?;
            // With another port they are other real servers: the client waits for their first check.
            assert_eq!(portal.ask(clients[0])?.client, seen);
        }
        portal.reloads(&clients, &[&at_vip, &configuration, &told, &at_vip, &told])?;
        let sum = nginx::write_file(&site.client, "large", 20_000_000)?;
        assert_eq!(nginx::hashed(&site.client, &format!("{https}files/large"))?, sum, "a large body");
        Ok(())
    })
}

/// A machine that is halted for the gateway goes on for the portal and the tunnel.
fn orders_are_each_services_own(
    balancer: &Balancer<'_>,
    site: &Routed,
    portal: &Proxied<'_>,
    clients: &[IpAddr],
) -> Result<()> {
    let before: Vec<_> = clients.iter().map(|it| Ok((portal.ask(*it)?, ask_udp(site, *it)?))).collect::<Result<_>>()?;
    let (server, host) = SERVERS[0];
    ensure!(before.iter().any(|(tcp, _)| tcp.server == host), "{host} has no client of the portal");
    ensure!(before.iter().any(|(_, udp)| udp.server == host), "{host} has no client of the tunnel");
    balancer.lbctl(&["halt", &format!("{HTTPS}/{server}")])?.success()?;
    let url = format!("https://{RAS_VIP}/");
    for (client, before) in clients.iter().zip(&before) {
        assert_eq!(&(portal.ask(*client)?, ask_udp(site, *client)?), before, "{client}, halted for {HTTPS} alone");
    }
    for client in &clients[..4] {
        assert_eq!(web::fetch(&site.client, *client, &url)?.heard.server, SERVERS[1].1);
    }
    balancer.lbctl(&["online", &format!("{HTTPS}/{server}")])?.success()?;
    balancer.wait_state(HTTPS, server, "up", ANSWER)?;
    balancer.wait_state(UDP, server, "up", ANSWER).map(|_| ())
}

/// The gateway's port leads to another one of the machines; desktops have a service of their own, which knows users.
fn with_desktops() -> String {
    let gateway = CONFIGURATION.replace("port: 443, weight: 100}", &format!("port: {RDP_PORT}, weight: 100}}"));
    format!(
        "{gateway}
  - name: desktops
    address: {RAS_VIP}
    ports: [{RDP_PORT}]
    mode: l7-tcp
    scheduler: weighted-round-robin
    persistence: {{by: rdp-cookie, timeout: 6m}}
    health_check: {{type: connect}}
    real_servers:
      - {{name: RAS_Server1, address: 10.11.20.106}}
      - {{name: RAS_Server2, address: 10.11.20.107}}
"
    )
}

#[test]
fn remote_desktops_open_through_the_gateway_and_users_stay_with_their_machine() -> Result<()> {
    in_site("ras-rdp", Kind::SnatOneArm, |lab, site| {
        let gateways =
            site.servers.iter().map(|server| Gateway::start(server, RDP_PORT)).collect::<Result<Vec<_>>>()?;
        let balancer = Balancer::start(lab, &site.balancer, &quickly_checked(&with_desktops()))?;
        let desktop = Desktop::start(&site.client)?;
        let gateways: Vec<&Gateway> = gateways.iter().collect();
        let (through_443, desktops) = (at(RAS_VIP, HTTPS_PORT), at(RAS_VIP, RDP_PORT));

        // Who has not said a user's name yet is on the wire for the connect check only.
        let home = authenticate(&desktop, &gateways, through_443, "alice-x")?;
        assert_eq!(authenticate(&desktop, &gateways, through_443, "bob-x")?, home, "one client, one machine");
        for seen in gateways[home].clients()? {
            assert_eq!(seen, site.balancer.v4());
        }

        // Of one address, users are told apart; from another, they are known again.
        let clients = Routed::client_addresses(RAS_VIP);
        let mut homes: BTreeMap<&str, usize> = BTreeMap::new();
        for client in &clients[..2] {
            speak_as(site, *client)?;
            for user in ["alice-x", "bob-x", "carol-x"] {
                let server = authenticate(&desktop, &gateways, desktops, user)?;
                let home = *homes.entry(user).or_insert(server);
                assert_eq!(server, home, "{user} from {client}");
            }
        }
        assert_eq!(homes.values().collect::<BTreeSet<_>>().len(), 2, "both machines have users: {homes:?}");

        // A whole login, which the machine refuses, and orders while it is at the window.
        let mut session = desktop.open(desktops, "alice-x", &gateways)?;
        assert_eq!(session.gateway, homes["alice-x"]);
        let known = || gateways[homes["alice-x"]].users();
        wait_until("the machine is asked to log the user in", ANSWER, || {
            ensure!(known().contains(&"alice-x".to_owned()), "{:?}", known());
            Ok(())
        })?;
        let order = |order: &str| {
            let (server, _) = SERVERS[homes["alice-x"]];
            balancer.lbctl(&[order, &format!("desktops/{server}")])?.success().map(|_| ())
        };
        order("drain")?;
        assert_eq!(authenticate(&desktop, &gateways, desktops, "alice-x")?, homes["alice-x"], "she is known");
        assert_ne!(authenticate(&desktop, &gateways, desktops, "erin-x")?, homes["alice-x"], "who is new");
        session.ensure_open()?;
        order("halt")?;
        session.wait_cut()?;
        assert_ne!(authenticate(&desktop, &gateways, desktops, "alice-x")?, homes["alice-x"], "it is halted");
        Ok(())
    })
}

/// Connects as a user with FreeRDP; the number of the gateway that got the connection.
fn authenticate(desktop: &Desktop<'_>, gateways: &[&Gateway], server: SocketAddr, user: &str) -> Result<usize> {
    let counts = || gateways.iter().map(|gateway| Ok(gateway.clients()?.len())).collect::<Result<Vec<usize>>>();
    let before = counts()?;
    desktop.authenticate(server, user)?.success()?;
    let after = counts()?;
    let mut got = (0..gateways.len()).filter(|it| after[*it] == before[*it] + 1);
    let gateway = got.next().with_context(|| format!("no gateway saw {user}: {before:?}, {after:?}"))?;
    ensure!(got.next().is_none(), "both gateways saw {user}");
    Ok(gateway)
}

/// Connections to the VIP leave from this address of the client from now on.
fn speak_as(site: &Routed, client: IpAddr) -> Result<()> {
    let (vip, source) = (format!("{RAS_VIP}/32"), client.to_string());
    site.client.ip(&["route", "replace", &vip, "via", "172.16.5.1", "dev", "eth0", "src", &source])
}
