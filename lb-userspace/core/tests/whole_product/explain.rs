//! What an administrator is told when asking why. Each text is recorded (`UPDATE_EXPECT=1` rewrites
//! them; read the difference before it is committed), and each answer is compared with what becomes
//! of the client's packet right afterwards.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::path::Path;

use lb_common::abi::Admission;
use lb_common::datapath::Reason;
use lb_common::testing;
use lb_core::explain::{ask, explained};
use lb_core::view::{CounterAction, ExplainQuery, Explained, Order, Transport};

use super::product::{Product, Talk};
use super::site::Way;

/// A service of each kind; `more` are further lines of the first.
fn site(more: &str) -> String {
    format!(
        "
version: 1
node: {{interfaces: [{{device: eth0}}]}}
defaults: {{health_check: {{interval: 1s, timeout: 500ms, rise: 2, fall: 2}}}}
virtual_services:
  - name: web
    address: 10.0.0.100
    ports: [80, 443, 8000-8010]
    mode: l4-dr
    health_check: {{type: connect, port: 9}}
{more}    real_servers:
      - {{name: s1, address: 10.0.0.1}}
      - {{name: s2, address: 10.0.0.2, weight: 50}}
      - {{name: s3, address: 10.0.0.3}}
  - name: syslog
    address: 10.0.0.100
    ports: [514]
    protocol: udp
    mode: l4-dr
    health_check: {{type: connect, port: 9}}
    scheduler: source-hash
    real_servers:
      - {{name: s1, address: 10.0.0.1}}
      - {{name: s4, address: 10.0.0.4}}
  - name: six
    address: 2001:db8::100
    ports: [80]
    mode: l4-dr
    health_check: {{type: connect, port: 9}}
    scheduler: maglev
    real_servers:
      - {{name: a, address: 2001:db8::1}}
      - {{name: b, address: 2001:db8::2}}
"
    )
}

const PERSISTENT: &str = "    persistence: {by: source-ip, timeout: 6h, prefix: 24}\n";
const IN_TURN: &str = "    scheduler: weighted-round-robin\n";
const CLIENT: &str = "198.51.100.7";
const VIP: &str = "10.0.0.100";

impl Product {
    fn ask(&self, client: &str, vip: &str, protocol: Option<Transport>) -> Explained {
        let client = client.parse().expect("a client");
        let query = ExplainQuery::new(client, vip.parse().expect("a VIP"), protocol).expect("of one family");
        let run = |frame: &[u8]| Ok::<_, Infallible>(testing::explain(&self.tables, frame, 3).1);
        let before = self.everything();
        let Ok(asked) = ask(&query, self.site.control.config(), run);
        assert_eq!(before, self.everything(), "being asked changes nothing");
        explained(&self.site.control, &query, &asked, self.site.now)
    }

    /// All tables. An account that nobody has used is as good as none.
    fn everything(&self) -> String {
        self.tables.admission.borrow_mut().retain(|_, account| *account != Admission::default());
        format!("{:?}", self.tables)
    }

    /// The answer to a question about a connection that may be opened, which then is.
    fn ask_and_open(&mut self, client: &str, vip: &str) -> Explained {
        let told = self.ask(client, vip, None);
        let talk = Talk {
            client: (told.client.ip(), told.client.port()),
            vip: (told.vip.ip(), told.vip.port()),
            ..match told.protocol {
                Transport::Tcp => Talk::tcp(CLIENT, 1, VIP, 1),
                Transport::Udp => Talk::udp(CLIENT, 1, VIP, 1),
            }
        };
        let sent = self.knock(talk);
        let server = sent.server.map(|name| if name == "fallback" { "the fallback server".to_owned() } else { name });
        assert_eq!((told.reason.as_str(), &told.real_server), (sent.reason.name(), &server), "{told:?}");
        told
    }
}

/// As `lbctl` has it, without the form.
fn text(told: &Explained) -> String {
    let Explained { client, vip, protocol, action, reason, .. } = told;
    let to = told.real_server.as_deref().unwrap_or("nobody");
    let mut text = format!("{client} to {vip} over {protocol}: {action}, {reason}, to {to}\n");
    for step in &told.steps {
        let _ = writeln!(text, "{}: {}", step.about, step.sentence);
    }
    text
}

