//! What lies between the device of a route and the wire.

use super::*;

fn vlan(ifindex: u32, device: &str, parent: u32, id: u16) -> Link {
    let vlan = Some(Vlan { parent: Some(parent), id, service_tag: false });
    Link { vlan, ..ethernet(ifindex, device) }
}

#[test]
fn devices_that_cannot_carry_the_frame_are_named() {
    let tunnel = Link { mac: None, ..ethernet(3, "wg0") };
    let stray = Link { vlan: Some(Vlan { parent: None, id: 5, service_tag: false }), ..ethernet(4, "stray.5") };
    let deep = [vlan(11, "eth0.1", ETH0, 1), vlan(12, "eth0.1.2", 11, 2), vlan(13, "eth0.1.2.3", 12, 3)];
    let circle = [vlan(20, "a", 21, 0), vlan(21, "b", 20, 0)];
    let mut links = vec![ethernet(ETH0, "eth0"), tunnel, stray];
    links.extend(deep);
    links.extend(circle);
    let cases = [
        (3, Problem::NoMac { device: "wg0".into() }),
        (4, Problem::Tags { device: "stray.5".into() }),
        (13, Problem::Tags { device: "eth0.1".into() }),
        (20, Problem::Tags { device: "a".into() }),
        (99, Problem::UnknownDevice { ifindex: 99 }),
    ];
    for (ifindex, problem) in cases {
        let mut bench = Bench::new(links.clone());
        bench.watch(&[HOST]);
        let actions = bench.on_link(HOST, ifindex);
        assert_eq!(actions.first(), Some(&changed(HOST, Err(problem))));
    }
}

fn service_vlan(ifindex: u32, device: &str, parent: u32, id: u16) -> Link {
    let vlan = Some(Vlan { parent: Some(parent), id, service_tag: true });
    Link { vlan, ..ethernet(ifindex, device) }
}

#[test]
fn vlan_devices_map_to_the_physical_one_and_their_tags() {
    let links = vec![
        ethernet(ETH0, "eth0"),
        vlan(3, "eth0.7", ETH0, 7),
        vlan(4, "p", ETH0, 0),
        vlan(5, "p.8", 4, 8),
        service_vlan(6, "s", ETH0, 100),
        vlan(7, "s.200", 6, 200),
    ];
    let cases = [(3, 7, 0), (4, 0, 0), (5, 8, 0), (7, 100, 200)];
    for (ifindex, outer_vlan, inner_vlan) in cases {
        let mut bench = Bench::new(links.clone());
        bench.watch(&[HOST]);
        bench.on_link(HOST, ifindex);
        let hop = NextHop { outer_vlan, inner_vlan, ..next_hop(ETH0, MAC_A) };
        let actions = bench.neighbour(ifindex, HOST, Some(MAC_A), NeighbourState::Reachable);
        assert_eq!(actions, [changed(HOST, Ok(hop))]);
        let down = Link { up: false, ..ethernet(ETH0, "eth0") };
        let problem = Problem::LinkDown { device: "eth0".into() };
        assert_eq!(bench.handle(Input::Link(down)), [changed(HOST, Err(problem))]);
    }
}

#[test]
fn tag_types_that_the_datapath_does_not_write_are_a_problem() {
    let links = vec![
        ethernet(ETH0, "eth0"),
        service_vlan(3, "s", ETH0, 100),
        vlan(4, "q", ETH0, 7),
        vlan(5, "q.8", 4, 8),
        service_vlan(6, "s.9", 3, 9),
        service_vlan(7, "q.9", 4, 9),
    ];
    for (ifindex, device) in [(3, "s"), (5, "q.8"), (6, "s.9"), (7, "q.9")] {
        let mut bench = Bench::new(links.clone());
        bench.watch(&[HOST]);
        let problem = Problem::TagType { device: device.into() };
        assert_eq!(bench.on_link(HOST, ifindex).first(), Some(&changed(HOST, Err(problem))));
    }
}
