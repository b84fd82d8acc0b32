//! Names of the numbers in the tables, kept for the daemon after this one: flows carry numbers, and
//! a daemon that adopts them must know whose they are.
//!
//! One file beside the socket, replaced whole. It may be lost or out of date: numbers without a
//! name are reserved and their servers get new ones (`Ids::adopt_tables`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use lb_core::tables::{Ids, Installed, ServerIdentity};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::advice;

/// Far more than every number with the longest names takes; more is not read.
const MAX_BYTES: u64 = 16 << 20;

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

fn file(directory: &Path) -> PathBuf {
    directory.join("numbers.json")
}

/// Numbers as the tables and the file say.
pub(super) fn adopt(directory: &Path, installed: &Installed) -> Result<Ids> {
    let path = file(directory);
    let numbers = read(&path).unwrap_or_else(|why| {
        warn!("{} cannot be used: {why}; flows of before are cut, and it is written anew", path.display());
        Numbers::default()
    });
    let servers = numbers.servers.into_iter().map(|s| {
        let identity = ServerIdentity { service: s.service, server: s.server, address: s.address, port: s.port };
        (identity, s.number)
    });
    Ids::adopt_tables(installed, &numbers.services, &servers.collect())
        .context("the tables of an earlier lbd contradict themselves; `lbctl stop --detach` removes them")
}

/// What the file says; nothing when there is none.
fn read(path: &Path) -> Result<Numbers> {
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut text)) {
        Ok(length) if length as u64 > MAX_BYTES => Err(anyhow!("it has more than {MAX_BYTES} bytes")),
        Ok(_) => Ok(serde_json::from_slice(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Numbers::default()),
        Err(error) => Err(error.into()),
    }
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
    let path = file(directory);
    let text = serde_json::to_vec(&numbers)?;
    // What is there already takes no room on a disk that has none.
    if fs::metadata(&path).is_ok_and(|file| file.len() == text.len() as u64)
        && fs::read(&path).is_ok_and(|old| old == text)
    {
        return Ok(());
    }
    // Beside it first, so that a full disk leaves the old one whole.
    let new = path.with_extension("new");
    fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).map_err(|error| {
        // Half a file is of use to nobody, and takes the room that another attempt needs.
        let _ = fs::remove_file(&new);
        anyhow!("cannot write {}: {error}{}", path.display(), advice::about(&error, &path))
    })
}

/// Nothing is to be adopted any more.
pub(super) fn forget(directory: &Path) -> Result<()> {
    match fs::remove_file(file(directory)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
