//! What is left to do with a packet once it is known where it goes: [`Next`], with what is known of it
//! in a [`Job`].
//!
//! Deciding and rewriting take turns instead of calling each other, because the kernel program has 512
//! bytes of stack for a whole chain of calls (`MAX_BPF_STACK`, linux/filter.h).

#![allow(clippy::cast_possible_truncation, reason = "fields are taken out of a number by their width")]

use super::at::At;
use super::hop::Tags;
use super::translate::Binding;
use super::{Action, Reason, Tables, Verdict};
use crate::abi::{FlowKey, Reply, ServerId, ServiceId};

/// What happens next to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: this is its end.
    End(Verdict),
    /// No flow is known that it belongs to: `open`.
    Open,
    /// It opens a translated flow: `bind`, then `outbound`.
    Bind,
    /// It is rewritten towards its real server: `outbound`.
    Outbound,
    /// An ICMP error about a packet of a real server is rewritten towards it: `outbound_error`.
    OutboundError,
    /// It comes from a real server and may answer a flow: `restore`.
    Restore,
    /// An ICMP error about a packet to a real server: `restore_error`.
    RestoreError,
}

impl Next {
    /// As a number, to be handed out by a function of the kernel program.
    #[inline(always)]
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        match self {
            Self::End(verdict) => verdict.to_bits(),
            Self::Bind => 1 << 48,
            Self::Outbound => 2 << 48,
            Self::OutboundError => 3 << 48,
            Self::Restore => 4 << 48,
            Self::RestoreError => 5 << 48,
            Self::Open => 6 << 48,
        }
    }

    /// The inverse of [`Self::to_bits`].
    #[inline(always)]
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        match bits >> 48 {
            1 => Self::Bind,
            2 => Self::Outbound,
            3 => Self::OutboundError,
            4 => Self::Restore,
            5 => Self::RestoreError,
            6 => Self::Open,
            _ => Self::End(Verdict::from_bits(bits)),
        }
    }
}

impl Verdict {
    /// As a number, to be handed out by a function of the kernel program.
    #[inline(always)]
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        let (action, ifindex) = match self.action {
            Action::Pass => (0, 0),
            Action::Drop => (1, 0),
            Action::Transmit => (2, 0),
            Action::Redirect(ifindex) => (3, ifindex),
        };
        action << 40 | (self.reason as u64) << 32 | ifindex as u64
    }

    /// The inverse of [`Self::to_bits`].
    #[inline(always)]
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        let action = match bits >> 40 & 3 {
            0 => Action::Pass,
            1 => Action::Drop,
            2 => Action::Transmit,
            _ => Action::Redirect(bits as u32),
        };
        Self { action, reason: Reason::from_number((bits >> 32) as u32 & 0xff) }
    }
}

/// What is known of a packet that is not at its end yet. There is one on each CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Job {
    /// The flow; of a packet from a real server: the packet's own ends.
    pub(super) key: FlowKey,
    /// Where its headers are.
    pub(super) at: At,
    /// Its VLAN tags.
    pub(super) tags: Tags,
    pub(super) service: ServiceId,
    pub(super) server: ServerId,
    /// What stands in the place of the client.
    pub(super) binding: Binding,
    /// Why it goes where it goes, a number of [`Reason`].
    pub(super) reason: u32,
    /// Whether it is the first packet of its flow that is recorded.
    pub(super) new_flow: u32,
    /// What it says about its flow, an [`Arrival`](super::Arrival) as a number.
    pub(super) arrival: u32,
    /// Whether there is an entry of the flow, of which nothing holds any more.
    pub(super) replaces: u32,
    /// Whose binding it was in that entry.
    pub(super) previous: ServerId,
    /// Whether it is an ICMP error, and the key that of the flow that it quotes.
    pub(super) is_error: u32,
    /// Whether it is the first fragment of a datagram.
    pub(super) is_part: u32,
    /// Of the datagram.
    pub(super) identification: u32,
    /// The entry of the replies in the making, and its key.
    pub(super) reply_key: FlowKey,
    pub(super) reply: Reply,
}

/// Notes what is left to do.
#[inline(always)]
pub(super) fn note<T: Tables>(tables: &T, next: Next, fill: impl FnOnce(&mut Job)) -> Next {
    match tables.job(fill) {
        Some(()) => next,
        // There is one on every CPU.
        None => Next::End(Verdict::drop(Reason::TranslationTableFull)),
    }
}
