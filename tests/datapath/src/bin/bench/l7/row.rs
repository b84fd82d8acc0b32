//! What is measured: loads, and what they are counted in.

use std::io::{BufRead as _, BufReader};
use std::process::Child;

use anyhow::{Context as _, Result, bail, ensure};

use super::bed::{Bed, Place, generator};
use super::proxy::{Entrance, Kind, Proxy};

/// A line of the table.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) measure: Measure,
    /// How many times the better peer's value.
    pub(super) target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// How much is done in a second of CPU time.
    Work(Load),
    /// Milliseconds that all but one of a hundred requests take at most, at this percentage of the better peer's peak.
    Latency(u32),
    /// Memory of a connection that waits, in kB.
    Idle(Entrance),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// Requests of wrk.
    Requests {
        entrance: Entrance,
        path: &'static str,
        connections: u32,
    },
    /// Requests of h2load.
    Http2,
    Handshakes,
    Connections,
    Messages,
    /// In GB.
    Bulk,
}

const fn work(name: &'static str, unit: &'static str, load: Load, target: f64) -> Row {
    Row { name, unit, measure: Measure::Work(load), target: Target::AtLeast(target) }
}

const fn idle(name: &'static str, entrance: Entrance) -> Row {
    Row { name, unit: "kB", measure: Measure::Idle(entrance), target: Target::AtMost(1.0) }
}

const fn latency(name: &'static str, percent: u32) -> Row {
    Row { name, unit: "ms", measure: Measure::Latency(percent), target: Target::AtMost(1.0) }
}

const SMALL: &str = "/";

/// All of them.
pub(super) const ROWS: [Row; 13] = [
    work("http1-small", "requests", Load::Requests { entrance: Entrance::Http, path: SMALL, connections: 64 }, 1.3),
    work("http2-small", "requests", Load::Http2, 1.1),
    work("tls-small", "requests", Load::Requests { entrance: Entrance::Https, path: SMALL, connections: 64 }, 1.4),
    work("tls-handshakes", "handshakes", Load::Handshakes, 2.5),
    work(
        "tls-large",
        "answers of 1 MB",
        Load::Requests { entrance: Entrance::Https, path: "/large", connections: 16 },
        1.6,
    ),
    work("tcp-connections", "connections", Load::Connections, 1.15),
    work("tcp-messages", "messages", Load::Messages, 1.15),
    work("tcp-bulk", "GB", Load::Bulk, 1.25),
    latency("http1-p99", 70),
    // Where the CPU of clients and servers is not full, as it is on a machine of two at the rate above.
    latency("http1-p99-calm", 25),
    idle("http1-idle", Entrance::Http),
    idle("tls-idle", Entrance::Https),
    idle("tcp-idle", Entrance::Echo),
];

/// Connections that wait.
const WAITING: u32 = 3_000;

impl Row {
    /// Measures one proxy. `rate`: of [`Measure::Latency`], in requests per second.
    pub(super) fn measure(&self, bed: &Bed, proxy: &Proxy, seconds: u32, rate: Option<f64>) -> Result<f64> {
        match self.measure {
            Measure::Work(load) => {
                let before = proxy.cpu_time()?;
                let done = load.run(bed, proxy, seconds)?;
                let spent = proxy.cpu_time()?.saturating_sub(before);
                ensure!(done > 0.0 && !spent.is_zero(), "{}: {} has done nothing", self.name, proxy.kind().name());
                Ok(done / spent.as_secs_f64())
            }
            Measure::Latency(_) => {
                let rate = rate.context("no rate is given")?;
                own(bed, &["pace", &target(proxy, Entrance::Http), &seconds.to_string(), &rate.to_string()], 1)
            }
            Measure::Idle(entrance) => waiting(bed, proxy, entrance),
        }
    }
}

/// The rate at which latency is measured, as a percentage of what the better peer can do just now.
pub(super) fn pace(bed: &Bed, proxies: &[Proxy], percent: u32) -> Result<f64> {
    let mut peak = 0.0_f64;
    for proxy in proxies.iter().filter(|proxy| proxy.kind() != Kind::Ours) {
        peak = peak.max(own(bed, &["pace", &target(proxy, Entrance::Http), "1", "0"], 0)?);
    }
    Ok(peak * f64::from(percent) / 100.0)
}

