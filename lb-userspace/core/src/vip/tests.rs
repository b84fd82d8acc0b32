use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::neighbour::Link;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(ifindex: u32, device: &str) -> Link {
    Link { ifindex, device: device.into(), mac: Some([2; 6]), up: true, vlan: None }
}

fn theirs(ifindex: u32, address: &str, prefix: u8) -> Present {
    Present { ifindex, address: ip(address), prefix, ours: false }
}

fn ours(ifindex: u32, address: &str) -> Present {
    let prefix = if ip(address).is_ipv4() { 32 } else { 128 };
    Present { ours: true, ..theirs(ifindex, address, prefix) }
}

fn wanted(vips: &[(&str, Option<&str>)]) -> Wanted {
    vips.iter().map(|(address, device)| (ip(address), device.map(Into::into))).collect()
}

fn add(ifindex: u32, address: &str) -> Action {
    Action::Add { ifindex, address: ip(address), prefix: if ip(address).is_ipv4() { 32 } else { 128 } }
}

fn announce(ifindex: u32, address: &str) -> Action {
    Action::Announce { ifindex, address: ip(address) }
}

fn remove(ifindex: u32, address: &str) -> Action {
    Action::Remove { ifindex, address: ip(address), prefix: if ip(address).is_ipv4() { 32 } else { 128 } }
}

const ETH0: u32 = 2;
const ETH1: u32 = 3;

fn two_links() -> [Link; 2] {
    [link(ETH0, "eth0"), link(ETH1, "eth1")]
}

#[test]
fn a_vip_goes_on_the_interface_whose_subnet_holds_it() {
    let present = [theirs(ETH0, "192.0.2.2", 24), theirs(ETH1, "198.51.100.2", 24), theirs(ETH1, "2001:db8::2", 64)];
    let plan = plan(&wanted(&[("198.51.100.9", None), ("2001:db8::9", None)]), &two_links(), &present);
    let expected = [
        add(ETH1, "198.51.100.9"),
        announce(ETH1, "198.51.100.9"),
        add(ETH1, "2001:db8::9"),
        announce(ETH1, "2001:db8::9"),
    ];
    assert_eq!(plan.actions, expected);
    assert_eq!(plan.holders[&ip("2001:db8::9")], Holder { ifindex: ETH1, ours: true });
    assert!(plan.problems.is_empty());
}

#[test]
fn the_narrowest_subnet_wins_then_a_link_that_is_up() {
    let present = [theirs(ETH0, "10.0.0.1", 8), theirs(ETH1, "10.1.0.1", 16)];
    assert_eq!(plan(&wanted(&[("10.1.2.3", None)]), &two_links(), &present).holders[&ip("10.1.2.3")].ifindex, ETH1);

    let links = [Link { up: false, ..link(ETH0, "eth0") }, link(ETH1, "eth1")];
    let present = [theirs(ETH0, "10.1.0.2", 16), theirs(ETH1, "10.1.0.1", 16)];
    assert_eq!(plan(&wanted(&[("10.1.2.3", None)]), &links, &present).holders[&ip("10.1.2.3")].ifindex, ETH1);
}

#[test]
fn a_vip_stays_where_it_is_among_equal_subnets() {
    let present = [theirs(ETH0, "10.1.0.2", 16), theirs(ETH1, "10.1.0.1", 16), ours(ETH1, "10.1.2.3")];
    assert_eq!(plan(&wanted(&[("10.1.2.3", None)]), &two_links(), &present).actions, []);
}

#[test]
fn a_vip_that_is_up_survives_the_loss_of_the_subnet() {
    assert_eq!(plan(&wanted(&[("192.0.2.9", None)]), &two_links(), &[ours(ETH0, "192.0.2.9")]).actions, []);
}

#[test]
fn a_named_device_needs_no_subnet_and_must_exist() {
    let vips = wanted(&[("203.0.113.1", Some("eth1")), ("203.0.113.2", Some("eth7"))]);
    let plan = plan(&vips, &two_links(), &[]);
    assert_eq!(plan.actions, [add(ETH1, "203.0.113.1"), announce(ETH1, "203.0.113.1")]);
    let problem = Problem::NoDevice { address: ip("203.0.113.2"), device: "eth7".into() };
    assert_eq!(plan.problems[&ip("203.0.113.2")], problem);
    assert!(problem.to_string().contains("interface eth7, which 203.0.113.2 is to be on, does not exist"));
}

