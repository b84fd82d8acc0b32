//! A healthy site, and everything that can be wrong with it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::*;
use crate::config::{Source, load};
use crate::neighbour::{Link, NextHop, Problem, RouteAnswer, Status};
use crate::view::FindingSeverity;
use crate::vip::Present;

const DR: &str = "
version: 1
node: {interfaces: [{device: eth0}]}
virtual_services:
  - name: web
    address: 192.0.2.10
    ports: [80]
    mode: l4-dr
    health_check: {type: ping}
    real_servers:
      - {name: A, address: 192.0.2.21}
      - {name: B, address: 192.0.2.22}
  - name: media
    address: '2001:db8:1::10'
    ports: [5004]
    protocol: udp
    mode: l4-dr
    health_check: {type: ping}
    real_servers:
      - {name: A, address: '2001:db8:1::21'}
";

/// Clients at eth0, real servers at eth1.
const THROUGH: &str = "
version: 1
node: {interfaces: [{device: eth0}, {device: eth1}]}
virtual_services:
  - name: nat
    address: 192.0.2.10
    ports: [80]
    mode: l4-nat
    health_check: {type: ping}
    real_servers:
      - {name: A, address: 10.0.0.21, port: 8080}
      - {name: B, address: 10.0.0.22}
  - name: snat
    address: 192.0.2.11
    ports: [80]
    mode: l4-snat
    health_check: {type: ping}
    real_servers:
      - {name: C, address: 10.0.0.23}
";

const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0];

/// A site on which nothing is wrong yet.
struct Site {
    known: Known,
    facts: Facts,
}

impl Site {
    fn of(yaml: &str) -> Self {
        let loaded = load(&[Source { path: "lb.yaml".to_owned(), text: yaml.to_owned() }], &|_| None).unwrap();
        let hops = std::collections::BTreeMap::new();
        let known = Known { config: loaded.config, hops, halted: BTreeSet::new(), heard: BTreeSet::new() };
        let mut site = Self { known, facts: Facts::default() };
        for (ifindex, name) in [(2, "eth0"), (3, "eth1")] {
            site.facts.machine.devices.push(device(ifindex, name));
        }
        for (ifindex, address, prefix) in [(2, "192.0.2.1", 24), (2, "2001:db8:1::1", 64), (3, "10.0.0.1", 24)] {
            site.facts.machine.addresses.push(Present { ifindex, address: ip(address), prefix, ours: false });
        }
        for service in site.known.config.virtual_services.clone() {
            let present = Present { ifindex: 2, address: service.address, prefix: 32, ours: true };
            site.facts.machine.addresses.push(present);
            for real in &service.real_servers {
                let (ifindex, source) = match real.address {
                    IpAddr::V4(address) if address.octets()[0] == 10 => (3, "10.0.0.1"),
                    IpAddr::V4(_) => (2, "192.0.2.1"),
                    IpAddr::V6(_) => (2, "2001:db8:1::1"),
                };
                let route = RouteAnswer { ifindex, gateway: None, source: Some(ip(source)) };
                site.facts.machine.routes.insert(real.address, route);
                let status = Status { next_hop: Ok(hop(ifindex, real.address)), doubt: None };
                site.known.hops.insert(real.address, status);
            }
        }
        for (path, value) in [
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/eth0/rp_filter", "0"),
            ("ipv4/conf/all/send_redirects", "1"),
            ("ipv4/conf/eth0/send_redirects", "1"),
            ("ipv4/neigh/default/gc_thresh3", "1024"),
            ("ipv6/neigh/default/gc_thresh3", "1024"),
            ("ipv4/ip_local_port_range", "32768\t60999\n"),
        ] {
            site.set(path, value);
        }
        site
    }

    fn set(&mut self, path: &str, value: &str) {
        self.facts.machine.settings.0.insert(path.to_owned(), value.to_owned());
    }

    fn device(&mut self, name: &str) -> &mut Device {
        self.facts.machine.devices.iter_mut().find(|device| device.link.device == name).unwrap()
    }

