//! What an administrator does to a real server, as clients see it: drain, halt, online, weight, backups, and a
//! reload on trial.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, ECHO_PORT, MEDIA_VIP, Site};
use lb_tests::lab::{Lab, in_lab, wait_until};
use lb_tests::software::echo::{EchoServer, TcpClient};
use serde_json::Value;

const ANSWER: Duration = Duration::from_secs(2);
/// Two sweeps and a slow machine.
const COUNTED: Duration = Duration::from_secs(10);

/// Two real servers; clients are remembered.
const PERSISTENT: &str = "
version: 1
node: {interfaces: [{device: eth0}]}
virtual_services:
  - name: traffic
    address: 192.168.94.110
    ports: [50002]
    mode: l4-dr
    persistence: {by: source-ip, timeout: 5m}
    health_check: {type: connect, port: 50002, interval: 1s, timeout: 500ms}
    real_servers:
      - {name: HT1, address: 192.168.94.115}
      - {name: HT2, address: 192.168.94.116}
";

/// The real servers answer on the VIP for clients, and on their own address for the check.
fn start_servers(site: &Site) -> Result<Vec<EchoServer>> {
    let mut servers = Vec::new();
    for server in &site.servers {
        servers.push(EchoServer::tcp(server, at(MEDIA_VIP, ECHO_PORT))?);
        servers.push(EchoServer::tcp(server, at(server.v4(), ECHO_PORT))?);
    }
    Ok(servers)
}

fn connect(site: &Site, client: IpAddr) -> Result<TcpClient> {
    site.client.speak_as(client, MEDIA_VIP, "eth0")?;
    TcpClient::connect(&site.client, at(MEDIA_VIP, ECHO_PORT), ANSWER)
}

/// Opens a flow from every client; the flows by who answers.
fn flows(site: &Site, clients: &[IpAddr]) -> Result<BTreeMap<String, Vec<(IpAddr, TcpClient)>>> {
    let mut flows: BTreeMap<String, Vec<(IpAddr, TcpClient)>> = BTreeMap::new();
    for client in clients {
        let mut flow = connect(site, *client)?;
        let home = flow.ask(ANSWER)?.server;
        flows.entry(home).or_default().push((*client, flow));
    }
    Ok(flows)
}

fn json(balancer: &Balancer<'_>, arguments: &[&str]) -> Result<Value> {
    let output = balancer.lbctl(arguments)?.success()?;
    serde_json::from_str(&output.stdout).with_context(|| format!("no JSON: {output}"))
}

