//! Bodies of requests and answers, both ways.

use super::{OK, POST, SHOP, asks, counts, encrypted_shop, noise, shop};
use crate::proxy::tests::script::{Script, Talk};
use crate::proxy::tests::site::Site;

/// A chunked body with two trailers.
const SUMMED: &str = "5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n";

#[test]
fn a_body_is_the_same_however_its_server_frames_it() {
    let chunks = "4;name=value;q=\"a b\"\r\nWiki\r\n05 \r\npedia\r\nA\r\n in chunks\r\n0;last\r\nx-sum: 1\r\n\r\n";
    let cases = [
        ("GET", "200 OK\r\ncontent-length: 5\r\n\r\nhello".to_owned(), "hello"),
        ("GET", format!("200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"), "Wikipedia in chunks"),
        ("GET", "200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), ""),
        ("GET", "200 OK\r\n\r\nuntil it is closed".to_owned(), "until it is closed"),
        ("GET", "200 OK\r\n\r\n".to_owned(), ""),
        ("GET", "200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(), ""),
        ("GET", "204 No Content\r\n\r\n".to_owned(), ""),
        ("GET", "304 Not Modified\r\ncontent-length: 500\r\netag: \"a\"\r\n\r\n".to_owned(), ""),
        ("HEAD", "200 OK\r\ncontent-length: 500\r\n\r\n".to_owned(), ""),
        ("HEAD", "200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(), ""),
    ];
    for (method, answer, body) in cases {
        let whole = format!("HTTP/1.1 {answer}");
        // All at once, and byte by byte.
        for piece in [whole.len(), 1] {
            let said = whole.clone();
            let server = Script::new(move |talk| {
                if talk.request() {
                    assert!(said.as_bytes().chunks(piece).all(|bytes| talk.say(bytes)));
                }
            });
            let site = shop(&server);
            let mut client = site.connect("shop");
            client.say(format!("{method} / HTTP/1.1\r\nhost: shop\r\n\r\n").as_bytes());
            let got = client.message(method != "HEAD" && !answer.starts_with("304")).expect("an answer");
            assert!(got.is_whole, "{answer}");
            assert_eq!((got.status().to_string().as_str(), got.body.as_slice()), (&answer[..3], body.as_bytes()));
            assert_eq!(method == "HEAD" && answer.contains("500"), got.has("content-length: 500"), "{answer}");
            // Nothing comes behind it.
            client.say(b"garbage\r\n\r\n");
            assert_eq!(client.message(true).expect("an answer").status(), 400, "{answer}");
            counts(&site, &[("bad-request", 1)]);
        }
    }
}

#[test]
fn a_request_reaches_its_server_framed_as_it_came() {
    let server = Script::answering(OK);
    let site = shop(&server);
    let mut client = site.connect("shop");
    let ask = |head: &str, rest: &str| format!("{head} / HTTP/1.1\r\nhost: shop\r\n{rest}");
    let cases = [
        (ask("POST", "content-length: 5\r\n\r\nhello"), Some("5"), false, "hello", ""),
        (ask("POST", "content-length: 0\r\n\r\n"), Some("0"), false, "", ""),
        (ask("POST", "\r\n"), Some("0"), false, "", ""),
        (ask("DELETE", "content-length: 0\r\n\r\n"), Some("0"), false, "", ""),
        (ask("GET", "content-length: 5\r\n\r\nhello"), Some("5"), false, "hello", ""),
        (ask("GET", "\r\n"), None, false, "", ""),
        (ask("POST", "transfer-encoding: chunked\r\n\r\n0\r\n\r\n"), None, true, "", ""),
        (
            ask("PUT", "transfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"),
            None,
            true,
            "hello!",
            "",
        ),
        // Trailers that nobody announced stay behind.
        (ask("PUT", &format!("transfer-encoding: chunked\r\n\r\n{SUMMED}")), None, true, "hello", ""),
        (
            ask("PUT", &format!("transfer-encoding: chunked\r\ntrailer: x-other, X-Sum\r\n\r\n{SUMMED}")),
            None,
            true,
            "hello",
            "x-sum: 1\r\n",
        ),
    ];
    for (request, length, chunked, body, trailers) in cases {
        assert!(asks(&mut client, &request).is_whole);
        let (connection, heard) = server.heard();
        assert_eq!((connection, heard.field("content-length")), (0, length), "{request}");
        assert_eq!(heard.has("transfer-encoding: chunked"), chunked, "{request}");
        assert_eq!((heard.body.as_slice(), heard.trailers.as_str()), (body.as_bytes(), trailers), "{request}");
    }
}

#[test]
fn chunks_reach_their_server_before_the_last_one_has_come() {
    let server = Script::new(|talk| {
        if talk.head() {
            assert_eq!(talk.hear(10), b"5\r\nhello\r\n");
            talk.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
            assert_eq!(talk.hear(11), b"1\r\n!\r\n0\r\n\r\n");
            talk.say("1\r\n!\r\n0\r\n\r\n");
        }
    });
    let site = shop(&server);
    let mut client = site.connect("shop");
    client.say(b"POST / HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
    while client.line() != "\r\n" {}
    assert_eq!([client.line(), client.line()], ["5\r\n", "hello\r\n"]);
    client.say(b"1\r\n!\r\n0\r\n\r\n");
    assert_eq!([client.line(), client.line(), client.line()], ["1\r\n", "!\r\n", "0\r\n"]);
}

/// Says back what it hears, by a length, in chunks of two sizes, or until it closes.
fn mirror(talk: &mut Talk, bytes: &[u8]) {
    let chunked = |size: usize| {
        let chunks =
            bytes.chunks(size).flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
        [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(), chunks.collect(), b"0\r\n\r\n".to_vec()]
            .concat()
    };
    for said in 0.. {
        if !talk.request() {
            return;
        }
        let answer = match said {
            0 => [format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len()).as_bytes(), bytes].concat(),
            1 => chunked(777),
            2 => chunked(300_000),
            _ => [b"HTTP/1.1 200 OK\r\n\r\n", bytes].concat(),
        };
        if !talk.say(answer) || said > 2 {
            return talk.says_good_bye();
        }
    }
}

fn megabytes_pass(server: &Script, site: &Site, bytes: &[u8]) {
    let mut client = site.connect("shop");
    for round in 0..4 {
        let request = match round {
            0 | 2 => {
                let head = format!("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: {}\r\n\r\n", bytes.len());
                [head.as_bytes(), bytes].concat()
            }
            _ => {
                let size = if round == 1 { 999 } else { 200_000 };
                let mut request =
                    POST.replace("content-length: 5\r\n\r\nhello", "transfer-encoding: chunked\r\n\r\n").into_bytes();
                for chunk in bytes.chunks(size) {
                    request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    request.extend_from_slice(chunk);
                    request.extend_from_slice(b"\r\n");
                }
                request.extend_from_slice(b"0\r\n\r\n");
                request
            }
        };
        client.say(&request);
        let answer = client.message(true).expect("an answer");
        let (connection, heard) = server.heard();
        assert_eq!(connection, 0, "{round}");
        assert!(heard.is_whole && heard.body == bytes, "{round}: {} bytes up", heard.body.len());
        assert!(answer.is_whole && answer.body == bytes, "{round}: {} bytes down", answer.body.len());
    }
    assert_eq!(site.failures("shop"), []);
}

#[test]
fn megabytes_pass_unchanged_both_ways() {
    let bytes = noise(5_000_001);
    let mirrored = bytes.clone();
    let server = Script::new(move |talk| mirror(talk, &mirrored));
    megabytes_pass(&server, &shop(&server), &bytes);
}

#[test]
fn megabytes_pass_unchanged_both_ways_over_tls() {
    let bytes = noise(5_000_001);
    let mirrored = bytes.clone();
    let server = Script::encrypted(move |talk| mirror(talk, &mirrored));
    megabytes_pass(&server, &encrypted_shop(&server), &bytes);
}

#[test]
fn an_answer_until_close_ends_an_old_client_s_connection() {
    let server = Script::new(|talk| {
        if talk.request() {
            talk.say("HTTP/1.1 200 OK\r\n\r\nuntil it is closed");
        }
    });
    let site = Site::with(SHOP, &[server.address]);
    let mut client = site.connect("shop");
    client.say(b"GET / HTTP/1.0\r\nhost: shop\r\n\r\n");
    while client.line() != "\r\n" {}
    assert_eq!([client.line(), client.line()], ["until it is closed", ""]);
}
