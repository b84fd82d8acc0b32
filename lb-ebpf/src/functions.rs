//! Parts of the datapath as global functions: the verifier judges each once, for any arguments, and not
//! again for every way that leads there (Documentation/bpf/verifier.rst, "global functions"). Each gives
//! its stack back before the next is called.
//!
//! They take and return numbers, so small values cross in one (`to_bits`, `from_bits`); what is larger
//! waits in the CPU's [`datapath::Job`]. The safe functions beside them are what the rest of the
//! program calls.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use lb_common::abi::{FlowKey, ServerId};
use lb_common::datapath::{self, Binding, Next, Reason, Tags, Verdict};

use crate::packet::XdpPacket;
use crate::tables::Maps;

/// Not the number of a reason.
const FINE: u32 = 256;

/// [`datapath::decide`].
#[inline(always)]
pub fn decide(context: usize) -> Next {
    Next::from_bits(lb_decide(context as *mut xdp_md))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_decide(ctx: *mut xdp_md) -> u64 {
    let ctx = XdpContext::new(ctx);
    datapath::decide(&mut XdpPacket::new(&ctx), &Maps).to_bits()
}

/// [`datapath::open`].
#[inline(always)]
pub fn open(context: usize) -> Next {
    Next::from_bits(lb_open(context as *mut xdp_md))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_open(ctx: *mut xdp_md) -> u64 {
    let ctx = XdpContext::new(ctx);
    datapath::open(&mut XdpPacket::new(&ctx), &Maps).to_bits()
}

/// [`datapath::bind`].
#[inline(always)]
pub fn bind(context: usize) -> Result<(), Reason> {
    match lb_bind(context as *mut xdp_md) {
        FINE => Ok(()),
        reason => Err(Reason::from_number(reason)),
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_bind(ctx: *mut xdp_md) -> u32 {
    let ctx = XdpContext::new(ctx);
    match datapath::bind(&XdpPacket::new(&ctx), &Maps) {
        Ok(()) => FINE,
        Err(reason) => reason as u32,
    }
}

/// [`datapath::outbound`].
#[inline(always)]
pub fn outbound(context: usize) -> Verdict {
    Verdict::from_bits(lb_outbound(context as *mut xdp_md))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_outbound(ctx: *mut xdp_md) -> u64 {
    let ctx = XdpContext::new(ctx);
    datapath::outbound(&mut XdpPacket::new(&ctx), &Maps).to_bits()
}

/// [`datapath::outbound_error`].
#[inline(always)]
pub fn outbound_error(context: usize) -> Verdict {
    Verdict::from_bits(lb_outbound_error(context as *mut xdp_md))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_outbound_error(ctx: *mut xdp_md) -> u64 {
    let ctx = XdpContext::new(ctx);
    datapath::outbound_error(&mut XdpPacket::new(&ctx), &Maps).to_bits()
}

/// [`datapath::restore`].
#[inline(always)]
pub fn restore(context: usize) -> Verdict {
    Verdict::from_bits(lb_restore(context as *mut xdp_md))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_restore(ctx: *mut xdp_md) -> u64 {
    let ctx = XdpContext::new(ctx);
    datapath::restore(&mut XdpPacket::new(&ctx), &Maps).to_bits()
}

/// [`datapath::restore_error`].
#[inline(always)]
pub fn restore_error(context: usize) -> Verdict {
    Verdict::from_bits(lb_restore_error(context as *mut xdp_md))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_restore_error(ctx: *mut xdp_md) -> u64 {
    let ctx = XdpContext::new(ctx);
    datapath::restore_error(&mut XdpPacket::new(&ctx), &Maps).to_bits()
}

/// [`datapath::follow`].
#[inline(always)]
pub fn follow(context: usize, key: &FlowKey, to: (ServerId, Binding), tags: Tags, ended: u32) -> u32 {
    let (server, binding) = to;
    let server = u64::from(server) | u64::from(ended) << 32;
    lb_follow(context as *mut xdp_md, key, server, binding.to_bits(), tags.to_bits())
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_follow(ctx: *mut xdp_md, key: *const FlowKey, server: u64, binding: u32, tags: u64) -> u32 {
    // SAFETY: the verifier proves that it points to a whole object of its type, or is null.
    let Some(key) = (unsafe { key.as_ref() }) else { return 0 };
    let ctx = XdpContext::new(ctx);
    let to = (server as u32, Binding::from_bits(binding));
    datapath::follow(&XdpPacket::new(&ctx), &Maps, key, to, Tags::from_bits(tags), (server >> 32) as u32)
}
