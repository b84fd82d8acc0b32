//! Health checks of `lbd` against real software: nginx and openssl over HTTP and TLS, and scripts. What fails is
//! a sentence in `lbctl status`, and what works again is seen.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::balancer::Balancer;
use lb_tests::deployments;
use lb_tests::lab::{Lab, in_lab, wait_until};
use lb_tests::software::certificate::{Authority, Certificate};
use lb_tests::software::status_page::StatusPage;

/// Checks run every second, and one is enough.
const SEEN: Duration = Duration::from_secs(15);
const NAME: &str = "status.example";

const BEGIN: &str = "\
version: 1
node:
  name: lb1
  interfaces:
    - {device: eth0}
defaults:
  health_check: {interval: 1s, timeout: 1s, rise: 1, fall: 1, flap_damping: false}
virtual_services:
";

fn service(name: &str, port: u16, check: &str, servers: &[(&str, &str)]) -> String {
    let servers: String =
        servers.iter().map(|(name, address)| format!("      - {{name: {name}, address: {address}}}\n")).collect();
    format!(
        "  - name: {name}\n    address: 192.168.94.110\n    ports: [{port}]\n    mode: l4-dr\n    \
         health_check: {check}\n    real_servers:\n{servers}"
    )
}

const BOTH: &[(&str, &str)] = &[("HT1", "192.168.94.115"), ("HT2", "192.168.94.116")];
const FIRST: &[(&str, &str)] = &[("HT1", "192.168.94.115")];

/// Waits until the real server is in this state for this reason, as `lbctl status` shows it to a person.
fn shown(balancer: &Balancer<'_>, service: &str, server: &str, state: &str, reason: &str) -> Result<()> {
    wait_until(&format!("{service}/{server} is {state}: {reason}"), SEEN, || {
        let status = balancer.status()?;
        let row = status.server(service, server)?;
        let told = row["reason"].as_str().unwrap_or_default();
        ensure!(row["state"] == state && told.contains(reason), "it is {}: {told}", row["state"]);
        let page = balancer.lbctl(&["status"])?.success()?.stdout;
        let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(words.contains(reason), "the overview does not say so:\n{page}");
        Ok(())
    })
}

#[test]
fn a_status_page_of_nginx_takes_its_server_down_and_up_over_http_and_https() -> Result<()> {
    in_lab("check-pages", |lab| {
        let site = deployments::harmonic(lab)?;
        let mut pages: Vec<_> = site.servers.iter().map(StatusPage::start).collect::<Result<_>>()?;
        let expect = "path: /admin/status, expect: {equals: Healthy}";
        let configuration = [
            BEGIN,
            &service("http", 8080, &format!("{{type: http, {expect}}}"), BOTH),
            &service("https", 8443, &format!("{{type: https, {expect}}}"), BOTH),
            &service("mistaken", 8081, "{type: https, port: 8080, path: /admin/status}", FIRST),
            &service("confused", 8444, "{type: http, port: 8443, path: /admin/status}", FIRST),
        ]
        .concat();
        let balancer = Balancer::start(lab, &site.balancer, &configuration)?;
        let each = |server: &str, state: &str, reason: &str| {
            ["http", "https"].iter().try_for_each(|service| shown(&balancer, service, server, state, reason))
        };
        each("HT1", "up", "answered in")?;
        each("HT2", "up", "answered in")?;
        shown(
            &balancer,
            "mistaken",
            "HT1",
            "down",
            "it does not speak TLS; if it speaks HTTP, check it with type: http",
        )?;
        // nginx says so itself.
        shown(&balancer, "confused", "HT1", "down", "answered with status 400 (bad request) instead of 200")?;

        pages[0].say(Some("maintenance until 6"))?;
        each("HT1", "down", "its page is not \"Healthy\": it is \"maintenance until 6\"")?;
        pages[0].say(None)?;
        each("HT1", "down", "answered with status 404 (not found) instead of 200")?;
        pages[0].say(Some("Healthy"))?;
        each("HT1", "up", "answered in")?;
        pages[0].kill();
        each("HT1", "down", "connection refused by 192.168.94.115:8")?;
        pages[0] = StatusPage::start(&site.servers[0])?;
        each("HT1", "up", "answered in")?;
        each("HT2", "up", "answered in")
    })
}

