//! The XDP program. It wraps what the kernel hands it, asks the datapath, and translates the
//! verdict; every decision is in `lb-common`.
#![no_std]
#![no_main]
#![expect(internal_features, reason = "atomic additions on maps have no stable name on the BPF target")]
#![feature(asm_experimental_arch, core_intrinsics)]

mod functions;
mod log;
mod packet;
mod tables;
mod trace;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use lb_common::datapath::{Action, forward};

use crate::packet::XdpPacket;
use crate::tables::Maps;

/// The program that `lbd` attaches to every interface of its configuration.
#[xdp]
#[inline(always)]
pub fn lb_forward(ctx: XdpContext) -> u32 {
    let mut packet = XdpPacket::new(&ctx);
    trace::begin(&ctx);
    let verdict = forward(&mut packet, &Maps);
    log::verdict(&ctx, &verdict);
    trace::end(&ctx, &verdict);
    match verdict.action {
        Action::Pass => XDP_PASS,
        Action::Drop => XDP_DROP,
        Action::Transmit => XDP_TX,
        // SAFETY: the helper takes two numbers and touches no memory of the program.
        Action::Redirect(ifindex) => (unsafe { bpf_redirect(ifindex, 0) }) as u32,
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

// The kernel lends some helpers to GPL-compatible programs only; bpf_probe_read of aya-log is one.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
