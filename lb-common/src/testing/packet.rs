//! A frame in a vector.

use crate::datapath::{Packet, Truncated};

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
        let mut buffer = vec![0; HEADROOM];
        buffer.extend_from_slice(frame);
        Self { buffer, start: HEADROOM, ingress }
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

    fn load<const N: usize>(&self, at: usize) -> Result<[u8; N], Truncated> {
        self.frame().get(at..at + N).and_then(|bytes| bytes.try_into().ok()).ok_or(Truncated)
    }

    fn store<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Result<(), Truncated> {
        let start = self.start;
        self.buffer.get_mut(start + at..start + at + N).ok_or(Truncated)?.copy_from_slice(&bytes);
        Ok(())
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
