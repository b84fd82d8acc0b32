//! Heads of answers, one rule after another.

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Method, StatusCode};

use super::super::{BadAnswer, read_head};
use super::{MOST, head};

/// The body of a head with this first line and these fields.
fn extent(method: &Method, text: &str) -> Result<&'static str, BadAnswer> {
    let text = format!("{}\r\n\r\n", text.replace('\n', "\r\n"));
    let head = read_head(&mut BytesMut::from(text.as_str()), method, MOST)?.expect("the head is whole");
    Ok(match head.body.exact() {
        Some(0) => "none",
        Some(5) => "five",
        Some(_) => "another length",
        None if head.body.lasts_until_close() => "until close",
        None => "chunked",
    })
}

#[test]
fn status_and_fields_say_where_a_body_ends() {
    let cases = [
        (Method::GET, "HTTP/1.1 200 OK", Ok("until close")),
        (Method::GET, "HTTP/1.1 200 OK\nContent-Length: 5", Ok("five")),
        (Method::GET, "HTTP/1.1 200 OK\nContent-Length: \t5\t ", Ok("five")),
        (Method::GET, "HTTP/1.1 200 OK\nContent-Length: 0", Ok("none")),
        (Method::GET, "HTTP/1.1 200 OK\nContent-Length: 5\nContent-Length: 5", Ok("five")),
        (Method::GET, "HTTP/1.1 200 OK\nContent-Length: 5 , 5", Ok("five")),
        (Method::GET, "HTTP/1.1 200 OK\nContent-Length: 5\nContent-Length: 6", Err(BadAnswer::Length)),
        (Method::GET, "HTTP/1.1 200 OK\nContent-Length: 6, 5", Err(BadAnswer::Length)),
        (Method::GET, "HTTP/1.1 200 OK\nContent-Length: 5, x\nContent-Length: x", Err(BadAnswer::Length)),
        (Method::GET, "HTTP/1.1 200 OK\nContent-Length:", Err(BadAnswer::Length)),
        (Method::GET, "HTTP/1.1 200 OK\nContent-Length: +5", Err(BadAnswer::Length)),
        (Method::GET, "HTTP/1.1 200 OK\nContent-Length: -5", Err(BadAnswer::Length)),
        (Method::GET, "HTTP/1.1 200 OK\nContent-Length: 0x5", Err(BadAnswer::Length)),
        (Method::GET, "HTTP/1.1 200 OK\nContent-Length: 5 5", Err(BadAnswer::Length)),
        (Method::GET, "HTTP/1.1 200 OK\nContent-Length: 5,", Err(BadAnswer::Length)),
        (Method::GET, "HTTP/1.1 200 OK\nContent-Length: 9223372036854775807", Ok("another length")),
        (Method::GET, "HTTP/1.1 200 OK\nContent-Length: 9223372036854775808", Err(BadAnswer::Length)),
        (Method::GET, "HTTP/1.1 200 OK\nContent-Length: 18446744073709551621", Err(BadAnswer::Length)),
        (Method::GET, "HTTP/1.1 200 OK\nTransfer-Encoding: chunked", Ok("chunked")),
        (Method::GET, "HTTP/1.1 200 OK\nTransfer-Encoding: CHUNKED", Ok("chunked")),
        (Method::GET, "HTTP/1.1 200 OK\nTransfer-Encoding: gzip, chunked", Ok("chunked")),
        (Method::GET, "HTTP/1.1 200 OK\nTransfer-Encoding: gzip\nTransfer-Encoding: chunked", Ok("chunked")),
        (Method::GET, "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nTransfer-Encoding: gzip", Ok("until close")),
        (Method::GET, "HTTP/1.1 200 OK\nTransfer-Encoding: chunked, gzip", Ok("until close")),
        (Method::GET, "HTTP/1.1 200 OK\nTransfer-Encoding: xchunked", Ok("until close")),
        (Method::GET, "HTTP/1.1 200 OK\nTransfer-Encoding: \u{e9}, chunked", Ok("until close")),
        (Method::GET, "HTTP/1.1 200 OK\nTransfer-Encoding:", Ok("until close")),
        (Method::GET, "HTTP/1.1 200 OK\nContent-Length: 5\nTransfer-Encoding: chunked", Ok("chunked")),
        (Method::GET, "HTTP/1.1 200 OK\nContent-Length: x\nTransfer-Encoding: chunked", Ok("chunked")),
        (Method::GET, "HTTP/1.0 200 OK\nContent-Length: 5", Ok("five")),
        (Method::GET, "HTTP/1.0 200 OK\nTransfer-Encoding: chunked", Err(BadAnswer::OldTransferEncoding)),
        (Method::HEAD, "HTTP/1.1 200 OK\nContent-Length: 5", Ok("none")),
        (Method::HEAD, "HTTP/1.1 200 OK\nTransfer-Encoding: chunked", Ok("none")),
        (Method::HEAD, "HTTP/1.1 200 OK", Ok("none")),
        (Method::GET, "HTTP/1.1 100 Continue\nContent-Length: 5", Ok("none")),
        (Method::GET, "HTTP/1.1 101 Switching Protocols\nTransfer-Encoding: chunked", Ok("none")),
        (Method::GET, "HTTP/1.1 103 Early Hints", Ok("none")),
        (Method::GET, "HTTP/1.1 204 No Content\nContent-Length: 5", Ok("none")),
        (Method::GET, "HTTP/1.1 304 Not Modified\nContent-Length: 5", Ok("none")),
        (Method::CONNECT, "HTTP/1.1 200 OK\nContent-Length: 5", Ok("none")),
        (Method::CONNECT, "HTTP/1.1 403 No\nContent-Length: 5", Ok("five")),
    ];
    for (method, text, expected) in cases {
        assert_eq!(extent(&method, text), expected, "{method} {text}");
    }
}

