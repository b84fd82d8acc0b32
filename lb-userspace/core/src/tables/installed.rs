//! What the kernel tables hold, and the operations that change it.
//!
//! In: operations, in the order in which they were applied; or what was found in the tables when
//! the daemon started. Out: their content. Absent: the tables that the kernel fills.

use std::collections::BTreeMap;

use lb_common::abi::{
    Address, PLACES_PER_WORD, PortRanges, PortRangesKey, SCHEDULE_PLACES, Server, ServerId, Service, ServiceId,
    ServiceMode, ServicePortKey, Settings, server_in_word,
};

/// One write to one kernel table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableOp {
    /// `settings`.
    SetSettings(Settings),
    /// `servers`.
    SetServer {
        /// The server.
        id: ServerId,
        /// Its entry.
        entry: Server,
    },
    /// `schedule`, at places that no service points at.
    WriteSchedule {
        /// The first word written.
        first_word: u32,
        /// One word after the other.
        words: Vec<u64>,
    },
    /// `services`; an entry without a mode removes the service.
    SetService {
        /// The service.
        id: ServiceId,
        /// Its entry.
        entry: Service,
    },
    /// `service_ports`.
    SetServicePort {
        /// The port.
        key: ServicePortKey,
        /// Its service.
        service: ServiceId,
    },
    /// `service_ports`.
    RemoveServicePort {
        /// The port.
        key: ServicePortKey,
    },
    /// `port_ranges`.
    SetPortRanges {
        /// VIP and protocol.
        key: PortRangesKey,
        /// All their ranges.
        ranges: PortRanges,
    },
    /// `port_ranges`.
    RemovePortRanges {
        /// VIP and protocol.
        key: PortRangesKey,
    },
    /// `sources`; addresses that nobody asks for any more stay, for flows go on with them.
    SetSource {
        /// Its number.
        number: u32,
        /// The address.
        address: Address,
    },
    /// `reply_filter`.
    SetReplyFilter {
        /// Which word.
        word: u32,
        /// All its bits.
        bits: u64,
    },
    /// `vip_filter`.
    SetFilter {
        /// Which word.
        word: u32,
        /// All its bits.
        bits: u64,
    },
}

/// What the kernel tables hold, as far as the daemon writes them. Entries that are all zero are
/// left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// `settings`.
    pub settings: Settings,
    /// `vip_filter`: words that are not zero.
    pub filter: BTreeMap<u32, u64>,
    /// `reply_filter`: words that are not zero.
    pub reply_filter: BTreeMap<u32, u64>,
    /// `sources` that are not zero.
    pub sources: BTreeMap<u32, Address>,
    /// `service_ports`.
    pub service_ports: BTreeMap<ServicePortKey, ServiceId>,
    /// `port_ranges`.
    pub port_ranges: BTreeMap<PortRangesKey, PortRanges>,
    /// `services` that have a mode.
    pub services: BTreeMap<ServiceId, Service>,
    /// `servers`.
    pub servers: BTreeMap<ServerId, Server>,
    /// `schedule`, from its first word on; words beyond the end are zero. Which of them are in use
    /// follows from `services`.
    pub schedule: Vec<u64>,
}

impl Installed {
    /// Notes that an operation has been written to the kernel.
    pub fn apply(&mut self, op: &TableOp) {
        match op {
            TableOp::SetSettings(settings) => self.settings = *settings,
            TableOp::SetServer { id, entry } => {
                self.servers.insert(*id, *entry);
            }
            TableOp::WriteSchedule { first_word, words } => self.write_schedule(*first_word as usize, words),
            TableOp::SetService { id, entry } if ServiceMode::from_u8(entry.mode) == ServiceMode::None => {
                self.services.remove(id);
            }
            TableOp::SetService { id, entry } => {
                self.services.insert(*id, *entry);
            }
            TableOp::SetServicePort { key, service } => {
                self.service_ports.insert(*key, *service);
            }
            TableOp::RemoveServicePort { key } => {
                self.service_ports.remove(key);
            }
            TableOp::SetPortRanges { key, ranges } => {
                self.port_ranges.insert(*key, *ranges);
            }
            TableOp::RemovePortRanges { key } => {
                self.port_ranges.remove(key);
            }
            TableOp::SetSource { number, address } => {
                self.sources.insert(*number, *address);
            }
            TableOp::SetReplyFilter { word, bits: 0 } => {
                self.reply_filter.remove(word);
            }
            TableOp::SetReplyFilter { word, bits } => {
                self.reply_filter.insert(*word, *bits);
            }
            TableOp::SetFilter { word, bits: 0 } => {
                self.filter.remove(word);
            }
            TableOp::SetFilter { word, bits } => {
                self.filter.insert(*word, *bits);
            }
        }
    }

    /// The servers at `size` places of the schedule from `base` on; 0 where nothing was written, and
    /// none beyond the end of the table, whatever an entry says.
    pub fn places(&self, base: u32, size: u32) -> impl Iterator<Item = ServerId> + '_ {
        (base..base.saturating_add(size).min(SCHEDULE_PLACES)).map(|place| {
            let word = self.schedule.get((place / PLACES_PER_WORD) as usize);
            word.map_or(0, |word| server_in_word(*word, place % PLACES_PER_WORD))
        })
    }

    fn write_schedule(&mut self, first: usize, words: &[u64]) {
        let end = first + words.len();
        if self.schedule.len() < end {
            self.schedule.resize(end, 0);
        }
        self.schedule[first..end].copy_from_slice(words);
    }
}