#[expect(clippy::disallowed_methods, reason = "recorded texts are files")]
fn expect(name: &str, told: &Explained) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/whole_product/explained").join(format!("{name}.txt"));
    let actual = text(told);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &actual).expect("the recorded text can be written");
        return;
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, recorded, "UPDATE_EXPECT=1 writes {}", path.display());
}

fn talk(port: u16) -> Talk {
    Talk::tcp(CLIENT, port, VIP, 80)
}

#[test]
fn a_new_client_hears_who_was_compared() {
    let mut product = Product::new(&site(""));
    product.open_all((1..=9).map(|port| Talk::tcp("198.51.100.9", port, VIP, 80)));
    expect("compared", &product.ask_and_open(CLIENT, "10.0.0.100:80"));
}

#[test]
fn a_turn_is_told_as_it_comes() {
    let mut product = Product::new(&site(IN_TURN));
    for port in 1..=7 {
        product.ask_and_open(&format!("{CLIENT}:{port}"), "10.0.0.100:8005");
    }
    expect("turn", &product.ask_and_open(CLIENT, "10.0.0.100:443"));
}

#[test]
fn a_datagram_goes_by_the_hash_of_its_client_and_needs_no_protocol_named() {
    let mut product = Product::new(&site(""));
    let told = product.ask_and_open("198.51.100.7:1234", "10.0.0.100:514");
    assert_eq!(told.protocol, Transport::Udp);
    expect("source-hash", &told);
}

#[test]
fn ipv6_by_the_ring() {
    let mut product = Product::new(&site(""));
    expect("maglev", &product.ask_and_open("[2001:db8:7::1]:40000", "[2001:db8::100]:80"));
}

#[test]
fn a_flow_is_told_with_its_age_and_nobody_else_is_asked() {
    let mut product = Product::new(&site(""));
    let server = product.open(talk(40_000));
    product.wait(41);
    let told = product.ask("198.51.100.7:40000", "10.0.0.100:80", None);
    assert_eq!(told.real_server, Some(server));
    assert_eq!(product.more(talk(40_000)).reason, Reason::Established);
    expect("flow", &told);

    product.close(talk(40_000));
    product.wait(5);
    let told = product.ask_and_open("198.51.100.7:40000", "10.0.0.100:80");
    expect("flow-ended", &told);
}

#[test]
fn any_port_of_a_client_is_one_without_a_flow() {
    let mut product = Product::new(&site(""));
    product.open(talk(50_000));
    product.open(talk(50_001));
    let told = product.ask(CLIENT, "10.0.0.100:80", None);
    assert_eq!(told.client.port(), 50_002);
}

#[test]
fn a_void_flow_says_what_became_of_its_server() {
    let mut product = Product::new(&site(""));
    let server = product.open(talk(40_000));
    product.order("web", &server, Order::Halt);
    let told = product.ask_and_open("198.51.100.7:40000", "10.0.0.100:80");
    assert_ne!(told.real_server, Some(server));
    expect("flow-void", &told);
}

#[test]
fn a_client_who_is_remembered_hears_for_how_long() {
    let mut product = Product::new(&site(PERSISTENT));
    expect("persistence-none", &product.ask("198.51.100.8", "10.0.0.100:80", None));
    let server = product.open(talk(40_000));
    product.wait(41);
    let told = product.ask_and_open("198.51.100.99", "10.0.0.100:443");
    assert_eq!(told.real_server, Some(server.clone()));
    expect("persistence", &told);

    product.order("web", &server, Order::Drain);
    expect("persistence-drained", &product.ask_and_open("198.51.100.99:5", "10.0.0.100:443"));

    product.order("web", &server, Order::Halt);
    let told = product.ask_and_open("198.51.100.99:6", "10.0.0.100:443");
    assert_ne!(told.real_server, Some(server));
    expect("persistence-void", &told);
}

#[test]
fn who_is_not_asked_hears_why() {
    let mut product = Product::new(&site(IN_TURN));
    product.order("web", "s1", Order::Drain);
    product.fail("10.0.0.3");
    product.wait(90);
    expect("others", &product.ask_and_open(CLIENT, "10.0.0.100:80"));
}

