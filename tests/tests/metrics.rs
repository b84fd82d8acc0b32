//! Metrics as a monitoring system gets them: by the API's socket and over TCP, valid for Prometheus'
//! own parser, and growing with the traffic.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, ECHO_PORT, MEDIA_VIP, Site};
use lb_tests::lab::{in_lab, wait_until};
use lb_tests::software::echo::{EchoServer, TcpClient, UdpClient};
use lb_tests::software::prometheus::{scrape, scrape_socket};

const CONFIGURATION: &str = include_str!("../data/dual_stack.yaml");
/// The generated page of all reasons.
const VERDICTS: &str = include_str!("../../docs/reference/verdicts.md");
const ANSWER: Duration = Duration::from_secs(2);
/// A text is at most a second old, and counts lag behind the traffic by a sweep, which a busy machine puts off.
const LAG: Duration = Duration::from_secs(20);
const PORT: u16 = 9707;
const FLOWS: u16 = 25;
const LENGTH: u16 = 9;
/// Headers of Ethernet, IPv4 and UDP.
const FRAME: u16 = 14 + 20 + 8 + LENGTH;

fn configuration(metrics_address: SocketAddr) -> String {
    let with_address =
        CONFIGURATION.replace("  name: lb1\n", &format!("  name: lb1\n  metrics_address: '{metrics_address}'\n"));
    assert_ne!(with_address, CONFIGURATION);
    with_address
}

fn echo_servers(site: &Site) -> Result<Vec<EchoServer>> {
    let mut servers = Vec::new();
    for server in &site.servers {
        servers.push(EchoServer::udp(server, at(MEDIA_VIP, ECHO_PORT))?);
        servers.push(EchoServer::tcp(server, at(MEDIA_VIP, ECHO_PORT))?);
    }
    Ok(servers)
}

#[test]
fn metrics_grow_with_the_traffic_and_are_the_same_by_both_ways() -> Result<()> {
    in_lab("metrics", |lab| {
        let site = deployments::harmonic(lab)?;
        let _servers = echo_servers(&site)?;
        let address = at(site.balancer.v4(), PORT);
        let balancer = Balancer::start(lab, &site.balancer, &configuration(address))?;
        let before = scrape(&site.client, address)?;
        let by_socket = scrape_socket(&site.balancer, balancer.socket())?;
        assert_eq!(by_socket.series(), before.series());

        // All are kept: the kernel could give the port of one that is gone to the next, and that would be no new flow.
        let client = || UdpClient::new(&site.client, at(site.client.v4(), 0), at(MEDIA_VIP, ECHO_PORT));
        let mut clients = (0..FLOWS).map(|_| client()).collect::<Result<Vec<_>>>()?;
        for client in &mut clients {
            client.ask(LENGTH.into(), ANSWER)?;
        }
        let four = [("service", "four")];
        let after = wait_until("every flow is counted, for its service and its server", LAG, || {
            let after = scrape(&site.client, address)?;
            for name in ["lb_service_flows_total", "lb_server_flows_total", "lb_service_packets_total"] {
                let grown = after.sum(name, &four) - before.sum(name, &four);
                ensure!(grown == f64::from(FLOWS), "{name} has grown by {grown}");
            }
            Ok(after)
        })?;
        let scheduled = [("reason", "scheduled"), ("action", "forward")];
        for (name, each) in [("lb_datapath_packets_total", 1), ("lb_datapath_bytes_total", FRAME)] {
            let grown = after.value(name, &scheduled)? - before.value(name, &scheduled)?;
            assert_eq!(grown, f64::from(FLOWS * each), "{name}");
        }
        for server in ["HT1", "HT2"] {
            let labels = [("service", "four"), ("server", server)];
            ensure!(after.value("lb_server_flows_total", &labels)? > 0.0, "{server} got no flow of {FLOWS}");
            assert_eq!(after.value("lb_server_up", &labels)?, 1.0);
            assert_eq!(after.sum("lb_server_state", &labels), 1.0, "one state holds");
        }

        let mut flow = TcpClient::connect(&site.client, at(MEDIA_VIP, ECHO_PORT), ANSWER)?;
        let server = flow.ask(ANSWER)?.server;
        let labels = [("service", "four"), ("server", server.as_str())];
        wait_until("the connection is counted", LAG, || {
            let now = scrape(&site.client, address)?.value("lb_server_connections", &labels)?;
            let before = after.value("lb_server_connections", &labels)?;
            ensure!(now == before + 1.0, "{server} has {now} after {before}");
            Ok(())
        })
    })
}

