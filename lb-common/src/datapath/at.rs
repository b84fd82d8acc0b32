//! Where the headers of a frame are, in a number: what the functions that rewrite are told.

#![allow(clippy::cast_possible_truncation, reason = "fields are taken out of a number by their width")]

use super::parse::{Header, Link};
use crate::wire::{protocol, tcp};

/// Where the headers of a frame are, and what kind of packet it is.
///
/// A number, because it waits in a [`super::Job`]. Frames are far shorter than the 14 bits of an offset.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct At(u32);

const NETWORK: u32 = 0xff;
const TRANSPORT_SHIFT: u32 = 8;
const TRANSPORT: u32 = 0x3fff;
const V4: u32 = 1 << 22;
const IS_TCP: u32 = 1 << 23;
/// Not the first fragment: no transport header.
const LATER: u32 = 1 << 24;
/// Some fragment of a datagram.
const PART: u32 = 1 << 25;
const FIN: u32 = 1 << 26;
const RST: u32 = 1 << 27;

impl At {
    /// Of a frame with these headers, and these flags of TCP.
    #[inline(always)]
    pub(super) fn new(link: &Link, header: &Header, flags: u8) -> Self {
        let mut at = (link.network as u32 & NETWORK) | (header.transport as u32 & TRANSPORT) << TRANSPORT_SHIFT;
        if header.destination.is_v4() {
            at |= V4;
        }
        if header.protocol == protocol::TCP {
            at |= IS_TCP;
        }
        if header.fragment.is_later() {
            at |= LATER | PART;
        } else if header.fragment.more {
            at |= PART;
        }
        if flags & tcp::FIN != 0 {
            at |= FIN;
        }
        if flags & tcp::RST != 0 {
            at |= RST;
        }
        Self(at)
    }

    /// Start of the IP header.
    #[inline(always)]
    pub(super) const fn network(self) -> usize {
        (self.0 & NETWORK) as usize
    }

    /// Start of the transport header.
    #[inline(always)]
    pub(super) const fn transport(self) -> usize {
        (self.0 >> TRANSPORT_SHIFT & TRANSPORT) as usize
    }

    #[inline(always)]
    pub(super) const fn is_v4(self) -> bool {
        self.0 & V4 != 0
    }

    #[inline(always)]
    pub(super) const fn is_tcp(self) -> bool {
        self.0 & IS_TCP != 0
    }

    /// Whether there is no transport header in this fragment.
    #[inline(always)]
    pub(super) const fn is_later(self) -> bool {
        self.0 & LATER != 0
    }

    /// Whether this is a fragment, the first or another.
    #[inline(always)]
    pub(super) const fn is_part(self) -> bool {
        self.0 & PART != 0
    }

    #[inline(always)]
    pub(super) const fn fin(self) -> bool {
        self.0 & FIN != 0
    }

    #[inline(always)]
    pub(super) const fn rst(self) -> bool {
        self.0 & RST != 0
    }
}
