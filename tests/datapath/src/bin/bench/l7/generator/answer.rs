//! Reads answers of HTTP/1.1, as far as the bench's own server gives them.

use std::io::{Read, Write};

use anyhow::{Context as _, Result, bail, ensure};

/// What is asked.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n";

/// Asks, and waits for the whole answer.
pub(super) fn ask(stream: &mut (impl Read + Write)) -> Result<()> {
    send(stream)?;
    receive(stream)
}

pub(super) fn send(stream: &mut impl Write) -> Result<()> {
    Ok(stream.write_all(REQUEST)?)
}

/// Waits for the whole answer.
pub(super) fn receive(stream: &mut impl Read) -> Result<()> {
    let mut buffer = [0; 2048];
    let mut there = 0;
    loop {
        let room = buffer.get_mut(there..).unwrap_or_default();
        ensure!(!room.is_empty(), "an answer is too long");
        match stream.read(room)? {
            0 => bail!("the connection was closed"),
            length => there += length,
        }
        if length(buffer.get(..there).unwrap_or_default())?.is_some_and(|length| length <= there) {
            return Ok(());
        }
    }
}

/// How long the answer is that begins like this; `None`: its head is not complete.
fn length(begin: &[u8]) -> Result<Option<usize>> {
    let Some(end) = begin.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(begin.get(..end).unwrap_or_default())?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "an answer is not 200: {head}");
    let field = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim())
    });
    let body: usize = field.context("an answer has no Content-Length")?.parse()?;
    Ok(Some(end + 4 + body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_an_answer_is_its_head_and_its_body() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
        assert_eq!(length(whole).expect("well"), Some(whole.len()));
        assert_eq!(length(&whole[..20]).expect("well so far"), None);
        length(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").expect_err("not what was asked for");
    }
}
