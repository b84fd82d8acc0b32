//! S3: TLS in, TLS out, plain HTTP beside it; nodes that fail, are drained or halted; reloads under load.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{ICAS_VIP, Site};
use lb_tests::lab::wait_until;
use lb_tests::software::certificate::Certificate;
use lb_tests::software::curl::{self, Download};
use lb_tests::software::s3::{self, Seen};

use super::rig::{LARGE, NAME, NODES, Objects, QUICK, S3, SOON, configuration, edit, other, shown, with_objects};

/// A client that says it forwards for somebody else; nobody trusts it.
const LIE: &str = "X-Forwarded-For: 203.0.113.9";
const CLIENTS: usize = 3;
/// Requests that would meet both nodes, were both asked.
const SOME: usize = 6;
const RELOADS: usize = 10;

fn https() -> String {
    format!("https://{ICAS_VIP}")
}

fn http() -> String {
    format!("http://{ICAS_VIP}")
}

/// The nodes that answer some requests, one connection each, over HTTP and HTTPS.
fn answering(site: &Site, objects: &Objects) -> Result<Vec<String>> {
    let trust = objects.authority.file().display().to_string();
    let mut nodes = Vec::new();
    for endpoint in [https(), http()] {
        for _ in 0..SOME {
            let answer = curl::ask(&site.client, &format!("{endpoint}/node/"), &["--cacert", &trust])?;
            ensure!(answer.status == 200, "{answer:?}");
            assert_eq!(answer.field("x-node"), answer.body.trim());
            nodes.push(answer.body.trim().to_owned());
        }
    }
    nodes.sort_unstable();
    nodes.dedup();
    Ok(nodes)
}

#[test]
fn objects_come_back_whole_through_every_node_and_nodes_see_the_client() -> Result<()> {
    with_objects("icas-s3", &configuration(QUICK)?, |site, objects, balancer| {
        shown(balancer, S3, NODES[0], "up", "")?;
        // Plain HTTP beside it, with less.
        for (endpoint, trust, bytes) in [(https(), objects.trust(), LARGE), (http(), None, LARGE / 3)] {
            let traffic = objects.store.round_trips(&site.client, &endpoint, trust, CLIENTS, bytes)?;
            println!("{endpoint}: {traffic:?}");
            assert_eq!(traffic.nodes(), NODES);
        }
        nodes_see_the_client(site, objects)?;
        the_certificate_is_the_one_that_was_bought(site, objects)?;
        a_node_without_the_clusters_certificate_is_not_believed(site, objects, balancer)
    })
}

/// Through TLS at both ends a node is told who the client is, and believes no client that says otherwise.
fn nodes_see_the_client(site: &Site, objects: &Objects) -> Result<()> {
    let trust = objects.authority.file().display().to_string();
    let by_name = format!("{NAME}:443:{ICAS_VIP}");
    let address = ICAS_VIP.to_string();
    let cases = [
        (format!("https://{ICAS_VIP}/node/tls"), "--http1.1", ("https", "443"), address.as_str(), "1.1"),
        (format!("https://{NAME}/node/name"), "--http2", ("https", "443"), NAME, "2"),
        (format!("http://{ICAS_VIP}/node/plain"), "--http1.1", ("http", "80"), &address, "1.1"),
        (format!("http://{ICAS_VIP}/node/prior"), "--http2-prior-knowledge", ("http", "80"), &address, "2"),
    ];
    let client = site.client_addresses()[3];
    for (url, speak, (proto, port), host, version) in cases {
        let path = format!("/node/{}", url.rsplit('/').next().unwrap_or_default());
        let from = client.to_string();
        let options = ["--cacert", &trust, "--resolve", &by_name, speak, "--interface", &from, "--header", LIE];
        let answer = curl::ask(&site.client, &url, &options)?;
        assert_eq!((answer.status, answer.version.as_str()), (200, version), "{url}");
        let seen = wait_until("the node has logged the request", SOON, || {
            let seen = objects.nodes.iter().map(|node| node.seen(&path)).collect::<Result<Vec<_>>>()?.concat();
            seen.first().cloned().context("no node has")
        })?;
        let expected = Seen {
            peer: site.balancer.v4(),
            host: host.to_owned(),
            forwarded_for: client.to_string(),
            forwarded_proto: proto.to_owned(),
            forwarded_port: port.to_owned(),
        };
        assert_eq!(seen, expected, "{url}");
    }
    Ok(())
}

