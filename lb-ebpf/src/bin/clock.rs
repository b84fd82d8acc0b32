//! Tells the kernel's jiffies, and the time at which they were read: `lbd` runs this once per sweep by
//! BPF_PROG_TEST_RUN, because the times in the tables count them and no system call does.
#![no_std]
#![no_main]

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_PASS};
use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

/// Writes the jiffies and the nanoseconds of CLOCK_MONOTONIC, 64 bits each in host order, over the first
/// 16 bytes of the frame. Both are read here, where nothing comes in between: a process that reads them
/// one after the other may be kept waiting for many jiffies.
#[xdp]
pub fn lb_clock(ctx: XdpContext) -> u32 {
    let start = ctx.data();
    if start + 16 > ctx.data_end() {
        return XDP_ABORTED;
    }
    // SAFETY: the helper takes nothing and returns a number.
    let jiffies = unsafe { bpf_jiffies64() };
    // SAFETY: as above.
    let nanoseconds = unsafe { bpf_ktime_get_ns() };
    // SAFETY: the comparison above proved that 16 bytes are there; the frame begins aligned.
    unsafe { (start as *mut [u64; 2]).write([jiffies, nanoseconds]) };
    XDP_PASS
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

// As in the main program.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
