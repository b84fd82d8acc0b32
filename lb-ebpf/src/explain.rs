//! The program that says what the datapath would do. It is run over packets that the daemon makes
//! up, reads the tables of the datapath and changes none, and is attached nowhere.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::XdpContext;
use lb_common::abi::{Explanation, ServiceId};
use lb_common::datapath::{Explaining, Job, Next, Notes, Packet, Part, Peek, Reason, Verdict};

use crate::packet::XdpPacket;
use crate::tables::Maps;

/// What the last run has found. The daemon clears it before each.
#[btf_map(name = "explanation")]
static EXPLANATION: Array<Explanation, 1> = Array::new();

/// The job of the packet that is explained: not the CPU's, which a packet that comes meanwhile may need.
#[btf_map(name = "explained_job")]
static JOB: Array<Job, 1> = Array::new();

/// Decides about the frame of `ctx` and notes what it found.
#[inline(always)]
pub fn explain(ctx: &XdpContext) {
    let Some(notes) = Page::open() else { return };
    let mut packet = XdpPacket::new(ctx);
    Explaining::new(&Maps, &notes).explain(&mut packet);
}

/// The only entry of `explanation`.
struct Page(*mut Explanation);

impl Page {
    #[inline(always)]
    fn open() -> Option<Self> {
        EXPLANATION.get_ptr_mut(0).map(Self)
    }
}

impl Notes for Page {
    #[inline(always)]
    fn note(&self, write: impl FnOnce(&mut Explanation)) {
        // SAFETY: a valid, aligned element of an array map, which is never freed; no other reference
        // to it exists in this run, and the daemon asks for one run at a time.
        write(unsafe { &mut *self.0 });
    }

    #[inline(always)]
    fn job<R>(&self, work: impl FnOnce(&mut Job) -> R) -> Option<R> {
        // SAFETY: as in `note`.
        JOB.get_ptr_mut(0).map(|job| work(unsafe { &mut *job }))
    }
}

/// The parts as global functions, as in `functions`.
macro_rules! parts {
    ($($name:ident => $part:ident;)+) => {
        $(
            #[unsafe(no_mangle)]
            #[inline(never)]
            extern "C" fn $name(ctx: *mut xdp_md) -> u64 {
                let ctx = XdpContext::new(ctx);
                let Some(notes) = Page::open() else { return Next::End(UNEXPLAINED).to_bits() };
                Part::$part.run(&Explaining::new(&Maps, &notes), &mut XdpPacket::new(&ctx)).to_bits()
            }
        )+

        #[inline(always)]
        fn run(part: Part, ctx: *mut xdp_md) -> u64 {
            match part {
                $(Part::$part => $name(ctx),)+
            }
        }
    };
}

/// There always is a page.
const UNEXPLAINED: Verdict = Verdict::pass(Reason::NotIp);

parts! {
    lb_explain_decide => Decide;
    lb_explain_open => Open;
    lb_explain_bind => Bind;
    lb_explain_outbound => Outbound;
    lb_explain_outbound_error => OutboundError;
    lb_explain_restore => Restore;
    lb_explain_restore_error => RestoreError;
}

impl Peek for Maps {
    #[inline(always)]
    fn turn(&self, service: ServiceId) -> u32 {
        Self::turn_of(service)
    }

    #[inline(always)]
    fn part<P: Packet, N: Notes>(_explaining: &Explaining<'_, Self, N>, part: Part, packet: &mut P) -> Next {
        Next::from_bits(run(part, packet.context() as *mut xdp_md))
    }
}