#[test]
fn a_certificate_that_is_verified_takes_its_server_down_when_it_is_not_right() -> Result<()> {
    in_lab("check-certs", |lab| {
        let site = deployments::harmonic(lab)?;
        let server = &site.servers[0];
        let (ours, strange) = (Authority::new(server, "ours")?, Authority::new(server, "strange")?);
        let right = ours.issue(server, NAME, 30)?;
        let mut page = StatusPage::start_with(server, &right)?;
        let ca_file = lab.folder().join("trusted.pem");
        fs::copy(ours.file(), &ca_file).context("cannot copy the CA certificate")?;
        let trust = format!("verify: full, server_name: {NAME}, ca_file: {}", ca_file.display());
        let check = format!("{{type: https, path: /admin/status, {trust}}}");
        let configuration = [BEGIN, &service("verified", 8443, &check, FIRST)].concat();
        let balancer = Balancer::start(lab, &site.balancer, &configuration)?;
        let is = |state: &str, reason: &str| shown(&balancer, "verified", "HT1", state, reason);
        is("up", "answered in")?;

        let wrong: [(Certificate, &str); 4] = [
            (ours.issue(server, NAME, -1)?, "the certificate of 192.168.94.115:8443 has expired"),
            (ours.issue(server, "other.example", 30)?, "is not for status.example but for other.example; write one of"),
            (strange.issue(server, NAME, 31)?, "comes from an authority that this machine does not trust"),
            (Certificate::self_signed(server, "own")?, "the certificate of 192.168.94.115:8443 "),
        ];
        for (certificate, reason) in &wrong {
            page.show(certificate)?;
            is("down", reason)?;
            page.show(&right)?;
            is("up", "answered in")?;
        }

        // An administrator replaces the file, and the daemon is not told.
        fs::copy(strange.file(), &ca_file).context("cannot copy the CA certificate")?;
        is("down", "comes from an authority that this machine does not trust")?;
        fs::remove_file(&ca_file).context("cannot remove the CA certificate")?;
        is("down", "cannot be used: No such file or directory")?;
        fs::copy(ours.file(), &ca_file).context("cannot copy the CA certificate")?;
        is("up", "answered in")
    })
}

#[test]
fn openssl_is_checked_in_both_versions_of_tls_and_what_it_refuses_is_told() -> Result<()> {
    in_lab("check-openssl", |lab| {
        let site = deployments::harmonic(lab)?;
        let server = &site.servers[0];
        let own = Certificate::self_signed(server, "own")?;
        let [certificate, key] = [&own.certificate, &own.key].map(|path| path.display().to_string());
        let cases: [(u16, &[&str], &str, &str); 4] = [
            (8431, &["-tls1_2"], "up", "answered in"),
            (8432, &["-tls1_3"], "up", "answered in"),
            (8433, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], "down", "TLS with 192.168.94.115:8433 failed: "),
            (8434, &["-tls1_3", "-Verify", "1"], "down", "it may want a certificate of its client"),
        ];
        let mut running = Vec::new();
        let mut configuration = BEGIN.to_owned();
        for (port, options, ..) in cases {
            let at = port.to_string();
            let command =
                ["openssl", "s_server", "-quiet", "-www", "-accept", &at, "-cert", &certificate, "-key", &key];
            let mut process = server.spawn(&[&command, options].concat())?;
            server.wait_listening(&mut process, "tcp", port)?;
            running.push(process);
            let check = "{type: https, expect: {contains: s_server}}";
            configuration += &service(&format!("at-{port}"), port, check, FIRST);
        }
        let balancer = Balancer::start(lab, &site.balancer, &configuration)?;
        cases
            .iter()
            .try_for_each(|(port, _, state, reason)| shown(&balancer, &format!("at-{port}"), "HT1", state, reason))
    })
}

