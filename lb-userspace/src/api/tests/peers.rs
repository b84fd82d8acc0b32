//! What is recorded of whoever gives an order.

use crate::api::peer::recorded;

#[test]
fn whoever_uses_another_name_is_recorded_with_both() {
    let cases = [
        (Some("alice"), Some(0), Some("root"), "alice (uid 0)"),
        (Some("root"), Some(0), Some("root"), "root"),
        (None, Some(0), Some("root"), "root"),
        (None, Some(1000), None, "uid 1000"),
        (Some("  "), Some(1000), None, "uid 1000"),
        (Some("alice"), Some(1000), None, "alice (uid 1000)"),
        (Some("alice"), None, None, "alice (unknown user)"),
        (None, None, None, "unknown user"),
        (Some("a\x1b[2Jb\u{202e}\r\nc"), Some(7), None, "a[2Jbc (uid 7)"),
        (Some("müller"), Some(7), Some("x"), "müller (uid 7)"),
    ];
    for (by, uid, login, name) in cases {
        assert_eq!(recorded(by, uid, login), name, "{by:?}");
    }
    assert_eq!(recorded(Some(&"x".repeat(10_000)), Some(1), None).len(), 64 + " (uid 1)".len());
}
