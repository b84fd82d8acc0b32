//! What the datapath is measured against, and what makes it meet many flows: programs that
//! `cargo xtask bench` loads beside it, by themselves or on real links. Never installed.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

use core::arch::asm;

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::bindings::{BPF_NOEXIST, xdp_md};
use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray};
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use lb_common::abi::{Address, Flow, FlowKey, Reply};

/// A table as large as the flow table.
#[btf_map(name = "million")]
static MILLION: LruHashMap<FlowKey, Flow, { 1 << 20 }> = LruHashMap::new();

/// A table as large as that of the pending flows.
#[btf_map(name = "pending")]
static PENDING: LruHashMap<FlowKey, Flow, { 1 << 17 }> = LruHashMap::new();

/// Tables of the same kind and size as those of translated flows, filled; and two that are filled by
/// `bare_inserts`.
#[btf_map(name = "bare_flows")]
static BARE_FLOWS: HashMap<FlowKey, Flow, { 1 << 20 }> = HashMap::new();
#[btf_map(name = "bare_replies")]
static BARE_REPLIES: HashMap<FlowKey, Reply, { 1 << 20 }> = HashMap::new();
#[btf_map(name = "new_flows")]
static NEW_FLOWS: HashMap<FlowKey, Flow, { 1 << 20 }> = HashMap::new();
#[btf_map(name = "new_replies")]
static NEW_REPLIES: HashMap<FlowKey, Reply, { 1 << 18 }> = HashMap::new();

/// A bit for each flow that may be known, by a hash of its key: what new flows could be looked up in.
#[btf_map(name = "presence")]
static PRESENCE: Array<u64, { PRESENCE_WORDS as usize }> = Array::new();

/// Eight bits for each of a million flows: one new flow of eight is looked up in vain.
const PRESENCE_WORDS: u32 = (1 << 23) / 64;

/// The program that `vary` and the replays hand the frame to, at 0.
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

/// What the replays make of a frame before they hand it on: a datapath that translates leaves another
/// one behind than it was given.
#[repr(C)]
#[derive(Clone, Copy)]
struct Replayed {
    /// The frame up to the type of its payload.
    link: [u32; 3],
    /// The type.
    kind: u32,
    /// The rest. In the words that the datapath reads: a processor is slow to read what was just
    /// written in other pieces.
    rest: [u32; REPLAYED_WORDS],
    /// How many clients take turns, less one: a power of two less one.
    mask: u64,
    /// Frames so far.
    turn: u64,
}

/// Words of a replayed frame behind the type: an IPv6 header, one of TCP, and four bytes.
const REPLAYED_WORDS: usize = 16;
const REPLAYED: usize = 14 + 4 * REPLAYED_WORDS;

/// The frame of the replays.
#[btf_map(name = "replayed")]
static REPLAYED_FRAME: Array<Replayed, 1> = Array::new();

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

/// Stores a number at any alignment, as `XdpPacket` of the datapath does. The caller has compared the
/// place with the frame's end.
macro_rules! store {
    ($size:literal, $pointer:expr, $value:expr) => {
        // SAFETY: see above; no reference into the frame is alive.
        unsafe {
            asm!(
                concat!("*(", $size, " *)({pointer} + 0) = {value}"),
                pointer = in(reg) $pointer,
                value = in(reg) u64::from($value),
                options(nostack, preserves_flags),
            );
        }
    };
}

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
    floor_of(&ctx)
}

#[inline(always)]
fn floor_of(ctx: &XdpContext) -> u32 {
    let Some(frame) = frame(ctx) else { return XDP_ABORTED };
    if !is_ours(frame) { XDP_ABORTED } else { swap_macs(frame) }
}

