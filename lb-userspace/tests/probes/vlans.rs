//! Probes with tags in their frames.

use lb_core::config::model::Protocol;
use lb_userspace::doctor::probe::{Acceptance, ComesBack, accepts, comes_back, who_answers};

use crate::namespace::Namespace;
use crate::segment::Host;
use crate::tap::{Tap, wire};
use crate::{Addresses, PORT, WAIT, becomes, families, while_served};

const UNTAGGED: &[u8] = &[];
const ONE_TAG: &[u8] = &[0x81, 0x00, 0, 100];
const TWO_TAGS: &[u8] = &[0x88, 0xa8, 0, 200, 0x81, 0x00, 0x01, 0x2c];
/// VLAN 0: a priority, and no VLAN (IEEE 802.1Q).
const PRIORITY_TAG: &[u8] = &[0x81, 0x00, 0xa0, 0];

/// A balancer and a real server at the ends of a wire. The server has the VIP, knows the balancer's MAC, and
/// has it as its gateway.
fn tap_pair() -> (Host, Tap, Host, Tap) {
    let (balancer, server) = (Host { namespace: Namespace::new() }, Host { namespace: Namespace::new() });
    let (balancer_tap, server_tap) = (Tap::new(&balancer.namespace), Tap::new(&server.namespace));
    let mac = balancer.mac().map(|byte| format!("{byte:02x}")).join(":");
    for (Addresses { balancer, server: address, vip, .. }, prefix, flag) in families()
        .into_iter()
        .zip([(24, ""), (64, "nodad")])
        .map(|(addresses, (prefix, flag))| (addresses, prefix, flag))
    {
        server.namespace.ip(&format!("addr add {address}/{prefix} dev eth0 {flag}"));
        server.namespace.ip(&format!("neigh add {balancer} lladdr {mac} dev eth0 nud permanent"));
        server.namespace.ip(&format!("route add default via {balancer}"));
        server.add(vip, "lo");
    }
    (balancer, balancer_tap, server, server_tap)
}

#[test]
fn probes_go_and_come_in_vlans() {
    let (balancer, balancer_tap, server, server_tap) = tap_pair();
    while_served(&server, &balancer, || async {
        for (outer, inner, tags) in [(100, 0, ONE_TAG), (200, 300, TWO_TAGS)] {
            let path = balancer.tagged_path_to(&server, outer, inner);
            let other_path = balancer.tagged_path_to(&server, outer + 1, inner);
            let probes = async {
                for Addresses { balancer, server, vip, far_away } in families() {
                    let ask = |path| accepts(path, vip, PORT, Protocol::TcpUdp, balancer, WAIT);
                    becomes("accepts", Acceptance::Answered, || ask(&path)).await;
                    assert_eq!(ask(&other_path).await.unwrap(), Acceptance::Silent, "in another VLAN");
                    let back = || comes_back(&path, server, Some(PORT), Protocol::Tcp, far_away, WAIT);
                    becomes("comes back", ComesBack::Here, back).await;
                }
            };
            tokio::select! {
                () = probes => {}
                () = wire((&balancer_tap, tags), (&server_tap, tags)) => {}
            }
        }
    });
}

#[test]
fn an_answer_in_a_vlan_is_none_on_the_device_under_it() {
    let (balancer, balancer_tap, server, server_tap) = tap_pair();
    let device = balancer.device("eth0");
    balancer.namespace.run(|| async {
        for (gives, expected) in
            [(UNTAGGED, vec![server.mac()]), (ONE_TAG, vec![]), (TWO_TAGS, vec![]), (PRIORITY_TAG, vec![server.mac()])]
        {
            let probes = async {
                for Addresses { balancer, server, .. } in families() {
                    let ask = || who_answers(&device, server, Some(balancer), WAIT);
                    becomes(&format!("{server} in {gives:02x?}"), expected.clone(), ask).await;
                }
            };
            tokio::select! {
                () = probes => {}
                () = wire((&balancer_tap, UNTAGGED), (&server_tap, gives)) => {}
            }
        }
    });
}
