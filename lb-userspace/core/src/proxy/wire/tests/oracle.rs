//! What hyper's client makes of the same bytes.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, StatusCode};
use hyper::Request;
use hyper::body::Body as _;
use hyper::client::conn::http1;
use hyper::rt::{Read, ReadBufCursor, Write};
use proptest::prelude::*;

use super::super::BadAnswer;
use super::super::trailer::may_trail;
use super::{MOST, answer, method, mutated, read};

/// More than any answer here takes.
const MOST_POLLS: usize = 10_000;

/// Answers a request with these bytes and closes.
struct Server {
    asked: bool,
    answer: Vec<u8>,
    /// Bytes that are read at once.
    step: usize,
}

impl Read for Server {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if !self.asked {
            return Poll::Pending;
        }
        let length = self.step.min(self.answer.len()).min(buf.remaining());
        let rest = self.answer.split_off(length);
        buf.put_slice(&std::mem::replace(&mut self.answer, rest));
        Poll::Ready(Ok(()))
    }
}

impl Write for Server {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.asked = true;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What somebody read.
#[derive(Debug, PartialEq)]
struct Understood {
    status: StatusCode,
    headers: HeaderMap,
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// To the end.
    whole: bool,
}

/// `None`: there is no head.
fn hyper_reads(answer: &[u8], method: &Method, step: usize) -> Option<Understood> {
    let mut cx = Context::from_waker(Waker::noop());
    let server = Server { asked: false, answer: answer.to_vec(), step };
    let Poll::Ready(Ok((mut sender, mut connection))) = pin!(http1::handshake(server)).poll(&mut cx) else {
        unreachable!("the handshake only makes the two")
    };
    let request = Request::builder().method(method).uri("/").header("host", "a").body(String::new()).unwrap();
    let mut answer = pin!(sender.send_request(request));
    let mut drive = |cx: &mut Context<'_>| drop(connection.poll_without_shutdown(cx));
    let response = (0..MOST_POLLS).find_map(|_| {
        drive(&mut cx);
        match answer.as_mut().poll(&mut cx) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }
    });
    let (head, mut body) = response.expect("hyper finds an end").ok()?.into_parts();
    let mut understood =
        Understood { status: head.status, headers: head.headers, data: Vec::new(), trailers: None, whole: false };
    for _ in 0..MOST_POLLS {
        drive(&mut cx);
        match Pin::new(&mut body).poll_frame(&mut cx) {
            Poll::Pending => {}
            Poll::Ready(Some(Err(_))) => return Some(understood),
            Poll::Ready(None) => return Some(Understood { whole: true, ..understood }),
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => understood.data.extend_from_slice(&data),
                Err(frame) => understood.trailers = frame.into_trailers().ok(),
            },
        }
    }
    unreachable!("hyper finds an end")
}

/// And why not, if not.
fn we_read(answer: &[u8], method: &Method) -> (Option<Understood>, Option<BadAnswer>) {
    let (seen, ended) = read(&[answer], method, MOST);
    let understood = seen.head.map(|head| Understood {
        status: head.status,
        headers: head.headers,
        data: seen.data,
        trailers: seen.trailers,
        whole: ended.is_ok(),
    });
    (understood, ended.err())
}

/// Where this is stricter than hyper on purpose, or could be.
fn is_stricter(answer: &[u8], why: BadAnswer) -> bool {
    let run = |most: usize, is: fn(&u8) -> bool| answer.split(|byte| !is(byte)).any(|run| run.len() > most);
    match why {
        // hyper takes any number of leading zeros, and any byte in an extension.
        BadAnswer::ChunkSize => run(16, u8::is_ascii_hexdigit) || answer.iter().any(u8::is_ascii_control),
        // hyper takes any u64 but for the last two.
        BadAnswer::Length => run(18, u8::is_ascii_digit),
        // hyper takes an LF alone as the end of a trailer.
        BadAnswer::Trailer => answer.windows(2).any(|pair| pair[0] != b'\r' && pair[1] == b'\n'),
        _ => false,
    }
}