    fn status(&mut self, address: &str) -> &mut Status {
        self.known.hops.get_mut(&ip(address)).unwrap()
    }

    /// Asks everything; each question is answered as on a healthy site, unless `otherwise` says more.
    fn examined(mut self, otherwise: impl Fn(&Question) -> Option<Answer>) -> Examination {
        for question in questions(&self.known, &self.facts.machine) {
            let answer = otherwise(&question).unwrap_or_else(|| match &question {
                Question::WhoAnswers { .. } => Answer::Macs(Vec::new()),
                Question::Accepts { .. } => Answer::Acceptance(Acceptance { vip: Heard::Answered, own: None }),
                Question::ComesBack { .. } => Answer::CameBack { by_us: true, answers: true },
            });
            self.facts.asked.push(Asked { question, answer });
        }
        examine(&self.known, &self.facts)
    }

    fn found(self) -> Vec<&'static str> {
        codes(&self.examined(|_| None))
    }
}

fn codes(examination: &Examination) -> Vec<&'static str> {
    examination.findings.iter().map(|finding| finding.code.word()).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn device(ifindex: u32, name: &str) -> Device {
    let link = Link { ifindex, device: name.to_owned(), mac: Some(OWN_MAC), up: true, vlan: None };
    Device { link, mtu: 1_500, xdp: Attachment::Native, driver: Some("ixgbe".to_owned()), features: Vec::new() }
}

/// The MAC of a real server is its last byte.
fn mac_of(address: IpAddr) -> [u8; 6] {
    let last = match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    };
    [2, 0, 0, 0, 1, last]
}

fn hop(ifindex: u32, address: IpAddr) -> NextHop {
    NextHop {
        ifindex,
        source_mac: OWN_MAC,
        destination_mac: mac_of(address),
        outer_vlan: 0,
        inner_vlan: 0,
        gateway: None,
        source: None,
        on_link: true,
    }
}

#[test]
fn a_healthy_site_has_no_finding() {
    for yaml in [DR, THROUGH] {
        let examination = Site::of(yaml).examined(|_| None);
        assert_eq!(examination.findings, []);
        assert_eq!(examination.untold, [] as [String; 0]);
        assert!(examination.asked >= 4);
    }
}

#[test]
fn what_is_asked_follows_from_the_mode() {
    let site = Site::of(THROUGH);
    let subjects: Vec<String> = questions(&site.known, &site.facts.machine).iter().map(Question::subject).collect();
    let expected = [
        "who answers for 192.0.2.10 on eth0",
        "who answers for 192.0.2.11 on eth0",
        "whether answers of A of nat come back",
        "whether answers of B of nat come back",
    ];
    assert_eq!(subjects, expected);
    let site = Site::of(DR);
    let questions = questions(&site.known, &site.facts.machine);
    let ports: Vec<u16> = questions
        .iter()
        .filter_map(|question| match question {
            Question::Accepts { port, .. } => Some(*port),
            _ => None,
        })
        .collect();
    assert_eq!(ports, [80, 80, 5004]);
}

#[test]
fn a_vip_is_asked_about_wherever_its_subnet_is() {
    let mut site = Site::of(THROUGH);
    site.facts.machine.addresses.push(Present { ifindex: 3, address: ip("192.0.2.2"), prefix: 24, ours: false });
    let asked = questions(&site.known, &site.facts.machine);
    let on_eth1 = |question: &&Question| matches!(question, Question::WhoAnswers { device, .. } if device == "eth1");
    assert_eq!(asked.iter().filter(on_eth1).count(), 2);
}

#[test]
fn a_vip_is_asked_about_only_where_this_machine_has_it() {
    let mut site = Site::of(DR);
    site.facts.machine.addresses.retain(|present| !present.ours);
    let asked = questions(&site.known, &site.facts.machine);
    assert!(!asked.iter().any(|question| matches!(question, Question::WhoAnswers { .. })));
    assert_eq!(site.found(), ["vip-missing", "vip-missing"]);
}

