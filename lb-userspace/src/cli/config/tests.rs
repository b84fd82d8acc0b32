use std::fs;

use clap::Parser;
use lb_core::view::VirtualService;

use super::*;

#[derive(Debug, Parser)]
enum Lbctl {
    Check(CheckArgs),
    Diff(DiffArgs),
    Config(ConfigArgs),
    Schema,
}

struct Ended {
    outcome: Outcome,
    out: String,
    err: String,
}

fn lbctl(arguments: &[&str], running: Option<&str>) -> Ended {
    let running = running.map(|config| Running { config: config.to_owned(), status: None });
    lbctl_beside(arguments, running.as_ref())
}

fn lbctl_beside(arguments: &[&str], running: Option<&Running>) -> Ended {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let outcome = match Lbctl::try_parse_from(["lbctl"].iter().chain(arguments)).unwrap() {
        Lbctl::Check(args) => check(&args, false, &mut out, &mut err),
        Lbctl::Diff(args) => compare(&args, running, false, &mut out, &mut err),
        Lbctl::Config(args) => config(&args, false, &mut out, &mut err),
        Lbctl::Schema => schema(&mut out),
    };
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { outcome: outcome.unwrap(), out: text(out), err: text(err) }
}

fn example(name: &str) -> String {
    format!("{}/../configs/{name}.yaml", env!("CARGO_MANIFEST_DIR"))
}

/// A file with this text, gone when the test ends.
struct Written(PathBuf);