#[test]
fn when_everybody_is_down_each_says_why() {
    let mut product = Product::new(&site(""));
    product.fail("10.0.0.1");
    product.fail("10.0.0.2");
    product.order("web", "s3", Order::Halt);
    product.wait(300);
    let told = product.ask_and_open(CLIENT, "10.0.0.100:80");
    assert_eq!((told.action, told.reason.as_str()), (CounterAction::Drop, "no-server"));
    expect("all-down", &told);
}

#[test]
fn limits_divert_to_the_backup_and_then_to_the_fallback() {
    let with_limits = site("    fallback: {address: 10.0.0.9}\n")
        .replace("address: 10.0.0.1}", "address: 10.0.0.1, max_connections: 2}")
        .replace("address: 10.0.0.2, weight: 50}", "address: 10.0.0.2, backup: true, max_connections: 1}")
        .replace("      - {name: s3, address: 10.0.0.3}\n", "");
    let mut product = Product::new(&with_limits);
    product.open_all((1..=2).map(talk));
    // Found full by the next packet, before the daemon has counted.
    expect("full", &product.ask_and_open(CLIENT, "10.0.0.100:80"));
    product.wait(2);
    expect("backup", &product.ask_and_open(CLIENT, "10.0.0.100:80"));
    product.wait(2);
    expect("fallback", &product.ask_and_open("198.51.100.7:1", "10.0.0.100:443"));
}

#[test]
fn what_is_not_there_says_what_is() {
    let mut product = Product::new(&site(""));
    expect("no-port", &product.ask_and_open(CLIENT, "10.0.0.100:81"));
    expect("no-protocol", &product.ask(CLIENT, "10.0.0.100:514", Some(Transport::Tcp)));
    expect("no-vip", &product.ask_and_open(CLIENT, "10.0.0.101:80"));
    expect("spoofed", &product.ask_and_open("10.0.0.100:5", "10.0.0.100:80"));
}

#[test]
fn a_server_that_was_removed_keeps_its_flow_and_says_so() {
    let mut product = Product::new(&site(""));
    let server = product.open(talk(40_000));
    let line =
        site("").lines().find(|line| line.contains(&format!("{{name: {server},"))).expect("it is there").to_owned();
    product.reload(&site("").replacen(&format!("{line}\n"), "", 1));
    expect("leaving", &product.ask("198.51.100.7:40000", "10.0.0.100:80", None));

    let (web, syslog) = (site("").find("  - name: web"), site("").find("  - name: syslog"));
    let mut without = site("");
    without.replace_range(web.expect("it is there")..syslog.expect("it is there"), "");
    product.reload(&without);
    let told = product.ask("198.51.100.7:40000", "10.0.0.100:80", None);
    assert_eq!(told.real_server, Some(server));
    expect("service-removed", &told);
}

#[test]
fn a_flow_whose_server_cannot_be_reached_names_it() {
    let mut product = Product::new(&site(""));
    let server = product.open(talk(40_000));
    assert_eq!(server, "s1");
    product.site.lead("10.0.0.1", Way::NoRoute);
    product.write();
    expect("no-way", &product.ask_and_open("198.51.100.7:40000", "10.0.0.100:80"));
    expect("no-way-others", &product.ask_and_open("198.51.100.7:40001", "10.0.0.100:80"));
}

#[test]
fn a_translated_flow_says_what_its_server_sees() {
    let translated = site(IN_TURN).replacen("mode: l4-dr", "mode: l4-snat\n    source_address: 10.0.0.40", 1);
    let product = Product::new(&translated);
    expect("source-nat", &product.ask("198.51.100.7:9", "10.0.0.100:80", None));
}

#[test]
fn a_flood_is_told_as_such() {
    let mut product =
        Product::new(&site(IN_TURN).replace("{interfaces:", "{limits: {new_flows_per_second: 1000}, interfaces:"));
    for client in 0..1000 {
        product.knock(Talk::tcp(&format!("198.51.{}.1", client / 200), 1 + client % 200, VIP, 80));
    }
    let told = product.ask_and_open("198.51.100.7:9", "10.0.0.100:80");
    assert_eq!(told.reason, "untracked");
    expect("flood", &told);
}
