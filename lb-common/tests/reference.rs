//! `docs/reference/verdicts.md` says what the reasons of the datapath say of themselves.
//!
//! `UPDATE_EXPECT=1` rewrites the page; read the difference before it is committed.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use lb_common::datapath::{Kind, Reason};

const HEAD: &str = "\
# Verdicts

Every frame ends with one reason, and every reason is a counter. `lbctl status` shows those of dropped
frames, `lbctl status --json` all of them. In the kernel they are the table `verdicts`, by number, with
frames and bytes for each CPU; see [maps.md](maps.md).

A frame that is passed goes on to the network stack of the balancer, as it came. A number is never given
to another reason.
";

/// The families, in the order of the page.
const FAMILIES: [(Kind, &str, &str); 3] = [
    (Kind::Pass, "Passed", "The frame is not for a virtual service, or the balancer itself has to answer it."),
    (Kind::Forward, "Forwarded", "The frame is sent to a real server."),
    (Kind::Drop, "Dropped", "The frame ends here."),
];

fn page() -> String {
    let mut text = HEAD.to_owned();
    for (kind, title, about) in FAMILIES {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n## {title}\n\n{about}\n\n| Number | Name | Meaning |\n|---|---|---|\n");
        for reason in Reason::ALL.iter().filter(|reason| reason.kind() == kind) {
            let _ = writeln!(text, "| {} | `{}` | {} |", *reason as u8, reason.name(), reason.help());
        }
    }
    text
}

#[test]
fn the_reference_of_verdicts_is_the_list_of_reasons() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/verdicts.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&file, page()).unwrap();
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), page(), "UPDATE_EXPECT=1 writes {}", file.display());
}

#[test]
fn every_reason_has_a_line_of_its_own() {
    let page = page();
    let names: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names.len(), Reason::ALL.len(), "two reasons have one name");
    for name in names {
        assert_eq!(page.matches(&format!("| `{name}` |")).count(), 1, "{name}");
    }
}
