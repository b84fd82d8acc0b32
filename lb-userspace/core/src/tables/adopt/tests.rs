use std::collections::BTreeMap;

use lb_common::abi::{Server, ServerId, ServiceId};

use super::super::samples::{TICK, address, all_up, config, real, service};
use super::super::{Ids, Installed, ServerIdentity, TableOp, compile, consistent, plan};
use crate::config::model::Config;

struct Left {
    config: Config,
    installed: Installed,
    services: BTreeMap<String, ServiceId>,
    servers: BTreeMap<ServerIdentity, ServerId>,
}

/// Two services, and the number of a server that was removed.
fn left_behind() -> Result<Left, Box<dyn std::error::Error>> {
    let web = service("web", "192.0.2.10", &[(80, 80)], vec![real("a", "192.0.2.1"), real("b", "192.0.2.2")]);
    let tls = service("tls", "192.0.2.10", &[(443, 443)], vec![real("a", "192.0.2.1")]);
    let mut config = config(vec![web, tls]);
    let (mut ids, mut installed) = (Ids::new(), Installed::default());
    bring(&config, &mut ids, &mut installed)?;
    config.virtual_services[0].real_servers.remove(0);
    bring(&config, &mut ids, &mut installed)?;
    let services = ids.services().map(|(name, id)| (name.to_owned(), id)).collect();
    let servers = ids.servers().map(|(identity, id)| (identity.clone(), id)).collect();
    Ok(Left { config, installed, services, servers })
}

fn bring(
    config: &Config,
    ids: &mut Ids,
    installed: &mut Installed,
) -> Result<Vec<TableOp>, Box<dyn std::error::Error>> {
    let ops = plan(installed, &compile(config, &all_up(config), ids, TICK)?)?;
    for op in &ops {
        installed.apply(op);
        consistent(installed)?;
    }
    ids.settle();
    Ok(ops)
}

#[test]
fn a_daemon_that_comes_back_changes_nothing() -> Result<(), Box<dyn std::error::Error>> {
    let mut left = left_behind()?;
    let mut ids = Ids::adopt_tables(&left.installed, &left.services, &left.servers)?;

    assert_eq!(bring(&left.config, &mut ids, &mut left.installed)?, []);
    Ok(())
}

#[test]
fn without_names_everybody_gets_a_new_number_and_the_old_entries_go() -> Result<(), Box<dyn std::error::Error>> {
    let mut left = left_behind()?;
    let old = left.installed.clone();
    let mut ids = Ids::adopt_tables(&left.installed, &BTreeMap::new(), &BTreeMap::new())?;

    bring(&left.config, &mut ids, &mut left.installed)?;

    assert!(old.services.keys().all(|id| !left.installed.services.contains_key(id)));
    for (id, before) in old.servers {
        let now = left.installed.servers[&id];
        assert_eq!(now, Server { generation: now.generation, ..Server::default() });
        assert_eq!(now.generation, before.generation + u32::from(before.state != 0), "flows of server {id} are cut");
    }
    assert_eq!(bring(&left.config, &mut ids, &mut left.installed)?, []);
    Ok(())
}

#[test]
fn a_name_that_the_entry_contradicts_is_not_believed() -> Result<(), Box<dyn std::error::Error>> {
    let mut left = left_behind()?;
    let known = left.servers.pop_first().ok_or("no server")?;
    let elsewhere = ServerIdentity { address: address("192.0.2.99"), ..known.0.clone() };
    left.servers.insert(elsewhere.clone(), known.1);

    let mut ids = Ids::adopt_tables(&left.installed, &left.services, &left.servers)?;

    assert_ne!(ids.server(&elsewhere)?, known.1);
    assert_ne!(ids.server(&known.0)?, known.1);
    bring(&left.config, &mut ids, &mut left.installed)?;
    Ok(())
}
