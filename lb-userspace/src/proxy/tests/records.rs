//! The records of persistence, listed and cleared.

use std::time::Instant;

use lb_core::view::{PersistenceQuery, PersistenceRecord};

use super::site::{Client, Site, eventually};

const SERVICES: &str = "
  - {name: files, address: 192.0.2.80, ports: [80], mode: l7-tcp, persistence: {by: source-ip, prefix: 24},
     real_servers: [{name: a, address: 192.0.2.81}, {name: b, address: 192.0.2.82}]}
  - {name: desktops, address: 192.0.2.80, ports: [3389], mode: l7-tcp, persistence: rdp-cookie,
     real_servers: [{name: c, address: 192.0.2.83}]}
  - {name: shop, address: 192.0.2.80, ports: [8080], mode: l7-http, persistence: cookie,
     real_servers: [{name: d, address: 192.0.2.84}]}
";

fn query(text: &str) -> PersistenceQuery {
    PersistenceQuery::parse(text).expect("a query")
}

fn listed(site: &Site, text: &str) -> Vec<PersistenceRecord> {
    query(text).select(site.proxy.records().list(&query(text), Instant::now()).into_iter()).persistence
}

/// An RDP client whose user has this name, once it was connected.
fn rdp(site: &Site, user: &str) -> Client {
    let cookie = format!("Cookie: mstshash={user}\r\n");
    let length = u8::try_from(11 + cookie.len()).expect("a short name");
    let mut request = vec![3, 0, 0, length, length - 5, 0xe0, 0, 0, 0, 0, 0];
    request.extend(cookie.as_bytes());
    let mut client = site.connect("desktops");
    client.say(&request);
    assert!(client.line().starts_with("2: "), "the only real server answers");
    client
}

#[test]
fn records_of_addresses_and_rdp_users_are_listed_and_cleared_and_cookies_have_none() {
    let site = Site::new(SERVICES);
    assert_eq!(listed(&site, ""), []);
    let answer = site.connect("files").ask("x");
    let chosen = if answer.starts_with('0') { "a" } else { "b" };
    let (_anna, _bert) = (rdp(&site, "anna"), rdp(&site, "bert"));

    let all = listed(&site, "");
    let whose: Vec<_> = all.iter().map(|record| (&*record.virtual_service, &*record.real_server)).collect();
    assert_eq!(whose, [("desktops", "c"), ("desktops", "c"), ("files", chosen)]);
    assert_eq!(all[2].client.to_string(), "127.0.0.0/24");
    assert!((270..=300).contains(&(all[2].expires_seconds + all[2].idle_seconds)), "{:?}", all[2]);
    assert!(all.iter().all(|record| record.confirmed));
    assert_eq!(listed(&site, "client=127.0.0.77"), all[2..]);
    assert_eq!(listed(&site, &format!("server={chosen}")), all[2..]);
    assert_eq!(listed(&site, "service=shop"), []);
    let one = listed(&site, &format!("client={}", all[0].client));
    assert_eq!(one.len(), 1, "two users are two clients: {all:?}");

    let records = site.proxy.records();
    assert_eq!(records.by_cookie(&query("")), ["shop"]);
    assert_eq!(records.by_cookie(&query("service=files")), [""; 0]);
    assert_eq!(records.forget(&query("service=files&client=10.0.0.0/8")), 0);
    assert_eq!(records.forget(&query(&format!("client={}", all[0].client))), 1);
    assert_eq!(records.forget(&query("service=files")), 1);
    assert_eq!(records.forget(&query("")), 1);
    assert_eq!(listed(&site, ""), []);
}

#[test]
fn a_client_whose_record_was_cleared_is_scheduled_anew() {
    let site = Site::new(SERVICES);
    let first = site.connect("files").ask("x");
    let again = site.connect("files").ask("x");
    assert_eq!(first, again, "it keeps its real server");
    // By turns, one of two further clients comes to the other one.
    let changed = (0..2).any(|_| {
        assert_eq!(site.proxy.records().forget(&query("service=files")), 1);
        site.connect("files").ask("x") != first
    });
    assert!(changed, "persistence still leads to {first}");
    eventually("every connection is over", || (site.proxy.clients() == 0).then_some(()));
}
