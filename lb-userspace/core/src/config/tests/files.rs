//! Where a file that cannot be used is named.

use crate::config::diagnostic::render;
use crate::config::{Source, UnusableFile, check_files, load};

#[test]
fn a_file_that_cannot_be_used_is_shown_where_it_is_named_or_at_what_it_belongs_to() {
    let text = "version: 1
node: {interfaces: [{device: eth0}]}
certificates:
  www: {pem: www.pem, key: www.key}
virtual_services:
  - name: web
    address: 192.0.2.80
    ports: [80]
    mode: l7-http
    real_servers: [{name: a, address: 192.0.2.81}]
";
    let source = Source { path: "lb.yaml".to_owned(), text: text.to_owned() };
    let loaded = load(&[source], &|_| None).expect("a configuration");
    let file = |path: &str| UnusableFile { path: path.to_owned(), sentence: format!("about {path}") };
    let files = ["virtual_services[0].real_servers[0].tls.ca_file", "certificates.www", "virtual_services[0].tls", "x"];
    let mistakes = check_files(&loaded.places, &files.map(file));
    let lines: Vec<_> = mistakes.iter().map(|mistake| (mistake.line, mistake.message.as_str())).collect();
    let expected = [
        (1, "about x"),
        (4, "about certificates.www"),
        (6, "about virtual_services[0].tls"),
        (10, "about virtual_services[0].real_servers[0].tls.ca_file"),
    ];
    assert_eq!(lines, expected);
    assert!(
        render(&mistakes[1]).starts_with("error[E049]: about certificates.www\n --> lb.yaml:4:"),
        "{}",
        render(&mistakes[1])
    );
}
