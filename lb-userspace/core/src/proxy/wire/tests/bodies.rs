//! Bodies, one rule after another.

use bytes::BytesMut;
use http::{HeaderMap, Method};

use super::super::{BadAnswer, Body, Piece, read_head};
use super::{MOST, read};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// The data of a chunked body, after which the server closes.
fn chunks(text: &[u8]) -> Result<Vec<u8>, BadAnswer> {
    let (seen, ended) = read(&[CHUNKED.as_bytes(), text], &Method::GET, MOST);
    ended.map(|()| seen.data)
}

fn body(head: &str) -> Body {
    read_head(&mut BytesMut::from(head), &Method::GET, MOST).unwrap().unwrap().body
}

#[test]
fn chunks_that_real_servers_send_are_taken() {
    let cases: [&[u8]; 8] = [
        b"5\r\nhello\r\n0\r\n\r\n",
        b"1\r\nh\r\n004\r\nello\r\n0000\r\n\r\n",
        b"5 \t\r\nhello\r\n0\r\n\r\n",
        b"5;name\r\nhello\r\n0;last\r\n\r\n",
        b"5 ; name = \"\xe9 \t;\"\r\nhello\r\n0\r\n\r\n",
        b"0000000000000005\r\nhello\r\n0000000000000000\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ];
    for text in cases {
        assert_eq!(chunks(text).as_deref(), Ok(b"hello".as_slice()), "{}", text.escape_ascii());
    }
    assert_eq!(chunks(b"a\r\nhellohello\r\nA\r\nhellohello\r\n0\r\n\r\n").unwrap().len(), 20);
}

#[test]
fn chunks_that_could_be_read_in_two_ways_are_refused() {
    let cases: [(&[u8], BadAnswer); 30] = [
        (b"\r\nhello\r\n0\r\n\r\n", BadAnswer::ChunkSize),
        (b" 5\r\nhello\r\n0\r\n\r\n", BadAnswer::ChunkSize),
        (b";a\r\nhello\r\n0\r\n\r\n", BadAnswer::ChunkSize),
        (b"+5\r\nhello\r\n0\r\n\r\n", BadAnswer::ChunkSize),
        (b"-5\r\nhello\r\n0\r\n\r\n", BadAnswer::ChunkSize),
        (b"0x5\r\nhello\r\n0\r\n\r\n", BadAnswer::ChunkSize),
        (b"5g\r\nhello\r\n0\r\n\r\n", BadAnswer::ChunkSize),
        (b"5 5\r\nhello\r\n0\r\n\r\n", BadAnswer::ChunkSize),
        (b"5\nhello\r\n0\r\n\r\n", BadAnswer::ChunkSize),
        (b"5\rhello\r\n0\r\n\r\n", BadAnswer::ChunkSize),
        (b"5\r\r\nhello\r\n0\r\n\r\n", BadAnswer::ChunkSize),
        (b"5 \nhello\r\n0\r\n\r\n", BadAnswer::ChunkSize),
        (b"5;a\nhello\r\n0\r\n\r\n", BadAnswer::ChunkSize),
        (b"5;a\rb\r\nhello\r\n0\r\n\r\n", BadAnswer::ChunkSize),
        (b"5;\x00\r\nhello\r\n0\r\n\r\n", BadAnswer::ChunkSize),
        (b"5;\x7f\r\nhello\r\n0\r\n\r\n", BadAnswer::ChunkSize),
        (b"5\x0b\r\nhello\r\n0\r\n\r\n", BadAnswer::ChunkSize),
        (b"10000000000000005\r\nhello\r\n0\r\n\r\n", BadAnswer::ChunkSize),
        (b"00000000000000005\r\nhello\r\n0\r\n\r\n", BadAnswer::ChunkSize),
        (b"5\r\nhello!\r\n0\r\n\r\n", BadAnswer::ChunkEnd),
        (b"5\r\nhello\n0\r\n\r\n", BadAnswer::ChunkEnd),
        (b"5\r\nhello\r0\r\n\r\n", BadAnswer::ChunkEnd),
        (b"5\r\nhello0\r\n\r\n", BadAnswer::ChunkEnd),
        (b"0\r\n\n", BadAnswer::Trailer),
        (b"0\r\n\rX", BadAnswer::Trailer),
        (b"0\r\nA: b\n\r\n", BadAnswer::Trailer),
        (b"0\r\nA : b\r\n\r\n", BadAnswer::Trailer),
        (b"0\r\nA: b\r\n c\r\n\r\n", BadAnswer::Trailer),
        (b"0\r\nA: \x00\r\n\r\n", BadAnswer::Trailer),
        (b"0\r\nHTTP/1.1 200 OK\r\n\r\n", BadAnswer::Trailer),
    ];
    for (text, why) in cases {
        assert_eq!(chunks(text), Err(why), "{}", text.escape_ascii());
    }
}

#[test]
fn a_body_is_not_over_before_its_end() {
    let cases: [&[u8]; 11] = [
        b"",
        b"5",
        b"5\r",
        b"5\r\n",
        b"5\r\nhell",
        b"5\r\nhello",
        b"5\r\nhello\r\n",
        b"5\r\nhello\r\n0",
        b"5\r\nhello\r\n0\r\n",
        b"5\r\nhello\r\n0\r\n\r",
        b"5\r\nhello\r\n0\r\nA: b\r\n",
    ];
    for text in cases {
        assert_eq!(chunks(text), Err(BadAnswer::BrokenOff), "{}", text.escape_ascii());
    }
    let mut five = body("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    assert!(five.take(&mut BytesMut::from("hell")).unwrap().is_some());
    assert_eq!((five.exact(), five.is_over(), five.closed()), (Some(1), false, Err(BadAnswer::BrokenOff)));
}

#[test]
fn a_body_of_a_length_takes_no_more_than_that() {
    let mut buf = BytesMut::from("helloHTTP/1.1 200 OK\r\n\r\n");
    let mut five = body("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(five.take(&mut buf), Ok(Some(Piece::Data("hello".into()))));
    assert_eq!((five.exact(), five.is_over(), five.closed()), (Some(0), true, Ok(())));
    assert_eq!(five.take(&mut buf), Ok(None));
    assert!(buf.starts_with(b"HTTP/1.1"));
}

#[test]
fn a_body_until_close_ends_with_the_connection() {
    let mut rest = body("HTTP/1.0 200 OK\r\n\r\n");
    let mut buf = BytesMut::from("hello");
    assert_eq!(rest.take(&mut buf), Ok(Some(Piece::Data("hello".into()))));
    assert_eq!(rest.take(&mut buf), Ok(None));
    assert!(rest.lasts_until_close() && !rest.is_over() && rest.exact().is_none());
    assert_eq!(rest.closed(), Ok(()));
    assert!(rest.is_over() && !rest.lasts_until_close());
}

#[test]
fn the_end_is_known_together_with_the_last_data() {
    let mut chunked = body(CHUNKED);
    let mut buf = BytesMut::from("5\r\nhello\r\n0\r\n\r\n");
    let received = buf.as_ptr_range();
    let Ok(Some(Piece::Data(data))) = chunked.take(&mut buf) else { panic!("there is data") };
    assert!(received.contains(&data.as_ptr()));
    assert!(chunked.is_over() && buf.is_empty());
}

#[test]
fn data_comes_before_what_is_wrong_after_it() {
    let mut chunked = body(CHUNKED);
    let mut buf = BytesMut::from("5\r\nhello\r\nx");
    assert_eq!(chunked.take(&mut buf), Ok(Some(Piece::Data("hello".into()))));
    assert_eq!(chunked.take(&mut buf), Err(BadAnswer::ChunkSize));
    assert_eq!(chunked.take(&mut buf), Err(BadAnswer::ChunkSize));
}

#[test]
fn trailers_come_last_and_without_fields_that_come_too_late() {
    let text = "0\r\nX-Sum: 1\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\nHost: a\r\nConnection: close\r\n\
                Keep-Alive: 5\r\nUpgrade: h2c\r\nSet-Cookie: a=b\r\nx-sum: 2\r\n\r\n";
    let (seen, ended) = read(&[CHUNKED.as_bytes(), text.as_bytes()], &Method::GET, MOST);
    assert_eq!(ended, Ok(()));
    let trailers = seen.trailers.unwrap();
    assert!(trailers.get_all("x-sum").iter().eq(["1", "2"]));
    assert_eq!(trailers.len(), 2);
    let (seen, ended) = read(&[CHUNKED.as_bytes(), b"0\r\nHost: a\r\n\r\n"], &Method::GET, MOST);
    assert_eq!((seen.trailers, ended), (None::<HeaderMap>, Ok(())));
}

#[test]
fn extensions_are_counted_over_all_chunks_and_white_space_with_them() {
    let cases = [("1;aaaaaaa\r\nx\r\n", 2048), ("1        \r\nx\r\n", 2048)];
    for (chunk, most) in cases {
        let of = |count| chunks(format!("{}0\r\n\r\n", chunk.repeat(count)).as_bytes());
        assert_eq!(of(most).map(|data| data.len()), Ok(most), "{chunk}");
        assert_eq!(of(most + 1), Err(BadAnswer::ChunkExtensions), "{chunk}");
    }
}
