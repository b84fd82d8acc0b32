//! Clients and real servers that misbehave, through the proxy, while a bystander's service is asked all the time.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, ICAS_VIP, Site};
use lb_tests::lab::{Lab, in_lab, wait_until};
use lb_tests::software::abuse::{Echo, HTTP_PORT, Held, OddServer, Standing, misbehave};
use lb_tests::software::certificate::Certificate;
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(30);
/// By how much memory may grow where nothing may stay, in kB.
const MEMORY_KEPT: u64 = 30_000;
/// What ten thousand idle connections may cost, in kB: a debug build needs 11 for each.
const IDLE_COST: u64 = 200_000;

/// Well-behaved servers behind ports 80, 82, 90 and 443, and one that misbehaves behind port 81.
struct Rig {
    site: Site,
    odd: OddServer,
    _echoes: [Echo; 2],
}

impl Rig {
    fn new(lab: &Lab) -> Result<Self> {
        let (site, _) = deployments::icas(lab)?;
        let echoes = [Echo::nginx(&site.servers[0])?, Echo::nginx(&site.servers[1])?];
        let odd = OddServer::start(&site.servers[0])?;
        Certificate::self_signed(&site.balancer, "web")?;
        Ok(Self { site, odd, _echoes: echoes })
    }

    /// The configuration; files of the certificate lie beside it.
    fn configuration(&self) -> String {
        let [one, two] = [0, 1].map(|at: usize| self.site.servers[at].v4());
        let timeouts = "{connect: 2s, client: 3s, server: 3s, request: 2s, keep_alive: 4s}";
        let odd = self.odd.address();
        let service = |name: &str, port: u16, more: &str, address, server_port: u16, check: &str| {
            format!(
                "  - name: {name}\n    address: {ICAS_VIP}\n    ports: [{port}]\n    mode: l7-http\n{more}\
                 \x20   timeouts: {timeouts}\n    health_check: {{type: {check}}}\n\
                 \x20   real_servers: [{{name: s, address: {address}, port: {server_port}}}]\n"
            )
        };
        let (http, tls) = (HTTP_PORT, "    tls: {port: 443, certificate: web}\n");
        let trusted = "    accept_proxy_protocol: 0.0.0.0/0\n";
        [
            "version: 1\nnode:\n  name: lb1\n  interfaces: [{device: eth0}]\n".to_owned(),
            "defaults:\n  health_check: {interval: 1s, timeout: 1s, rise: 1, fall: 2}\n".to_owned(),
            "certificates:\n  web: {pem: lb1-web.pem, key: lb1-web.key}\nvirtual_services:\n".to_owned(),
            service("web", 80, tls, one, http, "connect"),
            service("odd", 81, "", odd.ip(), odd.port(), "connect"),
            service("behind-proxy", 82, trusted, one, http, "connect"),
            service("bystander", 90, "", two, http, "connect"),
        ]
        .concat()
    }
}