#[test]
fn a_vip_outside_every_subnet_is_a_problem() {
    let present = [theirs(ETH0, "192.0.2.2", 24), theirs(ETH0, "fe80::1", 64), theirs(ETH0, "203.0.113.0", 0)];
    for vip in ["192.0.3.1", "203.0.113.1", "2001:db8::1", "fe80::2"] {
        let plan = plan(&wanted(&[(vip, None)]), &two_links(), &present);
        assert_eq!(plan.problems[&ip(vip)], Problem::NoSubnet { address: ip(vip) });
        assert_eq!(plan.actions, []);
        assert!(plan.holders.is_empty());
    }
}

#[test]
fn an_address_the_machine_already_has_is_used_and_left_alone() {
    let present = [theirs(ETH0, "192.0.2.9", 24)];
    for device in [None, Some("eth1")] {
        let plan = plan(&wanted(&[("192.0.2.9", device)]), &two_links(), &present);
        assert_eq!(plan.actions, []);
        assert_eq!(plan.holders[&ip("192.0.2.9")], Holder { ifindex: ETH0, ours: false });
    }
    assert_eq!(plan(&wanted(&[]), &two_links(), &present).actions, []);
}

#[test]
fn what_is_ours_is_adopted_or_removed_after_a_restart() {
    let present = [theirs(ETH0, "192.0.2.2", 24), ours(ETH0, "192.0.2.9"), ours(ETH0, "192.0.2.10")];
    let plan = plan(&wanted(&[("192.0.2.9", None)]), &two_links(), &present);
    assert_eq!(plan.actions, [remove(ETH0, "192.0.2.10")]);
    assert_eq!(plan.holders[&ip("192.0.2.9")], Holder { ifindex: ETH0, ours: true });
}

#[test]
fn a_vip_that_moves_is_added_before_it_is_removed() {
    let plan = plan(&wanted(&[("192.0.2.9", Some("eth1"))]), &two_links(), &[ours(ETH0, "192.0.2.9")]);
    let expected = [add(ETH1, "192.0.2.9"), announce(ETH1, "192.0.2.9"), remove(ETH0, "192.0.2.9")];
    assert_eq!(plan.actions, expected);
}

#[test]
fn an_address_of_ours_gives_way_to_one_the_administrator_added() {
    let present = [theirs(ETH1, "192.0.2.9", 24), ours(ETH0, "192.0.2.9")];
    let plan = plan(&wanted(&[("192.0.2.9", None)]), &two_links(), &present);
    assert_eq!(plan.actions, [remove(ETH0, "192.0.2.9")]);
}

fn present() -> impl Strategy<Value = Vec<Present>> {
    let entry = (1u32..4, 0u8..8, prop::sample::select(vec![0u8, 8, 24, 30, 32, 33, 255]), any::<bool>());
    prop::collection::vec(entry, 0..8).prop_map(|entries| {
        let mut seen = BTreeSet::new();
        let entries = entries.into_iter().filter(|(ifindex, last, ..)| seen.insert((*ifindex, *last)));
        let address = |last| IpAddr::from([10, 0, 0, last]);
        entries.map(|(ifindex, last, prefix, ours)| Present { ifindex, address: address(last), prefix, ours }).collect()
    })
}

