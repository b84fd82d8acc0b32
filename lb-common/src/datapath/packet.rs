//! The seam between the datapath and the bytes of a frame.

/// The frame is shorter than an access needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated;

/// A frame, from the destination MAC address to its last byte.
///
/// Values go in and out: no reference into the frame outlives a call. Offsets count bytes from
/// the start of the frame; sizes and offsets are even, so that an implementation may move 16 bits
/// at a time (Ethernet, IP and TCP headers are all of even length, RFC 791 §3.1).
pub trait Packet {
    /// Bytes in the frame.
    fn length(&self) -> u32;

    /// Number of the interface that received the frame.
    fn ingress(&self) -> u32;

    /// `N` bytes at `at`.
    ///
    /// # Errors
    /// [`Truncated`] when the frame ends before `at + N`.
    fn load<const N: usize>(&self, at: usize) -> Result<[u8; N], Truncated>;

    /// Replaces `N` bytes at `at`.
    ///
    /// # Errors
    /// [`Truncated`] when the frame ends before `at + N`; then nothing has changed.
    fn store<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Result<(), Truncated>;

    /// Moves the start of the frame by `bytes`: forward removes bytes in front, backward adds some
    /// whose content is undefined.
    ///
    /// # Errors
    /// [`Truncated`] when there is no room; then nothing has changed.
    fn move_start(&mut self, bytes: i32) -> Result<(), Truncated>;
}
