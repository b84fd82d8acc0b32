//! What touches the kernel is gathered: aya in the daemon's dataplane, netlink in its netlink module.

use super::{Finding, Tree};

/// Crates, and the folders whose files may name them.
const HOMES: &[(&[&str], &[&str])] = &[
    (&["aya", "aya_obj", "aya_log"], &["lb-userspace/src/dataplane", "tests/"]),
    (&["aya_ebpf", "aya_log_ebpf"], &["lb-ebpf/"]),
    (
        &["rtnetlink", "netlink_packet_core", "netlink_packet_route", "netlink_proto", "netlink_sys"],
        &["lb-userspace/src/netlink"],
    ),
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, source) in tree.rust_below(&["lb-", "tests/"]) {
        for (number, path) in source.paths() {
            let Some((krate, homes)) = home_of(&path) else { continue };
            if !homes.iter().any(|home| file.path.starts_with(home)) {
                findings.push(file.error(number, format!("{krate} is used only below {}", homes.join(" and "))));
            }
        }
    }
    findings.dedup();
    findings
}

/// The crate that `path` starts with and where it belongs. A name alone is a crate only as an import's root,
/// and those always go on.
fn home_of(path: &str) -> Option<(&str, &'static [&'static str])> {
    let krate = path.split_once("::")?.0;
    HOMES.iter().find(|(crates, _)| crates.contains(&krate)).map(|(_, homes)| (krate, *homes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::lines;

    #[test]
    fn a_crate_away_from_its_home_is_found() {
        let text = "use aya::{\n    Ebpf,\n};\nfn f() { rtnetlink::new_connection() }\nlet aya = 1; // aya::x\n";
        let at = |path| lines(&check(&Tree::of(&[(path, text)])));
        assert_eq!(at("lb-userspace/src/health/tcp.rs"), [1, 4]);
        assert_eq!(at("lb-userspace/src/dataplane/load.rs"), [4]);
        assert_eq!(at("lb-userspace/src/netlink.rs"), [1]);
        assert_eq!(at("xtask/src/main.rs"), [] as [usize; 0]);
    }

    #[test]
    fn the_kernels_side_of_aya_stays_in_the_kernels_crate() {
        let text = "use aya_ebpf::programs::XdpContext;\n";
        assert_eq!(lines(&check(&Tree::of(&[("lb-common/src/lib.rs", text), ("lb-ebpf/src/main.rs", text)]))), [1]);
    }
}