/// Takes out of what hyper read what is left out here on purpose.
fn settle(mut hyper: Understood, ours: &Understood) -> Understood {
    // Lengths that do not count, and repeated ones.
    if hyper.headers.get_all(CONTENT_LENGTH).iter().ne(ours.headers.get_all(CONTENT_LENGTH)) {
        let length = |headers: &HeaderMap| {
            let text = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok().map(str::to_owned));
            text.map(|text| text.split(',').map(|length| length.trim().parse::<u64>()).next_back())
        };
        if ours.headers.contains_key(CONTENT_LENGTH) {
            assert_eq!(length(&hyper.headers), length(&ours.headers));
            let only = ours.headers.get(CONTENT_LENGTH).cloned().unwrap();
            hyper.headers.insert(CONTENT_LENGTH, only);
        } else {
            hyper.headers.remove(CONTENT_LENGTH);
        }
    }
    hyper.trailers = hyper.trailers.map(|trailers| {
        let names = trailers.iter().filter(|(name, _)| may_trail(name));
        names.map(|(name, value)| (name.clone(), value.clone())).collect()
    });
    hyper.trailers = hyper.trailers.filter(|trailers| !trailers.is_empty());
    hyper
}

fn compare(answer: &[u8], method: &Method, step: usize) -> Result<(), TestCaseError> {
    let hyper = hyper_reads(answer, method, step);
    let (ours, why) = we_read(answer, method);
    if let Some(why) = why
        && hyper.as_ref().is_some_and(|hyper| hyper.whole)
    {
        prop_assert!(is_stricter(answer, why), "hyper takes it, and here: {why}");
        return Ok(());
    }
    match (hyper, ours) {
        (Some(mut hyper), Some(ours)) => {
            if why.is_some_and(|why| is_stricter(answer, why)) {
                prop_assert!(hyper.data.starts_with(&ours.data));
                hyper.data.truncate(ours.data.len());
            }
            prop_assert_eq!(settle(hyper, &ours), ours);
        }
        // hyper has already handed the head on when it finds the body wrong.
        (Some(hyper), None) => prop_assert!(why.is_some_and(|why| is_stricter(answer, why)), "{:?}: {:?}", why, hyper),
        (None, ours) => prop_assert!(ours.is_none(), "hyper refuses what is taken here: {:?}", ours),
    }
    Ok(())
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 4096, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn hyper_understands_the_same(answer in answer(), method in method(), step in 1_usize..200) {
        compare(&answer, &method, step)?;
    }

    #[test]
    fn hyper_understands_the_same_of_damaged_answers(answer in mutated(), method in method(), step in 1_usize..200) {
        compare(&answer, &method, step)?;
    }
}

#[test]
fn the_bounds_are_those_of_hyper() {
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".as_slice();
    let extension = |bytes: usize| [chunked, b"1;", &vec![b'a'; bytes], b"\r\nx\r\n0\r\n\r\n"].concat();
    let trailers = |bytes: usize| [chunked, b"0\r\na: ", &vec![b'a'; bytes], b"\r\n\r\n"].concat();
    let fields = |count: usize| [b"HTTP/1.1 204 \r\n".as_slice(), &b"a: b\r\n".repeat(count), b"\r\n"].concat();
    let trailing = |count: usize| [chunked, b"0\r\n", &b"a: b\r\n".repeat(count), b"\r\n"].concat();
    let cases = [
        (extension(16_383), None),
        (extension(16_384), Some(BadAnswer::ChunkExtensions)),
        (trailers(16_383 - 7), None),
        (trailers(16_384 - 7), Some(BadAnswer::TooManyTrailers)),
        (fields(100), None),
        (fields(101), Some(BadAnswer::TooManyFields)),
        (trailing(100), None),
        (trailing(101), Some(BadAnswer::TooManyTrailers)),
    ];
    for (answer, expected) in cases {
        let hyper = hyper_reads(&answer, &Method::GET, usize::MAX).is_some_and(|hyper| hyper.whole);
        let (_, why) = we_read(&answer, &Method::GET);
        assert_eq!((why, hyper), (expected, expected.is_none()), "{} bytes", answer.len());
    }
}

/// The oracle would be silent if it understood nothing.
#[test]
fn hyper_reads_what_is_plain() {
    let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n";
    let understood = hyper_reads(answer, &Method::GET, 7).unwrap();
    assert!(understood.whole);
    assert_eq!(understood.data, b"hello");
    assert_eq!(understood.trailers.unwrap()["x-sum"], "1");
}
