//! `lbd` as a service: what it tells the service manager, the forms of its log, and its unit under a
//! real systemd.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use lb_tests::lab::{Host, Lab, in_lab, require, wait_until};
use lb_tests::odd::{Odd, Start};
use lb_tests::systemd::Systemd;
use nix::sys::signal::Signal;
use serde_json::Value;

/// Its real servers do not exist: the log has something to say about each.
const CONFIGURATION: &str = include_str!("../data/insignia_dicom.yaml");
const DEADLINE: Duration = Duration::from_secs(30);

fn machine(lab: &Lab) -> Result<Host> {
    lab.host_on("lb1", &lab.network()?, &["172.26.11.40/24"])
}

/// A socket that datagrams are sent to.
struct Listener(UnixDatagram);

impl Listener {
    fn at(path: &Path) -> Result<Self> {
        let socket = UnixDatagram::bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        Ok(Self(socket))
    }

    /// The next datagram that `wanted` takes.
    fn next<T>(&self, what: &str, mut wanted: impl FnMut(&[u8]) -> Option<T>) -> Result<T> {
        let begin = Instant::now();
        let mut buffer = vec![0; 1 << 16];
        let mut seen = Vec::new();
        while begin.elapsed() < DEADLINE {
            let Ok(length) = self.0.recv(&mut buffer) else { continue };
            if let Some(found) = wanted(&buffer[..length]) {
                return Ok(found);
            }
            seen.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        bail!("this did not come: {what}; but these did: {seen:?}")
    }

    /// The next message of sd_notify(3) that is no food and no mere status.
    fn state(&self) -> Result<String> {
        self.next("a change of state", |message| {
            let text = String::from_utf8_lossy(message).into_owned();
            (text != "WATCHDOG=1\n" && !text.starts_with("STATUS=")).then_some(text)
        })
    }

    fn food(&self) -> Result<()> {
        self.next("food for the watchdog", |message| (message == b"WATCHDOG=1\n").then_some(()))
    }
}

#[test]
fn the_service_manager_is_told_of_start_reload_stop_and_that_work_is_done() -> Result<()> {
    in_lab("notify", |lab| {
        let host = machine(lab)?;
        let path = lab.folder().join("notify");
        let manager = Listener::at(&path)?;
        let variable = format!("NOTIFY_SOCKET={}", path.display());
        let start = Start::new(lab, &host, CONFIGURATION)?.below(&["env", &variable, "WATCHDOG_USEC=1500000"]);
        let mut odd = start.spawn()?;
        assert_eq!(manager.state()?, "READY=1\nSTATUS=1 virtual service; real servers: 2 checking\n");
        odd.wait_answers()?;
        ensure!(start.pins.join("links/eth0").exists(), "ready, and XDP is not attached");
        manager.next("the servers' states", |message| {
            (message == b"STATUS=1 virtual service; real servers: 2 down\n").then_some(())
        })?;
        for _ in 0..3 {
            manager.food()?;
        }

        let ready = "READY=1\nSTATUS=1 virtual service; real servers: 2 down\n";
        odd.process.signal(Signal::SIGHUP);
        ensure!(manager.state()?.starts_with("RELOADING=1\nMONOTONIC_USEC="));
        assert_eq!(manager.state()?, ready);
        odd.lbctl(&["reload"])?.success()?;
        ensure!(manager.state()?.starts_with("RELOADING=1\nMONOTONIC_USEC="));
        assert_eq!(manager.state()?, ready);
        fs::write(&start.configuration, "version: 2")?;
        assert_eq!(odd.lbctl(&["reload"])?.status, 3);
        ensure!(manager.state()?.starts_with("RELOADING=1\n"));
        assert_eq!(manager.state()?, ready, "a file that is refused leaves it ready");

        odd.terminate()?;
        assert_eq!(manager.state()?, "STOPPING=1\nSTATUS=stopping\n");
        Ok(())
    })
}

#[test]
fn a_daemon_that_stands_still_feeds_no_watchdog() -> Result<()> {
    in_lab("still", |lab| {
        let host = machine(lab)?;
        let path = lab.folder().join("notify");
        let manager = Listener::at(&path)?;
        let variable = format!("NOTIFY_SOCKET={}", path.display());
        let start = Start::new(lab, &host, CONFIGURATION)?.below(&["env", &variable, "WATCHDOG_USEC=600000"]);
        let mut odd = start.serve()?;
        manager.food()?;
        odd.process.signal(Signal::SIGSTOP);
        // What was sent before is read until there is no more; a daemon that went on would send more.
        let mut left = 0;
        while manager.0.recv(&mut [0; 4096]).is_ok() {
            left += 1;
            ensure!(left < 1000, "it is fed on");
        }
        odd.process.signal(Signal::SIGCONT);
        manager.food()?;
        odd.lbctl(&["stop", "--detach"])?.success()?;
        Ok(())
    })
}

#[test]
fn a_log_of_json_has_one_object_a_line_also_for_the_last_sentence() -> Result<()> {
    in_lab("json", |lab| {
        let host = machine(lab)?;
        let start = Start::new(lab, &host, CONFIGURATION)?.with("--log-format=json");
        let odd = start.serve()?;
        odd.wait_log("DS2")?;
        let running = objects(&odd)?;
        let about = running.iter().find(|object| object["server"] == "DS1").context("nothing about DS1")?;
        assert_eq!((&about["service"], &about["level"]), (&"DS_DICOM".into(), &"WARN".into()), "{about}");
        for object in &running {
            for key in ["timestamp", "level", "message"] {
                ensure!(object[key].is_string(), "no {key}: {object}");
            }
        }
        odd.lbctl(&["stop", "--detach"])?.success()?;

        // Nothing else is said, and no filter leaves it out.
        let lost = start.configured_by(lab.folder().join("nowhere.yaml")).below(&["env", "LB_LOG=off"]);
        let mut lost = lost.spawn()?;
        assert_eq!(lost.process.wait_end(DEADLINE)?.status, 1);
        let [last] = &objects(&lost)?[..] else { bail!("not one line: {}", lost.process.log()) };
        assert_eq!(last["level"], "ERROR");
        ensure!(last["message"].as_str().is_some_and(|text| text.contains("nowhere.yaml")), "{last}");
        Ok(())
    })
}

fn objects(odd: &Odd<'_>) -> Result<Vec<Value>> {
    let log = odd.process.log();
    log.lines().map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))).collect()
}

