//! Paths as they are judged, and as they are forwarded after a rewrite.

use super::super::path::{Ambiguous, clean, judged};

#[test]
fn paths_that_some_server_takes_for_the_same_are_judged_the_same() {
    let cases: &[(&str, &str)] = &[
        ("/admin", "/admin"),
        ("/%61dmin", "/admin"),
        ("/%61%64min/x", "/admin/x"),
        ("//admin", "/admin"),
        ("/\\admin", "/admin"),
        ("/%5cadmin", "/admin"),
        ("/%2Fadmin", "/admin"),
        ("/x/../admin", "/admin"),
        ("/x/%2e%2E/admin", "/admin"),
        ("/./admin", "/admin"),
        ("/../admin", "/admin"),
        ("/admin/.", "/admin/"),
        ("/admin/x/..", "/admin/"),
        ("/admin;x=1/y", "/admin/y"),
        ("/a;b;c/;d", "/a/"),
        ("/a%2fb", "/a/b"),
        ("/a/;x/b", "/a/b"),
        ("/.well-known/x", "/.well-known/x"),
        ("/a..b/...", "/a..b/..."),
        ("/a%20b%3fc", "/a%20b%3Fc"),
        ("/%252e%252e/x", "/%252e%252e/x"),
        ("/ADMIN", "/ADMIN"),
        ("/", "/"),
        ("*", "*"),
    ];
    for (path, expected) in cases {
        assert_eq!(judged(path).as_deref(), Ok(*expected), "{path}");
    }
}

#[test]
fn paths_on_which_servers_differ_are_refused() {
    for path in [
        "/x/..%2fadmin",
        "/x%2f../admin",
        "/x%2f..%2fadmin",
        "/x%5c..%5cadmin",
        "/x/..\\admin",
        "/x\\../admin",
        "/x/..;/admin",
        "/x/..;a=b/admin",
        "/x/.;/admin",
        "/x//../admin",
        "/x/;y/../admin",
        "/a%2Fb/../c",
        "/%00",
        "/%",
        "/%4",
        "/%zz",
        "/%+1",
        "\\admin",
        "\\.",
        "%2Fadmin",
        "admin",
        "**",
        "",
    ] {
        assert_eq!(judged(path), Err(Ambiguous), "{path}");
    }
}

#[test]
fn a_clean_path_keeps_what_means_something() {
    let cases = [
        ("/a%2fb", "/a%2Fb"),
        ("/a;x=1/b", "/a;x=1/b"),
        ("/a//b", "/a//b"),
        ("/%7Ea/./b", "/~a/b"),
        ("/a%3Bb", "/a%3Bb"),
    ];
    for (path, expected) in cases {
        assert_eq!(clean(path).as_deref(), Ok(expected), "{path}");
    }
}

#[test]
fn an_ordinary_path_is_not_copied() {
    for path in ["/", "/index.html", "/api/v1/users/17", "/a.b/c-d_e~f"] {
        assert!(matches!(judged(path), Ok(std::borrow::Cow::Borrowed(_))), "{path}");
    }
}