#[test]
fn every_verdict_and_the_machine_itself_are_measured() -> Result<()> {
    in_lab("measured", |lab| {
        let site = deployments::harmonic(lab)?;
        let [address, v6] = [site.balancer.v4(), site.balancer.v6()].map(|ip| at(ip, PORT));
        let balancer = Balancer::start(lab, &site.balancer, &configuration(v6))?;
        let metrics = scrape(&site.client, v6)?;
        ensure!(scrape(&site.client, address).is_err(), "it listens where it was not told to");

        let documented = VERDICTS.lines().filter_map(|line| line.strip_prefix("| ")?.split('`').nth(1));
        let documented: BTreeSet<&str> = documented.collect();
        ensure!(documented.len() > 20, "the page of verdicts is read wrongly: {documented:?}");
        for name in ["lb_datapath_packets_total", "lb_datapath_bytes_total"] {
            assert_eq!(metrics.labels(name, "reason").into_iter().collect::<BTreeSet<_>>(), documented, "{name}");
        }
        let status = balancer.status()?;
        assert_eq!(metrics.labels("lb_build_info", "version"), [status.0["version"].as_str().unwrap_or_default()]);
        assert_eq!(metrics.value("lb_interface_up", &[("device", "eth0")])?, 1.0);
        assert_eq!(metrics.sum("lb_interface_xdp", &[("device", "eth0")]), 1.0);
        for table in ["flows", "pending_flows", "persistence", "new_clients"] {
            ensure!(metrics.value("lb_table_capacity_entries", &[("table", table)])? > 0.0, "{table} has no room");
        }
        for name in ["process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"] {
            ensure!(metrics.value(name, &[])? > 0.0, "{name}");
        }
        Ok(())
    })
}

#[test]
fn the_address_of_the_metrics_follows_the_configuration_and_a_bad_one_leaves_the_old() -> Result<()> {
    in_lab("moved", |lab| {
        let site = deployments::harmonic(lab)?;
        let ip = site.balancer.v4();
        let [first, second, taken] = [PORT, PORT + 1, PORT + 2].map(|port| at(ip, port));
        let mut occupant = site.balancer.spawn(&["socat", &format!("TCP-LISTEN:{}", taken.port()), "PIPE"])?;
        site.balancer.wait_listening(&mut occupant, "tcp", taken.port())?;
        let balancer = Balancer::start(lab, &site.balancer, &configuration(first))?;
        scrape(&site.client, first)?;

        balancer.write_configuration(&configuration(second))?;
        balancer.lbctl(&["reload"])?.success()?;
        let metrics = scrape(&site.client, second)?;
        assert_eq!(metrics.value("lb_configuration_reloads_total", &[("result", "succeeded")])?, 1.0);
        wait_until("nobody listens at the old address", LAG, || {
            ensure!(site.balancer.listens("tcp", first.port()).is_err(), "somebody does");
            Ok(())
        })?;

        balancer.write_configuration(&configuration(taken))?;
        balancer.lbctl(&["reload"])?.success()?;
        let problems = balancer.status()?.0["problems"].to_string();
        let expected = format!("metrics cannot be served at {taken}: another program listens there");
        ensure!(problems.contains(&expected), "{problems}");
        ensure!(problems.contains(&format!("they are served at {second} as before")), "{problems}");
        wait_until("the problem is counted at the old address", LAG, || {
            let metrics = scrape(&site.client, second)?;
            ensure!(metrics.value("lb_problems", &[])? == 1.0, "it is not");
            Ok(())
        })?;

        balancer.write_configuration("version: [")?;
        ensure!(balancer.lbctl(&["reload"])?.status != 0, "a broken file was accepted");
        wait_until("the failed reload is counted", LAG, || {
            let metrics = scrape(&site.client, second)?;
            ensure!(metrics.value("lb_configuration_last_reload_successful", &[])? == 0.0, "the last one failed");
            ensure!(metrics.value("lb_configuration_reloads_total", &[("result", "failed")])? == 1.0, "one failed");
            Ok(())
        })?;

        occupant.kill();
        balancer.write_configuration(&configuration(taken))?;
        balancer.lbctl(&["reload"])?.success()?;
        let metrics = scrape(&site.client, taken)?;
        assert_eq!(metrics.value("lb_configuration_last_reload_successful", &[])?, 1.0);
        assert_eq!(metrics.value("lb_problems", &[])?, 0.0);
        Ok(())
    })
}

#[test]
fn metrics_come_by_themselves_once_their_address_is_free() -> Result<()> {
    in_lab("late", |lab| {
        let site = deployments::harmonic(lab)?;
        let address = at(site.balancer.v4(), PORT);
        let mut occupant = site.balancer.spawn(&["socat", &format!("TCP-LISTEN:{PORT}"), "PIPE"])?;
        site.balancer.wait_listening(&mut occupant, "tcp", PORT)?;
        let mut balancer = Balancer::start(lab, &site.balancer, &configuration(address))?;
        let problems = balancer.status()?.0["problems"].to_string();
        ensure!(problems.contains(&format!("metrics cannot be served at {address}")), "{problems}");
        occupant.kill();
        wait_until("metrics are served without a word to lbd", LAG, || scrape(&site.client, address).map(|_| ()))?;
        assert_eq!(balancer.status()?.0["problems"], serde_json::json!([]));

        // And the daemon that comes back listens there again at once.
        balancer.terminate()?;
        ensure!(scrape(&site.client, address).is_err(), "somebody answers for a daemon that ended");
        balancer.restart()?;
        scrape(&site.client, address).map(|_| ())
    })
}