fn the_certificate_is_the_one_that_was_bought(site: &Site, objects: &Objects) -> Result<()> {
    let trust = objects.authority.file().display().to_string();
    let untrusted = curl::try_ask(&site.client, &format!("{}/node/", https()), &[])?;
    assert_eq!(untrusted.status, 60, "nobody else vouches for it: {untrusted}");
    let by_name = format!("another.example:443:{ICAS_VIP}");
    let options = ["--cacert", &trust, "--resolve", &by_name];
    let misnamed = curl::try_ask(&site.client, "https://another.example/node/", &options)?;
    assert_eq!(misnamed.status, 60, "it is for other names: {misnamed}");
    let plain = curl::try_ask(&site.client, &format!("http://{ICAS_VIP}:443/node/"), &[])?;
    ensure!(!plain.stdout.contains(NODES[0]) && !plain.stdout.contains(NODES[1]), "443 takes plain HTTP: {plain}");
    Ok(())
}

/// Neither by its check nor, where the check does not look, by the proxy.
fn a_node_without_the_clusters_certificate_is_not_believed(
    site: &Site,
    objects: &mut Objects,
    balancer: &Balancer<'_>,
) -> Result<()> {
    let name = NODES[1];
    let host = site.server(name);
    let forged = Certificate::self_signed(host, NAME)?;
    let Objects { store, nodes, .. } = objects;
    nodes[1].show(host, store, &forged)?;
    shown(balancer, S3, name, "down", "certificate")?;
    assert_eq!(answering(site, objects)?, [other(name)]);

    let https = "type: https\n      path: /minio/health/cluster\n      expect: {status: 200}\n      verify: full\n      \
                 server_name: s3.example.org\n      ca_file: certs/nodes-ca.pem";
    balancer.write_configuration(&edit(&configuration(QUICK)?, S3, https, "type: connect")?)?;
    balancer.lbctl(&["reload"])?.success()?;
    shown(balancer, S3, name, "up", "")?;
    assert_eq!(answering(site, objects)?, [other(name)], "requests to {name} go to the other node");
    Ok(())
}

#[test]
fn a_node_that_is_unwell_dead_drained_or_halted_is_not_missed() -> Result<()> {
    with_objects("icas-s3-nodes", &configuration(QUICK)?, |site, objects, balancer| {
        assert_eq!(answering(site, objects)?, NODES);
        objects.node(NODES[0])?.say_well(false)?;
        shown(balancer, S3, NODES[0], "down", "503")?;
        assert_eq!(answering(site, objects)?, [NODES[1]], "the first says it is unwell");
        objects.node(NODES[0])?.say_well(true)?;
        shown(balancer, S3, NODES[0], "up", "")?;
        assert_eq!(answering(site, objects)?, NODES);

        a_drained_node_ends_its_work(site, objects, balancer)?;
        a_halted_node_is_cut(site, objects, balancer)?;

        objects.node(NODES[1])?.kill();
        shown(balancer, S3, NODES[1], "down", "")?;
        assert_eq!(answering(site, objects)?, [NODES[0]], "the second is dead");
        objects.node(NODES[0])?.kill();
        shown(balancer, S3, NODES[0], "down", "")?;
        for endpoint in [https(), http()] {
            let trust = objects.authority.file().display().to_string();
            let answer = curl::ask(&site.client, &format!("{endpoint}/node/"), &["--cacert", &trust])?;
            assert_eq!(answer.status, 503, "{answer:?}");
            ensure!(answer.field("content-type").starts_with("text/html"), "{answer:?}");
            ensure!(answer.body.contains("<html") && answer.body.len() > 100, "the fallback page: {answer:?}");
        }
        Ok(())
    })
}