#[test]
fn a_log_of_text_has_no_colours() -> Result<()> {
    in_lab("text", |lab| {
        let host = machine(lab)?;
        let odd = Start::new(lab, &host, CONFIGURATION)?.serve()?;
        odd.wait_log("server=\"DS2\"")?;
        let log = odd.process.log();
        ensure!(!log.contains('\u{1b}'), "{log}");
        ensure!(log.lines().any(|line| line.contains(" WARN ") && line.contains("service=\"DS_DICOM\"")), "{log}");
        odd.lbctl(&["stop", "--detach"])?.success()?;
        Ok(())
    })
}

#[test]
fn the_journal_gets_fields_and_priorities_when_standard_error_goes_there() -> Result<()> {
    in_lab("journal", |lab| {
        let host = machine(lab)?;
        let folder = lab.folder().join("journal");
        fs::create_dir(&folder)?;
        let journal = Listener::at(&folder.join("socket"))?;
        // As systemd does it: the variable names the stream that standard error is.
        let stream = "JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2); export JOURNAL_STREAM";
        let place =
            format!("mkdir -p /run/systemd/journal; mount --bind {} /run/systemd/journal; {stream}", folder.display());
        let start = Start::new(lab, &host, CONFIGURATION)?.after(&place);
        let odd = start.serve()?;
        let down = journal.next("an entry about DS1", |datagram| {
            let fields = fields(datagram)?;
            (value(&fields, "SERVER") == Some("DS1") && value(&fields, "PRIORITY") == Some("4")).then_some(fields)
        })?;
        assert_eq!(value(&down, "SERVICE"), Some("DS_DICOM"), "{down:?}");
        assert_eq!(value(&down, "SYSLOG_IDENTIFIER"), Some("lbd"));
        ensure!(value(&down, "MESSAGE").is_some_and(|text| text.contains("172.26.11.100")), "{down:?}");
        ensure!(value(&down, "CODE_FILE").is_some() && value(&down, "CODE_LINE").is_some(), "{down:?}");
        assert_eq!(odd.process.log(), "", "nothing is said twice");
        // As information, not as a notice.
        odd.lbctl(&["stop", "--detach"])?.success()?;
        journal.next("the farewell", |datagram| {
            let fields = fields(datagram)?;
            let farewell = value(&fields, "MESSAGE")?.contains("are removed");
            (farewell && value(&fields, "PRIORITY") == Some("6")).then_some(())
        })?;

        let mut lost = start.configured_by(lab.folder().join("nowhere.yaml")).spawn()?;
        assert_eq!(lost.process.wait_end(DEADLINE)?.status, 1);
        let log = lost.process.log();
        ensure!(log.starts_with("<3>there is no configuration at ") && log.lines().count() == 1, "{log}");
        Ok(())
    })
}

/// The fields of an entry of the journal's native protocol.
fn fields(mut rest: &[u8]) -> Option<Vec<(String, String)>> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if let Some(equals) = line.iter().position(|byte| *byte == b'=') {
            fields.push((text(&line[..equals]), text(&line[equals + 1..])));
            continue;
        }
        // A name alone: the length of the value follows, then the value, then a newline.
        let (length, after) = rest.split_first_chunk()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        fields.push((text(line), text(after.get(..length)?)));
        rest = after.get(length + 1..)?;
    }
    Some(fields)
}