impl Written {
    fn new(name: &str, text: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("lb-cli-config-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("lb.yaml");
        fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        // Nothing depends on it being gone.
        let _ = self.0.parent().map(fs::remove_dir_all);
    }
}

#[test]
fn a_valid_file_is_said_to_be_valid_with_its_size() {
    let ended = lbctl(&["check", &example("insignia")], None);
    assert_eq!((ended.outcome, ended.err.as_str()), (Outcome::Fine, ""));
    assert!(ended.out.ends_with("is valid: 2 virtual services, 3 real servers\n"), "{}", ended.out);
}

#[test]
fn mistakes_end_with_status_3_and_their_number() {
    let file = Written::new("mistakes", "version: 1\nnode: {interfaces: [{device: eth0}]}\ncolour: green\nsize: 3\n");
    let ended = lbctl(&["check", file.path()], None);
    assert_eq!((ended.outcome, ended.out.as_str()), (Outcome::Invalid, ""));
    assert!(ended.err.starts_with("error[E004]: unknown key `colour`\n --> "), "{}", ended.err);
    assert!(ended.err.ends_with("is not valid: 2 errors\n"), "{}", ended.err);
}

#[test]
fn mistakes_as_json_are_for_programs() {
    let file = Written::new("json", "version: 1\nnode: {interfaces: [{device: eth0}]}\ncolour: green\n");
    let ended = lbctl(&["check", "--json", file.path()], None);
    assert_eq!((ended.outcome, ended.err.as_str()), (Outcome::Invalid, ""));
    let report: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((&report["valid"], &report["errors"]), (&false.into(), &1.into()));
    assert_eq!(report["diagnostics"][0]["code"], "E004");
    assert_eq!((&report["diagnostics"][0]["line"], &report["diagnostics"][0]["column"]), (&3.into(), &1.into()));
}

#[test]
fn this_machine_is_asked_only_when_wanted() {
    // 203.0.113.0/24 is for documentation (RFC 5737): no machine is attached to it.
    let text = fs::read_to_string(example("insignia")).unwrap().replace("172.26.11.", "203.0.113.");
    let file = Written::new("host", &text);
    assert_eq!(lbctl(&["check", file.path()], None).outcome, Outcome::Fine);
    let ended = lbctl(&["check", "--on-this-machine", file.path()], None);
    assert_eq!(ended.outcome, Outcome::Invalid);
    assert!(ended.err.contains("error[E022]") && ended.err.contains("error[E023]"), "{}", ended.err);
}

#[test]
fn files_that_lbd_would_refuse_are_mistakes_where_they_are_named_on_the_machine_that_has_them() {
    let text = "version: 1
node: {interfaces: [{device: lo}]}
certificates:
  www: {pem: www.pem, key: www.key}
virtual_services:
  - name: web
    address: 192.0.2.80
    interface: lo
    ports: [80]
    mode: l7-http
    fallback: {page: sorry.html}
    tls: {port: 443, certificates: [www], client_certificate: {ca_file: clients.pem}}
    real_servers: [{name: a, address: 192.0.2.81, tls: {ca_file: servers.pem}}]
";
    let file = Written::new("files", text);
    assert_eq!(lbctl(&["check", file.path()], None).outcome, Outcome::Fine, "files are a matter of the machine");
    let ended = lbctl(&["check", "--on-this-machine", "--json", file.path()], None);
    assert_eq!(ended.outcome, Outcome::Invalid, "{}", ended.err);
    let report: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    let mistakes = report["diagnostics"].as_array().unwrap().iter().filter(|mistake| mistake["code"] == "E049");
    let found: Vec<_> = mistakes.map(|of| (of["line"].as_u64().unwrap(), of["message"].as_str().unwrap())).collect();
    let begins = [
        (4, "certificate www: "),
        (4, "certificate www: "),
        (11, "virtual service web: the page sorry.html cannot be read: "),
        (13, "virtual service web: real server a: "),
    ];
    assert_eq!(found.len(), begins.len(), "{found:?}");
    for ((line, message), (expected, beginning)) in found.into_iter().zip(begins) {
        assert!(line == expected && message.starts_with(beginning), "{line}: {message}");
    }

    let folder = file.0.parent().unwrap();
    let authority = crate::tls::testing::Authority::new("Hospital CA");
    fs::write(folder.join("servers.pem"), &authority.pem).unwrap();
    fs::write(folder.join("sorry.html"), "sorry").unwrap();
    let identity = authority.issue(&["www.example.org"], |_| {});
    fs::write(folder.join("www.pem"), &identity.pem).unwrap();
    fs::write(folder.join("www.key"), &identity.key_pem).unwrap();
    let ended = lbctl(&["check", "--on-this-machine", file.path()], None);
    assert!(ended.err.contains("virtual service web: client_certificate: "), "{}", ended.err);
    fs::write(folder.join("clients.pem"), &authority.pem).unwrap();
    let ended = lbctl(&["check", "--on-this-machine", file.path()], None);
    assert!(!ended.err.contains("E049"), "{}", ended.err);
}

#[test]
fn a_missing_file_ends_with_status_1() {
    let ended = lbctl(&["check", "/nowhere/lb.yaml"], None);
    assert_eq!(ended.outcome, Outcome::Failed);
    assert!(ended.err.starts_with("error: there is no configuration at /nowhere/lb.yaml"), "{}", ended.err);
}

#[test]
fn two_files_are_compared_in_sentences() {
    let text = fs::read_to_string(example("insignia")).unwrap().replace("104", "11112");
    let file = Written::new("diff", &text);
    let ended = lbctl(&["diff", &example("insignia"), file.path()], None);
    assert_eq!(ended.outcome, Outcome::Fine);
    assert_eq!(
        ended.out,
        "virtual service DS_DICOM: ports changes from [104] to [11112]\n\nLive flows (lbd was not asked how many there \
         are):\n  - DS_DICOM no longer answers on port 104: flows there go on until they end, new ones get no answer\n"
    );
    assert_eq!(lbctl(&["diff", file.path(), file.path()], None).out, "nothing changes\n");
}

#[test]
fn a_file_is_compared_with_what_runs() {
    let text = fs::read_to_string(example("insignia")).unwrap();
    let with = |password: &str| text.clone() + &format!("certificates: {{a: {{pfx: a.pfx, password: {password}}}}}\n");
    let file = Written::new("running", &with("hidden"));
    let running = lbctl(&["config", "show", "--effective", file.path()], None).out;
    assert!(!running.contains("hidden"));
    assert_eq!(lbctl(&["diff", file.path()], Some(&running)).out, "nothing changes\n");
    let ended = lbctl(&["diff", file.path()], None);
    assert_eq!(ended.outcome, Outcome::Failed);
    assert!(ended.err.contains("the running configuration is not known"));
}

/// What runs: the example, one of its services with these many of each.
fn insignia_with(connections: u64, persistent_clients: u64) -> Running {
    let config = lbctl(&["config", "show", "--effective", &example("insignia")], None).out;
    let mut status = crate::api::tests::status();
    let parsed = config::read_effective(&config).unwrap();
    status.virtual_services = parsed.virtual_services.iter().map(VirtualService::described).collect();
    for server in &mut status.virtual_services[0].real_servers {
        (server.connections, server.persistent_clients) = (connections, persistent_clients);
    }
    Running { config, status: Some(status) }
}

#[test]
fn live_flows_are_told_beforehand_with_their_number() {
    let text = fs::read_to_string(example("insignia")).unwrap();
    let server = text.lines().find(|line| line.contains("name: DS2")).unwrap();
    let file = Written::new("live", &text.replace(server, ""));
    let ended = lbctl_beside(&["diff", file.path()], Some(&insignia_with(14, 3)));
    let (_, flows) = ended.out.split_once("\n\n").unwrap();
    assert_eq!(
        flows,
        "Live flows:\n  - DS_DICOM/DS2 is removed: its 14 connections finish first (on_removal: drain), 3 persistent \
         clients move\n"
    );
    let ended = lbctl_beside(&["diff", "--json", file.path()], Some(&insignia_with(14, 3)));
    let json: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(json["changes"][0]["kind"], "removed");
    let flows = &json["live_flows"];
    assert_eq!((&flows["known"], &flows["touched"][0]["server"]), (&true.into(), &"DS2".into()));
    assert_eq!((&flows["touched"][0]["flows"], &flows["touched"][0]["connections"]), (&"finish".into(), &14.into()));

    // The counts of all real servers are those of their service.
    let elsewhere = Written::new("moved", &text.replace("172.26.11.70", "172.26.11.71"));
    let ended = lbctl_beside(&["diff", elsewhere.path()], Some(&insignia_with(14, 3)));
    assert!(ended.out.contains("its 28 connections are cut"), "{}", ended.out);
}

#[test]
fn a_change_that_touches_no_flow_says_so() {
    let text = fs::read_to_string(example("insignia")).unwrap();
    let file = Written::new("harmless", &text.replace("weight: 100}", "weight: 7}"));
    let ended = lbctl_beside(&["diff", file.path()], Some(&insignia_with(14, 3)));
    assert!(ended.out.ends_with("\n\nNo live flow is touched.\n"), "{}", ended.out);
    let ended = lbctl_beside(&["diff", "--json", file.path()], Some(&insignia_with(14, 3)));
    let json: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(json["live_flows"]["touched"][0]["touch"], "share");
}

#[test]
fn two_files_are_not_what_runs() {
    let text = fs::read_to_string(example("insignia")).unwrap();
    let server = text.lines().find(|line| line.contains("name: DS2")).unwrap();
    let file = Written::new("two", &text.replace(server, ""));
    let ended = lbctl_beside(&["diff", &example("insignia"), file.path()], Some(&insignia_with(14, 3)));
    assert!(ended.out.contains("was not asked") && !ended.out.contains("14"), "{}", ended.out);
}

#[test]
fn files_are_shown_as_they_are() {
    let file = Written::new("show", "version: 1\n# a comment\n");
    let ended = lbctl(&["config", "show", file.path()], None);
    assert_eq!(ended.out, format!("# {}\nversion: 1\n# a comment\n", file.path()));
}

#[test]
fn the_schema_is_json() {
    let schema: serde_json::Value = serde_json::from_str(&lbctl(&["schema"], None).out).unwrap();
    assert_eq!(schema["type"], "object");
}
