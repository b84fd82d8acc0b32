//! What would become of a client, asked of a proxy that carries connections.

use std::time::Instant;

use lb_core::explain::{AskedPool, Found};
use lb_core::tables::{Health, ServerInput};

use super::site::Site;

const SERVICES: &str = "
  - {name: files, address: 192.0.2.80, ports: [80], mode: l7-tcp, persistence: source-ip,
     real_servers: [{name: a, address: 192.0.2.81}, {name: b, address: 192.0.2.82}]}
  - {name: shop, address: 192.0.2.80, ports: [8080], mode: l7-http, scheduler: weighted-round-robin,
     rules: [{when: {path_prefix: /api}, pool: api}],
     real_servers: [{name: c, address: 192.0.2.83, max_connections: 1}, {name: d, address: 192.0.2.84, pool: api}]}
";

fn consider(site: &Site, service: &str) -> Found {
    let client = "127.0.0.1:50000".parse().expect("a client");
    site.proxy.consider(service, client, Instant::now()).expect("a service that is served")
}

#[test]
fn what_is_found_is_what_the_next_client_gets_and_then_what_is_remembered() {
    let mut site = Site::new(SERVICES);
    for _ in 0..3 {
        assert_eq!(consider(&site, "files").remembered, None);
    }
    let [(None, AskedPool::Server(name))] = &consider(&site, "files").pools[..] else { panic!("nobody is asked") };
    let number = if name == "a" { "0: x\n" } else { "1: x\n" };
    let mut client = site.connect("files");
    assert_eq!(client.ask("x"), number, "{name} was found");

    let remembered = consider(&site, "files").remembered.expect("a record");
    assert_eq!((&remembered.server, remembered.holds), (name, true));
    let down = name.clone();
    site.say(|real| {
        let health = if real == down { Health::Down } else { Health::Up };
        ServerInput { health, ..ServerInput::default() }
    });
    let found = consider(&site, "files");
    assert_eq!(found.remembered, None, "the clients of a server that is down are forgotten");
    let other = if down == "a" { "b" } else { "a" };
    assert_eq!(found.pools, [(None, AskedPool::Server(other.to_owned()))]);
    assert!(site.proxy.consider("nobody", "127.0.0.1:1".parse().expect("a client"), Instant::now()).is_none());
}

#[test]
fn a_suspect_that_its_health_check_finds_well_again_is_asked_like_the_others() {
    let mut site = Site::new(
        "
  - {name: files, address: 192.0.2.80, ports: [80], mode: l7-tcp, scheduler: weighted-round-robin,
     passive_health: {connect_failures: 1, rest: 1h}, real_servers: [{name: a, address: 192.0.2.81}]}
",
    );
    site.config.virtual_services[0].real_servers[0].port = Some(1);
    site.commit();
    site.connect("files").close();
    assert_eq!(consider(&site, "files").suspects, ["a"]);
    for (health, suspects) in
        [(Health::Down, &["a"][..]), (Health::Checking, &["a"]), (Health::Down, &["a"]), (Health::Up, &[])]
    {
        site.say(|_| ServerInput { health, ..ServerInput::default() });
        assert_eq!(consider(&site, "files").suspects, suspects, "{health:?}");
    }
}

#[test]
fn each_pool_is_asked_and_who_is_full_is_named() {
    let mut site = Site::new(SERVICES);
    let found = consider(&site, "shop");
    let whom = |name: &str| AskedPool::Server(name.to_owned());
    assert_eq!(found.pools, [(None, whom("c")), (Some("api".to_owned()), whom("d"))]);
    assert_eq!((found.full, found.suspects), (Vec::new(), Vec::new()));

    let mut client = site.connect("shop");
    client.say(b"POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 10\r\n\r\n");
    let found = super::site::eventually("its request is under way", || {
        let found = consider(&site, "shop");
        (!found.full.is_empty()).then_some(found)
    });
    assert_eq!((&found.pools[0].1, &found.full[..]), (&AskedPool::Full, &["c".to_owned()][..]));

    site.say(|_| ServerInput { health: Health::Down, ..ServerInput::default() });
    assert_eq!(consider(&site, "shop").pools[0].1, AskedPool::Nobody);
}
