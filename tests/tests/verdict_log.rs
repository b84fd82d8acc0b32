//! `lbd run --log-verdicts`: a line for every verdict where it is asked for, and none where it is not.

use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, ECHO_PORT, MEDIA_VIP, Site};
use lb_tests::lab::{in_lab, wait_until};
use lb_tests::software::echo::{EchoServer, UdpClient};
use nix::sys::signal::Signal;

const CONFIGURATION: &str = include_str!("../data/dual_stack.yaml");
const ANSWER: Duration = Duration::from_secs(2);
/// For things that take a moment.
const SOON: Duration = Duration::from_secs(20);

fn echo_servers(site: &Site) -> Result<Vec<EchoServer>> {
    site.servers.iter().map(|server| EchoServer::udp(server, at(MEDIA_VIP, ECHO_PORT))).collect()
}

/// Opens a flow with a datagram of nine bytes.
fn ask(site: &Site) -> Result<()> {
    UdpClient::new(&site.client, at(site.client.v4(), 0), at(MEDIA_VIP, ECHO_PORT))?.ask(9, ANSWER)?;
    Ok(())
}

#[test]
fn verdicts_are_logged_where_lbd_is_told_to_and_during_a_trace_too() -> Result<()> {
    in_lab("verdictlog", |lab| {
        let site = deployments::harmonic(lab)?;
        let _servers = echo_servers(&site)?;
        let quiet = Balancer::start(lab, &site.balancer, CONFIGURATION)?;
        ask(&site)?;
        ensure!(!quiet.log().contains("bytes: reason"), "verdicts are logged by default:\n{}", quiet.log());
        drop(quiet);
        let balancer = Balancer::start_with(lab, &site.balancer, CONFIGURATION, &["--log-verdicts"])?;
        // A datagram of nine bytes that opens a flow: 18 is `scheduled`.
        let logged = || balancer.log().matches("51 bytes: reason 18").count();
        let one_more = |what: &str| -> Result<()> {
            let before = logged();
            ask(&site)?;
            wait_until(what, SOON, || {
                ensure!(logged() == before + 1, "{} of {}", logged(), before + 1);
                Ok(())
            })
        };
        one_more("a verdict is logged")?;
        let mut trace = balancer.start_lbctl(&["trace", "203.0.113.9"])?;
        wait_until("the trace begins", SOON, || {
            ensure!(trace.log().contains("note: tracing 203.0.113.9 "), "{}", trace.log());
            Ok(())
        })?;
        one_more("a verdict is logged during a trace")?;
        trace.signal(Signal::SIGINT);
        trace.wait_end(SOON)?.success()?;
        one_more("a verdict is logged after it")
    })
}
