//! A frame between `data` and `data_end`, read and written by value.

use aya_ebpf::helpers::bpf_xdp_adjust_head;
use aya_ebpf::programs::XdpContext;
use lb_common::datapath::{Packet, Truncated};

/// The frame of an XDP context.
pub struct XdpPacket<'c> {
    ctx: &'c XdpContext,
}

impl<'c> XdpPacket<'c> {
    /// The frame of `ctx`.
    #[inline(always)]
    pub fn new(ctx: &'c XdpContext) -> Self {
        Self { ctx }
    }

    /// Where `N` bytes at `at` are, if the frame holds them. The comparison is written the way the
    /// verifier recognises a bounds check.
    #[inline(always)]
    fn at<const N: usize>(&self, at: usize) -> Result<*mut u8, Truncated> {
        let start = self.ctx.data() + at;
        if start + N > self.ctx.data_end() { Err(Truncated) } else { Ok(start as *mut u8) }
    }
}

impl Packet for XdpPacket<'_> {
    #[inline(always)]
    fn length(&self) -> u32 {
        (self.ctx.data_end() - self.ctx.data()) as u32
    }

    #[inline(always)]
    fn ingress(&self) -> u32 {
        self.ctx.ingress_ifindex() as u32
    }

    #[inline(always)]
    fn load<const N: usize>(&self, at: usize) -> Result<[u8; N], Truncated> {
        let start = self.at::<N>(at)?;
        let mut bytes = [0; N];
        let mut i = 0;
        while i + 2 <= N {
            // SAFETY: `at` proved that N bytes from `start` lie before data_end. The frame begins
            // at an even address and every offset is even, so 16 bits are aligned.
            let pair = unsafe { start.add(i).cast::<u16>().read() }.to_ne_bytes();
            bytes[i] = pair[0];
            bytes[i + 1] = pair[1];
            i += 2;
        }
        Ok(bytes)
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Result<(), Truncated> {
        let start = self.at::<N>(at)?;
        let mut i = 0;
        while i + 2 <= N {
            // SAFETY: as in `load`; no reference into the frame is alive.
            unsafe { start.add(i).cast::<u16>().write(u16::from_ne_bytes([bytes[i], bytes[i + 1]])) };
            i += 2;
        }
        Ok(())
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
