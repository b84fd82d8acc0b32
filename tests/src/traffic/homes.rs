//! Which real server each flow is on, as `lbctl connections` lists it, and that none moves.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::balancer::Balancer;

/// More flows than a lab has.
const ALL: &str = "10000";

/// The flows that were ever listed.
#[derive(Clone, Debug, Default)]
pub struct Homes {
    /// By virtual service, protocol, client and VIP.
    servers: BTreeMap<[String; 4], String>,
}

impl Homes {
    /// Takes a sample: flows that are listed for the first time are remembered, all others are where
    /// they were. Returns how many flows of these services are listed.
    ///
    /// # Errors
    /// When one is on another real server, or nothing can be listed.
    pub fn sample(&mut self, balancer: &Balancer<'_>, services: &[&str]) -> Result<usize> {
        let output = balancer.lbctl(&["connections", "--json", "--limit", ALL])?.success()?;
        let list: Value = serde_json::from_str(&output.stdout).with_context(|| format!("no JSON: {output}"))?;
        let rows = list["connections"].as_array().context("connections is no list")?;
        ensure!(list["total"].as_u64() == Some(rows.len() as u64), "not every flow is listed: {}", list["total"]);
        let mut listed = 0;
        for flow in rows {
            let text = |name: &str| flow[name].as_str().unwrap_or_default().to_owned();
            let key = ["virtual_service", "protocol", "client", "vip"].map(text);
            if !services.contains(&key[0].as_str()) {
                continue;
            }
            listed += 1;
            let server = text("real_server");
            ensure!(!server.is_empty(), "a flow of no real server: {flow}");
            let home = self.servers.entry(key).or_insert_with(|| server.clone());
            ensure!(*home == server, "a flow moved from {home}: {flow}");
        }
        Ok(listed)
    }

    /// How many flows were ever listed.
    pub fn flows(&self) -> usize {
        self.servers.len()
    }
}