#[test]
fn who_answers_for_a_vip_is_told_by_its_mac() {
    let answers = |macs: Vec<[u8; 6]>| {
        move |question: &Question| matches!(question, Question::WhoAnswers { .. }).then(|| Answer::Macs(macs.clone()))
    };
    let examination = Site::of(DR).examined(answers(vec![OWN_MAC, [2, 0, 0, 0, 1, 22]]));
    // B has no service over IPv6, but it is B that answers for it.
    assert_eq!(codes(&examination), ["vip-answered", "vip-answered"]);
    let finding = &examination.findings[0];
    assert_eq!(finding.what, "B (192.0.2.22, 02:00:00:00:01:16) answers ARP for the VIP 192.0.2.10");
    assert_eq!(
        (finding.place.services.as_slice(), finding.place.server.as_deref()),
        (&["web".to_owned()][..], Some("B"))
    );
    assert!(finding.fix[0].commands.contains(&"sysctl -w net.ipv4.conf.all.arp_ignore=1".to_owned()), "{finding:?}");
    let examination = Site::of(DR).examined(answers(vec![[2, 9, 9, 9, 9, 9]]));
    assert_eq!(codes(&examination), ["vip-duplicate", "vip-duplicate"]);
    assert_eq!(codes(&Site::of(DR).examined(answers(vec![OWN_MAC]))), [] as [&str; 0]);
}

#[test]
fn a_vip_is_not_accepted_only_where_the_servers_own_address_is() {
    use Heard::{Answered, Refused, Silent};
    let cases: &[(Heard, Option<Heard>, &[&str], bool)] = &[
        (Answered, None, &[], false),
        (Refused, Some(Refused), &[], false),
        (Refused, Some(Silent), &[], false),
        (Refused, Some(Answered), &["vip-refused"], false),
        (Silent, Some(Answered), &["vip-not-accepted"], false),
        (Silent, Some(Refused), &["vip-not-accepted"], false),
        // A firewall, or a server that is down: nothing is found, and that is said.
        (Silent, Some(Silent), &[], true),
        (Silent, None, &[], true),
    ];
    for &(vip, own, expected, untold) in cases {
        let of_a = |question: &Question| match question {
            Question::Accepts { server, .. } if server.service == "web" && server.server == "A" => {
                Some(Answer::Acceptance(Acceptance { vip, own }))
            }
            _ => None,
        };
        let examination = Site::of(DR).examined(of_a);
        assert_eq!(codes(&examination), expected, "{vip:?} {own:?}");
        assert_eq!(examination.untold.len(), usize::from(untold), "{vip:?} {own:?}");
        if let [finding] = examination.findings.as_slice() {
            assert_eq!(finding.place.server.as_deref(), Some("A"));
            assert_eq!(finding.severity, FindingSeverity::Problem);
        }
    }
}

#[test]
fn a_tcp_port_tells_nothing_of_the_application_of_a_udp_service() {
    let examination = Site::of(DR).examined(|question| match question {
        Question::Accepts { server, .. } if server.service == "media" => {
            Some(Answer::Acceptance(Acceptance { vip: Heard::Refused, own: Some(Heard::Answered) }))
        }
        _ => None,
    });
    assert_eq!(examination.findings, []);
}

#[test]
fn a_gateway_is_blamed_only_when_the_server_answers_at_all() {
    for (by_us, answers, expected, untold) in
        [(true, true, &[][..], 0), (false, true, &["nat-gateway", "nat-gateway"][..], 0), (false, false, &[][..], 2)]
    {
        let examination = Site::of(THROUGH).examined(|question| {
            matches!(question, Question::ComesBack { .. }).then_some(Answer::CameBack { by_us, answers })
        });
        assert_eq!((codes(&examination).as_slice(), examination.untold.len()), (expected, untold));
    }
}

