use super::super::outcome::Failure;
use super::{MOST_PAGE_BYTES, Patterns};
use crate::config::model::{BodyExpectation, HttpProbe};

fn probe(body: BodyExpectation) -> HttpProbe {
    HttpProbe { path: "/".to_owned(), host: None, status: 200, body }
}

fn judge(body: BodyExpectation, page: &[u8], complete: bool) -> Result<(), String> {
    let expectation = Patterns::default().expectation(&probe(body)).expect("a regular expression");
    expectation.page(page, complete).map_err(|failure| failure.about("web1"))
}

fn contains(text: &str) -> BodyExpectation {
    BodyExpectation::Contains(text.to_owned())
}

fn equals(text: &str) -> BodyExpectation {
    BodyExpectation::Equals(text.to_owned())
}

fn regex(text: &str) -> BodyExpectation {
    BodyExpectation::Regex(text.to_owned())
}

#[test]
fn pages_that_are_as_expected_are_good() {
    for (body, page) in [
        (BodyExpectation::Any, &b""[..]),
        (BodyExpectation::Any, b"anything \xff"),
        (contains("up"), b"<p>up</p>"),
        (contains("up"), b"\xff\xfeup"),
        (equals("Healthy"), b"Healthy"),
        (equals("Healthy"), b"\r\n Healthy\n"),
        (equals(" Healthy "), b"Healthy"),
        (equals("all is\nwell"), b"all is\nwell"),
        (regex("^state: (up|degraded)$"), b"state: degraded"),
        (regex("(?m)^up$"), b"first\nup\nlast"),
    ] {
        assert_eq!(judge(body.clone(), page, true), Ok(()), "{body:?}");
    }
}

#[test]
fn pages_that_are_not_say_what_was_expected_and_what_came() {
    for (body, page, sentence) in [
        (contains("up"), &b"down"[..], "web1 answered 200, but its page does not contain \"up\": it is \"down\""),
        (contains("up"), b" \n", "web1 answered 200, but its page does not contain \"up\": it is empty"),
        (
            equals("Healthy"),
            b"Unhealthy\nsince 3",
            "web1 answered 200, but its page is not \"Healthy\": it is \"Unhealthy since 3\"",
        ),
        (equals("Healthy"), b"healthy", "web1 answered 200, but its page is not \"Healthy\": it is \"healthy\""),
        (
            equals("Healthy"),
            b"Healthy\x1b[2J\xff",
            "web1 answered 200, but its page is not \"Healthy\": it is \"Healthy [2J\u{fffd}\"",
        ),
        (
            regex("^up$"),
            b"up\ndown",
            "web1 answered 200, but its page does not match the regular expression \"^up$\": it is \"up down\"",
        ),
    ] {
        assert_eq!(judge(body, page, true), Err(sentence.to_owned()));
    }
}

#[test]
fn a_sentence_stays_short_whatever_the_page_is() {
    let sentence =
        judge(contains(&"w".repeat(60_000)), "é".repeat(30_000).as_bytes(), true).expect_err("not contained");
    assert!(sentence.chars().count() < 250, "{sentence}");
    assert!(sentence.contains("www...\"") && sentence.ends_with("ééé...\""), "{sentence}");
}

#[test]
fn of_a_page_that_is_too_long_only_the_beginning_counts_and_the_sentence_says_so() {
    let mut page = b"up ".to_vec();
    page.resize(MOST_PAGE_BYTES, b' ');
    assert_eq!(judge(contains("up"), &page, false), Ok(()));
    assert_eq!(judge(regex("^up"), &page, false), Ok(()));

    let sentence = judge(contains("down"), &page, false).expect_err("not contained");
    assert!(sentence.ends_with("it begins with \"up\"; only its first 65536 bytes count"), "{sentence}");
    // Not even when all that was seen of it is the text.
    assert!(judge(equals("up"), &page, false).is_err());
    assert_eq!(judge(equals("up"), &page, true), Ok(()));
}

#[test]
fn another_status_is_a_failure_with_both_in_words() {
    let expectation = Patterns::default().expectation(&probe(BodyExpectation::Any)).expect("no expression");
    assert_eq!(expectation.status(200), Ok(()));
    assert_eq!(expectation.status(503), Err(Failure::HttpStatus { expected: 200, got: 503 }));
    let about = |got| Failure::HttpStatus { expected: 200, got }.about("web1");
    assert_eq!(about(503), "web1 answered with status 503 (service unavailable) instead of 200");
    assert_eq!(about(302), "web1 answered with status 302 (a redirect, which a check does not follow) instead of 200");
    assert_eq!(about(299), "web1 answered with status 299 instead of 200");
}

#[test]
fn expressions_are_compiled_once_and_not_without_a_bound() {
    let mut patterns = Patterns::default();
    for _ in 0..3 {
        patterns.expectation(&probe(regex("a+"))).expect("an expression");
    }
    assert_eq!(patterns.0.len(), 1);
    for n in 0..3 * Patterns::LIMIT {
        patterns.expectation(&probe(regex(&format!("a{{{}}}b{n}", n % 7)))).expect("an expression");
        assert!(patterns.0.len() <= Patterns::LIMIT);
    }
}

#[test]
fn an_expression_that_cannot_be_compiled_is_a_failure_of_this_machine() {
    let failure = Patterns::default().expectation(&probe(regex("("))).expect_err("no expression");
    assert_eq!(failure.about("web1"), "web1 was not checked: \"(\" is not a regular expression");
}
