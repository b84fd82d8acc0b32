//! The netlink shell against a real kernel, in network namespaces. Needs root.

#[path = "netlink/host.rs"]
mod host;
#[path = "netlink/lab.rs"]
mod lab;
#[path = "netlink/namespace.rs"]
mod namespace;

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use lab::{Control, Lab};
use lb_core::neighbour::{Input, NeighbourState, NextHop, Problem};
use lb_core::vip::{Action, Announcement, Holder, Wanted, plan};
use lb_userspace::netlink::{Event, Netlink};
use tokio::sync::mpsc;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The next hop to the peer on link.
fn peer_hop(lab: &Lab) -> NextHop {
    NextHop {
        ifindex: lab.ifindex(),
        source_mac: lab.mac(),
        destination_mac: lab.peer_mac(),
        outer_vlan: 0,
        inner_vlan: 0,
        gateway: None,
        on_link: true,
        source: Some(ip("192.0.2.1")),
    }
}

fn netlink() -> (Netlink, mpsc::Receiver<Event>) {
    let (sender, events) = mpsc::channel(64);
    (Netlink::start(sender).unwrap(), events)
}

const FAMILIES: [&str; 2] = ["192.0.2.10", "2001:db8::10"];

#[test]
fn an_on_link_server_is_resolved() {
    let lab = Lab::new();
    let expected = peer_hop(&lab);
    lab.run(|| async {
        let mut control = Control::watching(&FAMILIES);
        for (address, own) in FAMILIES.into_iter().zip(["192.0.2.1", "2001:db8::1"]) {
            let told = control.until_told(address, "a next hop", Result::is_ok).await;
            assert_eq!(told, Ok(NextHop { source: Some(ip(own)), ..expected.clone() }));
        }
    });
}

#[test]
fn a_moved_mac_is_told_as_soon_as_the_new_holder_announces_it() {
    const NEW: [u8; 6] = [2, 0, 0, 0, 0, 0x99];
    let lab = Lab::new();
    lab.run(|| async {
        let mut control = Control::watching(&FAMILIES);
        for address in FAMILIES {
            control.until_told(address, "a next hop", Result::is_ok).await.unwrap();
        }
        lab.peer_ip("link set peer0 address 02:00:00:00:00:99");
        let ifindex = lab.peer_ifindex();
        lab.run_at_peer(|| async {
            let (mut netlink, _events) = netlink();
            for address in FAMILIES {
                netlink.announce(Announcement { ifindex, address: ip(address) }).await.unwrap();
            }
        });
        for address in FAMILIES {
            control
                .until_told(address, "the new MAC", |told| told.as_ref().is_ok_and(|hop| hop.destination_mac == NEW))
                .await
                .unwrap();
        }
    });
}

#[test]
fn a_silent_neighbour_keeps_its_mac_and_is_doubted_until_it_answers() {
    let lab = Lab::new();
    // Milliseconds between the kernel's attempts; 1 s unless told otherwise.
    lab.ip("ntable change name arp_cache dev lb0 retrans 100");
    let expected = peer_hop(&lab);
    let lladdr = lab.peer_mac().map(|byte| format!("{byte:02x}")).join(":");
    lab.run(|| async {
        let mut control = Control::watching(&["192.0.2.10"]);
        control.until_told("192.0.2.10", "a next hop", Result::is_ok).await.unwrap();
        let doubt = |control: &Control| control.machine.status(ip("192.0.2.10")).unwrap().doubt.clone();
        assert_eq!(doubt(&control), None);

        lab.peer_ip("addr del 192.0.2.10/24 dev peer0");
        lab.ip(&format!("neigh replace 192.0.2.10 lladdr {lladdr} dev lb0 nud probe"));
        let silent = Problem::Unresolved { device: "lb0".into(), address: ip("192.0.2.10") };
        control.until("doubt", |control| doubt(control) == Some(silent.clone())).await;
        assert_eq!(control.told[&ip("192.0.2.10")], Ok(expected), "the MAC stays in use");

        lab.peer_ip("addr add 192.0.2.10/24 dev peer0");
        control.until("trust", |control| doubt(control).is_none()).await;
    });
}

