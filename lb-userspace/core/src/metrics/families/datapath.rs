//! The datapath: verdicts, tables, interfaces.

use crate::metrics::family::{Family, Kind};
use crate::view::{LinkState, XdpAttachment};

pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "lb_datapath_packets_total",
        kind: Kind::Counter,
        labels: &["reason", "action"],
        help: "Frames by the reason of their verdict, and by what became of them: pass, forward, drop.",
        samples: |source, samples| {
            for counter in &source.counters {
                samples.add(&[&counter.reason, counter.action.word()], counter.packets);
            }
        },
    },
    Family {
        name: "lb_datapath_bytes_total",
        kind: Kind::Counter,
        labels: &["reason", "action"],
        help: "Bytes of those frames, with their Ethernet headers.",
        samples: |source, samples| {
            for counter in &source.counters {
                samples.add(&[&counter.reason, counter.action.word()], counter.bytes);
            }
        },
    },
    Family {
        name: "lb_machine_new_flows_beyond_limit_total",
        kind: Kind::Counter,
        labels: &[],
        help: "New flows within the limit of their service and beyond `node.limits.new_flows_per_second`.",
        samples: |source, samples| samples.add(&[], source.status.new_flows_beyond_limit),
    },
    Family {
        name: "lb_table_entries",
        kind: Kind::Gauge,
        labels: &["table"],
        help: "Entries in a table of the kernel, as the last sweep found them.",
        samples: |source, samples| {
            for table in &source.tables {
                samples.add(&[&table.name], table.entries);
            }
        },
    },
    Family {
        name: "lb_table_capacity_entries",
        kind: Kind::Gauge,
        labels: &["table"],
        help: "Entries that the table can hold.",
        samples: |source, samples| {
            for table in &source.tables {
                samples.add(&[&table.name], table.capacity);
            }
        },
    },
    Family {
        name: "lb_interface_up",
        kind: Kind::Gauge,
        labels: &["device"],
        help: "Whether the interface has its link.",
        samples: |source, samples| {
            for interface in &source.interfaces {
                samples.add(&[&interface.device], interface.state == LinkState::Up);
            }
        },
    },
    Family {
        name: "lb_interface_xdp",
        kind: Kind::Gauge,
        labels: &["device", "xdp"],
        help: "1 for the way XDP is attached to the interface, 0 for the other: native, generic.",
        samples: |source, samples| {
            for interface in &source.interfaces {
                let ways = XdpAttachment::ALL.iter().map(|way| (way.word(), *way == interface.xdp));
                samples.states([&interface.device], ways);
            }
        },
    },
];
