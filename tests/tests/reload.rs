//! A configuration that changes under traffic: a broken one changes nothing, a good one at once.

use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, ECHO_PORT, MEDIA_VIP, MEDIA_VIP_V6};
use lb_tests::lab::{in_lab, wait_until};
use lb_tests::software::echo::{EchoServer, TcpClient, UdpClient};

const CONFIGURATION: &str = include_str!("../data/dual_stack.yaml");
const ANSWER: Duration = Duration::from_secs(2);
const CONFIGURATION_INVALID: i32 = 3;

#[test]
fn a_broken_file_does_not_replace_a_good_configuration() -> Result<()> {
    in_lab("broken", |lab| {
        let site = deployments::harmonic(lab)?;
        let _servers = site.servers.iter().map(|server| EchoServer::tcp(server, at(MEDIA_VIP, ECHO_PORT)));
        let _servers: Vec<_> = _servers.collect::<Result<_>>()?;
        let mut balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;
        let mut flow = TcpClient::connect(&site.client, at(MEDIA_VIP, ECHO_PORT), ANSWER)?;
        let server = flow.ask(ANSWER)?.server;

        let two_mistakes = CONFIGURATION
            .replace("{name: HT1, address: 192.168.94.115}", "{name: HT1, address: 192.168.94.115, port: 8080}")
            .replace("{name: HT2, address: 192.168.94.116}", "{name: HT2, address: 192.168.94.116, wieght: 70}");
        assert_ne!(two_mistakes, CONFIGURATION);
        for broken in [two_mistakes.as_str(), "virtual_services: [", ""] {
            balancer.write_configuration(broken)?;
            let reload = balancer.lbctl(&["reload"])?;
            assert_eq!(reload.status, CONFIGURATION_INVALID, "{reload}");
            let said = format!("{}{}", reload.stdout, reload.stderr);
            ensure!(said.contains("error[") && said.contains("lb.yaml"), "no diagnostics: {reload}");
            if broken == two_mistakes {
                ensure!(said.contains("8080") && said.contains("wieght"), "not every mistake is shown: {reload}");
            }
            balancer.ensure_alive()?;
            assert_eq!(flow.ask(ANSWER)?.server, server, "the old flow goes on");
            TcpClient::connect(&site.client, at(MEDIA_VIP, ECHO_PORT), ANSWER)?.ask(ANSWER)?;
            balancer.status()?.server("four", "HT2")?;
        }
        Ok(())
    })
}

#[test]
fn a_reload_adds_a_real_server_and_keeps_every_flow() -> Result<()> {
    in_lab("added", |lab| {
        let site = deployments::harmonic(lab)?;
        let third = deployments::real_server(
            lab,
            &site.network,
            "HT3",
            &["192.168.94.117/24", "fd00:94::117/64"],
            &[MEDIA_VIP, MEDIA_VIP_V6],
        )?;
        let mut servers = Vec::new();
        for server in site.servers.iter().chain([&third]) {
            servers.push(EchoServer::tcp(server, at(MEDIA_VIP, ECHO_PORT))?);
            servers.push(EchoServer::udp(server, at(MEDIA_VIP, ECHO_PORT))?);
        }
        let balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;
        let connect = || TcpClient::connect(&site.client, at(MEDIA_VIP, ECHO_PORT), ANSWER);
        let mut flows = (0..8).map(|_| connect()).collect::<Result<Vec<_>>>()?;
        let homes = flows.iter_mut().map(|flow| Ok(flow.ask(ANSWER)?.server)).collect::<Result<Vec<_>>>()?;
        ensure!(homes.iter().all(|home| home != "HT3"), "HT3 is not in the configuration yet: {homes:?}");

        let ht2 = "{name: HT2, address: 192.168.94.116}";
        let added = CONFIGURATION.replace(ht2, &format!("{ht2}\n      - {{name: HT3, address: 192.168.94.117}}"));
        balancer.write_configuration(&added)?;
        let reload = balancer.lbctl(&["reload"])?.success()?;
        ensure!(reload.stdout.contains("HT3"), "the reload does not say what changed: {reload}");

        let mut third = wait_until("a new flow reaches HT3", Duration::from_secs(5), || {
            let mut flow = connect()?;
            let server = flow.ask(ANSWER)?.server;
            ensure!(server == "HT3", "it reached {server}");
            Ok(flow)
        })?;
        for (flow, home) in flows.iter_mut().zip(&homes) {
            assert_eq!(flow.ask(ANSWER)?.server, *home, "a flow moved");
        }

        // And away again: flows of the others stay, new ones no longer reach it.
        // Finished flows are forgotten soon, so that the end of this test is near.
        let without = format!("{CONFIGURATION}defaults: {{flow_timeouts: {{closing: 2s}}}}\n");
        balancer.write_configuration(&without)?;
        balancer.lbctl(&["reload"])?.success()?;
        assert_eq!(third.ask(ANSWER)?.server, "HT3", "its flow finishes first");
        let status = balancer.status()?;
        assert_eq!(status.server("four", "HT3")?["leaving"], true);
        for (flow, home) in flows.iter_mut().zip(&homes) {
            assert_eq!(flow.ask(ANSWER)?.server, *home, "a flow moved");
        }
        for _ in 0..6 {
            let server =
                UdpClient::new(&site.client, at(site.client.v4(), 0), at(MEDIA_VIP, ECHO_PORT))?.ask(9, ANSWER)?;
            ensure!(server.server != "HT3", "a new flow reached a real server that was removed");
        }
        assert_eq!(third.ask(ANSWER)?.server, "HT3", "its flow finishes first");
        drop(third);
        wait_until("HT3 is gone when its last flow has ended", Duration::from_secs(10), || {
            ensure!(balancer.status()?.server("four", "HT3").is_err(), "HT3 is still shown");
            Ok(())
        })?;
        for (flow, home) in flows.iter_mut().zip(&homes) {
            assert_eq!(flow.ask(ANSWER)?.server, *home, "a flow moved");
        }
        Ok(())
    })
}
