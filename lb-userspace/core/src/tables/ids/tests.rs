use std::collections::BTreeSet;

use lb_common::abi::MAX_SERVICES;

use super::super::samples::address;
use super::{AdoptedServer, AdoptedService, Ids, IdsError, ServerIdentity};

fn identity(server: &str) -> ServerIdentity {
    ServerIdentity { service: "web".to_owned(), server: server.to_owned(), address: address("192.0.2.1"), port: None }
}

fn keep(ids: &mut Ids, services: &[&str], servers: &[&str]) {
    let services: BTreeSet<&str> = services.iter().copied().collect();
    ids.keep(&services, &servers.iter().map(|server| identity(server)).collect());
}

#[test]
fn a_name_keeps_its_number_and_number_0_is_never_given() {
    let mut ids = Ids::new();
    let (a, b) = (ids.server(&identity("a")), ids.server(&identity("b")));

    assert_eq!((&a, &b), (&Ok(1), &Ok(2)));
    assert_eq!((ids.server(&identity("b")), ids.server(&identity("a"))), (b, a));
}

#[test]
fn another_address_is_another_server() {
    let mut ids = Ids::new();
    let moved = ServerIdentity { address: address("192.0.2.2"), ..identity("a") };

    assert_ne!(ids.server(&identity("a")), ids.server(&moved));
}

#[test]
fn a_number_is_used_again_only_when_no_other_is_left_and_the_tables_are_settled() -> Result<(), IdsError> {
    let mut ids = Ids::new();
    for name in 1..MAX_SERVICES {
        ids.service(&name.to_string())?;
    }
    let all: Vec<String> = (1..MAX_SERVICES).map(|name| name.to_string()).collect();
    let without = |gone: &[&str]| all.iter().map(String::as_str).filter(|name| !gone.contains(name)).collect();
    for gone in [&["9"] as &[&str], &["9", "4"]] {
        ids.keep(&without(gone), &BTreeSet::new());
        ids.settle();
    }
    ids.keep(&without(&["9", "4", "2"]), &BTreeSet::new());

    assert_eq!([ids.service("new"), ids.service("newer")], [Ok(9), Ok(4)], "the oldest first");
    let full = ids.service("newest");
    assert_eq!(full, Err(IdsError::Full { things: "virtual services", limit: MAX_SERVICES - 1 }));
    ids.settle();
    assert_eq!(ids.service("newest"), Ok(2));
    Ok(())
}

#[test]
fn the_generation_steps_on_when_a_server_stops_being_alive_and_only_then() -> Result<(), IdsError> {
    let mut ids = Ids::new();
    let a = ids.server(&identity("a"))?;

    let generations = [false, true, true, false, false, true].map(|alive| ids.generation(a, alive, 1));

    assert_eq!(generations, [1, 1, 1, 2, 2, 2]);
    Ok(())
}

#[test]
fn a_number_given_back_has_a_generation_that_no_flow_has() -> Result<(), IdsError> {
    let mut ids = Ids::new();
    let (a, b) = (ids.server(&identity("a"))?, ids.server(&identity("b"))?);
    let of_flows = ids.generation(a, true, 1);
    ids.generation(b, true, 1);

    keep(&mut ids, &[], &["b"]);

    assert_eq!(ids.retired().collect::<Vec<_>>(), [(a, of_flows + 1)]);
    ids.settle();
    assert_eq!(ids.retired().collect::<Vec<_>>(), [(a, of_flows + 1)], "as long as nobody else has it");
    Ok(())
}

#[test]
fn adopted_numbers_go_on_and_unknown_ones_are_reserved_until_settled() -> Result<(), IdsError> {
    let services = [AdoptedService { id: 3, name: Some("web".to_owned()) }, AdoptedService { id: 1, name: None }];
    let servers = [
        AdoptedServer { id: 5, generation: 40, alive: true, mode: 1, identity: Some(identity("a")) },
        AdoptedServer { id: 2, generation: 9, alive: true, mode: 1, identity: None },
    ];

    let mut ids = Ids::adopt(services, servers)?;

    assert_eq!((ids.service("web"), ids.service("new")), (Ok(3), Ok(4)));
    assert_eq!((ids.server(&identity("a")), ids.server(&identity("b"))), (Ok(5), Ok(6)));
    assert_eq!(ids.generation(5, true, 1), 40, "its flows go on");
    assert_eq!(ids.generation(5, false, 1), 41);
    assert_eq!(ids.retired().collect::<Vec<_>>(), [(2, 10)], "flows of the unknown server are cut");
    Ok(())
}

#[test]
fn adopted_numbers_must_make_sense() {
    let service = |id, name: &str| AdoptedService { id, name: Some(name.to_owned()) };
    let cases = [
        (vec![service(0, "a")], "the kernel tables were left behind with virtual services number 0"),
        (vec![service(MAX_SERVICES, "a")], "the kernel tables were left behind with virtual services number 1024"),
        (
            vec![service(1, "a"), service(1, "b")],
            "the list of virtual services left behind by the last run has number 1",
        ),
        (
            vec![service(1, "a"), service(2, "a")],
            "the list of virtual services left behind by the last run has number 2",
        ),
        (
            vec![service(1, "a"), AdoptedService { id: 1, name: None }],
            "the list of virtual services left behind by the last run has number 1",
        ),
    ];
    for (services, sentence) in cases {
        let error = Ids::adopt(services.clone(), []).map(|_| ()).map_err(|error| error.to_string());
        assert!(error.as_ref().is_err_and(|error| error.starts_with(sentence)), "{services:?}: {error:?}");
    }
}
