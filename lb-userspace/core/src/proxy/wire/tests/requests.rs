//! Requests as others read them.

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, TE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, request};
use httparse::Status;
use proptest::prelude::*;

use super::super::{Framing, write_chunk, write_end, write_request};
use super::{MOST, read};

fn request(method: Method, uri: &str, fields: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn written(head: &request::Parts, framing: Framing) -> String {
    let mut out = BytesMut::new();
    write_request(head, framing, &mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn a_request_is_written_field_by_field() {
    let fields = [("Host", "a"), ("X-A", "1"), ("X-A", " 2 "), ("Connection", "upgrade"), ("Upgrade", "websocket")];
    let text = written(&request(Method::GET, "/chat?a=b", &fields), Framing::None);
    assert_eq!(
        text,
        "GET /chat?a=b HTTP/1.1\r\nhost: a\r\nx-a: 1\r\nx-a:  2 \r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    );
}

#[test]
fn the_target_is_in_origin_form() {
    let cases = [
        ("/", "/"),
        ("/a%20b?c", "/a%20b?c"),
        ("*", "*"),
        ("http://a", "/"),
        ("http://a/", "/"),
        ("http://a:80?b=c", "/?b=c"),
        ("http://a/b?c", "/b?c"),
        ("//a/b", "//a/b"),
        ("/?", "/?"),
    ];
    for (uri, target) in cases {
        let text = written(&request(Method::OPTIONS, uri, &[]), Framing::None);
        assert_eq!(text, format!("OPTIONS {target} HTTP/1.1\r\n\r\n"), "{uri}");
    }
}

#[test]
fn the_framing_alone_says_how_long_a_body_is() {
    let lying = [("content-length", "7"), ("content-length", "8"), ("transfer-encoding", "gzip")];
    let cases = [
        (Method::GET, &lying[2..], Framing::None, ""),
        (Method::GET, &lying[..], Framing::None, "content-length: 0\r\n"),
        (Method::DELETE, &lying[..0], Framing::None, ""),
        (Method::POST, &lying[..0], Framing::None, "content-length: 0\r\n"),
        (Method::PUT, &lying[2..], Framing::None, "content-length: 0\r\n"),
        (Method::PATCH, &lying[..0], Framing::None, "content-length: 0\r\n"),
        (Method::GET, &lying[..], Framing::Length(5), "content-length: 5\r\n"),
        (Method::POST, &lying[..0], Framing::Length(0), "content-length: 0\r\n"),
        (Method::POST, &lying[..0], Framing::Length(u64::MAX), "content-length: 18446744073709551615\r\n"),
        (Method::POST, &lying[..], Framing::Chunked, "transfer-encoding: chunked\r\n"),
        (Method::GET, &lying[..0], Framing::Chunked, "transfer-encoding: chunked\r\n"),
    ];
    for (method, fields, framing, expected) in cases {
        let text = written(&request(method.clone(), "/", fields), framing);
        assert_eq!(text, format!("{method} / HTTP/1.1\r\n{expected}\r\n"), "{fields:?} {framing:?}");
    }
}

#[test]
fn chunks_are_written_with_their_size() {
    let mut out = BytesMut::new();
    write_chunk(b"", &mut out);
    assert!(out.is_empty());
    write_chunk(&[b'x'; 26], &mut out);
    write_end(None, &mut out);
    assert_eq!(out.as_ref(), [b"1a\r\n".as_slice(), &[b'x'; 26], b"\r\n0\r\n\r\n"].concat());
}

#[test]
fn trailers_that_come_too_late_are_not_written() {
    let mut trailers = HeaderMap::new();
    for name in ["content-length", "x-sum", "transfer-encoding", "host", "connection", "trailer", "authorization"] {
        trailers.insert(name, HeaderValue::from_static("1"));
    }
    let mut out = BytesMut::new();
    write_end(Some(&trailers), &mut out);
    assert_eq!(out.as_ref(), b"0\r\nx-sum: 1\r\n\r\n");
}

fn name() -> impl Strategy<Value = HeaderName> {
    const KNOWN: &[&str] =
        &["host", "content-length", "transfer-encoding", "te", "connection", "upgrade", "cookie", "x-a"];
    let any = "[a-z0-9!#$%&'*+.^_`|~-]{1,20}";
    prop_oneof![
        proptest::sample::select(KNOWN).prop_map(HeaderName::from_static),
        any.prop_map(|name| HeaderName::from_bytes(name.as_bytes()).unwrap()),
    ]
}

/// Any that has no white space at its ends: parsers trim it.
fn value() -> impl Strategy<Value = HeaderValue> {
    let byte = prop_oneof![b'!'..=b'~', 0x80..=0xffu8];
    prop::collection::vec(byte, 0..20).prop_map(|bytes| HeaderValue::from_bytes(&bytes).unwrap())
}

fn framing() -> impl Strategy<Value = Framing> {
    prop_oneof![Just(Framing::None), any::<u64>().prop_map(Framing::Length), Just(Framing::Chunked)]
}

proptest! {
    #[test]
    fn a_parser_reads_what_was_meant(
        fields in prop::collection::vec((name(), value()), 0..20),
        path in "/[a-z0-9/%;=&.~!$'()*+,:@-]{0,30}([?][a-z0-9/?=&]{0,20})?",
        framing in framing(),
    ) {
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = Method::POST;
        head.uri = path.parse::<Uri>().unwrap();
        head.headers.extend(fields.into_iter().map(|(name, value)| (Some(name), value)));
        let mut out = BytesMut::new();
        write_request(&head, framing, &mut out);

        let mut found = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut found);
        prop_assert_eq!(parsed.parse(&out), Ok(Status::Complete(out.len())));
        prop_assert_eq!((parsed.method, parsed.path, parsed.version), (Some("POST"), Some(path.as_str()), Some(1)));
        let mut headers = HeaderMap::new();
        for field in parsed.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(field.value).unwrap());
        }
        let (length, coding) = match framing {
            Framing::None => (Some("0".to_owned()), None),
            Framing::Length(length) => (Some(length.to_string()), None),
            Framing::Chunked => (None, Some("chunked")),
        };
        prop_assert!(headers.get_all(CONTENT_LENGTH).iter().eq(length.as_deref()));
        prop_assert!(headers.get_all(TRANSFER_ENCODING).iter().eq(coding));
        for name in [CONTENT_LENGTH, TRANSFER_ENCODING] {
            headers.remove(&name);
            head.headers.remove(&name);
        }
        // It is for this hop, and Connection does not name it.
        head.headers.remove(TE);
        prop_assert_eq!(headers, head.headers);
    }

    #[test]
    fn chunks_read_back_as_they_were_written(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
        sum in prop::option::of(value()),
    ) {
        let mut out = BytesMut::from("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        for chunk in &chunks {
            write_chunk(chunk, &mut out);
        }
        let trailers = sum.map(|sum| HeaderMap::from_iter([(HeaderName::from_static("x-sum"), sum)]));
        write_end(trailers.as_ref(), &mut out);
        let (seen, ended) = read(&[&out], &Method::GET, MOST);
        prop_assert_eq!(ended, Ok(()));
        prop_assert_eq!(seen.data, chunks.concat());
        prop_assert_eq!(seen.trailers, trailers);
    }
}
