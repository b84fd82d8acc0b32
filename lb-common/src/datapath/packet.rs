//! The seam between the datapath and the bytes of a frame.

use crate::wire::Words;

/// The frame is shorter than an access needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated;

/// A frame, from the destination MAC address to its last byte.
///
/// Values go in and out: no reference into the frame outlives a call. Offsets count bytes from
/// the start of the frame.
pub trait Packet {
    /// Bytes in the frame.
    fn length(&self) -> u32;

    /// What the kernel program hands to functions that are judged by themselves: the address of the
    /// frame's context. 0 elsewhere.
    fn context(&self) -> usize {
        0
    }

    /// Number of the interface that received the frame.
    fn ingress(&self) -> u32;

    /// `4 * N` bytes at `at`.
    ///
    /// # Errors
    /// [`Truncated`] when the frame ends before `at + 4 * N`.
    fn load<const N: usize>(&self, at: usize) -> Result<Words<N>, Truncated>;

    /// Replaces `4 * N` bytes at `at`.
    ///
    /// # Errors
    /// [`Truncated`] when the frame ends before `at + 4 * N`; then nothing has changed.
    fn store<const N: usize>(&mut self, at: usize, words: Words<N>) -> Result<(), Truncated>;

    /// The 16-bit field at `at`, in host order.
    ///
    /// # Errors
    /// [`Truncated`] when the frame ends before `at + 2`.
    fn load_be16(&self, at: usize) -> Result<u16, Truncated>;

    /// Moves the start of the frame by `bytes`: forward removes bytes in front, backward adds some
    /// whose content is undefined.
    ///
    /// # Errors
    /// [`Truncated`] when there is no room; then nothing has changed.
    fn move_start(&mut self, bytes: i32) -> Result<(), Truncated>;
}