#[test]
fn a_gateway_is_not_blamed_while_clients_hear_the_server() {
    let mut site = Site::of(THROUGH);
    site.known.heard.insert(crate::tables::ServerKey { service: "nat".to_owned(), server: "A".to_owned() });
    let examination = site.examined(|question| {
        matches!(question, Question::ComesBack { .. }).then_some(Answer::CameBack { by_us: false, answers: true })
    });
    assert_eq!(codes(&examination), ["nat-gateway"]);
    assert_eq!(examination.findings[0].place.server.as_deref(), Some("B"));
    let [untold] = examination.untold.as_slice() else { panic!("{:?}", examination.untold) };
    assert!(untold.starts_with("whether answers of A of nat come back: "), "{untold}");
}

#[test]
fn what_could_not_be_asked_is_said() {
    let examination = Site::of(DR).examined(|_| Some(Answer::Failed("no privilege".to_owned())));
    assert_eq!(examination.findings, []);
    assert_eq!(examination.untold.len(), 5);
    assert_eq!(examination.untold[0], "who answers for 192.0.2.10 on eth0: no privilege");
}

#[test]
fn each_problem_of_a_next_hop_has_its_code() {
    let device = || "eth0".to_owned();
    let cases = [
        (Problem::NoRoute, "no-route"),
        (Problem::Unresolved { device: device(), address: ip("192.0.2.21") }, "neighbour-unresolved"),
        (Problem::LinkDown { device: device() }, "link-down"),
        (Problem::NoMac { device: device() }, "next-hop-unusable"),
        (Problem::Local, "next-hop-unusable"),
        (Problem::NotUnicast, "next-hop-unusable"),
        (Problem::Tags { device: device() }, "next-hop-unusable"),
        (Problem::TagType { device: device() }, "next-hop-unusable"),
        (Problem::UnknownDevice { ifindex: 9 }, "next-hop-unusable"),
        (Problem::NotAsked { reason: "no answer".to_owned() }, "next-hop-unusable"),
    ];
    for (problem, code) in cases {
        let mut site = Site::of(DR);
        site.status("192.0.2.21").next_hop = Err(problem.clone());
        assert_eq!(site.found(), [code]);
        // A MAC that is known stays in use while its neighbour is silent: as much is to be told.
        let mut site = Site::of(DR);
        site.status("192.0.2.21").doubt = Some(problem);
        assert_eq!(site.found(), [code]);
    }
}

#[test]
fn nothing_is_expected_of_a_server_that_is_halted() {
    let mut site = Site::of(DR);
    site.status("192.0.2.21").next_hop = Err(Problem::NoRoute);
    site.known.halted.insert(crate::tables::ServerKey { service: "web".to_owned(), server: "A".to_owned() });
    let examination = site.examined(|question| {
        matches!(question, Question::Accepts { server, .. } if server.service == "web" && server.server == "A")
            .then(|| Answer::Failed("it was asked".to_owned()))
    });
    assert_eq!((examination.findings.as_slice(), examination.untold.as_slice()), (&[][..], &[][..]));
}

#[test]
fn only_direct_routing_needs_real_servers_on_the_segment() {
    for (yaml, address, expected) in [(DR, "192.0.2.21", &["not-on-link"][..]), (THROUGH, "10.0.0.23", &[][..])] {
        let mut site = Site::of(yaml);
        let Ok(hop) = &mut site.status(address).next_hop else { panic!("the site is healthy") };
        (hop.on_link, hop.gateway) = (false, Some(ip("192.0.2.254")));
        assert_eq!(site.found(), expected);
    }
}