impl Load {
    /// How much was done.
    fn run(self, bed: &Bed, proxy: &Proxy, seconds: u32) -> Result<f64> {
        let time = seconds.to_string();
        match self {
            Self::Requests { entrance, path, connections } => {
                let scheme = if entrance == Entrance::Https { "https" } else { "http" };
                let url = format!("{scheme}://{}{path}", proxy.at(entrance));
                let connections = connections.to_string();
                wrk(&bed.run(Place::Around, &["wrk", "-t1", "-c", &connections, "-d", &time, &url])?)
            }
            Self::Http2 => {
                let url = format!("http://{}/", proxy.at(Entrance::Http2));
                h2load(&bed.run(Place::Around, &["h2load", "-c8", "-m16", "-t1", "-D", &time, &url])?)
            }
            Self::Handshakes => own(bed, &["handshakes", &target(proxy, Entrance::Https), &time], 0),
            Self::Connections => own(bed, &["connections", &target(proxy, Entrance::Echo), &time], 0),
            Self::Messages => own(bed, &["messages", &target(proxy, Entrance::Echo), &time], 0),
            Self::Bulk => own(bed, &["bulk", &target(proxy, Entrance::Source), &time], 0).map(|bytes| bytes / 1e9),
        }
    }
}

fn target(proxy: &Proxy, entrance: Entrance) -> String {
    proxy.at(entrance).to_string()
}

/// Runs a part of this program; the number in this place of what it says.
fn own(bed: &Bed, words: &[&str], place: usize) -> Result<f64> {
    let command = generator(words)?;
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let said = bed.run(Place::Around, &command)?;
    let number = said.split_whitespace().nth(place).with_context(|| format!("{words:?} said `{said}`"))?;
    number.parse().with_context(|| format!("{words:?} said `{said}`"))
}

/// Requests that wrk has seen answered.
fn wrk(said: &str) -> Result<f64> {
    ensure!(!said.contains("Non-2xx"), "wrk got other answers than asked for:\n{said}");
    let line = said.lines().find(|line| line.contains(" requests in ")).context("wrk said nothing")?;
    Ok(line.split_whitespace().next().context("an empty line")?.parse()?)
}

/// Requests that h2load has seen answered.
fn h2load(said: &str) -> Result<f64> {
    let line = said.lines().find(|line| line.starts_with("requests:")).context("h2load said nothing")?;
    let count = |what: &str| {
        let part = line.split(", ").find_map(|part| part.strip_suffix(what)).map(str::trim);
        part.with_context(|| format!("no number of{what} in `{line}`"))?.parse::<f64>().with_context(|| line.to_owned())
    };
    if count(" failed")? > 0.0 {
        bail!("h2load: {line}");
    }
    count(" succeeded")
}

/// What each of many connections that wait adds to the memory in use.
fn waiting(bed: &Bed, proxy: &Proxy, entrance: Entrance) -> Result<f64> {
    let kind = match entrance {
        Entrance::Https => "tls",
        Entrance::Http | Entrance::Http2 => "http",
        Entrance::Echo | Entrance::Source => "tcp",
    };
    // What is made at the first use is not a connection's.
    hold(bed, proxy, entrance, kind, 50, || Ok(()))?;
    let before = proxy.memory()?;
    let mut after = before;
    hold(bed, proxy, entrance, kind, WAITING, || {
        after = proxy.memory()?;
        Ok(())
    })?;
    Ok((after - before) / f64::from(WAITING))
}

/// Opens connections, uses each once, and does something while they wait.
fn hold(
    bed: &Bed,
    proxy: &Proxy,
    entrance: Entrance,
    kind: &str,
    count: u32,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let command = generator(&["idle", &target(proxy, entrance), kind, &count.to_string()])?;
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let mut holder = Holder(bed.talk(Place::Around, &command)?);
    let mut said = String::new();
    BufReader::new(holder.0.stdout.take().context("no output")?).read_line(&mut said)?;
    ensure!(said.trim() == "ready", "the connections did not come about: {said}");
    // Proxies give back what they do not need some time later.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    meanwhile()
}

/// Connections are closed with the process that holds them.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_generators_say_is_understood() {
        let said = "  64 connections\n  119876 requests in 2.00s, 17.26MB read\nRequests/sec:  59849.54\n";
        assert_eq!(wrk(said).expect("it is wrk's"), 119_876.0);
        wrk("  1 requests in 2.00s\n  Non-2xx or 3xx responses: 3\n").expect_err("not all were answered");
        let said = |failed| {
            format!("requests: 12 total, 14 started, 12 done, 11 succeeded, {failed} failed, 0 errored, 0 timeout\n")
        };
        assert_eq!(h2load(&said(0)).expect("it is h2load's"), 11.0);
        h2load(&said(1)).expect_err("one failed");
    }
}
