//! A frame in a vector.

use crate::datapath::{Packet, Truncated};
use crate::wire::Words;

/// Bytes in front of a frame that [`Packet::move_start`] may claim; as in the kernel
/// (`XDP_PACKET_HEADROOM`, less the 40 bytes that the kernel keeps there for `struct xdp_frame`).
const HEADROOM: usize = 256 - 40;

/// A frame in a vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemPacket {
    buffer: Vec<u8>,
    start: usize,
    ingress: u32,
}

impl MemPacket {
    /// A frame that came in by interface `ingress`.
    #[must_use]
    pub fn new(frame: &[u8], ingress: u32) -> Self {
        Self::with_headroom(frame, ingress, HEADROOM)
    }

    /// The same with `headroom` bytes in front of it.
    #[must_use]
    pub fn with_headroom(frame: &[u8], ingress: u32, headroom: usize) -> Self {
        let mut buffer = vec![0; headroom];
        buffer.extend_from_slice(frame);
        Self { buffer, start: headroom, ingress }
    }

    /// The frame as it is now.
    #[must_use]
    pub fn frame(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

impl Packet for MemPacket {
    fn length(&self) -> u32 {
        u32::try_from(self.frame().len()).unwrap_or(u32::MAX)
    }

    fn ingress(&self) -> u32 {
        self.ingress
    }

    fn load<const N: usize>(&self, at: usize) -> Result<Words<N>, Truncated> {
        let bytes = self.frame().get(at..at + 4 * N).ok_or(Truncated)?;
        let mut words = [0; N];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *word = u32::from_ne_bytes(*bytes);
        }
        Ok(Words(words))
    }

    fn store<const N: usize>(&mut self, at: usize, words: Words<N>) -> Result<(), Truncated> {
        let at = self.start + at;
        let bytes = self.buffer.get_mut(at..at + 4 * N).ok_or(Truncated)?;
        bytes.copy_from_slice(words.0.map(u32::to_ne_bytes).as_flattened());
        Ok(())
    }

    fn load_be16(&self, at: usize) -> Result<u16, Truncated> {
        let bytes = self.frame().get(at..at + 2).ok_or(Truncated)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn move_start(&mut self, bytes: i32) -> Result<(), Truncated> {
        let start = isize::try_from(self.start).ok().zip(isize::try_from(bytes).ok()).map(|(s, b)| s + b);
        let start = start.and_then(|s| usize::try_from(s).ok()).ok_or(Truncated)?;
        // As bpf_xdp_adjust_head: an Ethernet header must remain.
        if start + crate::wire::ethernet::HEADER > self.buffer.len() {
            return Err(Truncated);
        }
        self.start = start;
        Ok(())
    }
}
