//! Names of the numbers in the tables, kept for the daemon after this one: flows carry numbers, and
//! a daemon that adopts them must know whose they are.
//!
//! One file beside the socket, replaced whole. It may be lost or out of date: numbers without a
//! name are reserved and their servers get new ones (`Ids::adopt_tables`).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lb_core::tables::{Ids, Installed, ServerIdentity};
use serde::{Deserialize, Serialize};

use super::file;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Numbers {
    services: BTreeMap<String, u32>,
    servers: Vec<Server>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Server {
    service: String,
    server: String,
    address: IpAddr,
    port: Option<u16>,
    number: u32,
}

fn path(directory: &Path) -> PathBuf {
    directory.join("numbers.json")
}

/// Numbers as the tables and the file say.
pub(super) fn adopt(directory: &Path, installed: &Installed) -> Result<Ids> {
    let numbers: Numbers = file::read(&path(directory), "flows of before are cut").unwrap_or_default();
    let servers = numbers.servers.into_iter().map(|s| {
        let identity = ServerIdentity { service: s.service, server: s.server, address: s.address, port: s.port };
        (identity, s.number)
    });
    Ids::adopt_tables(installed, &numbers.services, &servers.collect())
        .context("the tables of an earlier lbd contradict themselves; `lbd replace-tables` puts them aside")
}

/// Writes down the numbers in use.
pub(super) fn keep(directory: &Path, ids: &Ids) -> Result<()> {
    let servers = ids.servers().map(|(identity, number)| Server {
        service: identity.service.clone(),
        server: identity.server.clone(),
        address: identity.address,
        port: identity.port,
        number,
    });
    let services = ids.services().map(|(name, number)| (name.to_owned(), number)).collect();
    let numbers = Numbers { services, servers: servers.collect() };
    Ok(file::replace(&path(directory), &numbers)?)
}

/// Nothing is to be adopted any more.
pub(super) fn forget(directory: &Path) -> Result<()> {
    match fs::remove_file(path(directory)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