fn download(site: &Site, objects: &Objects, name: &str) -> Result<(Download, String)> {
    let trust = objects.authority.file().display().to_string();
    let url = format!("{}/files/large", https());
    let download = Download::start(&site.client, name, &url, &["--cacert", &trust])?;
    let node = download.field("x-node")?;
    Ok((download, node))
}

fn a_drained_node_ends_its_work(site: &Site, objects: &Objects, balancer: &Balancer<'_>) -> Result<()> {
    let (mut download, node) = download(site, objects, "drained")?;
    balancer.lbctl(&["drain", &format!("{S3}/{node}")])?.success()?;
    assert_eq!(answering(site, objects)?, [other(&node)], "{node} takes no new requests");
    download.ensure_running()?;
    assert_eq!(download.finish(&site.client)?, objects.large.hash, "what was under way is carried to its end");
    balancer.lbctl(&["online", &format!("{S3}/{node}")])?.success()?;
    wait_until("both nodes answer again", SOON, || {
        let nodes = answering(site, objects)?;
        ensure!(nodes == NODES, "{nodes:?}");
        Ok(())
    })
}

fn a_halted_node_is_cut(site: &Site, objects: &Objects, balancer: &Balancer<'_>) -> Result<()> {
    let (download, node) = download(site, objects, "halted")?;
    balancer.lbctl(&["halt", &format!("{S3}/{node}")])?.success()?;
    let cut = download.wait_cut()?;
    // 18: partial file, 56: receive error, 92: an error of a stream in HTTP/2. 28 would be a timeout.
    ensure!([18, 56, 92].contains(&cut.status), "{cut}");
    assert_eq!(answering(site, objects)?, [other(&node)], "{node} is halted");
    balancer.lbctl(&["online", &format!("{S3}/{node}"), "--wait", "--timeout", "20s"])?.success()?;
    shown(balancer, S3, &node, "up", "")
}

#[test]
fn reloads_under_load_fail_no_request() -> Result<()> {
    let yaml = configuration(QUICK)?;
    with_objects("icas-s3-reload", &yaml, |site, objects, balancer| {
        let tls = objects.store.load(&site.client, &https(), objects.trust())?;
        let plain = objects.store.load(&site.client, &http(), None)?;
        let (mut download, _) = download(site, objects, "across")?;
        let trust = objects.authority.file().display().to_string();
        for round in 1..=RELOADS {
            // Other weights and timeouts each time, and a service that comes and goes.
            let mut changed = edit(&yaml, S3, "weight: 100", &format!("weight: {}", 10 * round))?;
            changed = edit(&changed, S3, "10m", &format!("{}m", 10 + round))?;
            if round % 2 == 1 {
                let beside: IpAddr = "192.168.110.66".parse()?;
                changed = changed.replacen(
                    "virtual_services:\n",
                    &format!(
                        "virtual_services:\n  - name: beside\n    address: {beside}\n    ports: [80]\n    \
                         mode: l7-http\n    real_servers:\n      - {{name: one, address: 192.168.110.70, port: {}}}\n",
                        s3::PORT
                    ),
                    1,
                );
            }
            balancer.write_configuration(&changed)?;
            balancer.lbctl(&["reload"])?.success()?;
            // The load keeps its connections; these are new.
            for endpoint in [https(), http()] {
                let answer = curl::ask(&site.client, &format!("{endpoint}/node/"), &["--cacert", &trust])?;
                assert_eq!(answer.status, 200, "{endpoint} after reload {round}: {answer:?}");
            }
            if round == 1 {
                download.ensure_running()?;
            }
        }
        assert_eq!(download.finish(&site.client)?, objects.large.hash);
        for (name, load) in [("TLS", tls), ("plain", plain)] {
            let traffic = load.finish()?;
            println!("{name}: {traffic:?}");
            ensure!(traffic.failures.is_empty(), "{name}: {traffic:?}");
            assert_eq!(traffic.nodes(), NODES);
        }
        Ok(())
    })
}