proptest! {
    #[test]
    fn a_plan_carried_out_leaves_nothing_to_do_and_touches_only_ours(
        mut present in present(),
        vips in prop::collection::btree_map(0u8..8, prop::option::of(1u32..5), 0..6),
    ) {
        let links: Vec<Link> = (1..4).map(|ifindex| link(ifindex, &format!("eth{ifindex}"))).collect();
        let wanted: Wanted =
            vips.iter().map(|(n, device)| (IpAddr::from([10, 0, 0, *n]), device.map(|n| format!("eth{n}")))).collect();
        let before = present.clone();
        let first = plan(&wanted, &links, &present);
        for action in &first.actions {
            match *action {
                Action::Add { ifindex, address, prefix } => {
                    present.push(Present { ifindex, address, prefix, ours: true });
                }
                Action::Remove { ifindex, address, .. } => {
                    let at = present.iter().position(|e| e.address == address && e.ifindex == ifindex && e.ours);
                    present.remove(at.expect("removes only what is ours"));
                    prop_assert!(
                        !wanted.contains_key(&address) || first.problems.contains_key(&address)
                            || present.iter().any(|e| e.address == address),
                        "a wanted VIP would be missing"
                    );
                }
                Action::Announce { ifindex, address } => {
                    prop_assert!(present.iter().any(|e| e.address == address && e.ifindex == ifindex));
                }
            }
        }
        prop_assert!(before.iter().filter(|e| !e.ours).all(|e| present.contains(e)));
        for address in wanted.keys() {
            prop_assert!(first.holders.contains_key(address) != first.problems.contains_key(address));
        }
        let second = plan(&wanted, &links, &present);
        prop_assert_eq!(second.actions, vec![]);
        prop_assert_eq!(second.holders, first.holders);
    }
}

/// Where virtual time begins.
#[expect(clippy::disallowed_methods, reason = "an Instant can only be made from the clock")]
fn start() -> Instant {
    Instant::now()
}

fn drain(announcer: &mut Announcer) -> Vec<Announcement> {
    std::iter::from_fn(|| announcer.poll_announcement()).collect()
}

#[test]
fn a_vip_is_announced_at_once_and_twice_more_a_second_apart() {
    let mut announcer = Announcer::new();
    let start = start();
    announcer.announce(ETH0, ip("192.0.2.9"), start);
    let announcement = Announcement { ifindex: ETH0, address: ip("192.0.2.9") };
    assert_eq!(drain(&mut announcer), [announcement]);
    let mut times = Vec::new();
    while let Some(deadline) = announcer.next_deadline() {
        announcer.handle_timeout(deadline);
        assert_eq!(drain(&mut announcer), [announcement]);
        times.push(deadline - start);
    }
    assert_eq!(times, [Duration::from_secs(1), Duration::from_secs(2)]);
}

#[test]
fn a_vip_that_left_is_not_announced_again() {
    let mut announcer = Announcer::new();
    let start = start();
    announcer.announce(ETH0, ip("192.0.2.9"), start);
    announcer.stop(ip("192.0.2.9"));
    assert_eq!(drain(&mut announcer), []);
    assert_eq!(announcer.next_deadline(), None);
}

#[test]
fn a_vip_that_moves_while_announced_starts_again_on_the_new_device() {
    let mut announcer = Announcer::new();
    let start = start();
    announcer.announce(ETH0, ip("192.0.2.9"), start);
    drain(&mut announcer);
    announcer.announce(ETH1, ip("192.0.2.9"), start + Duration::from_millis(500));
    assert_eq!(drain(&mut announcer), [Announcement { ifindex: ETH1, address: ip("192.0.2.9") }]);
    assert_eq!(announcer.next_deadline(), Some(start + Duration::from_millis(1500)));
}

#[test]
fn vips_of_ours_are_announced_when_their_link_comes_back_or_gets_another_mac() {
    let up = link(ETH0, "eth0");
    let down = Link { up: false, ..up.clone() };
    let other_mac = Link { mac: Some([4; 6]), ..up.clone() };
    let holders = [
        (ip("192.0.2.9"), Holder { ifindex: ETH0, ours: true }),
        (ip("192.0.2.10"), Holder { ifindex: ETH0, ours: false }),
        (ip("192.0.2.11"), Holder { ifindex: ETH1, ours: true }),
    ];
    let cases = [
        (vec![down.clone()], up.clone(), true),
        (vec![], up.clone(), true),
        (vec![up.clone()], other_mac, true),
        (vec![up.clone()], up.clone(), false),
        (vec![up], down, false),
    ];
    for (mut before, after, announced) in cases {
        before.push(link(ETH1, "eth1"));
        let after = [after, link(ETH1, "eth1")];
        let expected = announced.then_some(Announcement { ifindex: ETH0, address: ip("192.0.2.9") });
        let found = disturbed(&holders.into(), &before, &after);
        assert_eq!(found, Vec::from_iter(expected), "{before:?} to {after:?}");
    }
}
