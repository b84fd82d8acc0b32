//! The program that says what the datapath would do. It is run over packets that the daemon makes
//! up, reads the tables of the datapath and changes none, and is attached nowhere.

use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::XdpContext;
use lb_common::abi::{Explanation, FlowKey, ServiceId};
use lb_common::datapath::{Arrival, Explaining, Notes, Peek, Placement, place};

use crate::packet::XdpPacket;
use crate::tables::Maps;

/// What the last run has found. The daemon clears it before each.
#[btf_map(name = "explanation")]
static EXPLANATION: Array<Explanation, 1> = Array::new();

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
}

/// As `lb_place`, for who explains.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_place_explained(key: *const FlowKey, placement: *mut Placement, arrival: u32) -> u32 {
    // SAFETY: the verifier proves that both point to whole objects of their types, or are null.
    let (Some(key), Some(placement)) = (unsafe { key.as_ref() }, unsafe { placement.as_mut() }) else { return 1 };
    let Some(notes) = Page::open() else { return 1 };
    *placement = place(&Explaining::new(&Maps, &notes), key, Arrival::from_bits(arrival));
    0
}

impl Peek for Maps {
    #[inline(always)]
    fn turn(&self, service: ServiceId) -> u32 {
        Self::turn_of(service)
    }

    #[inline(always)]
    fn place_explained<N: Notes>(_explaining: &Explaining<'_, Self, N>, key: &FlowKey, arrival: Arrival) -> Placement {
        let mut placement = Placement::NOWHERE;
        lb_place_explained(key, &mut placement, arrival.to_bits());
        placement
    }
}