/// A program of root's that everybody may execute, in a folder where everybody may write.
fn script(lab: &Lab, text: &str) -> Result<(PathBuf, PathBuf)> {
    let folder = lab.folder().join("script");
    fs::create_dir_all(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o1777))?;
    let path = folder.join("check");
    fs::write(&path, format!("#!/bin/sh\nfolder={}\n{text}\n", folder.display()))?;
    allow(&path, 0o755)?;
    Ok((path, folder))
}

fn allow(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).context("cannot change a mode")
}

#[test]
fn a_script_decides_and_its_words_are_shown() -> Result<()> {
    in_lab("check-script", |lab| {
        let site = deployments::harmonic(lab)?;
        let text = "ping -c 1 -W 1 \"$3\" > /dev/null || { echo \"$3 is silent\"; exit 1; }\n\
                    test ! -e $folder/$3 || { echo \"$* has a note: $(cat $folder/$3)\"; exit 3; }";
        let (path, folder) = script(lab, text)?;
        let check = format!("{{type: script, path: {}}}", path.display());
        let configuration = [BEGIN, &service("scripted", 9000, &check, BOTH)].concat();
        let balancer = Balancer::start(lab, &site.balancer, &configuration)?;
        let is = |server: &str, state: &str, reason: &str| shown(&balancer, "scripted", server, state, reason);
        is("HT1", "up", "answered in")?;
        is("HT2", "up", "answered in")?;

        fs::write(folder.join("192.168.94.115"), "moved\n")?;
        let words = "exited with status 3: 192.168.94.110 9000 192.168.94.115 9000 has a note: moved";
        is("HT1", "down", words)?;
        is("HT2", "up", "answered in")?;
        fs::remove_file(folder.join("192.168.94.115"))?;
        is("HT1", "up", "answered in")?;

        site.servers[1].ip(&["link", "set", "eth0", "down"])?;
        is("HT2", "down", "")?;
        site.servers[1].ip(&["link", "set", "eth0", "up"])?;
        is("HT2", "up", "answered in")?;

        allow(&path, 0o777)?;
        is("HT1", "down", "cannot be run: everybody may write it; chmod 755 it")?;
        allow(&path, 0o755)?;
        is("HT1", "up", "answered in")
    })
}

#[test]
fn a_daemon_that_is_killed_leaves_no_script() -> Result<()> {
    in_lab("check-orphan", |lab| {
        let site = deployments::harmonic(lab)?;
        let (path, folder) = script(lab, "echo $$ > $folder/number\nexec sleep 1000")?;
        // Longer than the test waits: it is not the timeout that ends it.
        let check = format!("{{type: script, path: {}, interval: 5m, timeout: 5m}}", path.display());
        let configuration = [BEGIN, &service("scripted", 9000, &check, FIRST)].concat();
        let mut balancer = Balancer::start_without_waiting(lab, &site.balancer, &configuration)?;
        let number = wait_until("the script runs", SEEN, || {
            let text = fs::read_to_string(folder.join("number"))?;
            ensure!(text.ends_with('\n'), "it is about to");
            Ok(text.trim().to_owned())
        })?;
        let command = || fs::read_to_string(format!("/proc/{number}/cmdline")).unwrap_or_default();
        wait_until("the script has become what it starts", SEEN, || {
            ensure!(command().contains("sleep"), "{number} is {:?}", command());
            Ok(())
        })?;

        balancer.kill();

        wait_until("the script is gone", SEEN, || {
            ensure!(!command().contains("sleep"), "it still runs");
            Ok(())
        })
    })
}
