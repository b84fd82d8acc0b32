//! Steers TCP connections to ranges of ports to the sockets of the proxy: the kernel asks this program
//! which listening socket a connection is for, before it looks for one itself.
#![no_std]
#![no_main]

use aya_ebpf::bindings::sk_action::SK_PASS;
use aya_ebpf::bindings::{BPF_SK_LOOKUP_F_REPLACE, bpf_sk_lookup};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::btf_maps::{LpmTrie, SockHash};
use aya_ebpf::macros::{btf_map, sk_lookup};
use aya_ebpf::programs::SkLookupContext;
use lb_common::abi::{Address, Destination, DestinationPrefix, MAX_STEERED_PREFIXES, MAX_STEERED_RANGES};
use lb_common::wire::protocol;

/// The number of a range, by the longest prefix.
#[btf_map(name = "steered_ports")]
static STEERED_PORTS: LpmTrie<Destination, u32, { MAX_STEERED_PREFIXES as usize }> = LpmTrie::new();
/// The socket of a range, by its number.
#[btf_map(name = "sockets")]
static SOCKETS: SockHash<u32, { MAX_STEERED_RANGES as usize }> = SockHash::new();

/// A port that changes its range has the new number before the old one loses its socket, and numbers are not used
/// again: whoever comes between the two finds no socket, looks again and finds the new number. More than once only
/// if ranges change faster than this program runs.
const ATTEMPTS: u32 = 4;

/// Assigns the socket of the range, or leaves the choice to the kernel, also where the socket was closed:
/// then the client is refused, as by any port where nobody listens.
///
/// Programs run in the order in which they were attached, and this one replaces what an earlier one chose:
/// after an upgrade the new daemon's sockets get the connections, while the old one's program is still there.
/// Workers share a port by SO_REUSEPORT: the socket assigned here stands for its group.
#[sk_lookup]
pub fn lb_lookup(ctx: SkLookupContext) -> u32 {
    let Some(destination) = destination(ctx.lookup) else { return SK_PASS };
    let key = Key::new(Destination::BITS, destination);
    for _ in 0..ATTEMPTS {
        let Some(range) = STEERED_PORTS.get(&key) else { break };
        if SOCKETS.redirect_sk_lookup(&ctx, range, BPF_SK_LOOKUP_F_REPLACE.into()).is_ok() {
            break;
        }
    }
    SK_PASS
}

/// Where a TCP connection goes to.
#[inline(always)]
fn destination(lookup: *const bpf_sk_lookup) -> Option<Destination> {
    // SAFETY: the kernel lends the structure for the run of the program, and gives zeros for the address of the
    // other family. The reads are volatile so that they stay as wide as the fields, and all come first so that
    // they stay at fixed places: the verifier takes no others.
    let (transport, family, v4, v6, port) = unsafe {
        (
            (&raw const (*lookup).protocol).read_volatile(),
            (&raw const (*lookup).family).read_volatile(),
            (&raw const (*lookup).local_ip4).read_volatile(),
            [
                (&raw const (*lookup).local_ip6[0]).read_volatile(),
                (&raw const (*lookup).local_ip6[1]).read_volatile(),
                (&raw const (*lookup).local_ip6[2]).read_volatile(),
                (&raw const (*lookup).local_ip6[3]).read_volatile(),
            ],
            (&raw const (*lookup).local_port).read_volatile(),
        )
    };
    if transport != u32::from(protocol::TCP) {
        return None;
    }
    let vip = match family {
        AF_INET => Address::v4_word(v4),
        AF_INET6 => Address::from_words(v6),
        _ => return None,
    };
    Some(Destination::new(vip, port as u16))
}

/// Families as the kernel numbers them (linux/socket.h).
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

// The trie's key is the daemon's.
const _: () = assert!(size_of::<Key<Destination>>() == size_of::<DestinationPrefix>());

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

// As in the main program.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
