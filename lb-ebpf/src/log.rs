//! Logs verdicts for debugging. Off by default, and then free: the loader fixes `VERDICT_LOG`
//! before the program is verified, and the verifier removes the branch that cannot be taken.

use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::debug;
use lb_common::datapath::Verdict;

/// Set to 1 by the loader to log every verdict.
#[unsafe(no_mangle)]
static VERDICT_LOG: u8 = 0;

/// One line per frame: length and reason.
#[inline(always)]
pub fn verdict(ctx: &XdpContext, verdict: &Verdict) {
    // SAFETY: a volatile read of a static; the compiler must not know the value that the loader
    // replaces.
    if unsafe { core::ptr::read_volatile(&raw const VERDICT_LOG) } != 0 {
        let bytes = ctx.data_end() - ctx.data();
        debug!(ctx, "{} bytes: reason {}", bytes, verdict.reason as u8);
    }
}
