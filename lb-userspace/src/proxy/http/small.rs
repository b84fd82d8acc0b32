//! Writes of a few short pieces, such as a header and a short body, as one: send(2) costs the kernel less than writev(2).
//!
//! In: the pieces. Out: all of them in one, where that is worth its copy.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// Longer ones are not copied.
const MOST: usize = 1024;

/// Writes the pieces in one where they are short.
pub(super) fn one_or_many<S: AsyncWrite>(
    stream: Pin<&mut S>,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let mut copy = [0; MOST];
    match bufs {
        [only] => stream.poll_write(cx, only),
        _ => match joined(bufs, &mut copy) {
            Some(whole) => stream.poll_write(cx, whole),
            None => stream.poll_write_vectored(cx, bufs),
        },
    }
}

/// The pieces one behind the other; `None`: they do not fit.
fn joined<'a>(bufs: &[IoSlice<'_>], copy: &'a mut [u8]) -> Option<&'a [u8]> {
    let length: usize = bufs.iter().map(|buf| buf.len()).sum();
    let whole = copy.get_mut(..length)?;
    let mut rest = &mut *whole;
    for buf in bufs {
        let (place, behind) = rest.split_at_mut(buf.len());
        place.copy_from_slice(buf);
        rest = behind;
    }
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_pieces_become_one_and_long_ones_do_not() {
        let long = [7; MOST];
        for (pieces, is_one) in [
            (&[][..], true),
            (&[&b"head"[..], b"", b"body"], true),
            (&[&long[..], b""], true),
            (&[&long[..], b"b"], false),
        ] {
            let bufs: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            let expected = is_one.then(|| pieces.concat());
            assert_eq!(joined(&bufs, &mut [0; MOST]), expected.as_deref(), "{} pieces", pieces.len());
        }
    }
}
