//! Configurations that have little in common, so that the way from one to another is long.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use lb_tests::deployments::MEDIA_VIP;

/// The port of every service that varies.
pub(crate) const PORT: u16 = 50_010;
/// The service that is in all of them, with the traffic that must not notice.
pub(crate) const CONSTANT: IpAddr = MEDIA_VIP;

const SERVICES_EACH: usize = 30;
const STEP: usize = 12;
/// How many there are.
pub(crate) const COUNT: usize = 3;
const VIPS: usize = SERVICES_EACH + (COUNT - 1) * STEP;

/// A configuration with the VIPs that it forwards.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    pub(crate) yaml: String,
    pub(crate) vips: Vec<IpAddr>,
}

/// Every VIP of any of them but the constant one.
pub(crate) fn vips() -> impl Iterator<Item = IpAddr> {
    (0..VIPS).map(vip)
}

/// All of them. What one removes is cut, so that the tables say at once what the next one asks for. They share
/// services, which differ in scheduler, persistence, weights and ports.
pub(crate) fn all() -> Vec<Configuration> {
    (0..COUNT).map(configuration).collect()
}

fn configuration(number: usize) -> Configuration {
    let mut yaml = format!(
        "version: 1
node: {{name: lb1, interfaces: [{{device: eth0}}]}}
defaults: {{on_removal: cut}}
virtual_services:
  - name: constant
    address: {CONSTANT}
    ports: [50001, 50005]
    protocol: tcp+udp
    mode: l4-dr
    persistence: {{by: source-ip, timeout: 5m}}
    health_check: {{type: none}}
    real_servers:
      - {{name: HT1, address: 192.168.94.115}}
      - {{name: HT2, address: 192.168.94.116}}
"
    );
    let served = number * STEP..number * STEP + SERVICES_EACH;
    for service in served.clone() {
        push_service(&mut yaml, service, number);
    }
    Configuration { yaml, vips: served.map(vip).collect() }
}

fn push_service(yaml: &mut String, service: usize, number: usize) {
    let schedulers = ["weighted-least-connection", "weighted-round-robin", "source-hash", "maglev"];
    let scheduler = schedulers[(service + number) % schedulers.len()];
    let ports = ["50010", "50010, 443", "50010-50020", "80, 50000-50100"][(service + 2 * number) % 4];
    let persistence =
        if (service + number).is_multiple_of(2) { "\n    persistence: {by: source-ip, timeout: 5m}" } else { "" };
    let weight = 1 + (service * 7 + number * 31) % 40;
    let address = vip(service);
    // Names stay or change with the configuration, and so do the servers.
    let name = if service.is_multiple_of(3) { format!("svc-{service}-{number}") } else { format!("svc-{service}") };
    let written = write!(
        yaml,
        "  - name: {name}
    address: {address}
    ports: [{ports}]
    protocol: tcp+udp
    mode: l4-dr
    scheduler: {scheduler}{persistence}
    health_check: {{type: none}}
    real_servers:
      - {{name: HT1, address: 192.168.94.115, weight: {weight}}}
"
    );
    debug_assert!(written.is_ok(), "a String takes everything");
    if !(service + number).is_multiple_of(5) {
        yaml.push_str("      - {name: HT2, address: 192.168.94.116}\n");
    }
}

fn vip(service: usize) -> IpAddr {
    let last = u8::try_from(120 + service).expect("few enough for one network");
    IpAddr::V4(Ipv4Addr::new(192, 168, 94, last))
}
