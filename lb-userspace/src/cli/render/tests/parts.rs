//! Ages, numbers, port lists, wrapping, frames.

use crate::cli::render::style::{clean_text, width, wrap};
use crate::cli::render::{age, count, cut_ports};
use crate::cli::watch::frame;

#[test]
fn ages_have_two_units_at_most() {
    let cases = [
        (0, "0s"),
        (59, "59s"),
        (60, "1m"),
        (192, "3m 12s"),
        (3_599, "59m 59s"),
        (3_600, "1h"),
        (3_659, "1h"),
        (18_180, "5h 3m"),
        (86_400, "1d"),
        (1_051_200, "12d 4h"),
        (86_400 * 400 + 3_599, "400d"),
    ];
    for (seconds, text) in cases {
        assert_eq!(age(seconds), text);
    }
    assert!(age(u64::MAX).ends_with('h'));
}

#[test]
fn thousands_are_set_apart() {
    for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_048_576, "1,048,576")] {
        assert_eq!(count(number), text);
    }
    assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
}

#[test]
fn long_port_lists_are_cut_between_ports() {
    let cases = [
        ("80", 16, "80"),
        ("8080,8443", 16, "8080,8443"),
        ("554,1935,50000-65535", 16, "554,1935,…"),
        ("554,1935,50000-65535", 20, "554,1935,50000-65535"),
        ("1,22,333,4444,55555", 6, "1,22,…"),
        ("1,22,333,4444,55555", 5, "1,…"),
        ("50000-65535", 5, "…"),
        ("50000-65535", 0, "…"),
    ];
    for (ports, columns, text) in cases {
        assert_eq!(cut_ports(ports, columns), text, "{ports} in {columns}");
    }
}

#[test]
fn text_is_wrapped_between_words_and_never_lost() {
    assert_eq!(wrap("connection refused by peer", 12), ["connection", "refused by", "peer"]);
    assert_eq!(wrap("/a/very/long/path and more", 8), ["/a/very/", "long/pat", "h and", "more"]);
    assert_eq!(wrap("放射線科", 5), ["放射", "線科"]);
    assert_eq!(wrap("", 5), [""]);
    assert_eq!(wrap("放", 1), ["放"]);
    for columns in 1..30 {
        let text = "one two-three 放射線科 abcdefghijklmnopqrstuvwxyz";
        let lines = wrap(text, columns);
        assert!(columns < 2 || lines.iter().all(|line| width(line) <= columns), "{lines:?}");
        let letters = |text: &str| text.split_whitespace().collect::<String>();
        assert_eq!(letters(&lines.concat()), letters(text));
    }
}

#[test]
fn text_of_several_lines_keeps_them_and_nothing_else_that_commands() {
    assert_eq!(clean_text("a\n\tb\x1b[1m\r"), "a\n b\u{fffd}[1m\u{fffd}");
}

#[test]
fn a_frame_fits_the_window_and_erases_what_was_there() {
    assert_eq!(frame("a\nb\n", 10), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
    assert_eq!(frame("a\nb\n", 2), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
    assert_eq!(
        frame("a\nb\nc\nd\n", 3),
        "\x1b[Ha\x1b[K\r\nb\x1b[K\r\n… 2 more lines: enlarge the window, or use `lbctl status`\x1b[K\x1b[J"
    );
    assert_eq!(frame("a\n", 0).lines().count(), 1);
}