#[test]
fn a_gateway_is_resolved_and_a_changed_route_followed() {
    let lab = Lab::new();
    lab.peer_ip("addr add 192.0.2.11/24 dev peer0");
    lab.ip("route add 198.51.100.0/24 via 192.0.2.10");
    lab.ip("route add 203.0.113.0/24 via inet6 2001:db8::10");
    lab.ip("route add 2001:db8:1::/64 via 2001:db8::10");
    let via = |gateway| NextHop { gateway: Some(ip(gateway)), on_link: false, ..peer_hop(&lab) };
    let (v4, v4_over_v6, v6) =
        (via("192.0.2.10"), via("2001:db8::10"), NextHop { source: Some(ip("2001:db8::1")), ..via("2001:db8::10") });
    let moved = via("192.0.2.11");
    lab.run(|| async {
        let mut control = Control::watching(&["198.51.100.7", "203.0.113.7", "2001:db8:1::7"]);
        assert_eq!(control.until_told("198.51.100.7", "a next hop", Result::is_ok).await, Ok(v4));
        assert_eq!(control.until_told("203.0.113.7", "a next hop", Result::is_ok).await, Ok(v4_over_v6));
        assert_eq!(control.until_told("2001:db8:1::7", "a next hop", Result::is_ok).await, Ok(v6));

        lab.ip("route replace 198.51.100.0/24 via 192.0.2.11");
        control.until_told("198.51.100.7", "the new gateway", |told| *told == Ok(moved.clone())).await.unwrap();
        lab.ip("route del 198.51.100.0/24");
        control.until_told("198.51.100.7", "no route", |told| *told == Err(Problem::NoRoute)).await.unwrap_err();
    });
}

#[test]
fn policy_rules_decide_the_route() {
    let lab = Lab::new();
    lab.ip("route add 198.51.100.0/24 via 192.0.2.10");
    lab.run(|| async {
        let mut control = Control::watching(&["198.51.100.7"]);
        control.until_told("198.51.100.7", "a next hop", Result::is_ok).await.unwrap();
        lab.ip("route add unreachable default table 77");
        lab.ip("rule add to 198.51.100.7 lookup 77 pref 100");
        control.until_told("198.51.100.7", "refused", |told| *told == Err(Problem::NoRoute)).await.unwrap_err();
        lab.ip("rule del pref 100");
        control.until_told("198.51.100.7", "a next hop again", Result::is_ok).await.unwrap();
    });
}

#[test]
fn each_kind_of_unusable_address_is_told() {
    let lab = Lab::new();
    lab.ip("route add blackhole 203.0.113.1");
    lab.ip("route add prohibit 203.0.113.2");
    lab.ip("route add unreachable 203.0.113.3");
    lab.run(|| async {
        let cases = [
            ("192.0.2.1", Problem::Local),
            ("2001:db8::1", Problem::Local),
            ("127.0.0.5", Problem::Local),
            ("192.0.2.255", Problem::NotUnicast),
            ("198.51.100.1", Problem::NoRoute),
            ("2001:db8:ffff::1", Problem::NoRoute),
            ("203.0.113.1", Problem::NoRoute),
            ("203.0.113.2", Problem::NoRoute),
            ("203.0.113.3", Problem::NoRoute),
        ];
        let mut control = Control::watching(&cases.each_ref().map(|(address, _)| *address));
        for (address, problem) in cases {
            assert_eq!(control.until_told(address, "a problem", Result::is_err).await, Err(problem), "{address}");
        }
    });
}

#[test]
fn an_unresolved_neighbour_is_solicited_on_the_wire_and_told() {
    let lab = Lab::new();
    let mut capture = lab.capture_at_peer();
    lab.run(|| async {
        let mut control = Control::watching(&["192.0.2.77", "2001:db8::77"]);
        for address in ["192.0.2.77", "2001:db8::77"] {
            let problem = Problem::Unresolved { device: "lb0".into(), address: ip(address) };
            assert_eq!(control.until_told(address, "unresolved", Result::is_err).await, Err(problem));
        }
        // It comes up later: found without anybody's help.
        lab.peer_ip("addr add 192.0.2.77/24 dev peer0");
        lab.peer_ip("addr add 2001:db8::77/64 dev peer0 nodad");
        for address in ["192.0.2.77", "2001:db8::77"] {
            control.until_told(address, "resolved at last", Result::is_ok).await.unwrap();
        }
    });
    capture.find("an ARP request for 192.0.2.77", |frame| {
        frame[12..14] == [0x08, 0x06] && frame[20..22] == [0, 1] && frame[38..42] == [192, 0, 2, 77]
    });
    let target: Ipv6Addr = "2001:db8::77".parse().unwrap();
    capture.find("a neighbour solicitation for 2001:db8::77", |frame| {
        frame[12..14] == [0x86, 0xdd] && frame[20] == 58 && frame[54] == 135 && frame[62..78] == target.octets()
    });
}

