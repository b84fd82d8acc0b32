//! Which frames the kernel hands to a probe's socket. Pure.
//!
//! In: words that every answer has at known places. Out: a program of classic BPF. Absent: judging an
//! answer; the filter only keeps the traffic of a busy machine away, so that it is not copied and looked at.

use std::net::Ipv6Addr;

use lb_common::wire::ethernet;
use socket2::SockFilter;

/// Four bytes of a frame without tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) at: usize,
    /// In host order.
    pub(super) value: u32,
}

/// Of frames that may have VLAN tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tags {
    /// Whatever VLAN.
    Any,
    /// Only those of the device itself; frames of VLANs above it pass it too.
    None,
}

/// Lets the frames through that came in with these fields, wherever tags that are left in them put those.
pub(super) fn program(fields: &[Field], tags: Tags) -> Vec<SockFilter> {
    let mut program = vec![
        SockFilter::new(LOAD_WORD, 0, 0, PACKET_TYPE),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, OUTGOING),
        SockFilter::new(RETURN, 0, 0, 0),
    ];
    let shifts = match tags {
        Tags::Any => 0..=2,
        Tags::None => {
            program.extend([
                SockFilter::new(LOAD_WORD, 0, 0, TAG_TAKEN_OFF),
                SockFilter::new(AND, 0, 0, u32::from(ethernet::VLAN_MASK)),
                SockFilter::new(JUMP_IF_EQUAL, 1, 0, 0),
                SockFilter::new(RETURN, 0, 0, 0),
            ]);
            0..=0
        }
    };
    for left in shifts {
        for (n, field) in fields.iter().enumerate() {
            // Past the comparisons that follow and the return after them, to the next place.
            let skip = (fields.len() - n - 1) * 2 + 1;
            program.extend([
                SockFilter::new(LOAD_WORD, 0, 0, narrow(field.at + left * ethernet::TAG)),
                SockFilter::new(JUMP_IF_EQUAL, 0, skip_length(skip), field.value),
            ]);
        }
        program.push(SockFilter::new(RETURN, 0, 0, u32::MAX));
    }
    program.push(SockFilter::new(RETURN, 0, 0, 0));
    program
}

/// The part of an address that differs most between those of a network.
pub(super) fn last_word(address: Ipv6Addr) -> u32 {
    let [.., a, b, c, d] = address.octets();
    u32::from_be_bytes([a, b, c, d])
}

/// Of the few fields that there are.
fn skip_length(instructions: usize) -> u8 {
    u8::try_from(instructions).unwrap_or(u8::MAX)
}

/// Of offsets within the headers of a frame.
fn narrow(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Where [`last_word`] is in an IPv6 address.
pub(super) const LAST_WORD: usize = 12;

// Classic BPF, linux/bpf_common.h: class | size | mode. A load past the end refuses the frame.
const LOAD_WORD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x05 | 0x10;
const AND: u16 = 0x04 | 0x50;
const RETURN: u16 = 0x06;

// linux/filter.h: what the kernel knows of a frame is at SKF_AD_OFF, which is -0x1000.
const KNOWN_OF_FRAME: u32 = 0xffff_f000;
const PACKET_TYPE: u32 = KNOWN_OF_FRAME + 4;
const TAG_TAKEN_OFF: u32 = KNOWN_OF_FRAME + 44;
/// `PACKET_OUTGOING` of packet(7): our own questions.
const OUTGOING: u32 = 4;
