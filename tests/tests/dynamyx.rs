//! The services of the Dynamyx deployment, both through `l7-tcp`: HTTPS of the web nodes, passed through, and the
//! digital archive, whose connections may be idle for minutes. Two machines are real servers of both.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, DA_VIP, IIS_VIP, Site};
use lb_tests::lab::{Host, in_lab, wait_until};
use lb_tests::proxied::{Conversation, Proxied, quickly_checked};
use lb_tests::software::echo::{EchoServer, TcpClient};
use lb_tests::software::half_closed::{self, SpeaksFirst};
use lb_tests::software::nginx;
use lb_tests::software::web::{self, Kept, Listen, WebServer};

const CONFIGURATION: &str = include_str!("../../configs/dynamyx.yaml");
const HTTPS_PORT: u16 = 443;
const ARCHIVE_PORT: u16 = 9001;
const ANSWER: Duration = Duration::from_secs(5);
/// What a client sends after the real server has said all it wants to.
const UPLOAD: usize = 300_000;

fn web_servers(site: &Site) -> Result<Vec<WebServer>> {
    site.servers.iter().map(|server| WebServer::start(server, &[Listen::Tls(HTTPS_PORT)])).collect()
}

fn archives(site: &Site) -> Result<Vec<EchoServer>> {
    site.servers.iter().map(|server| EchoServer::tcp(server, at(server.v4(), ARCHIVE_PORT))).collect()
}

/// The address that real servers see, unless told otherwise.
fn own(site: &Site) -> IpAddr {
    site.balancer.v4()
}

#[test]
fn https_passes_through_to_the_web_node_of_each_client() -> Result<()> {
    in_lab("iis", |lab| {
        let site = deployments::dynamyx(lab)?;
        let servers = web_servers(&site)?;
        let configuration = quickly_checked(CONFIGURATION);
        let balancer = Balancer::start(lab, &site.balancer, &configuration)?;
        let clients = site.client_addresses();
        let url = format!("https://{IIS_VIP}/");

        let mut used = BTreeSet::new();
        for client in &clients[..6] {
            let page = web::fetch(&site.client, *client, &url)?;
            let of = site.servers.iter().position(|server| server.name() == page.heard.server);
            let server = &servers[of.with_context(|| format!("nobody's answer: {page:?}"))?];
            assert_eq!(page.certificate, server.certificate()?, "the certificate of who answers reaches the client");
            assert_eq!((page.version.as_str(), page.heard.client), ("2", own(&site)));
            for _ in 0..2 {
                assert_eq!(web::fetch(&site.client, *client, &url)?, page, "{client} stays");
            }
            used.insert(page.heard.server);
        }
        assert_eq!(used.len(), 2, "both web nodes have clients");
        let sum = nginx::write_file(&site.client, "slide", 20_000_000)?;
        assert_eq!(nginx::hashed(&site.client, &format!("https://{IIS_VIP}/files/slide"))?, sum, "a large body");

        wait_until("the status shows each client as remembered, once", ANSWER, || {
            let status = balancer.status()?;
            let service = status.service("IIS_VIP")?;
            assert_eq!((&service["method"], &service["mode"]), (&"Layer 7".into(), &"Proxy".into()));
            assert_eq!((&service["protocol"], &service["persistence_timeout_seconds"]), (&"TCP".into(), &300.into()));
            let of_web = status.servers().filter(|(service, _)| *service == "IIS_VIP");
            let remembered: u64 = of_web.filter_map(|(_, server)| server["persistent_clients"].as_u64()).sum();
            ensure!(remembered == 6, "{remembered} of 6 are: {service}");
            Ok(())
        })?;

        let open = |client| Ok(Box::new(Kept::tls(&site.client, client, at(IIS_VIP, HTTPS_PORT))?) as _);
        let service = Proxied {
            balancer: &balancer,
            name: "IIS_VIP",
            servers: [("IIS1", "DX1"), ("IIS2", "DX2")],
            persistent: true,
            open: &open,
        };
        service.drains(&clients[..8])?;
        service.halts(&clients[..6])?;
        service.refuses_without_servers(clients[0])?;

        // curl, many at a time, is a better load than a socat for each connection.
        let changed = configuration.replace("weight: 100", "weight: 50");
        assert_ne!(changed, configuration);
        std::thread::scope(|scope| {
            let load = scope.spawn(|| nginx::numbered(&site.client, &format!("https://{IIS_VIP}"), 1_500, 8));
            for yaml in [&changed, &configuration, &changed] {
                balancer.write_configuration(yaml)?;
                balancer.lbctl(&["reload"])?.success()?;
                ensure!(!load.is_finished(), "the load was over before the reload");
            }
            let bodies = load.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            assert_eq!(bodies.len(), 1_500);
            Ok(())
        })
    })
}