/// The floor in a global function: what a call costs, which is more where the processor must not guess
/// where a function returns to.
#[xdp]
pub fn floor_called(ctx: XdpContext) -> u32 {
    lb_floor(ctx.ctx)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_floor(ctx: *mut xdp_md) -> u32 {
    floor_of(&XdpContext::new(ctx))
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

/// The floor and one lookup in a table of a million flows, as the datapath has it.
#[xdp]
pub fn bare_flow(ctx: XdpContext) -> u32 {
    let Some(frame) = frame(&ctx) else { return XDP_ABORTED };
    if !is_ours(frame) {
        return XDP_ABORTED;
    }
    let Some(entry) = BARE_FLOWS.get_ptr(key(frame)) else { return XDP_ABORTED };
    // Read and not written, as the datapath does but for once in a tick.
    // SAFETY: the entry was found in this run.
    if unsafe { (*entry).last_seen } == u32::MAX { XDP_ABORTED } else { swap_macs(frame) }
}

/// The floor and one lookup in a table of the replies to a million flows.
#[xdp]
pub fn bare_reply(ctx: XdpContext) -> u32 {
    let Some(frame) = frame(&ctx) else { return XDP_ABORTED };
    if !is_ours(frame) {
        return XDP_ABORTED;
    }
    let Some(entry) = BARE_REPLIES.get_ptr(key(frame)) else { return XDP_ABORTED };
    // Read and not written, as the datapath does but for once in a tick.
    // SAFETY: the entry was found in this run.
    if unsafe { (*entry).last_seen } == u32::MAX { XDP_ABORTED } else { swap_macs(frame) }
}

/// The floor and the two insertions that a new translated flow needs.
#[xdp]
pub fn bare_inserts(ctx: XdpContext) -> u32 {
    let Some(frame) = frame(&ctx) else { return XDP_ABORTED };
    if !is_ours(frame) {
        return XDP_ABORTED;
    }
    let key = key(frame);
    if NEW_FLOWS.insert(key, Flow::default(), BPF_NOEXIST.into()).is_err()
        || NEW_REPLIES.insert(key, Reply::default(), BPF_NOEXIST.into()).is_err()
    {
        return XDP_ABORTED;
    }
    swap_macs(frame)
}

/// A lookup that finds nothing in a table of a million flows, and an insertion in one of pending
/// flows: the least that a new flow costs in two tables.
#[xdp]
pub fn miss_and_insert(ctx: XdpContext) -> u32 {
    let Some(frame) = frame(&ctx) else { return XDP_ABORTED };
    if !is_ours(frame) || BARE_FLOWS.get_ptr(key(frame)).is_some() {
        return XDP_ABORTED;
    }
    if PENDING.insert(key(frame), Flow::default(), 0).is_err() { XDP_ABORTED } else { swap_macs(frame) }
}

/// The same with a filter before the lookup.
#[xdp]
pub fn filter_and_insert(ctx: XdpContext) -> u32 {
    let Some(frame) = frame(&ctx) else { return XDP_ABORTED };
    if !is_ours(frame) {
        return XDP_ABORTED;
    }
    let key = key(frame);
    let (word, bit) = presence_bit(&key);
    if PRESENCE.get(word).is_none_or(|word| word & bit != 0) && BARE_FLOWS.get_ptr(key).is_some() {
        return XDP_ABORTED;
    }
    if PENDING.insert(key, Flow::default(), 0).is_err() { XDP_ABORTED } else { swap_macs(frame) }
}

/// Which bit a flow sets.
#[inline(always)]
fn presence_bit(key: &FlowKey) -> (u32, u64) {
    let [a, b, c, d] = key.client.words();
    let [e, f, g, h] = key.vip.words();
    let ports = u64::from(key.client_port) << 32 | u64::from(key.vip_port) << 16 | u64::from(key.protocol);
    let addresses = u64::from(a ^ e.rotate_left(7) ^ c ^ g.rotate_left(7)) << 32
        | u64::from(b ^ f.rotate_left(7) ^ d ^ h.rotate_left(7));
    let hash = (addresses ^ ports).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hash = ((hash ^ hash >> 32).wrapping_mul(0xff51_afd7_ed55_8ccd) >> 32) as u32;
    (hash >> 6 & (PRESENCE_WORDS - 1), 1 << (hash & 63))
}

/// Sets the bit of the flow of a frame.
#[xdp]
pub fn set_presence(ctx: XdpContext) -> u32 {
    let Some(frame) = frame(&ctx) else { return XDP_ABORTED };
    let (word, bit) = presence_bit(&key(frame));
    let Some(word) = PRESENCE.get_ptr_mut(word) else { return XDP_ABORTED };
    // SAFETY: an element of an array map; one CPU runs the bench.
    unsafe { *word |= bit };
    XDP_PASS
}

/// Writes the frame anew and hands it on.
#[xdp]
pub fn replay(ctx: XdpContext) -> u32 {
    replayed(&ctx, |_, _| {})
}

/// The same, each time from another client, the one that `vary` would make it.
#[xdp]
pub fn replay_clients(ctx: XdpContext) -> u32 {
    replayed(&ctx, |rest, client| {
        rest[SOURCE] = address(client);
        rest[PORTS] = rest[PORTS] & !0xffff | port(client);
    })
}

/// The same, each time to another client.
#[xdp]
pub fn replay_to_clients(ctx: XdpContext) -> u32 {
    replayed(&ctx, |rest, client| {
        rest[DESTINATION] = address(client);
        rest[PORTS] = rest[PORTS] & 0xffff | port(client) << 16;
    })
}

/// The same, each time to another port, from as many real servers, 10.1.0.0 and on, as that needs.
#[xdp]
pub fn replay_to_ports(ctx: XdpContext) -> u32 {
    replayed(&ctx, |rest, number| {
        rest[SOURCE] = (0x0a01_0000 | number >> 16 & 0xffff).to_be();
        rest[PORTS] = rest[PORTS] & 0xffff | (number & 0xffff).to_be();
    })
}

/// Words of an IPv4 frame behind the type of its payload, without options.
const SOURCE: usize = 3;
const DESTINATION: usize = 4;
const PORTS: usize = 5;

/// 10.x.y.z, as in `vary`.
#[inline(always)]
fn address(client: u32) -> u32 {
    let [low, middle, high, _] = client.to_le_bytes();
    u32::from_ne_bytes([10, high, low, middle])
}

/// The port of this client in memory order.
#[inline(always)]
fn port(client: u32) -> u32 {
    (0x4000 | (client >> 4 & 0x3fff) as u16).to_be().into()
}

#[inline(always)]
fn replayed(ctx: &XdpContext, change: impl FnOnce(&mut [u32; REPLAYED_WORDS], u32)) -> u32 {
    let start = ctx.data();
    if start + REPLAYED > ctx.data_end() {
        return XDP_ABORTED;
    }
    let Some(replayed) = REPLAYED_FRAME.get_ptr_mut(0) else { return XDP_ABORTED };
    // SAFETY: an element of an array map; one CPU runs what is loaded with this one.
    let replayed = unsafe { &mut *replayed };
    replayed.turn += 1;
    // An odd factor permutes the numbers below a power of two.
    let number = replayed.turn.wrapping_mul(0x9e37_79b1) & replayed.mask;
    let mut rest = replayed.rest;
    change(&mut rest, number as u32);
    for (i, word) in replayed.link.into_iter().enumerate() {
        store!("u32", start + 4 * i, word);
    }
    store!("u16", start + 12, replayed.kind);
    for (i, word) in rest.into_iter().enumerate() {
        store!("u32", start + 14 + 4 * i, word);
    }
    // SAFETY: the helper replaces this program by the next; it returns only when there is none.
    unsafe {
        let _ = NEXT.tail_call(ctx, 0);
    }
    XDP_ABORTED
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
