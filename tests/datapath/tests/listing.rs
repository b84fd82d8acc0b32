//! The listing of a full flow table: one walk over a million flows in the kernel, whatever is asked, and
//! no more in memory than is shown.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use lb_common::abi::{Address, Flow, FlowKey, FlowState, Server, ServiceMode};
use lb_common::wire::protocol;
use lb_core::config::model::{FlowTimeouts, Limits};
use lb_core::listing::{Directory, Listing, Named};
use lb_core::tables::expiry::TickTimeouts;
use lb_core::view::{Connections, ConnectionsQuery};
use lb_datapath_tests::Rig;

const MILLION: u32 = 1_000_000;
const NOW: u32 = 10_000_000;
const SERVERS: u32 = 8;

/// Flow `number`: client 10.x.y.z with the number in it, so old in ticks, idle for a tenth of that.
fn entry(number: u32) -> (FlowKey, Flow) {
    let key = FlowKey {
        client: Address::from(IpAddr::from((0x0a00_0000 + number).to_be_bytes())),
        vip: Address::v4([192, 168, 94, 110]),
        client_port: 40_000,
        vip_port: 443,
        protocol: protocol::TCP,
        ..FlowKey::default()
    };
    let flow = Flow {
        service: 1,
        server: 1 + number % SERVERS,
        state: FlowState::Established as u8,
        created: NOW - number,
        last_seen: NOW - number / 10,
        ..Flow::default()
    };
    (key, flow)
}

fn directory() -> Directory {
    let entry = Server { mode: ServiceMode::DirectRouting as u8, ..Server::default() };
    let tick = Duration::from_secs(1);
    Directory {
        services: [(1, "web".to_owned())].into(),
        servers: (1..=SERVERS).map(|id| (id, Named { name: format!("w{id}"), entry })).collect(),
        sources: std::collections::BTreeMap::new(),
        timeouts: TickTimeouts::from(&FlowTimeouts::default(), tick),
        tick,
        now: NOW,
    }
}

#[test]
fn a_million_flows_are_listed_in_one_walk() -> Result<()> {
    let limits = Limits { flows: 1 << 20, pending_flows: 1 << 10, persistence: 1 << 10, ..Limits::default() };
    let rig = Rig::load("listing", limits)?;
    let (keys, flows): (Vec<_>, Vec<_>) = (0..MILLION).map(entry).unzip();
    rig.table("flows")?.set_many(&keys, &flows)?;
    let (tables, directory) = (rig.tables()?, directory());
    let (begin, mut walked) = (Instant::now(), 0);
    tables.for_each_flow(|_, _| walked += 1)?;
    println!("{:?} for a walk that looks at nothing", begin.elapsed());
    assert_eq!(walked, MILLION);
    let list = |text: &str| -> Result<Connections> {
        let begin = Instant::now();
        let mut listing = Listing::new(&directory, &ConnectionsQuery::parse(text)?);
        tables.for_each_flow(|key, flow| listing.see(key, flow))?;
        let listed = listing.finish();
        println!("{:?} for `{text}`: {} of {}", begin.elapsed(), listed.shown, listed.total);
        Ok(listed)
    };

    let newest = list("sort=age&limit=100")?;
    assert_eq!((newest.total, newest.shown), (u64::from(MILLION), 100));
    let ages: Vec<u64> = newest.connections.iter().map(|flow| flow.age_seconds).collect();
    assert_eq!(ages, (0..100).collect::<Vec<_>>());

    let last = list("sort=client&reverse=true&limit=1")?;
    assert_eq!(last.connections[0].client.ip(), IpAddr::from(keys[keys.len() - 1].client));
    assert_eq!(list("server=w1&min_age=999000&limit=100000")?.total, 1_000 / u64::from(SERVERS));
    assert_eq!(list("client=10.0.0.0/24")?.total, 256);
    let most = list("limit=100000&sort=server")?;
    assert!(most.connections.iter().all(|flow| flow.real_server.as_deref() == Some("w1")), "others come later");
    assert_eq!((most.total, most.shown), (u64::from(MILLION), 100_000));
    Ok(())
}
