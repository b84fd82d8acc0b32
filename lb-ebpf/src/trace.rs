//! Tells the daemon of a client's frames: what came, the verdict, what left. Off unless a trace runs, and
//! then free as in `log`: the loader fixes `TRACE`, and nothing that is behind it remains in the program.
//!
//! The work is in global functions and in memory of the CPU's own, so that the datapath's stack and
//! what the verifier knows of it stay as they are. One run of the program ends before the next one begins
//! on a CPU, so there is one frame at a time.

use core::hint::black_box;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::btf_maps::{Array, PerCpuArray, RingBuf};
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::XdpContext;
use lb_common::abi::{ServerId, TRACED_BYTES, TRACED_PER_TICK, TraceAccount, TraceAction, TraceEvent, TraceFilter};
use lb_common::datapath::{Action, Tables, Verdict};
use lb_common::trace::concerns;

use crate::tables::{Maps, element};

/// Set to 1 by the loader when a trace begins.
#[unsafe(no_mangle)]
static TRACE: u8 = 0;

/// A page; the loader makes it larger when a trace begins. Without a type of its entries, which libbpf
/// refuses in a ring buffer.
#[btf_map(name = "trace")]
static EVENTS: RingBuf<(), 4096> = RingBuf::new();
#[btf_map(name = "trace_filter")]
static FILTER: Array<TraceFilter, 1> = Array::new();
#[btf_map(name = "trace_frame")]
static FRAME: PerCpuArray<TraceEvent, 1> = PerCpuArray::new();
#[btf_map(name = "trace_account")]
static ACCOUNT: PerCpuArray<TraceAccount, 1> = PerCpuArray::new();

#[inline(always)]
fn is_on() -> bool {
    // SAFETY: a volatile read of a static that the loader replaces; see `log`.
    (unsafe { core::ptr::read_volatile(&raw const TRACE) }) != 0
}

/// A frame comes.
#[inline(always)]
pub fn begin(ctx: &XdpContext) {
    if is_on() {
        lb_trace_begin(ctx.ctx);
    }
}

/// It is counted for this server.
#[inline(always)]
pub fn server(server: ServerId) {
    if is_on() {
        lb_trace_server(server);
    }
}

/// It has its verdict.
#[inline(always)]
pub fn end(ctx: &XdpContext, verdict: &Verdict) {
    if is_on() {
        let (action, egress) = match verdict.action {
            Action::Pass => (TraceAction::Pass, 0),
            Action::Drop => (TraceAction::Drop, 0),
            Action::Transmit => (TraceAction::Forward, ctx.ingress_ifindex() as u32),
            Action::Redirect(ifindex) => (TraceAction::Forward, ifindex),
        };
        lb_trace_end(ctx.ctx, action as u32, verdict.reason as u32, egress);
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_trace_begin(ctx: *mut xdp_md) -> u32 {
    let Some(event) = element(FRAME.get_ptr_mut(0)) else { return 1 };
    // SAFETY: the helper takes nothing and returns a number.
    event.at_ns = unsafe { bpf_ktime_get_ns() };
    event.server = 0;
    event.length = copy(ctx, &mut event.before);
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_trace_server(server: u32) -> u32 {
    let Some(event) = element(FRAME.get_ptr_mut(0)) else { return 1 };
    event.server = server;
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_trace_end(ctx: *mut xdp_md, action: u32, reason: u32, egress: u32) -> u32 {
    let Some(event) = element(FRAME.get_ptr_mut(0)) else { return 1 };
    let leaves = action == TraceAction::Forward as u32;
    event.length_after = if leaves { copy(ctx, &mut event.after) } else { 0 };
    if !is_traced(event) {
        return 0;
    }
    // SAFETY: the context of this run; the field is a number.
    event.ingress = unsafe { (*ctx).ingress_ifindex };
    event.egress = egress;
    event.action = action as u8;
    event.reason = reason as u8;
    let Some(account) = element(ACCOUNT.get_ptr_mut(0)) else { return 1 };
    let tick = Maps.now();
    if account.tick != tick {
        account.tick = tick;
        account.told = 0;
    }
    if account.told >= TRACED_PER_TICK || EVENTS.output_untyped::<TraceEvent>(&*event, 0).is_err() {
        account.missed += 1;
    } else {
        account.told += 1;
    }
    0
}

#[inline(always)]
fn is_traced(event: &TraceEvent) -> bool {
    let Some(filter) = FILTER.get(0) else { return false };
    concerns(&event.before, event.length as usize, filter)
        || concerns(&event.after, event.length_after as usize, filter)
}

/// Copies the beginning of the frame. Returns the length of the frame.
#[inline(always)]
fn copy(ctx: *mut xdp_md, bytes: &mut [u8; TRACED_BYTES]) -> u32 {
    const MOST: u32 = TRACED_BYTES as u32;
    // SAFETY: the helper takes the context of this run and returns a number.
    let length = unsafe { bpf_xdp_get_buff_len(ctx) } as u32;
    let kept = if length > MOST { MOST } else { length };
    // From 1 to the most, in a way that the verifier follows; the compiler must not know that it is so already.
    let kept = (black_box(kept).wrapping_sub(1) & (MOST - 1)) + 1;
    // SAFETY: the helper checks the frame, and the verifier that the memory has room for as many bytes.
    let copied = unsafe { bpf_xdp_load_bytes(ctx, 0, bytes.as_mut_ptr().cast(), kept) };
    if copied == 0 { length } else { 0 }
}
