//! Starts in bad environments: each ends with one sentence that says what to do, or goes on in spite
//! of it and says so.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::at;
use lb_tests::balancer;
use lb_tests::deployments::{self, ECHO_PORT, MEDIA_VIP};
use lb_tests::lab::{Lab, in_lab, require, wait_until};
use lb_tests::odd::Start;
use lb_tests::software::echo::{EchoServer, TcpClient};
use lb_tests::traffic::Beat;
use serde_json::Value;

const CONFIGURATION: &str = include_str!("../data/insignia_dicom.yaml");
const FORWARDING: &str = include_str!("../data/dual_stack.yaml");
const ANSWER: Duration = Duration::from_secs(2);
const DEADLINE: Duration = Duration::from_secs(20);

/// Fills the file system at `$0`, of so many kilobytes.
const FULL: &str = "mount -t tmpfs -o size=64k tmpfs \"$0\"; \
                    dd if=/dev/zero of=\"$0/ballast\" bs=1k count=128 2>/dev/null || true";

/// Starts `lbd` on a machine with one interface, in ways that each end with a sentence.
fn refusals(name: &str, test: impl FnOnce(&Lab, &Start<'_>) -> Result<()>) -> Result<()> {
    in_lab(name, |lab| {
        let network = lab.network()?;
        let host = lab.host_on("lb1", &network, &["172.26.11.40/24"])?;
        test(lab, &Start::new(lab, &host, CONFIGURATION)?)
    })
}

/// The sentence of this start has all these parts.
fn says(start: &Start<'_>, parts: &[&str]) -> Result<()> {
    let sentence = start.refusal()?;
    for part in parts {
        ensure!(sentence.contains(part), "{part:?} is not in: {sentence}");
    }
    Ok(())
}

#[test]
fn a_disk_that_is_full_or_read_only_is_named_with_what_to_do() -> Result<()> {
    refusals("disk", |lab, start| {
        let folder = start.folder.display().to_string();
        let numbers = format!("cannot write {folder}/numbers.json");
        says(&start.clone().after(FULL), &[&numbers, "No space left", "make room", &format!("df {folder}")])?;
        ensure!(!lab.pin_directory().join("links/eth0").exists(), "XDP was attached by a start that failed");
        let no_inodes = "mount -t tmpfs -o nr_inodes=1 tmpfs \"$0\"";
        says(&start.clone().after(no_inodes), &["lbd.sock.lock", "No space left", &format!("df -i {folder}")])?;
        let read_only = "mount -t tmpfs -o ro tmpfs \"$0\"";
        says(
            &start.clone().after(read_only),
            &["lbd.sock.lock", "Read-only", "writable", &format!("findmnt -T {folder}")],
        )
    })
}

#[test]
fn a_start_without_a_bpf_file_system_says_how_it_is_mounted() -> Result<()> {
    refusals("bpffs", |_, start| {
        require("setpriv", "util-linux")?;
        // Where the file system is covered and lbd may not mount another one.
        let covered = start.clone().after("mount -t tmpfs tmpfs /sys/fs/bpf");
        let unable = covered.clone().below(&["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]);
        says(&unable, &["/sys/fs/bpf", "Operation not permitted", "mount -t bpf bpf /sys/fs/bpf"])?;
        let read_only = start.clone().after("mount -t bpf bpf /sys/fs/bpf; mount -o remount,ro /sys/fs/bpf");
        says(&read_only, &["/sys/fs/bpf", "Read-only", "findmnt /sys/fs/bpf"])?;
        let elsewhere = start.clone().pinned_at(start.folder.join("pins"));
        says(&elsewhere, &["pins is not on a BPF file system", "--pin-dir"])?;
        ensure!(!elsewhere.pins.exists(), "directories were made for nothing");
        // And where it may, it does.
        let mounted = covered.serve()?;
        mounted.beside(&["test", "-e", &format!("{}/flows", start.pins.display())])?.success()?;
        mounted.lbctl(&["stop", "--detach"])?.success()?;
        Ok(())
    })
}

#[test]
fn a_start_without_privileges_names_each_that_is_missing() -> Result<()> {
    refusals("rights", |_, start| {
        require("setpriv", "util-linux")?;
        let nobody = start.clone().below(&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
        says(&nobody, &["CAP_NET_ADMIN, CAP_NET_RAW, CAP_PERFMON, CAP_BPF", "as root"])?;
        for (drop, name) in
            [("bpf", "CAP_BPF"), ("net_admin", "CAP_NET_ADMIN"), ("net_raw", "CAP_NET_RAW"), ("perfmon", "CAP_PERFMON")]
        {
            let (bounding, inherited) = (format!("--bounding-set=-{drop}"), format!("--inh-caps=-{drop}"));
            let lacking = start.clone().below(&["setpriv", &bounding, &inherited]);
            says(&lacking, &[&format!("missing privileges: {name}; ")])?;
        }
        // A root of a user namespace has every capability, and the kernel grants it nothing.
        let contained = start.clone().below(&["unshare", "--user", "--map-root-user"]);
        says(
            &contained,
            &["does not let lbd load BPF programs", "Operation not permitted", "root of the machine itself"],
        )
    })
}

#[test]
fn the_four_capabilities_of_the_unit_are_enough_to_serve() -> Result<()> {
    refusals("enough", |_, start| {
        require("setpriv", "util-linux")?;
        let only = "-all,+bpf,+perfmon,+net_admin,+net_raw";
        let (bounding, inherited) = (format!("--bounding-set={only}"), format!("--inh-caps={only}"));
        let odd = start.clone().below(&["setpriv", &bounding, &inherited]).serve()?;
        assert_eq!(odd.problems()?, [] as [&str; 0]);
        odd.lbctl(&["stop", "--detach"])?.success()?;
        ensure!(!start.pins.exists(), "the pins are still there");
        Ok(())
    })
}

#[test]
fn a_kernel_that_is_too_old_is_named_before_anything_is_loaded() -> Result<()> {
    refusals("kernel", |lab, start| {
        require("setarch", "util-linux")?;
        says(&start.clone().below(&["setarch", "--uname-2.6"]), &["Linux 2.6.", "6.1 or newer", "install"])?;
        ensure!(!lab.pin_directory().exists(), "something was pinned");
        ensure!(!start.socket.exists(), "a socket was made");
        Ok(())
    })
}

#[test]
fn a_configuration_that_cannot_be_read_is_named() -> Result<()> {
    refusals("config", |lab, start| {
        let at = |name: &str| start.clone().configured_by(lab.folder().join(name));
        says(&at("nowhere.yaml"), &["no configuration at", "nowhere.yaml", "--config"])?;
        says(&at("run"), &["/run is not a file", "--config"])?;
        let closed = at("closed.yaml");
        fs::write(&closed.configuration, CONFIGURATION)?;
        fs::set_permissions(&closed.configuration, fs::Permissions::from_mode(0o000))?;
        let able = "-dac_override,-dac_read_search";
        let (bounding, inherited) = (format!("--bounding-set={able}"), format!("--inh-caps={able}"));
        let unable = closed.below(&["setpriv", &bounding, &inherited]);
        says(&unable, &["cannot read", "closed.yaml", "Permission denied", "readable"])?;
        let missing = CONFIGURATION.replace("{device: eth0}", "{device: eth7}");
        fs::write(&start.configuration, missing)?;
        says(start, &["there is no interface eth7", "ip link"])
    })
}

#[test]
fn a_socket_that_cannot_be_is_named() -> Result<()> {
    refusals("socket", |lab, start| {
        let at = |path: &str| start.clone().listening_at(lab.folder().join(path));
        says(&at("lb.yaml/lbd.sock"), &["cannot create the directory", "lb.yaml has to be a directory"])?;
        says(&at("lb.yaml/deep/lbd.sock"), &["cannot create the directory", "lb.yaml has to be a directory"])?;
        says(&at(&"x".repeat(100)), &["at most 107", "--socket"])?;
        fs::write(lab.folder().join("diary"), "dear diary")?;
        says(&at("diary"), &["diary", "not a socket", "move it away"])?;
        // A directory that does not exist is made.
        let deep = at("a/b/lbd.sock").serve()?;
        let again = at("a/b/lbd.sock");
        says(&again, &["lbd is already running", "lbctl stop"])?;
        deep.lbctl(&["stop", "--detach"])?.success()?;
        Ok(())
    })
}

#[test]
fn tables_of_another_version_are_left_alone_and_forward_until_the_right_one_comes() -> Result<()> {
    in_lab("abi", |lab| {
        require("bpftool", "bpftool")?;
        let site = deployments::harmonic(lab)?;
        let _servers = site.servers.iter().map(|server| EchoServer::tcp(server, at(MEDIA_VIP, ECHO_PORT)));
        let _servers: Vec<_> = _servers.collect::<Result<_>>()?;
        let start = Start::new(lab, &site.balancer, FORWARDING)?;
        let odd = start.serve()?;
        let mut flow = wait_flow(&site)?;
        let home = flow.ask(ANSWER)?.server;
        odd.terminate()?;

        let settings = start.pins.join("settings").display().to_string();
        let dump = site.balancer.run(&["bpftool", "-j", "map", "dump", "pinned", &settings])?.success()?;
        let dump: Value = serde_json::from_str(&dump.stdout)?;
        let right: Vec<String> = dump[0]["value"]
            .as_array()
            .context("no value")?
            .iter()
            .map(|byte| byte.as_str().unwrap_or_default().trim_start_matches("0x").to_owned())
            .collect();
        let version = dump[0]["formatted"]["value"]["abi_version"].as_u64().context("no version")?;
        let write = |bytes: &[String]| {
            let mut command =
                vec!["bpftool", "map", "update", "pinned", &settings, "key", "0", "0", "0", "0", "value", "hex"];
            command.extend(bytes.iter().map(String::as_str));
            site.balancer.run(&command)?.success()
        };
        let place = right.iter().position(|byte| *byte == format!("{version:02x}")).context("no version in it")?;
        let mut other = right.clone();
        other[place] = "63".to_owned();
        write(&other)?;
        says(&start, &["have layout 99", &format!("knows layout {version}"), "lbd replace-tables"])?;
        assert_eq!(flow.ask(ANSWER)?.server, home, "the kernel forwards as before");

        write(&right)?;
        let odd = start.serve()?;
        assert_eq!(flow.ask(ANSWER)?.server, home, "the next daemon adopts it");
        odd.terminate()?;

        // And the way across: nothing is lost, though flows may move.
        write(&other)?;
        let beat = Beat::start(&site.client, at(site.client.v4(), 0), &site.servers, at(MEDIA_VIP, ECHO_PORT))?;
        let lbd = balancer::lbd()?.display().to_string();
        let pins = start.pins.display().to_string();
        let replace = || site.balancer.run(&[&lbd, "replace-tables", "--pin-dir", &pins])?.success();
        ensure!(replace()?.stdout.contains("put aside"), "it does not say what it did");
        assert_eq!(flow.ask(ANSWER)?.server, home, "the attached program keeps its tables");
        let odd = start.serve()?;
        wait_flow(&site)?.ask(ANSWER)?;
        wait_until("the old tables are let go", Duration::from_secs(15), || {
            ensure!(!start.pins.join("aside").exists(), "they are still there");
            Ok(())
        })?;
        wait_flow(&site)?.ask(ANSWER)?;
        let arrived = beat.finish()?;
        assert_eq!((arrived.lost, arrived.twice), (0, 0), "{arrived}");
        ensure!(odd.lbctl(&["status"])?.success()?.stdout.contains("flows"), "there is no status");
        odd.lbctl(&["stop", "--detach"])?.success()?;
        ensure!(replace()?.stdout.contains("no tables"), "there is nothing to put aside");
        Ok(())
    })
}

#[test]
fn numbers_that_cannot_be_read_cost_a_warning_and_no_start() -> Result<()> {
    in_lab("numbers", |lab| {
        let site = deployments::harmonic(lab)?;
        let _servers = site.servers.iter().map(|server| EchoServer::tcp(server, at(MEDIA_VIP, ECHO_PORT)));
        let _servers: Vec<_> = _servers.collect::<Result<_>>()?;
        let start = Start::new(lab, &site.balancer, FORWARDING)?;
        start.serve()?.terminate()?;
        let file = start.folder.join("numbers.json");
        let whole = fs::read(&file)?;
        let huge = [&b"["[..], &b" ".repeat(20 << 20)].concat();
        for (what, text) in [
            ("truncated", &whole[..whole.len() / 2]),
            ("other JSON", b"[1, {\"a\": null}]"),
            ("no JSON", b"\xff\xfe\x00"),
            ("empty", b""),
            ("huge", &huge),
        ] {
            fs::write(&file, text)?;
            let odd = start.serve().context(what)?;
            let log = odd.process.log();
            let warnings = log.lines().filter(|line| line.contains("WARN") && line.contains("numbers.json")).count();
            assert_eq!(warnings, 1, "{what}: {log}");
            wait_flow(&site).context(what)?;
            odd.terminate()?;
            let kept: Value =
                serde_json::from_slice(&fs::read(&file)?).with_context(|| format!("{what}: not written anew"))?;
            ensure!(kept["servers"].as_array().is_some_and(|servers| !servers.is_empty()), "{what}: {kept}");
        }
        let last = start.serve()?;
        ensure!(!last.process.log().contains("numbers.json"), "{}", last.process.log());
        last.lbctl(&["stop", "--detach"])?.success()?;
        Ok(())
    })
}

#[test]
fn a_disk_that_fills_up_while_lbd_runs_is_a_problem_and_not_an_outage() -> Result<()> {
    in_lab("fills", |lab| {
        let site = deployments::harmonic(lab)?;
        let _servers = site.servers.iter().map(|server| EchoServer::tcp(server, at(MEDIA_VIP, ECHO_PORT)));
        let _servers: Vec<_> = _servers.collect::<Result<_>>()?;
        let start = Start::new(lab, &site.balancer, FORWARDING)?;
        let roomy = start.clone().after("mount -t tmpfs -o size=256k tmpfs \"$0\"");
        let odd = roomy.serve()?;
        let mut flow = wait_flow(&site)?;
        let home = flow.ask(ANSWER)?.server;
        assert_eq!(odd.problems()?, [] as [&str; 0]);

        let ballast = start.folder.join("ballast").display().to_string();
        let filled = odd.beside(&["dd", "if=/dev/zero", &format!("of={ballast}"), "bs=1k", "count=512"])?;
        ensure!(filled.stderr.contains("No space left"), "it is not full: {filled}");
        let ht2 = "{name: HT2, address: 192.168.94.116}";
        let added = FORWARDING.replace(ht2, &format!("{ht2}\n      - {{name: HT3, address: 192.168.94.117}}"));
        ensure!(added != FORWARDING);
        fs::write(&start.configuration, added)?;
        odd.lbctl(&["reload"])?.success().context("the reload has to succeed")?;
        let problem = wait_until("the status names the problem", DEADLINE, || {
            let problems = odd.problems()?;
            problems.into_iter().find(|problem| problem.contains("numbers.json")).context("it is not named")
        })?;
        ensure!(problem.contains("No space left") && problem.contains("make room"), "{problem}");
        assert_eq!(flow.ask(ANSWER)?.server, home, "the flow goes on");
        TcpClient::connect(&site.client, at(MEDIA_VIP, ECHO_PORT), ANSWER)?.ask(ANSWER)?;

        odd.beside(&["rm", &ballast])?.success()?;
        odd.lbctl(&["reload"])?.success()?;
        wait_until("the problem is over", DEADLINE, || {
            let problems = odd.problems()?;
            ensure!(!problems.iter().any(|problem| problem.contains("numbers.json")), "{problems:?}");
            Ok(())
        })?;
        odd.wait_log("are kept again")?;
        let kept = odd.beside(&["cat", &start.folder.join("numbers.json").display().to_string()])?.success()?;
        ensure!(kept.stdout.contains("HT3"), "{kept}");
        let warned =
            odd.process.log().lines().filter(|line| line.contains("WARN") && line.contains("numbers.json")).count();
        assert_eq!(warned, 1, "it is said once, not at each attempt: {}", odd.process.log());
        assert_eq!(flow.ask(ANSWER)?.server, home, "the flow goes on");
        odd.lbctl(&["stop", "--detach"])?.success()?;
        Ok(())
    })
}

/// A flow through the balancer, once the health checks have let one real server in.
fn wait_flow(site: &deployments::Site) -> Result<TcpClient> {
    wait_until("a new flow is forwarded", DEADLINE, || {
        let mut flow = TcpClient::connect(&site.client, at(MEDIA_VIP, ECHO_PORT), ANSWER)?;
        flow.ask(ANSWER)?;
        Ok(flow)
    })
}
