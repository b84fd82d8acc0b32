//! What the kernel says about next hops reaches the tables.

use std::time::Duration;

use super::site::link;
use super::*;
use crate::control::Measured;
use crate::neighbour::Input;
use crate::view::{self, RealServer};

impl Site {
    fn status_of(&self, service: &str, server: &str) -> RealServer {
        let services = self.control.status(&Measured::new(), self.now);
        let service = services.into_iter().find(|s| s.name == service).expect("it is configured");
        service.real_servers.into_iter().find(|s| s.name == server).expect("it is configured")
    }
}

#[test]
fn another_mac_address_rewrites_the_entries_of_that_machine_and_nothing_else() {
    let mut site = Site::new(TWO);
    let before = site.control.installed().clone();
    site.plans.clear();
    let replaced = [6, 9, 9, 9, 9, 9];

    site.lead("10.0.0.4", Way::Mac(replaced));

    let d = site.id("syslog", "d");
    assert_eq!(site.plans, [vec![TableOp::SetServer { id: d, entry: site.entry("syslog", "d") }]]);
    let entry = site.entry("syslog", "d");
    assert_eq!(entry, Server { destination_mac: replaced, ..before.servers[&d] }, "its flows stay");
}

#[test]
fn a_machine_of_two_services_is_rewritten_in_both() {
    let mut site = Site::new(TWO);
    site.plans.clear();
    site.lead("10.0.0.1", Way::Mac([6, 9, 9, 9, 9, 9]));
    assert_eq!(servers_in(&site.plans.concat()), [site.id("web", "a"), site.id("syslog", "a")]);
    assert_eq!(site.plans.concat().len(), 2);
}

#[test]
fn an_address_that_nobody_answers_for_is_said_and_not_scheduled() {
    let mut site = Site::before_start(TWO);
    site.lead("10.0.0.2", Way::Nobody);
    site.start();
    site.run(Duration::from_secs(10));

    assert_eq!(site.scheduled("web"), ["a", "c"]);
    let status = site.status_of("web", "b");
    assert_eq!(status.state, view::ServerState::Down);
    assert_eq!(
        status.reason,
        "10.0.0.2 cannot be reached: 10.0.0.2 does not answer ARP on eth0: check that it runs and is in this \
         network segment"
    );
    assert_eq!(status.next_hop, None);
    let notice = site.notices.iter().find(|notice| notice.server == key("web", "b") && notice.worse);
    assert_eq!(notice.map(|notice| &notice.sentence), Some(&status.reason));
}

#[test]
fn a_server_behind_a_router_is_said_and_not_scheduled() {
    let mut site = Site::new(TWO);
    site.lead("10.0.0.2", Way::Gateway(ip("10.0.0.254")));
    assert_eq!(site.scheduled("web"), ["a", "c"]);
    let status = site.status_of("web", "b");
    assert_eq!(status.state, view::ServerState::Down);
    assert_eq!(
        status.reason,
        "10.0.0.2 cannot be reached: the route to it leads by the gateway 10.0.0.254, and l4-dr needs the real \
         server on a directly attached subnet"
    );

    site.lead("10.0.0.2", Way::OnLink);
    assert_eq!(site.scheduled("web"), ["a", "b", "c"]);
    assert_eq!(site.status_of("web", "b").state, view::ServerState::Up);
}

#[test]
fn a_route_that_is_lost_is_said() {
    let mut site = Site::new(TWO);
    site.lead("10.0.0.4", Way::NoRoute);
    assert_eq!(site.scheduled("syslog"), ["a"]);
    let status = site.status_of("syslog", "d");
    assert!(status.reason.starts_with("10.0.0.4 cannot be reached: no route leads to it"), "{}", status.reason);
}

#[test]
fn silence_of_a_known_neighbour_is_a_doubt_and_cuts_nothing() {
    let mut site = Site::new(TWO);
    site.plans.clear();
    site.lead("10.0.0.2", Way::Nobody);
    assert_eq!(site.plans, Vec::<Vec<TableOp>>::new());
    let status = site.status_of("web", "b");
    assert_eq!(status.state, view::ServerState::Up);
    assert!(
        status
            .reason
            .ends_with("; 10.0.0.2 does not answer ARP on eth0: check that it runs and is in this network segment"),
        "{}",
        status.reason
    );
    assert_eq!(status.next_hop.map(|hop| hop.mac), Some("06:00:0a:00:00:02".to_owned()));

    site.notices.clear();
    site.lead("10.0.0.2", Way::OnLink);
    assert_eq!(
        site.notices.iter().map(|n| (n.worse, &n.sentence[..])).collect::<Vec<_>>(),
        [(false, "10.0.0.2 answers again")]
    );
    assert!(!site.status_of("web", "b").reason.contains("ARP"));
}

#[test]
fn a_link_that_goes_down_takes_its_servers_out_of_every_ring_and_back() {
    let mut site = Site::new(TWO);
    let generations = site.control.installed().servers.values().map(|s| s.generation).collect::<Vec<_>>();
    site.tell(Input::Link(link(false)));
    assert_eq!(site.service_entry("web").ring_size, 0);
    assert_eq!(site.service_entry("syslog").ring_size, 0);
    assert!(site.status_of("web", "a").reason.contains("interface eth0 is down"));
    assert_eq!(consistent(site.control.installed()), Ok(()));

    site.tell(Input::Link(link(true)));
    site.run(Duration::from_secs(1));
    assert_eq!(site.scheduled("web"), ["a", "b", "c"]);
    assert_eq!(site.scheduled("syslog"), ["a", "d"]);
    let after = site.control.installed().servers.values().map(|s| s.generation).collect::<Vec<_>>();
    assert_eq!(after, generations, "a cable that was pulled cuts no flow");
}

#[test]
fn frames_leave_by_the_device_with_its_mac_address() {
    let site = Site::new(TWO);
    let entry = site.entry("web", "c");
    assert_eq!((entry.ifindex, entry.source_mac), (DEVICE, super::site::DEVICE_MAC));
    assert_eq!(entry.destination_mac, mac(ip("10.0.0.3")));
}
