//! lb-core decides and does nothing else: no sockets, files, threads, clock or runtime.

use super::{Finding, Tree};

/// Paths that lead out of it, and what is lacking once they are gone.
const WORLD: &[(&str, &str)] = &[
    ("tokio", "runtime"),
    ("aya", "kernel"),
    ("nix", "kernel"),
    ("libc", "kernel"),
    ("socket2", "sockets"),
    ("hyper", "sockets"),
    ("std::net::TcpStream", "sockets"),
    ("std::net::TcpListener", "sockets"),
    ("std::net::UdpSocket", "sockets"),
    ("std::net::ToSocketAddrs", "name resolution"),
    ("std::os", "kernel"),
    ("std::fs", "files"),
    ("std::env", "environment"),
    ("std::process", "processes"),
    ("std::thread", "threads"),
    ("std::time::SystemTime::now", "clock"),
    ("std::time::Instant::now", "clock"),
    ("SystemTime::now", "clock"),
    ("Instant::now", "clock"),
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, source) in tree.rust_below(&["lb-userspace/core/src/"]) {
        for (number, path) in source.paths() {
            if let Some((way, thing)) = WORLD.iter().find(|(way, _)| leads(&path, way)) {
                findings.push(file.error(number, format!("lb-core has no {thing}: {way} belongs in lb-userspace")));
            }
        }
    }
    findings.dedup();
    findings
}

/// `way` itself or something in it. A crate's name alone is no path: a variable may be called so.
fn leads(path: &str, way: &str) -> bool {
    path.strip_prefix(way).is_some_and(|rest| rest.starts_with("::") || (rest.is_empty() && way.contains("::")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::lines;

    #[test]
    fn ways_out_of_the_core_are_found_and_tests_may_use_them() {
        let text = "use std::{fs, net::{IpAddr, TcpStream}};\nuse std::time::{Duration, Instant};\n\
            fn f() { let now = Instant::now(); tokio::spawn(g) }\nlet nix = tokio; // std::fs\n\
            #[cfg(test)]\nmod tests { fn f() { std::time::Instant::now() } }\n";
        let findings = check(&Tree::of(&[("lb-userspace/core/src/a.rs", text), ("lb-userspace/src/b.rs", text)]));
        assert_eq!(lines(&findings), [1, 1, 3, 3]);
        assert_eq!(findings[3].text, "lb-core has no runtime: tokio belongs in lb-userspace");
    }

    #[test]
    fn a_file_that_only_tests_compile_is_a_test_whatever_its_name() {
        let clock = "fn f() { Instant::now() }\n";
        let tree = Tree::of(&[
            ("lb-userspace/core/src/vrrp/mod.rs", "mod machine;\n#[cfg(test)]\nmod properties;\n"),
            ("lb-userspace/core/src/vrrp/properties.rs", clock),
            ("lb-userspace/core/src/vrrp/properties/more.rs", clock),
            ("lb-userspace/core/src/vrrp/machine.rs", clock),
        ]);
        let findings = check(&tree);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "lb-userspace/core/src/vrrp/machine.rs");
    }
}
