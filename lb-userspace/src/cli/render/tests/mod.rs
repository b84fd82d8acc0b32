//! Recorded texts (`UPDATE_EXPECT=1` rewrites them; read the difference before it is committed).

mod explained;
pub(in crate::cli) mod fixtures;
mod pages;
mod parts;

use std::path::Path;

/// Compares `actual` with the recorded text `name`; escapes are recorded as `␛`.
fn expect(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/render/tests/expected").join(name);
    let actual = actual.replace('\x1b', "␛");
    if std::env::var_os("UPDATE_EXPECT").is_some_and(|value| value == "1") {
        std::fs::write(&path, &actual).unwrap();
        return;
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(actual, recorded, "{name} is not as recorded; got:\n{actual}");
}