#[test]
fn interfaces_are_looked_at() {
    type Spoil = fn(&mut Site);
    let cases: &[(Spoil, &[&str])] = &[
        (|site| site.device("eth0").xdp = Attachment::None, &["xdp-not-attached"]),
        (|site| site.facts.machine.devices.retain(|device| device.link.ifindex != 3), &[]),
        (|site| site.device("eth0").xdp = Attachment::Generic, &["xdp-generic"]),
        (
            |site| {
                site.device("eth0").xdp = Attachment::Generic;
                site.device("eth0").mtu = 9_000;
            },
            &["xdp-mtu"],
        ),
        (
            |site| {
                site.device("eth0").xdp = Attachment::Generic;
                site.known.config.node.interfaces[0].xdp = crate::config::model::XdpMode::Generic;
            },
            &[],
        ),
        // A driver that takes long frames is not to be blamed for them.
        (|site| site.device("eth0").mtu = 9_000, &[]),
        (|site| site.device("eth0").features = vec!["rx-lro".to_owned(), "rx-gro".to_owned()], &["offload"]),
        (|site| site.device("eth0").features = vec!["rx-gro-hw".to_owned()], &["offload"]),
        (
            |site| {
                site.device("eth0").features = vec!["rx-gro-hw".to_owned()];
                site.device("eth0").driver = Some("virtio_net".to_owned());
            },
            &[],
        ),
        (|site| site.device("eth1").features = vec!["rx-lro".to_owned()], &[]),
    ];
    for (number, (spoil, expected)) in cases.iter().enumerate() {
        let mut site = Site::of(DR);
        spoil(&mut site);
        assert_eq!(&site.found(), expected, "case {number}");
    }
    let mut site = Site::of(DR);
    site.device("eth0").link.up = false;
    assert_eq!(site.found(), ["link-down"]);
    let mut site = Site::of(DR);
    site.known.config.node.interfaces[0].device = "eth9".to_owned();
    assert_eq!(site.found(), ["xdp-not-attached"]);
}

#[test]
fn a_smaller_mtu_towards_the_servers_is_found_where_packets_go_through() {
    let mut site = Site::of(THROUGH);
    site.device("eth1").mtu = 1_400;
    let examination = site.examined(|_| None);
    assert_eq!(codes(&examination), ["mtu-mismatch"]);
    assert_eq!(examination.findings[0].place.services, ["nat", "snat"]);
    let mut site = Site::of(THROUGH);
    site.device("eth0").mtu = 1_400;
    assert_eq!(site.found(), [] as [&str; 0]);
}

#[test]
fn a_strict_reverse_path_filter_is_told_only_when_it_drops() {
    for (all, own, dropped, expected) in [
        ("1", "0", 3, &["rp-filter"][..]),
        ("0", "1", 3, &["rp-filter"][..]),
        // The larger of both counts, and 2 is loose.
        ("1", "2", 3, &[][..]),
        ("0", "0", 3, &[][..]),
        ("1", "1", 0, &[][..]),
    ] {
        let mut site = Site::of(DR);
        site.set("ipv4/conf/all/rp_filter", all);
        site.set("ipv4/conf/eth0/rp_filter", own);
        site.facts.reverse_path_drops = dropped;
        assert_eq!(site.found(), expected, "{all} {own} {dropped}");
    }
}

#[test]
fn forwarding_matters_where_real_servers_have_this_machine_as_gateway() {
    for (yaml, expected) in [(DR, &[][..]), (THROUGH, &["ip-forward"][..])] {
        let mut site = Site::of(yaml);
        site.set("ipv4/ip_forward", "0");
        site.set("ipv6/conf/all/forwarding", "0");
        assert_eq!(site.found(), expected);
    }
}

#[test]
fn redirects_matter_on_one_arm_only() {
    let one_arm = THROUGH.replace("10.0.0.", "192.0.2.");
    assert_eq!(Site::of(&one_arm).found(), ["icmp-redirects"]);
    assert_eq!(Site::of(THROUGH).found(), [] as [&str; 0]);
    let mut site = Site::of(&one_arm);
    site.set("ipv4/conf/all/send_redirects", "0");
    assert_eq!(site.found(), ["icmp-redirects"], "either setting is enough");
    let mut site = Site::of(&one_arm);
    site.set("ipv4/conf/all/send_redirects", "0");
    site.set("ipv4/conf/eth0/send_redirects", "0");
    assert_eq!(site.found(), [] as [&str; 0]);
    let mut site = Site::of(&one_arm);
    site.set("ipv4/ip_forward", "0");
    assert_eq!(site.found(), ["ip-forward"], "who does not forward does not redirect");
}

