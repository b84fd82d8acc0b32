//! A frame between `data` and `data_end`, read and written by value.

use core::arch::asm;

use aya_ebpf::helpers::bpf_xdp_adjust_head;
use aya_ebpf::programs::XdpContext;
use lb_common::datapath::{Packet, Truncated};
use lb_common::wire::Words;

/// The frame of an XDP context.
pub struct XdpPacket<'c> {
    ctx: &'c XdpContext,
}

/// Loads a number from `pointer`, at any alignment. Rust has no other way to say this: a load
/// through `*const u32` promises an alignment that IP headers do not have, and an unaligned read
/// is compiled byte by byte. The kernel allows it on every machine with efficient unaligned access.
macro_rules! load {
    ($size:literal, $pointer:expr, $offset:expr) => {{
        let value: u64;
        // SAFETY: the caller proved that the bytes are there; nothing is written.
        unsafe {
            asm!(
                concat!("{value} = *(", $size, " *)({pointer} + {offset})"),
                value = lateout(reg) value,
                pointer = in(reg) $pointer,
                offset = const $offset,
                options(readonly, nostack, preserves_flags),
            );
        }
        value
    }};
}

impl<'c> XdpPacket<'c> {
    /// The frame of `ctx`.
    #[inline(always)]
    pub fn new(ctx: &'c XdpContext) -> Self {
        Self { ctx }
    }

    /// `xdp_md.data`. The field is 32 bits wide and the kernel replaces its load by one of a
    /// pointer; the compiler must treat it as 64 bits, or it cuts the pointer when it spills it.
    #[inline(always)]
    fn start(&self) -> usize {
        load!("u32", self.ctx.ctx, 0) as usize
    }

    /// `xdp_md.data_end`.
    #[inline(always)]
    fn end(&self) -> usize {
        load!("u32", self.ctx.ctx, 4) as usize
    }

    /// Where `bytes` bytes at `at` are, if the frame holds them. The comparison is written the way
    /// the verifier recognises a bounds check.
    #[inline(always)]
    fn at(&self, at: usize, bytes: usize) -> Result<usize, Truncated> {
        let start = self.start() + at;
        if start + bytes > self.end() { Err(Truncated) } else { Ok(start) }
    }
}

impl Packet for XdpPacket<'_> {
    #[inline(always)]
    fn length(&self) -> u32 {
        (self.end() - self.start()) as u32
    }

    #[inline(always)]
    fn context(&self) -> usize {
        self.ctx.ctx as usize
    }

    #[inline(always)]
    fn ingress(&self) -> u32 {
        self.ctx.ingress_ifindex() as u32
    }

    #[inline(always)]
    fn load<const N: usize>(&self, at: usize) -> Result<Words<N>, Truncated> {
        let start = self.at(at, 4 * N)?;
        let mut words = [0; N];
        let mut i = 0;
        while i < N {
            words[i] = load!("u32", start + 4 * i, 0) as u32;
            i += 1;
        }
        Ok(Words(words))
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, at: usize, words: Words<N>) -> Result<(), Truncated> {
        let start = self.at(at, 4 * N)?;
        let mut i = 0;
        while i < N {
            // SAFETY: `at` proved that the bytes are there; no reference into the frame is alive.
            // As in `load`, the alignment is not known.
            unsafe {
                asm!(
                    "*(u32 *)({pointer} + 0) = {value}",
                    pointer = in(reg) start + 4 * i,
                    value = in(reg) u64::from(words.0[i]),
                    options(nostack, preserves_flags),
                );
            }
            i += 1;
        }
        Ok(())
    }

    #[inline(always)]
    fn load_be16(&self, at: usize) -> Result<u16, Truncated> {
        let start = self.at(at, 2)?;
        Ok((load!("u16", start, 0) as u16).to_be())
    }

    #[inline(always)]
    fn move_start(&mut self, bytes: i32) -> Result<(), Truncated> {
        // SAFETY: the helper checks the distance itself; pointers into the frame are made anew
        // from the context at every access.
        match unsafe { bpf_xdp_adjust_head(self.ctx.ctx, bytes) } {
            0 => Ok(()),
            _ => Err(Truncated),
        }
    }
}
