//! What an administrator reads about traffic that is there: each flow with its real server and
//! state, each client that is remembered, and what forgetting it does.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, ECHO_PORT, MEDIA_VIP, Site};
use lb_tests::lab::{in_lab, wait_until};
use lb_tests::software::echo::{EchoServer, TcpClient, UdpClient};
use serde_json::Value;

const CONFIGURATION: &str = include_str!("../data/dual_stack.yaml");
const ANSWER: Duration = Duration::from_secs(2);
/// Counts and listings may lag behind the traffic by this much.
const LAG: Duration = Duration::from_secs(3);

fn echo_servers(site: &Site) -> Result<Vec<EchoServer>> {
    let mut servers = Vec::new();
    for server in &site.servers {
        servers.push(EchoServer::udp(server, at(MEDIA_VIP, ECHO_PORT))?);
        servers.push(EchoServer::tcp(server, at(MEDIA_VIP, ECHO_PORT))?);
    }
    Ok(servers)
}

fn json(balancer: &Balancer<'_>, arguments: &[&str]) -> Result<Value> {
    let output = balancer.lbctl(arguments)?.success()?;
    serde_json::from_str(&output.stdout).with_context(|| format!("no JSON: {output}"))
}

#[test]
fn a_flow_is_listed_with_its_real_server_from_its_start_to_its_end() -> Result<()> {
    in_lab("listed", |lab| {
        let site = deployments::harmonic(lab)?;
        let _servers = echo_servers(&site)?;
        let balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;
        let mut tcp = TcpClient::connect(&site.client, at(MEDIA_VIP, ECHO_PORT), ANSWER)?;
        let udp = UdpClient::new(&site.client, at(site.client.v4(), 0), at(MEDIA_VIP, ECHO_PORT))?;
        udp.ask(9, ANSWER)?;
        let flows = [
            (tcp.address()?, tcp.ask(ANSWER)?.server, "TCP", "established"),
            (udp.address()?, udp.ask(9, ANSWER)?.server, "UDP", "udp"),
        ];
        for (client, server, protocol, state) in &flows {
            wait_until(&format!("{client} is listed as {state}"), LAG, || {
                let list = json(&balancer, &["connections", "--json"])?;
                let found = list["connections"].as_array().into_iter().flatten();
                let found = found.clone().find(|flow| flow["client"] == client.to_string());
                let flow = found.with_context(|| format!("it is not in {list}"))?;
                ensure!(flow["state"] == *state && flow["protocol"] == *protocol, "{flow}");
                ensure!(flow["real_server"] == **server && flow["virtual_service"] == "four", "{flow}");
                ensure!(flow["vip"] == at(MEDIA_VIP, ECHO_PORT).to_string(), "{flow}");
                Ok(())
            })?;
        }
        let (_, server, ..) = &flows[0];
        wait_until("the status counts the connection", LAG, || {
            let status = balancer.status()?;
            let shown = status.server("four", server)?;
            ensure!(shown["connections"].as_u64() >= Some(1), "{shown}");
            Ok(())
        })?;

        let client = tcp.address()?.to_string();
        drop(tcp);
        wait_until("the connection is no longer shown as established", LAG, || {
            let list = json(&balancer, &["connections", "--json", "--state", "established"])?;
            let mut flows = list["connections"].as_array().into_iter().flatten();
            ensure!(flows.all(|flow| flow["client"] != client), "it still is: {list}");
            Ok(())
        })
    })
}

#[test]
fn a_client_is_remembered_once_for_both_protocols_until_it_is_cleared() -> Result<()> {
    in_lab("remembered", |lab| {
        let site = deployments::harmonic(lab)?;
        let _servers = echo_servers(&site)?;
        let schedulers = "scheduler: weighted-round-robin";
        let persistent = CONFIGURATION
            .replace(schedulers, &format!("{schedulers}\n    persistence: {{by: source-ip, timeout: 5m}}"));
        let balancer = Balancer::start(lab, &site.balancer, &persistent)?;
        for client in &site.client_addresses()[..4] {
            site.client.speak_as(*client, MEDIA_VIP, "eth0")?;
            let mut answers = Vec::new();
            for _ in 0..3 {
                let udp = UdpClient::new(&site.client, at(*client, 0), at(MEDIA_VIP, ECHO_PORT))?;
                answers.push(udp.ask(9, ANSWER)?);
                answers.push(TcpClient::connect(&site.client, at(MEDIA_VIP, ECHO_PORT), ANSWER)?.ask(ANSWER)?);
            }
            ensure!(answers.iter().all(|answer| answer.peer.ip() == *client), "the client is another: {answers:?}");
            ensure!(answers.iter().all(|answer| answer.server == answers[0].server), "{client} moved: {answers:?}");
            wait_until(&format!("{client} is listed"), LAG, || {
                let list = json(&balancer, &["persistence", "--json", "--client", &client.to_string()])?;
                let records = list["persistence"].as_array().context("persistence is no list")?;
                ensure!(records.len() == 1 && records[0]["real_server"] == *answers[0].server, "{list}");
                Ok(())
            })?;
        }

        let cleared = json(&balancer, &["persistence", "clear", "--all", "--json"])?;
        assert_eq!(cleared["cleared"], 4, "{cleared}");
        let list = json(&balancer, &["persistence", "--json"])?;
        assert_eq!(list["total"], 0, "{list}");
        Ok(())
    })
}
