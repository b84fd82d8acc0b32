//! Layer 7: a site with TLS that ends at the balancer, whose lbd is replaced under load.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::lab::{Host, Lab};
use lb_tests::software::curl;
use lb_tests::software::nginx::{self, Nginx};
use lb_tests::traffic::Requests;

use super::{show, step};

const VIP: [u8; 4] = [192, 168, 110, 65];
const CONFIGURATION: &str = "version: 1
node: {interfaces: [{device: eth0}]}
defaults: {health_check: {interval: 1s, timeout: 500ms}}
certificates:
  site: {pem: site.pem, key: site.key}
virtual_services:
  - name: web
    address: 192.168.110.65
    ports: [80]
    mode: l7-http
    tls: {port: 443, certificate: site}
    persistence: cookie
    health_check: {type: http, path: /admin/status}
    real_servers:
      - {name: web1, address: 192.168.110.70, port: 8080}
      - {name: web2, address: 192.168.110.71, port: 8080}
  - name: pass
    address: 192.168.110.65
    ports: [9000-9999]
    mode: l7-tcp
    health_check: {type: connect}
    real_servers:
      - {name: web1, address: 192.168.110.70, port: 8080}
      - {name: web2, address: 192.168.110.71, port: 8080}
";

/// Lays the site out, carries traffic, replaces the daemon, and takes everything down.
pub(super) fn run(lab: &Lab) -> Result<()> {
    let (client, balancer_host, servers) = step("lay out a fourth site: web servers in 192.168.110.0/24", || {
        let network = lab.network()?;
        let host = |name, address| lab.host_on(name, &network, &[address]);
        let servers = [host("web1", "192.168.110.70/24")?, host("web2", "192.168.110.71/24")?];
        let hosts = (host("browser", "192.168.110.9/24")?, host("lb7", "192.168.110.2/24")?, servers);
        Ok((hosts, "a client, a balancer, two servers".into()))
    })?;
    let _web = step("start nginx on both", || {
        let web = servers.iter().map(|host| Nginx::start(host, 8080)).collect::<Result<Vec<_>>>()?;
        Ok((web, "at port 8080".into()))
    })?;
    let mut balancer = step("lbctl cert self-signed, and start lbd with l7-http and l7-tcp", || {
        let files = lab.folder().join("site").display().to_string();
        let lbctl = lb_tests::balancer::lbctl(&lb_tests::balancer::lbd()?)?.display().to_string();
        client.run(&[&lbctl, "cert", "self-signed", "www.example.test", "--out", &files])?.success()?;
        let balancer = Balancer::start(lab, &balancer_host, CONFIGURATION)?;
        show(&balancer.lbctl(&["cert", "list"])?.success()?.stdout);
        Ok((balancer, "every health check has spoken".into()))
    })?;
    carry(lab, &client)?;
    drain(&client, &balancer)?;
    replace(&client, &mut balancer)?;
    show(&balancer.lbctl(&["status"])?.success()?.stdout);
    step("lbctl stop --detach", || {
        balancer.detach()?;
        Ok(((), "programs, tables and VIPs are gone".into()))
    })
}

fn carry(lab: &Lab, client: &Host) -> Result<()> {
    step("https://www.example.test: TLS ends at the balancer, HTTP/2, a cookie keeps the client", || {
        let authority = lab.folder().join("site.pem").display().to_string();
        let jar = lab.folder().join("cookies").display().to_string();
        let resolve = "www.example.test:443:192.168.110.65";
        let options = ["--cacert", &authority, "--resolve", resolve, "--cookie-jar", &jar, "--cookie", &jar];
        let mut served = BTreeSet::new();
        for _ in 0..6 {
            let answer = curl::ask(client, "https://www.example.test/", &options)?;
            ensure!(answer.status == 200, "{answer:?}");
            served.insert(answer.body.split_whitespace().next().unwrap_or_default().to_owned());
        }
        ensure!(served.len() == 1, "the client was sent to {served:?}");
        ensure!(!fs::read_to_string(&jar)?.is_empty(), "there is no cookie");
        Ok(((), format!("six requests, all to {}", served.first().map_or("", String::as_str))))
    })?;
    step("http://192.168.110.65:9321, a port of the range 9000-9999, through l7-tcp", || {
        let body = nginx::fetch(client, at(VIP.into(), 9321), "/")?;
        Ok(((), format!("answered: {}", body.trim())))
    })
}

fn drain(client: &Host, balancer: &Balancer<'_>) -> Result<()> {
    step("lbctl drain web/web1, and a hundred new clients", || {
        show(&balancer.lbctl(&["drain", "web/web1"])?.success()?.stdout);
        let bodies = nginx::fetch_numbered(client, at(VIP.into(), 80), 100, 10)?;
        ensure!(bodies.iter().all(|body| body == "web2"), "web1, which is drained, got new clients");
        balancer.lbctl(&["online", "web/web1"])?.success()?;
        Ok(((), "web2 served all of them; web1 is online again".into()))
    })
}

fn replace(client: &Host, balancer: &mut Balancer<'_>) -> Result<()> {
    step("lbctl upgrade, under load", || {
        let load = Requests::start(client, &[at(VIP.into(), 80), at(VIP.into(), 9000)], 2)?;
        show(&balancer.lbctl(&["upgrade"])?.success()?.stdout);
        let load = load.end();
        ensure!(load.failed.is_empty(), "{:?}", load.failed);
        balancer.wait_end()?.success()?;
        Ok(((), format!("{} requests, none failed; the old lbd has ended", load.answered)))
    })
}
