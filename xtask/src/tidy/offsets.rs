//! lb-ebpf knows no packet format: where a field lies and what its value means is in `lb-common::wire`.
//!
//! Three signs give such knowledge away: a number in the arguments of a packet access, a constant named
//! like an offset or a header's length, and an EtherType.

use super::source::has_word;
use super::{Finding, Tree};

/// Functions that read or write the packet at an offset.
const ACCESSES: &[&str] =
    &["load", "store", "load_bytes", "store_bytes", "ptr_at", "ptr_at_mut", "read_at", "write_at"];

/// Parts of names that only a packet format has.
const NAMES: &[&str] = &["ETH_HLEN", "ETH_P_", "_HLEN", "HDR_LEN", "HEADER_LEN", "_OFFSET", "_OFF", "IPPROTO_"];

/// IPv4, ARP, 802.1Q, IPv6, 802.1ad.
const ETHER_TYPES: &[&str] = &["0x0800", "0x800", "0x0806", "0x806", "0x8100", "0x86dd", "0x86DD", "0x88a8", "0x88A8"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, source) in tree.rust_below(&["lb-ebpf/"]) {
        for (number, line) in source.shipped() {
            if ETHER_TYPES.iter().any(|value| has_word(&line.code, value)) {
                findings.push(file.error(number, "an EtherType: use its name from lb-common::wire"));
            } else if defines_format(&line.code) {
                findings.push(file.error(number, "a constant of a packet format: it belongs in lb-common::wire"));
            } else if ACCESSES.iter().any(|name| numbered_access(&line.code, name)) {
                findings.push(file.error(number, "a header offset as a number: it belongs in lb-common::wire"));
            }
        }
    }
    findings
}

fn defines_format(code: &str) -> bool {
    let name =
        code.trim_start().trim_start_matches("pub ").strip_prefix("const ").and_then(|rest| rest.split(':').next());
    name.is_some_and(|name| NAMES.iter().any(|part| name.contains(part)))
}

/// `load::<2>(12)`, `ptr_at(&ctx, offset + 14)`: a call of `name` with a number among its arguments.
fn numbered_access(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let begins = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        begins && arguments(&code[at + name.len()..]).is_some_and(has_number)
    })
}

/// What stands between the brackets that follow, a `::<...>` skipped.
fn arguments(after: &str) -> Option<&str> {
    let after = match after.strip_prefix("::<") {
        Some(rest) => rest.split_once(">(")?.1,
        None => after.strip_prefix('(')?,
    };
    let mut depth = 1;
    let end = after.find(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0
    });
    Some(&after[..end.unwrap_or(after.len())])
}

/// A number other than 0, which says "at the start" and no format.
fn has_number(arguments: &str) -> bool {
    let words = arguments.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with(|c: char| c.is_ascii_digit())).any(|word| !word.trim_matches('0').is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::lines;

    #[test]
    fn knowledge_of_a_format_is_found() {
        let text = "let kind = packet.load::<2>(12)?;\nconst IP_OFFSET: usize = 14;\nif kind == 0x86DD {}\n\
            let ip = ptr_at(&ctx, size_of::<T>() + 14)?;\n";
        assert_eq!(lines(&check(&Tree::of(&[("lb-ebpf/src/main.rs", text)]))), [1, 2, 3, 4]);
    }

    #[test]
    fn the_seam_itself_is_not() {
        let text = "fn load<const N: usize>(&self, at: usize) -> Result<[u8; N], Truncated> {\n\
            let end = self.data + at + N;\nself.load::<4>(at)\nself.store(at, [0; N])\nconst LIMIT: u32 = 4096;\n\
            overload(12);\n";
        assert_eq!(check(&Tree::of(&[("lb-ebpf/src/packet.rs", text)])), []);
        assert_eq!(check(&Tree::of(&[("lb-common/src/wire/ipv4.rs", "packet.load::<2>(12)")])), []);
    }
}