#[test]
fn the_archive_is_shared_by_connection_and_follows_orders_checks_and_reloads() -> Result<()> {
    in_lab("archive", |lab| {
        let site = deployments::dynamyx(lab)?;
        let _archives = archives(&site)?;
        let configuration = quickly_checked(CONFIGURATION);
        let balancer = Balancer::start(lab, &site.balancer, &configuration)?;
        let clients = site.client_addresses();
        let open = |client| {
            Ok(Box::new(TcpClient::connect_from(&site.client, client, at(DA_VIP, ARCHIVE_PORT), ANSWER)?)
                as Box<dyn Conversation>)
        };
        let service = Proxied {
            balancer: &balancer,
            name: "DA_VIP",
            servers: [("DA1", "DX1"), ("DA2", "DX2")],
            persistent: false,
            open: &open,
        };
        service.spreads(&clients[..2])?;
        assert_eq!(service.ask(clients[0])?.client, own(&site));
        service.drains(&clients)?;
        service.halts(&clients)?;
        service.refuses_without_servers(clients[0])?;
        // The machine goes: nobody but the balancer can end its connections.
        let link = |state| site.servers[0].ip(&["link", "set", "eth0", state]);
        service.survives(&clients, || link("down"), || link("up"))?;

        let seen_at_vip = configuration.replace("name: DA_VIP\n", "name: DA_VIP\n    source_address: vip\n");
        let without_web = without_service(&configuration, "IIS_VIP")?;
        service.reloads(&clients, &[&seen_at_vip, &configuration, &without_web, &seen_at_vip])?;
        assert_eq!(service.ask(clients[0])?.client, DA_VIP, "source_address: vip");
        balancer.write_configuration(&configuration)?;
        balancer.lbctl(&["reload"])?.success()?;
        assert_eq!(service.ask(clients[0])?.client, own(&site), "source_address: auto");
        Ok(())
    })
}

/// Minutes as seconds: the web service has the default, the archive ten times as much, as in the guide it has five.
#[test]
fn an_archive_connection_outlives_the_default_timeout() -> Result<()> {
    in_lab("idle", |lab| {
        let site = deployments::dynamyx(lab)?;
        let _archives = archives(&site)?;
        let listen = |server: &Host| EchoServer::tcp(server, at(server.v4(), HTTPS_PORT));
        let _others = site.servers.iter().map(listen).collect::<Result<Vec<_>>>()?;
        let balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;

        let file = balancer.configuration().display().to_string();
        let effective = balancer.lbctl(&["config", "show", "--effective", &file])?.success()?.stdout;
        for (name, timeouts) in
            [("IIS_VIP", ["client: 1m\n", "server: 1m\n"]), ("DA_VIP", ["client: 5m\n", "server: 5m\n"])]
        {
            let begin = effective.find(&format!("- name: {name}\n")).with_context(|| format!("no {name}"))?;
            let service = &effective[begin..];
            let service = &service[..service[1..].find("\n- name: ").unwrap_or(service.len() - 1) + 1];
            ensure!(
                timeouts.iter().all(|timeout| service.contains(timeout)),
                "{timeouts:?} are not in force: {service}"
            );
        }

        let scaled = CONFIGURATION.replace("{client: 5m, server: 5m}", "{client: 20s, server: 20s}");
        assert_ne!(scaled, CONFIGURATION);
        balancer.write_configuration(&format!("{scaled}\ndefaults: {{timeouts: {{client: 2s, server: 2s}}}}\n"))?;
        balancer.lbctl(&["reload"])?.success()?;
        let mut archive = TcpClient::connect(&site.client, at(DA_VIP, ARCHIVE_PORT), ANSWER)?;
        let home = archive.ask(ANSWER)?.server;
        for _ in 0..2 {
            let mut idle = TcpClient::connect(&site.client, at(IIS_VIP, HTTPS_PORT), ANSWER)?;
            idle.ask(ANSWER)?;
            idle.wait_cut()?;
            // It has been idle for as long.
            assert_eq!(archive.ask(ANSWER)?.server, home);
        }
        Ok(())
    })
}

#[test]
fn either_end_may_say_that_it_is_done_and_go_on_listening() -> Result<()> {
    in_lab("half-closed", |lab| {
        let site = deployments::dynamyx(lab)?;
        let last = |server: &Host| half_closed::speaks_last(server, at(server.v4(), HTTPS_PORT));
        let _last = site.servers.iter().map(last).collect::<Result<Vec<_>>>()?;
        let first = |server: &Host| SpeaksFirst::start(server, at(server.v4(), ARCHIVE_PORT));
        let first = site.servers.iter().map(first).collect::<Result<Vec<_>>>()?;
        let _balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;
        let names: Vec<&str> = site.servers.iter().map(Host::name).collect();
        for (number, client) in site.client_addresses()[..4].iter().enumerate() {
            let connection = site.client.connect(*client, at(IIS_VIP, HTTPS_PORT), ANSWER)?;
            let answer = half_closed::send_and_listen(&connection, UPLOAD)?;
            let (name, length) = answer.trim().split_once(' ').with_context(|| format!("{answer:?}"))?;
            ensure!(names.contains(&name) && length == UPLOAD.to_string(), "{answer:?}");

            // As many as no other.
            let bytes = UPLOAD + number;
            let connection = site.client.connect(*client, at(DA_VIP, ARCHIVE_PORT), ANSWER)?;
            let answer = half_closed::listen_and_send(&connection, bytes)?;
            let of = names.iter().position(|name| *name == answer.trim());
            let server = &first[of.with_context(|| format!("{answer:?}"))?];
            wait_until("all has come that was sent after the server was done", ANSWER, || {
                ensure!(server.counts().contains(&bytes), "{:?}, not {bytes}", server.counts());
                Ok(())
            })?;
        }
        Ok(())
    })
}

/// The configuration without this service, which ends at the next one or the end of the list.
fn without_service(configuration: &str, name: &str) -> Result<String> {
    let begin = configuration.find(&format!("  - name: {name}\n")).with_context(|| format!("no service {name}"))?;
    let rest = &configuration[begin + 1..];
    let end = ["\n  - name: ", "\ndefaults:"].iter().filter_map(|next| rest.find(next)).min().context("no end")?;
    Ok(format!("{}{}", &configuration[..begin], &rest[end + 1..]))
}