fn in_site(name: &str, yaml: &str, test: impl FnOnce(&Lab, &Site, &mut Balancer<'_>) -> Result<()>) -> Result<()> {
    in_lab(name, |lab| {
        let site = deployments::harmonic(lab)?;
        let _servers = start_servers(&site)?;
        let mut balancer = Balancer::start(lab, &site.balancer, yaml)?;
        test(lab, &site, &mut balancer)
    })
}

#[test]
fn a_drained_server_keeps_its_flows_and_its_clients_and_takes_no_others() -> Result<()> {
    in_site("drain", PERSISTENT, |_, site, balancer| {
        let clients = site.client_addresses();
        let (old, new) = clients.split_at(8);
        let mut flows = flows(site, old)?;
        ensure!(flows.len() == 2, "both servers have clients: {:?}", flows.keys());

        balancer.lbctl(&["drain", "traffic/HT1"])?.success()?;
        for (home, flows) in &mut flows {
            for (client, flow) in flows {
                assert_eq!(flow.ask(ANSWER)?.server, *home, "the flow of {client} moved");
                assert_eq!(connect(site, *client)?.ask(ANSWER)?.server, *home, "{client} is remembered");
            }
        }
        for client in new {
            assert_eq!(connect(site, *client)?.ask(ANSWER)?.server, "HT2", "{client} is new");
        }

        // Who and when, over a kill and a reload.
        balancer.kill();
        balancer.restart()?;
        balancer.lbctl(&["reload"])?.success()?;
        let status = balancer.status()?;
        let drained = status.server("traffic", "HT1")?;
        assert_eq!((&drained["state"], &drained["administration"]["state"]), (&"draining".into(), &"drained".into()));
        ensure!(drained["administration"]["by"].as_str().is_some_and(|by| !by.is_empty()), "{drained}");
        ensure!(drained["administration"]["at"].as_u64().is_some_and(|at| at > 1_600_000_000), "{drained}");
        for (home, flows) in &mut flows {
            for (client, flow) in flows {
                assert_eq!(flow.ask(ANSWER)?.server, *home, "the flow of {client} moved");
            }
        }

        // The drain is over when the last flow has ended and the last client is forgotten.
        flows.remove("HT1");
        balancer.lbctl(&["persistence", "clear", "--server", "HT1"])?.success()?;
        balancer.lbctl(&["drain", "traffic/HT1", "--wait", "--timeout", "20s"])?.success()?;
        // The next sweep says so.
        wait_until("the end of the drain is an event", COUNTED, || {
            let events = json(balancer, &["events", "--json", "--server", "HT1"])?.to_string();
            ensure!(events.contains("no connection and no persistent client is left"), "{events}");
            Ok(())
        })?;

        balancer.lbctl(&["online", "traffic/HT1", "--wait", "--timeout", "20s"])?.success()?;
        let status = balancer.status()?;
        assert_eq!(status.server("traffic", "HT1")?["administration"], Value::Null);
        Ok(())
    })
}

#[test]
fn a_halted_server_is_cut_at_once_and_stays_halted_over_a_restart() -> Result<()> {
    in_site("halt", PERSISTENT, |_, site, balancer| {
        let clients = site.client_addresses();
        let mut flows = flows(site, &clients)?;
        ensure!(flows.len() == 2, "both servers have clients: {:?}", flows.keys());

        balancer.lbctl(&["halt", "traffic/HT1"])?.success()?;
        for (client, mut flow) in flows.remove("HT1").unwrap_or_default() {
            ensure!(flow.ask(ANSWER).is_err(), "the flow of {client} was not cut");
            assert_eq!(connect(site, client)?.ask(ANSWER)?.server, "HT2", "{client} was remembered for HT1");
        }
        for (client, flow) in flows.get_mut("HT2").context("HT2 has flows")? {
            assert_eq!(flow.ask(ANSWER)?.server, "HT2", "the flow of {client} was touched");
        }
        balancer.kill();
        balancer.restart()?;
        balancer.wait_state("traffic", "HT1", "halted", COUNTED)?;
        for client in clients.iter().take(4) {
            assert_eq!(connect(site, *client)?.ask(ANSWER)?.server, "HT2");
        }
        let unknown = balancer.lbctl(&["halt", "traffic/HT9"])?;
        ensure!(unknown.status != 0 && unknown.stderr.contains("HT1"), "it does not say who there is: {unknown}");
        Ok(())
    })
}

#[test]
fn another_weight_holds_until_the_configured_one_is_asked_for() -> Result<()> {
    let yaml = PERSISTENT.replace("    persistence: {by: source-ip, timeout: 5m}\n", "");
    in_site("weight", &yaml, |_, site, balancer| {
        let client = site.client_addresses()[0];
        balancer.lbctl(&["weight", "traffic/HT1", "0"])?.success()?;
        for _ in 0..8 {
            assert_eq!(connect(site, client)?.ask(ANSWER)?.server, "HT2", "weight 0 takes no new client");
        }
        balancer.lbctl(&["reload"])?.success()?;
        let status = balancer.status()?;
        assert_eq!(status.server("traffic", "HT1")?["administration"]["weight"], 0);
        balancer.lbctl(&["weight", "traffic/HT1", "configured"])?.success()?;
        assert_eq!(balancer.status()?.server("traffic", "HT1")?["weight"], 100);
        wait_until("HT1 takes clients again", COUNTED, || {
            let server = connect(site, client)?.ask(ANSWER)?.server;
            ensure!(server == "HT1", "{server} answered");
            Ok(())
        })
    })
}

#[test]
fn a_backup_server_serves_while_its_predecessor_is_down_or_halted() -> Result<()> {
    let yaml = PERSISTENT
        .replace("    persistence: {by: source-ip, timeout: 5m}\n", "")
        .replace("{name: HT2, address: 192.168.94.116}", "{name: HT2, address: 192.168.94.116, backup: true}");
    in_lab("backup", |lab| {
        let site = deployments::harmonic(lab)?;
        let mut servers = start_servers(&site)?;
        let balancer = Balancer::start(lab, &site.balancer, &yaml)?;
        let client = site.client_addresses()[0];
        let answers = || Ok::<_, anyhow::Error>(connect(&site, client)?.ask(ANSWER)?.server);
        for _ in 0..6 {
            assert_eq!(answers()?, "HT1", "the backup is idle");
        }
        balancer.lbctl(&["halt", "traffic/HT1"])?.success()?;
        assert_eq!(answers()?, "HT2");
        balancer.lbctl(&["online", "traffic/HT1", "--wait", "--timeout", "20s"])?.success()?;
        assert_eq!(answers()?, "HT1");

        // The echo servers of HT1 end: on the VIP and on its own address.
        servers.drain(..2);
        balancer.wait_state("traffic", "HT1", "down", COUNTED)?;
        assert_eq!(answers()?, "HT2");
        servers.push(EchoServer::tcp(&site.servers[0], at(MEDIA_VIP, ECHO_PORT))?);
        servers.push(EchoServer::tcp(&site.servers[0], at(site.servers[0].v4(), ECHO_PORT))?);
        balancer.wait_state("traffic", "HT1", "up", COUNTED)?;
        assert_eq!(answers()?, "HT1");
        Ok(())
    })
}

#[test]
fn a_reload_that_nobody_confirms_is_rolled_back_with_its_orders() -> Result<()> {
    in_site("trial", PERSISTENT, |_, site, balancer| {
        balancer.lbctl(&["drain", "traffic/HT2"])?.success()?;
        let without = PERSISTENT.replace("      - {name: HT2, address: 192.168.94.116}\n", "");
        balancer.write_configuration(&without)?;
        balancer.lbctl(&["reload", "--confirm", "5s"])?.success()?;
        let status = balancer.status()?;
        ensure!(
            status.0["configuration"]["confirm_within_seconds"].as_u64().is_some(),
            "{}",
            status.0["configuration"]
        );
        ensure!(balancer.lbctl(&["reload"])?.status != 0, "another reload during a trial");
        wait_until("the configuration comes back by itself", Duration::from_secs(20), || {
            let status = balancer.status()?;
            let server = status.server("traffic", "HT2")?;
            ensure!(server["leaving"] == false, "HT2 is not configured: {server}");
            assert_eq!(server["administration"]["state"], "drained", "its order came back");
            ensure!(status.0["problems"].to_string().contains("nobody confirmed"), "{}", status.0["problems"]);
            Ok(())
        })?;

        balancer.lbctl(&["reload", "--confirm", "60s"])?.success()?;
        balancer.lbctl(&["confirm"])?.success()?;
        let status = balancer.status()?;
        assert_eq!(status.0["configuration"]["confirm_within_seconds"], Value::Null);
        ensure!(!status.0["problems"].to_string().contains("confirmed"), "{}", status.0["problems"]);
        ensure!(balancer.lbctl(&["rollback"])?.status != 0, "nothing is on trial any more");
        connect(site, site.client_addresses()[0])?.ask(ANSWER)?;
        Ok(())
    })
}

#[test]
fn what_happened_is_told_after_a_restart_too_and_followed_live() -> Result<()> {
    in_site("events", PERSISTENT, |_, _, balancer| {
        balancer.lbctl(&["halt", "traffic/HT1"])?.success()?;
        let before = json(balancer, &["events", "--json"])?;
        let last = before["last"].as_u64().context("the last number")?;
        balancer.kill();
        balancer.restart()?;
        let after = json(balancer, &["events", "--json"])?.to_string();
        ensure!(after.contains("halted") && after.contains("goes on from the tables"), "{after}");
        balancer.lbctl(&["online", "traffic/HT1"])?.success()?;
        let events = json(balancer, &["events", "--json", "--limit", "1"])?;
        ensure!(events["last"].as_u64() > Some(last), "numbers go on: {events}");
        assert_eq!(events["events"][0]["server"], "HT1");
        Ok(())
    })
}
