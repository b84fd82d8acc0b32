//! What a trace is asked for, and what it tells of a frame. These tables belong to one loaded program and
//! are not pinned: no other version ever finds them.

use super::{Address, Plain, ServerId, Ticks};

/// Bytes of a frame that a trace looks at: two tags, the longest IPv4 header, and an ICMP error as far as the
/// ports it quotes. A power of two, because the kernel program masks with it.
pub const TRACED_BYTES: usize = 128;

/// Frames that one CPU tells of within a tick; a client that floods must not take the machine's time.
pub const TRACED_PER_TICK: u32 = 2000;

/// Bytes of the ring buffer while a trace runs, a power of two: some 3,500 frames.
pub const TRACE_RING_BYTES: u32 = 1 << 20;

/// Whose frames are traced.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceFilter {
    /// The client, under the mask.
    pub client: Address,
    /// The bits of an address that count. All zero: everybody.
    pub mask: Address,
}

/// A frame and its verdict.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// When it came: nanoseconds of CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// The interface that received it.
    pub ingress: u32,
    /// The interface by which it leaves; 0: it does not.
    pub egress: u32,
    /// The server that it was counted for; 0: none.
    pub server: ServerId,
    /// Bytes of the frame as it came.
    pub length: u32,
    /// Bytes of the frame as it leaves; 0: it does not.
    pub length_after: u32,
    /// A [`TraceAction`].
    pub action: u8,
    /// A [`crate::datapath::Reason`].
    pub reason: u8,
    /// Zero.
    pub spare: u16,
    /// Its first bytes as it came; undefined beyond its length.
    pub before: [u8; TRACED_BYTES],
    /// Its first bytes as it leaves; undefined beyond that length.
    pub after: [u8; TRACED_BYTES],
}

/// What became of a frame.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceAction {
    /// The kernel's network stack got it.
    Pass = 0,
    /// It ended here.
    Drop = 1,
    /// It left.
    Forward = 2,
}

impl TraceAction {
    /// Anything unknown is a frame that went nowhere.
    #[inline(always)]
    #[must_use]
    pub const fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Pass,
            2 => Self::Forward,
            _ => Self::Drop,
        }
    }
}

/// What one CPU has told, and what it has not.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceAccount {
    /// Frames that were the client's and are not in the ring buffer.
    pub missed: u64,
    /// The tick that `told` is of.
    pub tick: Ticks,
    /// Frames within it.
    pub told: u32,
}

impl Default for TraceEvent {
    fn default() -> Self {
        Self {
            at_ns: 0,
            ingress: 0,
            egress: 0,
            server: 0,
            length: 0,
            length_after: 0,
            action: 0,
            reason: 0,
            spare: 0,
            before: [0; TRACED_BYTES],
            after: [0; TRACED_BYTES],
        }
    }
}

const _: () = {
    assert!(TRACED_BYTES.is_power_of_two());
    assert!(size_of::<TraceFilter>() == 32);
    assert!(size_of::<TraceEvent>() == 8 + 5 * 4 + 1 + 1 + 2 + 2 * TRACED_BYTES);
    assert!(size_of::<TraceAccount>() == 16);
};

impl Plain for TraceFilter {}
impl Plain for TraceEvent {}
impl Plain for TraceAccount {}
