//! What the datapath is measured against, and what makes it meet many flows: programs that
//! `cargo xtask bench` loads beside it, by themselves or on real links. Never installed.
#![no_std]
#![no_main]

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::btf_maps::{Array, LruHashMap, PerCpuArray, ProgramArray};
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use lb_common::abi::{Address, Flow, FlowKey};

/// A table as large as the flow table.
#[btf_map(name = "million")]
static MILLION: LruHashMap<FlowKey, Flow, { 1 << 20 }> = LruHashMap::new();

/// A table as large as that of the pending flows.
#[btf_map(name = "pending")]
static PENDING: LruHashMap<FlowKey, Flow, { 1 << 17 }> = LruHashMap::new();

/// The program that `vary` hands the frame to, at 0.
#[btf_map(name = "next")]
static NEXT: ProgramArray<1> = ProgramArray::new();

/// What `vary` plays.
#[repr(C)]
#[derive(Clone, Copy)]
struct Turns {
    /// How many clients, less one: a power of two less one.
    mask: u64,
    /// Frames made.
    turn: u64,
    /// How each frame begins: a program that translates leaves another one behind.
    head: [u64; HEAD / 8],
}

/// The turns that `vary` takes.
#[btf_map(name = "clients")]
static CLIENTS: Array<Turns, 1> = Array::new();

/// Bytes of a frame that `vary` writes anew: as far as the ports, and a few more.
const HEAD: usize = 40;

/// What `play` sends, and where.
#[repr(C)]
#[derive(Clone, Copy)]
struct Order {
    /// The frame of the client 0.0.0.0 with port 0, its checksums right.
    frame: [u64; PLAYED / 8],
    /// How many clients take turns.
    clients: u32,
    /// From one client to the next; prime to `clients`.
    stride: u32,
    /// Frames sent.
    turn: u64,
    /// The interface to send on.
    ifindex: u32,
    /// Zero.
    spare: u32,
}

/// The order that `play` follows.
#[btf_map(name = "order")]
static ORDER: Array<Order, 1> = Array::new();

/// Frames that `sink` got, by the last three bits of their destination MAC address.
#[btf_map(name = "arrived")]
static ARRIVED: PerCpuArray<u64, 8> = PerCpuArray::new();

/// Whether `sink` answers: 0 or 1.
#[btf_map(name = "answer")]
static ANSWER: Array<u32, 1> = Array::new();

/// Length of a frame of `play`.
const PLAYED: usize = 64;

/// Where the checksums of IPv4, UDP and TCP are in a frame of `play`.
const IP_CHECKSUM: usize = 14 + 10;
const UDP_CHECKSUM: usize = 14 + 20 + 6;
const TCP_CHECKSUM: usize = 14 + 20 + 16;

/// Ethernet, IPv4 and TCP or UDP, untagged and without options: where ports end.
const PORTS_END: usize = 14 + 20 + 4;

#[inline(always)]
fn frame(ctx: &XdpContext) -> Option<*mut u16> {
    let start = ctx.data();
    if start + PORTS_END > ctx.data_end() { None } else { Some(start as *mut u16) }
}

/// 16 bits of the frame; `at` counts bytes and is even.
#[inline(always)]
fn half(frame: *mut u16, at: usize) -> u16 {
    // SAFETY: every caller reads before PORTS_END, which `frame` proved; frames begin aligned.
    unsafe { frame.add(at / 2).read() }
}

#[inline(always)]
fn set_half(frame: *mut u16, at: usize, value: u16) {
    // SAFETY: as in `half`.
    unsafe { frame.add(at / 2).write(value) };
}

#[inline(always)]
fn is_ours(frame: *mut u16) -> bool {
    half(frame, 12) == 0x0800_u16.to_be() && half(frame, 14) & 0xff == 0x45 && matches!(half(frame, 22) >> 8, 6 | 17)
}

#[inline(always)]
fn swap_macs(frame: *mut u16) -> u32 {
    for i in 0..3 {
        let (to, from) = (half(frame, 2 * i), half(frame, 6 + 2 * i));
        set_half(frame, 2 * i, from);
        set_half(frame, 6 + 2 * i, to);
    }
    XDP_TX
}

/// The key that the datapath makes of the frame.
#[inline(always)]
fn key(frame: *mut u16) -> FlowKey {
    let word = |at| u32::from(half(frame, at)) | u32::from(half(frame, at + 2)) << 16;
    FlowKey {
        client: Address::v4_word(word(26)),
        vip: Address::v4_word(word(30)),
        client_port: u16::from_be(half(frame, 34)),
        vip_port: u16::from_be(half(frame, 36)),
        protocol: (half(frame, 22) >> 8) as u8,
        spare8: 0,
        spare16: 0,
    }
}

/// The floor: parses Ethernet, IPv4 and ports, swaps the MAC addresses and transmits.
#[xdp]
pub fn floor(ctx: XdpContext) -> u32 {
    let Some(frame) = frame(&ctx) else { return XDP_ABORTED };
    if !is_ours(frame) { XDP_ABORTED } else { swap_macs(frame) }
}

