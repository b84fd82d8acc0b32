//! The guide's timeouts are in force, and short ones are seen to act.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, ICAS_VIP, Site};
use lb_tests::lab::in_lab;
use lb_tests::software::curl;
use lb_tests::software::samba::{self, FileServer};

use super::rig::{NODES, Objects, S3, SMB, SOON, configuration, edit};

/// Asked once, and then so seldom that nothing else is found out during the test.
const SELDOM: &str = "{interval: 60s, timeout: 5s, rise: 1, fall: 1}";
const HTTP: u16 = 80;
/// A request that does not go on.
const HALF: &str = "PUT /lab/half HTTP/1.1\r\nHost: lab\r\nContent-Length: 9\r\n\r\nhalf";

/// A client that says this much and then nothing.
fn silent(site: &Site, port: u16, says: &str) -> Result<TcpStream> {
    let address = at(ICAS_VIP, port);
    let mut connection = site.client.enter(|| TcpStream::connect_timeout(&address, SOON))??;
    connection.write_all(says.as_bytes()).context("cannot speak")?;
    Ok(connection)
}

/// Waits for the end of a connection; what came before.
fn end(mut connection: TcpStream) -> Result<String> {
    connection.set_read_timeout(Some(SOON))?;
    let mut text = Vec::new();
    match connection.read_to_end(&mut text) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error).context("the connection goes on"),
        _ => Ok(String::from_utf8_lossy(&text).into_owned()),
    }
}

fn ensure_open(mut connection: &TcpStream) -> Result<()> {
    connection.set_read_timeout(Some(Duration::from_millis(100)))?;
    match connection.read(&mut [0]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        other => anyhow::bail!("the connection has ended or speaks: {other:?}"),
    }
}

#[test]
fn the_guides_timeouts_are_in_force_and_short_ones_end_what_is_silent() -> Result<()> {
    let guide = configuration(SELDOM)?;
    in_lab("icas-timeouts", |lab| {
        let (site, storage) = deployments::icas(lab)?;
        let mut objects = Objects::start(lab, &site, &storage)?;
        let _smb = site.servers.iter().map(FileServer::start).collect::<Result<Vec<_>>>()?;
        let balancer = Balancer::start(lab, &site.balancer, &guide)?;
        for (service, node) in [(S3, NODES[0]), (S3, NODES[1]), (SMB, NODES[0]), (SMB, NODES[1])] {
            balancer.wait_state(service, node, "up", SOON)?;
        }
        let shown = balancer
            .lbctl(&["config", "show", "--effective", &balancer.configuration().display().to_string()])?
            .success()?
            .stdout;
        for (timeout, services) in [("10m", 1), ("5m", 2)] {
            for side in ["client", "server"] {
                let found = shown.matches(&format!("{side}: {timeout}")).count();
                ensure!(found == services, "{side}: {timeout} is there {found} times:\n{shown}");
            }
        }
        let patient = [silent(&site, samba::PORT, "")?, silent(&site, HTTP, HALF)?];

        let short = edit(&edit(&guide, S3, "10m", "1s")?, SMB, "5m", "1s")?;
        balancer.write_configuration(&short)?;
        balancer.lbctl(&["reload"])?.success()?;
        assert_eq!(end(silent(&site, samba::PORT, "")?)?, "", "a silent client of SMB");
        let answer = end(silent(&site, HTTP, HALF)?)?;
        ensure!(answer.starts_with("HTTP/1.1 408 "), "half a request is answered with {answer:?}");

        // The nodes take the request, and wait for their store.
        objects.store.hold();
        let late = curl::ask(&site.client, &format!("http://{ICAS_VIP}/lab/late"), &[])?;
        objects.store.go_on();
        assert_eq!(late.status, 504, "{late:?}");
        // Those that came before the short timeouts keep theirs.
        patient.iter().try_for_each(ensure_open)
    })
}
