//! What an administrator is told of certificates that work, or will not for long.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use lb_core::config::model::{Condition, Http, Rule};
use rcgen::{CustomExtension, date_time_ymd};

use super::Bench;

const DAY: u64 = 86_400;

/// A quiet certificate until 2040-06-15, and the time so many days before.
fn until_2040(bench: &mut Bench) -> impl Fn(i64) -> SystemTime + use<> {
    let identity = bench.authority.issue(&["www.example"], |params| params.not_after = date_time_ymd(2040, 6, 15));
    bench.add("a", &identity);
    protect(bench, "a.key");
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(2_223_331_200);
    move |days| match u64::try_from(days) {
        Ok(days) => end - Duration::from_secs(days * DAY),
        Err(_) => end + Duration::from_secs(days.unsigned_abs() * DAY),
    }
}

fn protect(bench: &Bench, file: &str) {
    std::fs::set_permissions(bench.path(file), std::fs::Permissions::from_mode(0o600)).expect("permissions");
}

#[test]
fn the_end_of_a_certificate_is_told_from_thirty_days_before() {
    let mut bench = Bench::new();
    let before = until_2040(&mut bench);
    let certificates = bench.certificates();
    for (days, expected) in [
        (400, None),
        (31, None),
        (30, Some("certificate a expires in 30 days (2040-06-15): renew it")),
        (2, Some("certificate a expires in 2 days (2040-06-15): renew it")),
        (1, Some("certificate a expires within 2 days (2040-06-15): renew it now")),
        (0, Some("certificate a expires within 1 day (2040-06-15): renew it now")),
        (-1, Some("certificate a has expired 1 day ago (2040-06-15): clients refuse it; renew it")),
        (-9, Some("certificate a has expired 9 days ago (2040-06-15): clients refuse it; renew it")),
    ] {
        let warnings = certificates.warnings(before(days));
        assert_eq!(warnings.first().map(String::as_str), expected, "{days}");
        assert_eq!(certificates.views(before(days))[0].days_left, days);
    }
}

#[test]
fn a_certificate_that_has_expired_or_is_not_valid_yet_is_loaded_all_the_same() {
    let mut bench = Bench::new();
    let expired = bench.authority.issue(&["old.example"], |params| params.not_after = date_time_ymd(2001, 1, 1));
    let future = bench.authority.issue(&["new.example"], |params| params.not_before = date_time_ymd(3000, 1, 1));
    bench.add("a", &expired);
    bench.add("b", &future);
    protect(&bench, "a.key");
    protect(&bench, "b.key");
    let warnings = bench.certificates().warnings(SystemTime::now());
    assert!(warnings[0].starts_with("certificate a has expired "), "{warnings:?}");
    assert_eq!(warnings[1], "certificate b is not valid before 3000-01-01: clients refuse it; compare the clocks");
}

#[test]
fn a_key_that_everybody_can_read_is_told() {
    let mut bench = Bench::new();
    let before = until_2040(&mut bench);
    std::fs::set_permissions(bench.path("a.key"), std::fs::Permissions::from_mode(0o644)).expect("permissions");
    let warnings = bench.certificates().warnings(before(100));
    let file = bench.path("a.key");
    let file = file.display();
    assert_eq!(
        warnings,
        [format!("certificate a has a key that everybody on this machine can read: `chmod 600 {file}`")]
    );
}

#[test]
fn a_certificate_that_names_its_host_in_the_subject_only_is_told() {
    let mut bench = Bench::new();
    bench.openssl("genrsa -out a.key 2048");
    bench.openssl("req -x509 -key a.key -subj /CN=old.example -days 100 -out a.pem");
    protect(&bench, "a.key");
    let files = lb_core::config::model::Certificate::Pem { pem: "a.pem".into(), key: "a.key".into(), ocsp: None };
    bench.configure("a", files);
    let certificates = bench.certificates();
    assert_eq!(certificates.views(SystemTime::now())[0].names, ["old.example"]);
    let warnings = certificates.warnings(SystemTime::now());
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("certificate a names no host but in its subject"), "{warnings:?}");
}

#[test]
fn a_chain_that_lacks_a_certificate_is_told_where_the_last_says_so() {
    let mut bench = Bench::new();
    let issuing = bench.authority.below("Issuing CA");
    // authorityInfoAccess with caIssuers http://a.example/ca.der.
    let mut access = vec![0x30, 34, 0x30, 32, 6, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 2, 0x86, 20];
    access.extend_from_slice(b"http://a.test/ca.der");
    let oid = &[1, 3, 6, 1, 5, 5, 7, 1, 1];
    let identity = issuing.issue(&["www.example"], |params| {
        params.custom_extensions.push(CustomExtension::from_oid_content(oid, access));
    });
    bench.add("a", &identity);
    protect(&bench, "a.key");
    let warnings = bench.certificates().warnings(SystemTime::now());
    assert_eq!(
        warnings,
        ["certificate a is sent without the certificate of Issuing CA, which clients may lack: append it to the file"]
    );
    bench.folder.write("a.pem", [identity.pem, issuing.pem].concat());
    let certificates = bench.certificates();
    assert_eq!(certificates.warnings(SystemTime::now()), Vec::<String>::new());
}

#[test]
fn a_host_of_a_rule_that_no_certificate_names_is_told() {
    let mut bench = Bench::new();
    let before = until_2040(&mut bench);
    let wildcard = bench.authority.issue(&["*.pacs.example"], |_| {});
    bench.add("b", &wildcard);
    protect(&bench, "b.key");
    let hosts = ["www.example", "a.pacs.example", "*.pacs.example", "a.b.pacs.example", "Other.example"];
    let rule = Rule {
        name: None,
        when: vec![Condition::Host(hosts.map(str::to_owned).to_vec())],
        unless: Vec::new(),
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        rewrite: None,
        action: None,
    };
    bench.config.virtual_services[0].http = Some(Http { rules: vec![rule], ..Http::default() });
    let warnings = bench.certificates().warnings(before(100));
    let warning = |host: &str| {
        format!("virtual service web: a rule is for {host}, which no certificate of its TLS listener names")
    };
    assert_eq!(warnings, [warning("a.b.pacs.example"), warning("other.example")]);
    assert_eq!(bench.certificates().views(before(100))[0].services, ["web"]);
}