#[test]
fn a_connection_is_kept_when_both_ends_know_where_the_answer_ends() {
    let cases = [
        ("HTTP/1.1 200 OK\nContent-Length: 5", true),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", true),
        ("HTTP/1.1 204 OK", true),
        ("HTTP/1.1 200 OK", false),
        ("HTTP/1.1 200 OK\nConnection: keep-alive", false),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: gzip", false),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nContent-Length: 5", false),
        ("HTTP/1.1 200 OK\nContent-Length: 5\nTransfer-Encoding: chunked", false),
        ("HTTP/1.1 304 OK\nContent-Length: 5\nTransfer-Encoding: chunked", false),
        ("HTTP/1.1 204 OK\nConnection: close", false),
        ("HTTP/1.1 204 OK\nConnection: x, CLOSE ,y", false),
        ("HTTP/1.1 204 OK\nConnection: close\nConnection: keep-alive", false),
        ("HTTP/1.1 204 OK\nConnection: keep-alive\nConnection: close", false),
        ("HTTP/1.1 204 OK\nConnection: \u{e9}, close", false),
        ("HTTP/1.1 204 OK\nConnection: closed", true),
        ("HTTP/1.0 204 OK", false),
        ("HTTP/1.0 204 OK\nConnection: x, Keep-Alive", true),
        ("HTTP/1.0 200 OK\nContent-Length: 5\nConnection: keep-alive", true),
        ("HTTP/1.0 204 OK\nConnection: keep-alive, close", false),
        ("HTTP/1.1 101 Switching Protocols\nConnection: upgrade", false),
    ];
    for (text, expected) in cases {
        let bytes = format!("{}\r\n\r\n", text.replace('\n', "\r\n"));
        assert_eq!(head(bytes.as_bytes()).unwrap().unwrap().keeps_alive, expected, "{text}");
    }
}

#[test]
fn one_content_length_is_left_or_none() {
    let cases = [
        ("HTTP/1.1 200 OK\nContent-Length: 05", vec!["05"]),
        ("HTTP/1.1 200 OK\nContent-Length: 5\nContent-Length: 5", vec!["5"]),
        ("HTTP/1.1 200 OK\nContent-Length: 5, 5", vec!["5"]),
        ("HTTP/1.1 304 OK\nContent-Length: 5", vec!["5"]),
        ("HTTP/1.1 304 OK\nContent-Length: 5\nContent-Length: 6", vec![]),
        ("HTTP/1.1 304 OK\nContent-Length: x", vec![]),
        ("HTTP/1.1 304 OK\nContent-Length: 5\nTransfer-Encoding: chunked", vec![]),
        ("HTTP/1.1 200 OK\nContent-Length: 5\nTransfer-Encoding: chunked", vec![]),
        ("HTTP/1.1 200 OK\nContent-Length: 5\nTransfer-Encoding: gzip", vec![]),
    ];
    for (text, expected) in cases {
        let bytes = format!("{}\r\n\r\n", text.replace('\n', "\r\n"));
        let headers = head(bytes.as_bytes()).unwrap().unwrap().headers;
        assert!(headers.get_all(CONTENT_LENGTH).iter().eq(expected), "{text}");
        assert_eq!(headers.contains_key(TRANSFER_ENCODING), text.contains("Transfer"), "{text}");
    }
}

