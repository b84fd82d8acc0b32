//! Messages of HTTP/1.1 as tests read them: requests at real servers, answers at clients.

use std::io::{BufRead, Read as _};

/// A request or an answer.
#[derive(Debug, Default)]
pub(super) struct Message {
    /// Up to the empty line, as it came.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    /// After the last chunk.
    pub(super) trailers: String,
    /// All of it has come.
    pub(super) is_whole: bool,
}

impl Message {
    /// `None`: the other side has closed before it.
    pub(super) fn read(reader: &mut impl BufRead, has_body: bool) -> Option<Self> {
        let mut message = Self::head(reader)?;
        if has_body && message.is_whole {
            message.is_whole = message.read_body(reader).is_some();
        }
        Some(message)
    }

    /// Without its body.
    pub(super) fn head(reader: &mut impl BufRead) -> Option<Self> {
        let mut message = Self::default();
        message.is_whole = lines(reader, &mut message.head).is_some();
        (!message.head.is_empty()).then_some(message)
    }

    pub(super) fn has(&self, line: &str) -> bool {
        self.head.lines().any(|of| of.eq_ignore_ascii_case(line))
    }

    /// The value of a field.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(of, _)| of.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(super) fn status(&self) -> u16 {
        self.head.get(9..12).and_then(|status| status.parse().ok()).expect("a status")
    }

    fn read_body(&mut self, reader: &mut impl BufRead) -> Option<()> {
        if !self.has("transfer-encoding: chunked") {
            let length = self.field("content-length").map_or(0, |length| length.parse().expect("a length"));
            return self.take(reader, length);
        }
        loop {
            let mut size = String::new();
            line(reader, &mut size)?;
            match u64::from_str_radix(size.trim_end(), 16).expect("a size") {
                0 => return lines(reader, &mut self.trailers),
                size => self.take(reader, size)?,
            }
            let mut end = String::new();
            line(reader, &mut end)?;
            assert_eq!(end, "\r\n");
        }
    }

    fn take(&mut self, reader: &mut impl BufRead, length: u64) -> Option<()> {
        let read = reader.take(length).read_to_end(&mut self.body);
        read.is_ok_and(|read| read as u64 == length).then_some(())
    }
}

/// Lines up to an empty one.
fn lines(reader: &mut impl BufRead, text: &mut String) -> Option<()> {
    loop {
        let start = text.len();
        line(reader, text)?;
        if &text[start..] == "\r\n" {
            text.truncate(start);
            return Some(());
        }
    }
}

fn line(reader: &mut impl BufRead, text: &mut String) -> Option<()> {
    reader.read_line(text).ok().filter(|_| text.ends_with('\n')).map(drop)
}
