use super::*;

const REFERENCE: &str = include_str!("../../../../../docs/reference/failures.md");

fn reference() -> String {
    let mut text = String::from(
        "# Failures of the proxy\n\nWhy connections and requests of layer 7 end badly: the reasons of \
         `lb_proxy_failures_total`, and of `proxied` in `lbctl status --json`. The last column is what the access log \
         says ([access-log.md](access-log.md)): before, and after the answer has begun.\n\n| Reason | Means | Log \
         |\n|---|---|---|\n",
    );
    for failure in Failure::ALL {
        let (before, after) = (failure.end(false), failure.end(true));
        let log = if before == after { format!("`{before}`") } else { format!("`{before}` `{after}`") };
        text.push_str(&format!("| `{}` | {} | {log} |\n", failure.word(), failure.help()));
    }
    text
}

#[test]
fn the_reference_names_every_failure() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/failures.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, reference()).unwrap();
        return;
    }
    assert_eq!(REFERENCE, reference(), "UPDATE_EXPECT=1 writes docs/reference/failures.md");
}

#[test]
fn words_are_different_and_each_has_its_own_count() {
    let counts = Counts::default();
    for (times, failure) in Failure::ALL.iter().enumerate() {
        (0..times).for_each(|_| counts.count(*failure));
    }
    let happened: Vec<_> = counts.happened().collect();
    assert_eq!(happened.len(), Failure::ALL.len() - 1);
    assert!(
        happened
            .iter()
            .enumerate()
            .all(|(at, (failure, count))| (*failure, *count) == (Failure::ALL[at + 1], at as u64 + 1))
    );
    let words: std::collections::BTreeSet<_> = Failure::ALL.iter().map(|failure| failure.word()).collect();
    assert_eq!(words.len(), Failure::ALL.len());
}