#[test]
fn a_stale_neighbour_is_probed_and_a_permanent_one_left_alone() {
    let lab = Lab::new();
    // The kernel waits this long between use and probe; 5 s unless told otherwise.
    lab.ip("ntable change name arp_cache dev lb0 delay_probe 100");
    let lladdr = lab.peer_mac().map(|byte| format!("{byte:02x}")).join(":");
    lab.ip(&format!("neigh replace 192.0.2.10 lladdr {lladdr} dev lb0 nud stale"));
    lab.ip("neigh replace 192.0.2.20 lladdr 02:00:00:00:00:20 dev lb0 nud permanent");
    let (ifindex, lb_mac, peer_mac) = (lab.ifindex(), lab.mac(), lab.peer_mac());
    let mut capture = lab.capture_at_peer();
    lab.run(|| async move {
        let (mut netlink, _events) = netlink();
        netlink.solicit(ifindex, ip("192.0.2.10")).await.unwrap();
        netlink.solicit(ifindex, ip("192.0.2.20")).await.unwrap();
        let entry = netlink.neighbour(ifindex, ip("192.0.2.20")).await.unwrap();
        let permanent = Input::Neighbour {
            ifindex,
            address: ip("192.0.2.20"),
            mac: Some([2, 0, 0, 0, 0, 0x20]),
            state: NeighbourState::Permanent,
        };
        assert_eq!(entry, permanent);
        let missing = netlink.neighbour(ifindex, ip("192.0.2.21")).await.unwrap();
        assert_eq!(missing, Input::NeighbourGone { ifindex, address: ip("192.0.2.21") });
    });
    capture.find("a unicast ARP request for 192.0.2.10", |frame| {
        frame[..6] == peer_mac
            && frame[6..12] == lb_mac
            && frame[12..14] == [0x08, 0x06]
            && frame[20..22] == [0, 1]
            && frame[38..42] == [192, 0, 2, 10]
    });
}

#[test]
fn a_link_that_goes_down_and_comes_back_is_followed() {
    let lab = Lab::new();
    let expected = peer_hop(&lab);
    lab.run(|| async {
        let mut control = Control::watching(&["192.0.2.10"]);
        control.until_told("192.0.2.10", "a next hop", Result::is_ok).await.unwrap();
        lab.peer_ip("link set peer0 down");
        let down = Problem::LinkDown { device: "lb0".into() };
        control.until_told("192.0.2.10", "no carrier", |told| *told == Err(down.clone())).await.unwrap_err();
        lab.peer_ip("link set peer0 up");
        let told = control.until_told("192.0.2.10", "carrier again", Result::is_ok).await;
        assert_eq!(told, Ok(expected));
        lab.ip("link set lb0 address 02:00:00:00:00:55");
        let own = |hop: &NextHop| hop.source_mac == [2, 0, 0, 0, 0, 0x55];
        control.until_told("192.0.2.10", "the new own MAC", |told| told.as_ref().is_ok_and(own)).await.unwrap();
    });
}

#[test]
fn an_overrun_ends_in_a_resync() {
    let lab = Lab::new();
    lab.run(|| async {
        let (sender, mut events) = mpsc::channel(1);
        let _netlink = Netlink::start(sender).unwrap();
        assert!(matches!(events.recv().await, Some(Event::Neighbour(Input::Resync(_)))));
        assert!(matches!(events.recv().await, Some(Event::HostChanged)));

        // Nobody reads while more notifications come than the socket's buffer holds.
        let flips: String = (0..20_000)
            .map(|n| {
                format!(
                    "neigh replace 192.0.2.30 lladdr 02:00:00:00:{:02x}:{:02x} dev lb0 nud permanent\n",
                    n >> 8 & 0xff,
                    n & 0xff
                )
            })
            .collect();
        let file = std::env::temp_dir().join(format!("lb-netlink-overrun-{}", std::process::id()));
        std::fs::write(&file, flips).unwrap();
        lab.ip(&format!("-batch {}", file.display()));
        lab.ip("link add lb1 type veth peer name lb2");
        std::fs::remove_file(&file).unwrap();

        let resync = async {
            loop {
                match events.recv().await.expect("the monitor goes on") {
                    Event::Neighbour(Input::Resync(links)) => return links,
                    Event::Stopped(error) => panic!("{error}"),
                    Event::Neighbour(_) | Event::HostChanged => {}
                }
            }
        };
        let links = tokio::time::timeout(Duration::from_secs(20), resync).await.expect("a resync");
        assert!(links.iter().any(|link| link.device == "lb1"), "what was dropped is in the resync: {links:?}");
    });
}

