use super::{Detail, Ended, Failure};

#[test]
fn what_http_tls_and_scripts_fail_of_is_a_sentence() {
    let detail = |text: &str| Detail::new(text);
    let script = |ended, said| Failure::Script { program: detail("/opt/x"), ended, said: detail(said) };
    let cases = [
        (
            Failure::HttpStatus { expected: 200, got: 404 },
            "the real server answered with status 404 (not found) instead of 200",
        ),
        (
            Failure::HttpPage { status: 204, wrong: detail("is not \"up\""), came: detail("it is empty") },
            "the real server answered 204, but its page is not \"up\": it is empty",
        ),
        (Failure::Tls(detail("it does not speak TLS")), "TLS with the real server failed: it does not speak TLS"),
        (Failure::Certificate(detail("has expired")), "the certificate of the real server has expired"),
        (
            script(Ended::Exit(3), "no route"),
            "the script /opt/x, called for the real server, exited with status 3: no route",
        ),
        (
            script(Ended::Signal { number: 9, name: "SIGKILL" }, ""),
            "the script /opt/x, called for the real server, was ended by signal 9 (SIGKILL) and wrote nothing",
        ),
    ];
    for (failure, sentence) in cases {
        assert_eq!(failure.to_string(), sentence);
    }
}