#[test]
fn heads_that_real_servers_send_are_taken() {
    type Taken = (&'static [u8], u16, Option<&'static [u8]>);
    let cases: [Taken; 9] = [
        (b"HTTP/1.1 200 OK\r\n\r\n", 200, None),
        (b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 200, None),
        (b"HTTP/1.1 200\r\n\r\n", 200, Some(b"")),
        (b"HTTP/1.1 200 \r\n\r\n", 200, Some(b"")),
        (b"HTTP/1.1 200 Fine\r\n\r\n", 200, Some(b"Fine")),
        (b"HTTP/1.1 404 Pas trouv\xe9\r\n\r\n", 404, Some(b"")),
        (b"HTTP/1.1 299 Odd\r\n\r\n", 299, Some(b"Odd")),
        (b"HTTP/1.0 200 OK\nServer: old\n\n", 200, None),
        (b"HTTP/1.1 999 Denied\r\nX-Name: \xe9t\xe9\r\nEmpty:\r\n\r\n", 999, Some(b"Denied")),
    ];
    for (text, status, reason) in cases {
        let head = head(text).unwrap().unwrap();
        assert_eq!((head.status.as_u16(), head.reason.as_deref()), (status, reason), "{}", text.escape_ascii());
    }
}

#[test]
fn what_is_no_head_is_refused() {
    let cases: [(&[u8], BadAnswer); 22] = [
        (b"<html>hello</html>", BadAnswer::Version),
        (b"SSH-2.0-OpenSSH", BadAnswer::Version),
        (b"\x15\x03\x01", BadAnswer::Version),
        (b"http/1.1 200 OK\r\n\r\n", BadAnswer::Version),
        (b"HTTP/0.9 200 OK\r\n\r\n", BadAnswer::Version),
        (b"HTTP/1.2 200 OK\r\n\r\n", BadAnswer::Version),
        (b"HTTP/2.0 200 OK\r\n\r\n", BadAnswer::Version),
        (b" HTTP/1.1 200 OK\r\n\r\n", BadAnswer::Version),
        (b"HTTP/1.1  200 OK\r\n\r\n", BadAnswer::Status),
        (b"HTTP/1.1 20 OK\r\n\r\n", BadAnswer::Status),
        (b"HTTP/1.1 2000 OK\r\n\r\n", BadAnswer::Status),
        (b"HTTP/1.1 099 OK\r\n\r\n", BadAnswer::Status),
        (b"HTTP/1.1 200 O\x00K\r\n\r\n", BadAnswer::Status),
        (b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", BadAnswer::Field),
        (b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n", BadAnswer::Field),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", BadAnswer::Field),
        (b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", BadAnswer::Field),
        (b"HTTP/1.1 200 OK\r\nA: b\x00c\r\n\r\n", BadAnswer::Field),
        (b"HTTP/1.1 200 OK\r\nA: b\x7fc\r\n\r\n", BadAnswer::Field),
        (b"HTTP/1.1 200 OK\r\n\xe9: b\r\n\r\n", BadAnswer::Field),
        (b"HTTP/1.1 200 OK\r\nA\r\n\r\n", BadAnswer::Field),
        (b"HTTP/1.1 200 OK\r\n: b\r\n\r\n", BadAnswer::Field),
    ];
    for (text, why) in cases {
        assert_eq!(head(text), Err(why), "{}", text.escape_ascii());
    }
}

#[test]
fn a_head_has_a_longest_length() {
    let text = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
    let read = |text: &[u8], most| read_head(&mut BytesMut::from(text), &Method::GET, most);
    assert!(read(text, text.len()).unwrap().is_some());
    assert_eq!(read(text, text.len() - 1), Err(BadAnswer::TooLong(text.len() - 1)));
    assert_eq!(read(&text[..20], 21), Ok(None));
    assert_eq!(read(&text[..20], 20), Err(BadAnswer::TooLong(20)));
    assert_eq!(read(b"", 0), Ok(None));
}

#[test]
fn a_head_leaves_what_follows_it_in_the_buffer() {
    let mut buf = BytesMut::from("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\n\x01\x00");
    let next = |buf: &mut BytesMut| read_head(buf, &Method::GET, MOST).unwrap().unwrap();
    assert_eq!(next(&mut buf).status, StatusCode::CONTINUE);
    let mut switching = next(&mut buf);
    assert_eq!(switching.status, StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(switching.body.take(&mut buf), Ok(None));
    assert_eq!(buf.as_ref(), b"\x01\x00");
}

#[test]
fn values_are_slices_of_what_was_received() {
    let mut buf = BytesMut::from("HTTP/1.1 204 No Content\r\nServer: a\r\nX-Long: a long value\r\n\r\n");
    let received = buf.as_ptr_range();
    let head = read_head(&mut buf, &Method::GET, MOST).unwrap().unwrap();
    for value in head.headers.values() {
        assert!(received.contains(&value.as_bytes().as_ptr()));
    }
}
