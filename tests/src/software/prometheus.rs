//! A scrape of metrics: fetched with curl, read by the parser of Prometheus' Python library.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::nginx::fetch;
use crate::lab::{Host, require};

const SCRIPT: &str = include_str!("../../data/parse_metrics.py");
/// Debian's own: the library is not installed for any other.
const PYTHON: &str = "/usr/bin/python3";
const PACKAGE: &str = "python3-prometheus-client";

/// What a scrape said.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// Name, labels in the order of their names, value.
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

/// Scrapes over TCP.
///
/// # Errors
/// When nobody answers, or what is answered are no valid metrics.
pub fn scrape(host: &Host, address: SocketAddr) -> Result<Scrape> {
    Scrape::read(host, &fetch(host, address, "/metrics")?)
}

/// Scrapes the API's socket.
///
/// # Errors
/// As for [`scrape`].
pub fn scrape_socket(host: &Host, socket: &Path) -> Result<Scrape> {
    require("curl", "curl")?;
    let socket = socket.display().to_string();
    let command = [
        "curl",
        "--silent",
        "--show-error",
        "--fail",
        "--max-time",
        "5",
        "--unix-socket",
        &socket,
        "http://lbd/metrics",
    ];
    Scrape::read(host, &host.run(&command)?.success()?.stdout)
}

impl Scrape {
    fn read(host: &Host, text: &str) -> Result<Self> {
        let library = host.run(&[PYTHON, "-c", "import prometheus_client.parser"])?;
        ensure!(library.status == 0, "apt-get install -y --no-install-recommends {PACKAGE}: {library}");
        let [script, file] = ["parse_metrics.py", "metrics.txt"].map(|name| host.folder().join(name));
        std::fs::write(&script, SCRIPT).context("cannot write the script that reads metrics")?;
        std::fs::write(&file, text).context("cannot write the metrics")?;
        let [script, file] = [script, file].map(|path| path.display().to_string());
        let parsed = host.run(&[PYTHON, &script, &file])?.success()?;
        let families: Value = serde_json::from_str(&parsed.stdout).context("no JSON")?;
        let mut samples = Vec::new();
        for family in families.as_array().context("no list of families")? {
            let (name, help) = (&family["name"], family["help"].as_str().unwrap_or_default());
            ensure!(family["type"] == "counter" || family["type"] == "gauge", "{name} is a {}", family["type"]);
            ensure!(!help.is_empty(), "{name} has no HELP");
            for sample in family["samples"].as_array().into_iter().flatten() {
                samples.push(read_sample(sample)?);
            }
        }
        for (at, (name, labels, _)) in samples.iter().enumerate() {
            let again = samples[at + 1..].iter().any(|(other, others, _)| (name, labels) == (other, others));
            ensure!(!again, "{name} {labels:?} is there twice");
        }
        Ok(Self { samples })
    }

    /// The value of the only series of that name which has these labels, among others.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let found = self.matching(name, labels);
        ensure!(found.len() == 1, "{} series match {name} {labels:?}", found.len());
        Ok(found[0].1)
    }

    /// The sum over all series of that name which have these labels, among others.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).into_iter().map(|(_, value)| value).sum()
    }

    /// The values that a label has among the series of that name.
    pub fn labels(&self, name: &str, label: &str) -> Vec<&str> {
        let found = self.matching(name, &[]).into_iter();
        found.filter_map(|(labels, _)| labels.get(label).map(String::as_str)).collect()
    }

    /// The series: name and labels.
    pub fn series(&self) -> Vec<(&str, &BTreeMap<String, String>)> {
        self.samples.iter().map(|(name, labels, _)| (name.as_str(), labels)).collect()
    }

    fn matching(&self, name: &str, labels: &[(&str, &str)]) -> Vec<(&BTreeMap<String, String>, f64)> {
        let has = |of: &BTreeMap<String, String>| {
            labels.iter().all(|(label, value)| of.get(*label).is_some_and(|is| is == value))
        };
        let found = self.samples.iter().filter(|(of, its, _)| of == name && has(its));
        found.map(|(_, labels, value)| (labels, *value)).collect()
    }
}

fn read_sample(sample: &Value) -> Result<(String, BTreeMap<String, String>, f64)> {
    let name = sample["name"].as_str().context("a sample has no name")?;
    let labels = sample["labels"].as_object().context("a sample has no labels")?;
    let labels = labels.iter().map(|(label, value)| (label.clone(), value.as_str().unwrap_or_default().to_owned()));
    Ok((name.to_owned(), labels.collect(), sample["value"].as_f64().context("a sample has no value")?))
}