/// Begins a bystander, does it, and looks at what is left of it.
fn with_bystander(
    lab: &Lab,
    rig: &Rig,
    growth: u64,
    work: impl FnOnce(&mut Balancer<'_>, Held) -> Result<()>,
) -> Result<()> {
    let mut balancer = Balancer::start(lab, &rig.site.balancer, &rig.configuration())?;
    let bystander = Standing::bystander(&rig.site.client, ICAS_VIP)?;
    let before = Held::by(balancer.pid())?;
    work(&mut balancer, before)?;
    let met = bystander.finish()?;
    let failures = met["failures"].as_array().context("no failures")?;
    ensure!(failures.is_empty(), "the bystander met {}: {:?}", failures.len(), failures.first());
    let after = before.again(balancer.pid())?;
    println!("bystander: {} answers, no failure; {before:?} became {after:?}", met["answers"]);
    ensure!(after.memory < before.memory + growth, "{before:?} became {after:?}");
    let status = balancer.status()?;
    let clients = status.service("web")?["proxied"]["clients"].as_u64();
    ensure!(clients == Some(0), "{clients:?} clients are left");
    for (service, server) in status.servers() {
        ensure!(server["state"] == "up", "{service}: {server}");
    }
    balancer.ensure_alive()
}

#[test]
fn clients_that_misbehave_are_told_so_and_harm_nobody_else() -> Result<()> {
    in_lab("abuse-clients", |lab| {
        let rig = Rig::new(lab)?;
        with_bystander(lab, &rig, MEMORY_KEPT, |balancer, _| {
            let told = misbehave(&rig.site.client, ICAS_VIP, "clients")?;
            let lines = [
                ("slow-head", "HTTP/1.1 408 Request Timeout"),
                ("slow-lines", "HTTP/1.1 408 Request Timeout"),
                ("100-slow-heads", "HTTP/1.1 408 Request Timeout"),
                ("slow-body", "HTTP/1.1 408 Request Timeout"),
                ("slow-chunks", "HTTP/1.1 408 Request Timeout"),
                ("100-kb-of-head", "HTTP/1.1 431 Request Header Fields Too Large"),
                ("1000-fields", "HTTP/1.1 431 Request Header Fields Too Large"),
                ("no-http", "HTTP/1.1 400 Bad Request"),
                ("never-reads", "HTTP/1.1 200 OK"),
                ("pipelines-a-part", "HTTP/1.1 200 OK"),
                ("half-a-preface", ""),
                ("half-a-handshake", ""),
                ("tls-garbage", ""),
                ("http-to-tls", ""),
                ("proxy-none", ""),
                ("proxy-malformed", ""),
                ("proxy-long", ""),
                ("proxy-half", ""),
                ("proxy-half-closed", ""),
                ("proxy-right", "HTTP/1.1 200 OK"),
            ];
            for (name, line) in lines {
                ensure!(told[name]["line"] == line && told[name]["end"] != "timeout", "{name}: {}", told[name]);
            }
            ensure!(told["never-reads"]["all"] == false, "all was sent to who does not read");
            ensure!(told["pipelines-a-part"]["first"] == true, "the answer waited for the next request");
            for name in ["100-kb-of-head", "1000-fields", "no-http"] {
                ensure!(told[name]["end"] == "end", "{name} was reset: its client may miss the answer");
            }
            let floods = ["h2-rapid-reset", "h2-settings", "h2-pings", "h2-continuations", "h2-empty-data"];
            for name in floods.into_iter().chain(["h2-closed-window"]) {
                ensure!(["end", "reset"].contains(&word(&told[name]["end"])), "{name} goes on: {}", told[name]);
            }
            for name in ["h2-rapid-reset", "h2-continuations", "h2-empty-data"] {
                ensure!(told[name]["sent"].as_u64() < Some(9_999), "{name} was taken whole: {}", told[name]);
            }
            ensure!(told["h2-closed-window"]["events"]["StreamReset"] == 4, "{}", told["h2-closed-window"]);
            ensure!(told["h2-one-window-closed"]["answers"] == 2, "{}", told["h2-one-window-closed"]);
            ensure!(told["h2-1000-fields"]["status"] == "431", "{}", told["h2-1000-fields"]);

            let status = balancer.status()?;
            let (web, odd, behind) =
                (status.failures("web")?, status.failures("odd")?, status.failures("behind-proxy")?);
            println!("web: {web:?}\nodd: {odd:?}\nbehind-proxy: {behind:?}");
            let at_least = [
                (&web, "request-timeout", 103),
                (&web, "header-too-large", 2),
                (&web, "bad-request", 1),
                (&web, "tls-handshake", 2),
                (&odd, "client-timeout", 8),
                (&behind, "proxy-header", 24),
            ];
            for (failures, reason, count) in at_least {
                ensure!(failures.get(reason) >= Some(&count), "{reason}: {failures:?}");
            }
            ensure!(status.failures("bystander")?.is_empty(), "{:?}", status.failures("bystander"));
            Ok(())
        })
    })
}

#[test]
fn servers_that_misbehave_are_told_apart_and_no_post_is_sent_twice() -> Result<()> {
    in_lab("abuse-servers", |lab| {
        let rig = Rig::new(lab)?;
        with_bystander(lab, &rig, MEMORY_KEPT, |balancer, _| {
            let told = misbehave(&rig.site.client, ICAS_VIP, "servers")?;
            let (bad, late) = ("HTTP/1.1 502 Bad Gateway", "HTTP/1.1 504 Gateway Timeout");
            let early = "HTTP/1.1 413 Content Too Large";
            let lines = [
                ("never-answers", late),
                ("endless-interim", bad),
                ("garbage", bad),
                ("garbage-head", bad),
                ("huge-head", bad),
                ("endless-head", bad),
                ("two-lengths", bad),
                ("unasked-upgrade", bad),
                ("upload", "HTTP/1.1 200 OK"),
                ("upload never read", late),
                ("upload answered early", early),
                ("upload answered early, open", early),
                ("upload reset", bad),
            ];
            for (name, line) in lines {
                ensure!(told[name]["line"] == line && told[name]["end"] == "end", "{name}: {}", told[name]);
            }
            // Never whole: nothing at all, or less than was said.
            for name in ["resets-mid-answer", "short"] {
                ensure!(told[name]["bytes"].as_u64() < Some(1000), "{name}: {}", told[name]);
            }
            ensure!(!word(&told["short-chunked"]["text"]).contains("0\r\n\r\n"), "{}", told["short-chunked"]);
            let texts = told["poisoned"]["texts"].to_string();
            ensure!(texts == r#"{"first":8,"own":8}"#, "answers were mixed up: {texts}");

            let seen = rig.odd.seen(&rig.site.client)?;
            let twice: Vec<_> =
                seen.iter().filter(|(request, times)| request.starts_with("POST") && **times > 1).collect();
            ensure!(twice.is_empty(), "sent more than once: {twice:?}");
            for path in ["closes-after", "resets-when-used", "closes-at-once"] {
                let lines = told["closing"][format!("GET {path}")].to_string();
                ensure!(lines == r#"{"HTTP/1.1 200 OK":20}"#, "GET /{path}: {lines}");
                let posts = seen.keys().filter(|request| request.starts_with(&format!("POST /{path}?"))).count();
                ensure!(posts == 20, "{posts} of 20 POST /{path} came");
            }
            let failures = balancer.status()?.failures("odd")?;
            println!("closing: {}\nodd: {failures:?}", told["closing"]);
            let reasons: Vec<&str> = failures.keys().map(String::as_str).collect();
            ensure!(reasons == ["server-failed", "server-timeout"], "{failures:?}");
            Ok(())
        })
    })
}

#[test]
fn ten_thousand_idle_connections_cost_little_and_go_by_themselves() -> Result<()> {
    in_lab("abuse-idle", |lab| {
        let rig = Rig::new(lab)?;
        with_bystander(lab, &rig, IDLE_COST, |balancer, before| {
            let mut most = before;
            for round in 1..=2 {
                // As many at once as the kernel's queues hold: where they overflow, it accepts by SYN cookies, and of a
                // client who then says nothing it may never know again. A few of them are lost so all the same.
                let idle = (1..=4).map(|part| -> Result<Standing> {
                    let idle = Standing::idle(&rig.site.client, ICAS_VIP, 2_500)?;
                    wait_until("they are accepted", DEADLINE, || {
                        let status = balancer.status()?;
                        let accepted = status.service("web")?["proxied"]["accepted"].as_u64();
                        ensure!(accepted >= Some((10_000 * (round - 1) + 2_500 * part) * 19 / 20), "{accepted:?}");
                        Ok(())
                    })?;
                    Ok(idle)
                });
                let idle = idle.collect::<Result<Vec<_>>>()?;
                let then = Held::by(balancer.pid())?;
                println!("round {round}: {before:?} became {then:?}");
                // The allocator keeps what the first round has cost, and the second has to do with it.
                let room = if round == 1 { IDLE_COST } else { MEMORY_KEPT };
                ensure!(then.memory < most.memory + room, "{most:?} became {then:?}");
                most = then;
                before.again(balancer.pid())?;
                idle.into_iter().try_for_each(|idle| idle.finish().map(drop))?;
            }
            Ok(())
        })
    })
}

#[test]
fn clients_that_use_up_all_files_wait_and_no_real_server_goes_down() -> Result<()> {
    in_lab("abuse-files", |lab| {
        let rig = Rig::new(lab)?;
        let mut balancer = Balancer::start(lab, &rig.site.balancer, &rig.configuration())?;
        let (pid, web) = (balancer.pid(), SocketAddr::new(ICAS_VIP, 80));
        let before = Held::by(pid)?;
        let limit = format!("--nofile={}", before.files + 100);
        rig.site.balancer.run(&["prlimit", "--pid", &pid.to_string(), &limit])?.success()?;
        let idle = Standing::idle(&rig.site.client, ICAS_VIP, 1_000)?;
        wait_until("clients have to wait", DEADLINE, || {
            let failures = balancer.status()?.failures("web")?;
            ensure!(failures.contains_key("accept-failed"), "{failures:?}");
            Ok(())
        })?;
        // Several checks of each real server.
        wait_until("all of them had their time", DEADLINE, || {
            let accepted = balancer.status()?.service("web")?["proxied"]["accepted"].as_u64();
            ensure!(accepted >= Some(400), "{accepted:?} were accepted");
            Ok(())
        })?;
        let then = Held::by(pid)?;
        ensure!(then.files < before.files + 100, "none is kept: {then:?}");
        for (service, server) in balancer.status()?.servers() {
            ensure!(server["state"] == "up", "{service}: {server}");
        }
        ensure!(!balancer.log().contains("down: "), "a real server went down");
        idle.finish()?;
        before.again(pid)?;
        lb_tests::software::nginx::fetch(&rig.site.client, web, "/back")?;
        println!("{:?}; {before:?} became {then:?}", balancer.status()?.failures("web")?);
        balancer.ensure_alive()
    })
}

#[test]
fn a_limit_that_a_reload_lifts_lets_in_who_waits() -> Result<()> {
    in_lab("abuse-limit", |lab| {
        let rig = Rig::new(lab)?;
        let open = rig.configuration();
        let tight = open.replace("mode: l7-http\n", "mode: l7-http\n    max_connections: 1\n");
        let balancer = Balancer::start(lab, &rig.site.balancer, &tight)?;
        let vip = SocketAddr::new(ICAS_VIP, 81);
        // The one that is taken is being answered for as long as it is there.
        let mut first = rig.site.client.enter(|| TcpStream::connect_timeout(&vip, DEADLINE))??;
        first.write_all(b"GET /drips HTTP/1.1\r\nHost: x\r\n\r\n")?;
        wait_until("it is taken", DEADLINE, || {
            let clients = balancer.status()?.service("odd")?["proxied"]["clients"].as_u64();
            ensure!(clients == Some(1), "{clients:?}");
            Ok(())
        })?;
        // Each worker takes one more off its queue, and waits with it.
        let mut waiting = Vec::new();
        for _ in 0..8 {
            let mut stream = rig.site.client.enter(|| TcpStream::connect_timeout(&vip, DEADLINE))??;
            stream.write_all(b"GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
            stream.set_read_timeout(Some(DEADLINE))?;
            waiting.push(stream);
        }
        balancer.write_configuration(&open)?;
        balancer.lbctl(&["reload"])?.success()?;
        for mut stream in waiting {
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            ensure!(answer.starts_with("HTTP/1.1 200 OK"), "{answer:?}");
        }
        Ok(())
    })
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