fn value<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
}

#[test]
fn a_journal_that_is_not_there_is_said_when_it_was_asked_for() -> Result<()> {
    in_lab("nojournal", |lab| {
        let host = machine(lab)?;
        let start = Start::new(lab, &host, CONFIGURATION)?;
        let hidden = start.after("mkdir -p /run/systemd/journal; mount -t tmpfs tmpfs /run/systemd/journal");
        let sentence = hidden.with("--log-format=journal").refusal()?;
        ensure!(sentence.contains("cannot log to the journal") && sentence.contains("--log-format text"), "{sentence}");
        Ok(())
    })
}

#[test]
fn the_unit_is_what_systemd_understands_without_a_warning() -> Result<()> {
    in_lab("verify", |lab| {
        require("systemd-analyze", "systemd")?;
        let unit = Systemd::unit(lab, &[])?;
        let path = unit.display().to_string();
        let verified = machine(lab)?.run(&["systemd-analyze", "verify", "--man=no", &path])?.success()?;
        // Unknown keys and programs that are not there are told, and cost nothing.
        let told: Vec<&str> = verified.stderr.lines().filter(|line| line.contains("lbd.service")).collect();
        assert_eq!(told, [] as [&str; 0]);
        Ok(())
    })
}

#[test]
fn under_systemd_it_starts_reloads_comes_back_and_stays_stopped() -> Result<()> {
    in_lab("systemd", |lab| {
        let host = machine(lab)?;
        let systemd = Systemd::boot(lab, &host, CONFIGURATION, &[("WatchdogSec", "3s")])?;
        systemd.systemctl(&["start", "lbd"])?.success()?;
        let state = |name: &str| systemd.property(name);
        assert_eq!(state("ActiveState")?, "active");
        ensure!(state("StatusText")?.starts_with("1 virtual service; real servers: 2 "), "{}", state("StatusText")?);
        let status = fs::read_to_string(format!("/proc/{}/status", systemd.main_pid()?))?;
        ensure!(status.contains("NoNewPrivs:\t0"), "setuid programs of scripts would not work: {status}");

        systemd.systemctl(&["reload", "lbd"])?.success()?;
        assert_eq!(state("ActiveState")?, "active");
        systemd.write_configuration("version: 2")?;
        let refused = systemd.systemctl(&["reload", "lbd"])?;
        ensure!(refused.status != 0, "the reload of a wrong file did not fail: {refused}");
        assert_eq!(state("ActiveState")?, "active", "a file that is refused stops nothing");
        ensure!(systemd.log()?.contains("error["), "the log does not say why: {}", systemd.log()?);
        systemd.write_configuration(CONFIGURATION)?;

        let mut restarts = 0;
        // A crash, and a daemon that stands still: the watchdog ends that one.
        for signal in [Signal::SIGKILL, Signal::SIGSTOP] {
            let before = systemd.main_pid()?;
            systemd.signal(signal)?;
            restarts += 1;
            wait_until(&format!("lbd is there again after {signal}"), DEADLINE, || {
                ensure!(state("ActiveState")? == "active" && state("NRestarts")? == restarts.to_string());
                ensure!(systemd.main_pid()? != before);
                systemd.lbctl(&["status"])?.success().map(|_| ())
            })?;
            ensure!(systemd.pins().join("links/eth0").exists(), "XDP was not attached meanwhile");
        }

        // A configuration that cannot run: tried again for good, and taken as soon as it is right.
        systemd.write_configuration(&CONFIGURATION.replace("{device: eth0}", "{device: eth7}"))?;
        systemd.signal(Signal::SIGKILL)?;
        wait_until("it was tried again and again", DEADLINE, || {
            let tried: u32 = state("NRestarts")?.parse()?;
            ensure!(tried >= restarts + 6, "{tried} restarts: more than systemd's own limit of 5");
            Ok(())
        })?;
        ensure!(systemd.log()?.contains("there is no interface eth7"), "{}", systemd.log()?);
        systemd.write_configuration(CONFIGURATION)?;
        wait_until("it runs with the right one", DEADLINE, || systemd.lbctl(&["status"])?.success().map(|_| ()))?;

        systemd.lbctl(&["stop"])?.success()?;
        wait_until("it has ended", DEADLINE, || {
            ensure!(state("ActiveState")? == "inactive", "{}", state("ActiveState")?);
            Ok(())
        })?;
        assert_eq!(state("Result")?, "success");
        ensure!(systemd.pins().join("links/eth0").exists(), "a stop took the forwarding along");
        ensure!(systemd.sees("/run/lb/numbers.json")?, "the numbers went with the service");
        systemd.systemctl(&["start", "lbd"])?.success()?;
        systemd.lbctl(&["stop", "--detach"])?.success()?;
        ensure!(!systemd.pins().exists(), "a stop with --detach left the pins");
        Ok(())
    })
}