#[test]
fn a_neighbour_table_is_too_small_when_real_servers_alone_fill_it() {
    let mut site = Site::of(DR);
    site.set("ipv4/neigh/default/gc_thresh3", "2");
    assert_eq!(site.found(), ["neighbour-table"]);
    let mut site = Site::of(DR);
    site.set("ipv4/neigh/default/gc_thresh3", "3");
    assert_eq!(site.found(), [] as [&str; 0]);
    let mut site = Site::of(DR);
    site.facts.machine.settings.0.remove("ipv4/neigh/default/gc_thresh3");
    assert_eq!(site.found(), [] as [&str; 0], "a network namespace does not have the setting");
}

#[test]
fn overlapping_source_ports_are_found_and_what_is_to_be_typed_does_not_overlap() {
    for (range, expected) in [
        ("32768\t60999", &[][..]),
        ("32767\t60999", &["source-ports-overlap"][..]),
        ("1024\t65535", &["source-ports-overlap"][..]),
        ("500\t1023", &[][..]),
        ("60999\t1024", &[][..]),
        ("nonsense", &[][..]),
    ] {
        let mut site = Site::of(THROUGH);
        site.set("ipv4/ip_local_port_range", range);
        assert_eq!(site.found(), expected, "{range}");
    }
    let mut site = Site::of(THROUGH);
    site.set("ipv4/ip_local_port_range", "10000\t20000");
    let examination = site.examined(|_| None);
    let [finding] = examination.findings.as_slice() else { panic!("{examination:?}") };
    assert_eq!(finding.place.services, ["snat"]);
    assert_eq!(finding.fix[0].commands[0], "sysctl -w net.ipv4.ip_local_port_range=\"32768 60999\"");
    assert_eq!(finding.fix[1].commands, ["source_ports: 20001-65535"]);
    let mut site = Site::of(DR);
    site.set("ipv4/ip_local_port_range", "1024\t65535");
    assert_eq!(site.found(), [] as [&str; 0], "l4-dr has no source ports");
}

#[test]
fn problems_come_before_warnings_and_one_cause_is_one_finding() {
    let twice =
        DR.replace("address: '2001:db8:1::10'", "address: 192.0.2.10").replace("'2001:db8:1::21'", "192.0.2.21");
    let mut site = Site::of(&twice);
    site.device("eth0").xdp = Attachment::Generic;
    site.status("192.0.2.21").next_hop = Err(Problem::NoRoute);
    let examination = site.examined(|_| None);
    assert_eq!(codes(&examination), ["no-route", "xdp-generic"]);
    assert_eq!(examination.findings[0].place.services, ["web", "media"]);
}

#[test]
fn every_setting_that_is_read_is_one_of_the_examined_interfaces() {
    let site = Site::of(DR);
    let mut devices = site.facts.machine.devices.clone();
    let vlan = crate::neighbour::Vlan { parent: Some(2), id: 100, service_tag: false };
    let link = Link { ifindex: 9, device: "eth0.100".to_owned(), mac: Some(OWN_MAC), up: true, vlan: Some(vlan) };
    devices.push(Device { link, ..devices[0].clone() });
    let paths = settings(&site.known, &devices);
    assert!(paths.contains(&"ipv4/conf/eth0.100/rp_filter".to_owned()), "{paths:?}");
    assert!(!paths.iter().any(|path| path.contains("eth1")), "{paths:?}");
}

#[test]
fn the_reference_of_findings_is_the_list_of_codes() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/findings.md");
    let text = FindingCode::reference();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(written, text, "run the tests with UPDATE_EXPECT=1 and read the difference");
}