#[test]
fn vips_are_added_recognised_by_a_new_daemon_and_removed() {
    let lab = Lab::new();
    let ifindex = lab.ifindex();
    lab.ip("addr add 192.0.2.50/24 dev lb0");
    let wanted: Wanted = ["192.0.2.9", "192.0.2.50", "2001:db8::9"].map(|address| (ip(address), None)).into();
    lab.run(|| async {
        let (mut netlink, _events) = netlink();
        let host = netlink.host().await.unwrap();
        let first = plan(&wanted, &host.links, &host.addresses);
        assert_eq!(first.actions.len(), 4, "two added and announced: {:?}", first.actions);
        assert_eq!(first.holders[&ip("192.0.2.50")], Holder { ifindex, ours: false });
        for action in &first.actions {
            netlink.perform_vip(action).await.unwrap();
            netlink.perform_vip(action).await.expect("doing it again is no error");
        }
    });
    let v4 = lab.ip("-d addr show dev lb0 to 192.0.2.9");
    assert!(v4.contains("192.0.2.9/32 scope global"), "{v4}");
    let v6 = lab.ip("addr show dev lb0 to 2001:db8::9");
    assert!(v6.contains("2001:db8::9/128") && v6.contains("nodad") && !v6.contains("tentative"), "{v6}");
    assert!(v6.contains("deprecated") && v6.contains("valid_lft forever"), "{v6}");

    lab.run(|| async {
        let (mut netlink, _events) = netlink();
        let host = netlink.host().await.unwrap();
        assert_eq!(plan(&wanted, &host.links, &host.addresses).actions, []);
        let last = plan(&Wanted::new(), &host.links, &host.addresses);
        let remove = |address, prefix| Action::Remove { ifindex, address: ip(address), prefix };
        assert_eq!(last.actions.len(), 2);
        assert!(last.actions.contains(&remove("192.0.2.9", 32)) && last.actions.contains(&remove("2001:db8::9", 128)));
        for action in &last.actions {
            netlink.perform_vip(action).await.unwrap();
            netlink.perform_vip(action).await.expect("doing it again is no error");
        }
    });
    let left = lab.ip("addr show dev lb0");
    assert!(left.contains("192.0.2.50/24") && !left.contains("192.0.2.9/") && !left.contains("2001:db8::9/"), "{left}");
}

#[test]
fn an_announcement_moves_the_peers_neighbour_entry() {
    let lab = Lab::new();
    let ifindex = lab.ifindex();
    let mac = lab.mac();
    let vips = ["192.0.2.9", "2001:db8::9"];
    for vip in vips {
        lab.peer_ip(&format!("neigh replace {vip} lladdr 02:00:00:00:00:77 dev peer0 nud reachable"));
    }
    lab.run(|| async move {
        let (mut netlink, _events) = netlink();
        for address in vips {
            netlink.announce(Announcement { ifindex, address: ip(address) }).await.unwrap();
        }
        let gone = netlink.announce(Announcement { ifindex: 9999, address: ip("192.0.2.9") }).await;
        assert!(gone.unwrap_err().to_string().contains("cannot announce 192.0.2.9 on interface number 9999"));
    });
    let peer = lab.peer_ifindex();
    lab.run_at_peer(|| async {
        let (mut netlink, _events) = netlink();
        for vip in vips {
            // The kernel takes a frame in before the veth's sender returns or a moment later.
            let moved = async {
                loop {
                    match netlink.neighbour(peer, ip(vip)).await.unwrap() {
                        Input::Neighbour { mac: Some(now), .. } if now == mac => return,
                        _ => tokio::task::yield_now().await,
                    }
                }
            };
            tokio::time::timeout(Duration::from_secs(10), moved).await.unwrap_or_else(|_| panic!("{vip} did not move"));
        }
    });
}

#[test]
fn announcements_are_seen_on_the_wire_in_every_form() {
    let lab = Lab::new();
    let (ifindex, mac) = (lab.ifindex(), lab.mac());
    let mut capture = lab.capture_at_peer();
    lab.run(|| async move {
        let (mut netlink, _events) = netlink();
        for address in ["192.0.2.9", "2001:db8::9"] {
            netlink.announce(Announcement { ifindex, address: ip(address) }).await.unwrap();
        }
    });
    for operation in [1, 2] {
        capture.find("a gratuitous ARP", |frame| {
            frame[..6] == [0xff; 6]
                && frame[6..12] == mac
                && frame[12..14] == [0x08, 0x06]
                && frame[20..22] == [0, operation]
                && frame[28..32] == [192, 0, 2, 9]
        });
    }
    let frame =
        capture.find("a neighbour advertisement", |frame| frame[..6] == [0x33, 0x33, 0, 0, 0, 1] && frame[54] == 136);
    assert_eq!(frame[58] & 0xe0, 0x20, "override, and not a router");
}