/// The floor and one lookup in a table of a million flows.
#[xdp]
pub fn bare_lookup(ctx: XdpContext) -> u32 {
    let Some(frame) = frame(&ctx) else { return XDP_ABORTED };
    if !is_ours(frame) {
        return XDP_ABORTED;
    }
    let Some(entry) = MILLION.get_ptr_mut(key(frame)) else { return XDP_ABORTED };
    // SAFETY: the entry was found in this run.
    unsafe { (*entry).last_seen = 1 };
    swap_macs(frame)
}

/// The floor and one insertion in a table of pending flows.
#[xdp]
pub fn bare_insert(ctx: XdpContext) -> u32 {
    let Some(frame) = frame(&ctx) else { return XDP_ABORTED };
    if !is_ours(frame) {
        return XDP_ABORTED;
    }
    if PENDING.insert(key(frame), Flow::default(), 0).is_err() { XDP_ABORTED } else { swap_macs(frame) }
}

/// Gives the frame another client than last time, in an order that no cache likes, and hands it on.
#[xdp]
pub fn vary(ctx: XdpContext) -> u32 {
    let start = ctx.data();
    if start + HEAD > ctx.data_end() {
        return XDP_ABORTED;
    }
    let Some(turns) = CLIENTS.get_ptr_mut(0) else { return XDP_ABORTED };
    // SAFETY: an element of an array map; one CPU runs the bench.
    let turns = unsafe { &mut *turns };
    for (i, words) in turns.head.iter().enumerate() {
        // SAFETY: the comparison above proved that HEAD bytes are there; a test run's frames begin at a
        // multiple of eight.
        unsafe { (start as *mut u64).add(i).write(*words) };
    }
    let frame = start as *mut u16;
    turns.turn += 1;
    // An odd factor permutes the numbers below a power of two.
    let client = turns.turn.wrapping_mul(0x9e37_79b1) & turns.mask;
    set_half(frame, 26, 10 | (client >> 8 & 0xff00) as u16);
    set_half(frame, 28, client as u16);
    set_half(frame, 34, (0x4000 | (client >> 4 & 0x3fff) as u16).to_be());
    // SAFETY: the helper replaces this program by the next; it returns only when there is none.
    unsafe {
        let _ = NEXT.tail_call(&ctx, 0);
    }
    XDP_ABORTED
}

/// Writes the next client's frame and sends it. Frames of a live test run come back as the last
/// receiver left them, so every header is written anew.
#[xdp]
pub fn play(ctx: XdpContext) -> u32 {
    let start = ctx.data();
    if start + PLAYED > ctx.data_end() {
        return XDP_ABORTED;
    }
    let Some(order) = ORDER.get_ptr_mut(0) else { return XDP_ABORTED };
    // SAFETY: an element of an array map; one CPU plays.
    let order = unsafe { &mut *order };
    for (i, words) in order.frame.iter().enumerate() {
        // SAFETY: the comparison above proved that PLAYED bytes are there; a test run's frames
        // begin at a multiple of eight.
        unsafe { (start as *mut u64).add(i).write(*words) };
    }
    order.turn += 1;
    let Some(client) = (order.turn * u64::from(order.stride)).checked_rem(order.clients.into()) else {
        return XDP_ABORTED;
    };
    let changes = [
        (0x0a00 | (client >> 16 & 0xff) as u16).to_be(),
        (client as u16).to_be(),
        (0x4000 | (client & 0x3fff) as u16).to_be(),
    ];
    let frame = start as *mut u16;
    for (at, change) in [26, 28, 34].into_iter().zip(changes) {
        set_half(frame, at, change);
    }
    add_to_checksum(frame, IP_CHECKSUM, &changes[..2]);
    let at = if half(frame, 22) >> 8 == 6 { TCP_CHECKSUM } else { UDP_CHECKSUM };
    add_to_checksum(frame, at, &changes);
    // SAFETY: the helper takes two numbers and touches no memory of the program.
    (unsafe { bpf_redirect(order.ifindex, 0) }) as u32
}

/// RFC 1624 for words that were zero.
#[inline(always)]
fn add_to_checksum(frame: *mut u16, at: usize, words: &[u16]) {
    let mut sum = u32::from(!half(frame, at));
    for word in words {
        sum += u32::from(*word);
    }
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    set_half(frame, at, !(sum as u16));
}

/// Lets a virtual link take redirected frames for the kernel.
#[xdp]
pub fn pass(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

/// The real servers: counts what arrives, and drops it or sends it back to where it came from.
#[xdp]
pub fn sink(ctx: XdpContext) -> u32 {
    let Some(frame) = frame(&ctx) else { return XDP_DROP };
    if !is_ours(frame) {
        return XDP_DROP;
    }
    if let Some(count) = ARRIVED.get_ptr_mut(u32::from(half(frame, 4) >> 8 & 7)) {
        // SAFETY: an element of this CPU's part of the array.
        unsafe { *count += 1 };
    }
    if ANSWER.get(0).is_none_or(|answer| *answer == 0) {
        return XDP_DROP;
    }
    // Swapped halves leave the checksums as they are.
    for (a, b) in [(26, 30), (28, 32), (34, 36)] {
        let (source, destination) = (half(frame, a), half(frame, b));
        set_half(frame, a, destination);
        set_half(frame, b, source);
    }
    swap_macs(frame)
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
