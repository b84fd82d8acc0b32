//! Real servers.

use crate::metrics::family::{Family, Kind, Samples};
use crate::metrics::source::{Server, Source};
use crate::metrics::text::Value;
use crate::view::{ServerState, SourcePorts, Transport};

pub(super) const LABELS: &[&str] = &["service", "server", "address"];

pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "lb_server_up",
        kind: Kind::Gauge,
        labels: LABELS,
        help: "Whether the real server takes new clients: 1 when its state is up.",
        samples: |source, samples| each(source, samples, |server| Some(server.view.state == ServerState::Up)),
    },
    Family {
        name: "lb_server_state",
        kind: Kind::Gauge,
        labels: &["service", "server", "address", "state"],
        help: "1 for the state of the real server, 0 for the others: up, down, checking, draining, halted.",
        samples: |source, samples| {
            for server in &source.servers {
                let states = ServerState::ALL.iter().map(|state| (state.word(), *state == server.view.state));
                samples.states([server.service, &server.view.name, &server.address], states);
            }
        },
    },
    Family {
        name: "lb_server_weight",
        kind: Kind::Gauge,
        labels: LABELS,
        help: "Its share of new flows.",
        samples: |source, samples| each(source, samples, |server| Some(u64::from(server.view.weight))),
    },
    Family {
        name: "lb_server_connections",
        kind: Kind::Gauge,
        labels: LABELS,
        help: "Flows that are established now.",
        samples: |source, samples| each(source, samples, |server| Some(server.counts.connections)),
    },
    Family {
        name: "lb_server_persistent_clients",
        kind: Kind::Gauge,
        labels: LABELS,
        help: "Clients whose persistence record names it.",
        samples: |source, samples| each(source, samples, |server| Some(server.counts.persistent_clients)),
    },
    Family {
        name: "lb_server_packets_total",
        kind: Kind::Counter,
        labels: LABELS,
        help: "Packets of clients that were sent to it.",
        samples: |source, samples| each(source, samples, |server| Some(server.counts.packets)),
    },
    Family {
        name: "lb_server_bytes_total",
        kind: Kind::Counter,
        labels: LABELS,
        help: "Bytes of those packets, with their Ethernet headers.",
        samples: |source, samples| each(source, samples, |server| Some(server.counts.bytes)),
    },
    Family {
        name: "lb_server_flows_total",
        kind: Kind::Counter,
        labels: LABELS,
        help: "Flows that it was given.",
        samples: |source, samples| each(source, samples, |server| Some(server.counts.flows)),
    },
    Family {
        name: "lb_server_reply_packets_total",
        kind: Kind::Counter,
        labels: LABELS,
        help: "Packets that came back from it; those of l4-dr do not pass here.",
        samples: |source, samples| each(source, samples, |server| Some(server.counts.reply_packets)),
    },
    Family {
        name: "lb_server_reply_bytes_total",
        kind: Kind::Counter,
        labels: LABELS,
        help: "Bytes of those packets, with their Ethernet headers.",
        samples: |source, samples| each(source, samples, |server| Some(server.counts.reply_bytes)),
    },
    Family {
        name: "lb_source_ports_in_use",
        kind: Kind::Gauge,
        labels: PORTS,
        help: "Source ports of l4-snat in use towards it, as the last sweep found them; virtual services with the \
               same real server, port and source address share them.",
        samples: |source, samples| each_pool(source, samples, |ports| ports.in_use),
    },
    Family {
        name: "lb_source_ports",
        kind: Kind::Gauge,
        labels: PORTS,
        help: "Source ports of l4-snat towards it.",
        samples: |source, samples| each_pool(source, samples, |ports| ports.size),
    },
];

const PORTS: &[&str] = &["service", "server", "address", "protocol"];

/// A sample for each protocol of each real server that has source ports.
fn each_pool(source: &Source<'_>, samples: &mut Samples<'_>, value: impl Fn(&SourcePorts) -> u64) {
    for server in &source.servers {
        for transport in Transport::ALL {
            let Some(ports) = server.view.source_ports.iter().find(|ports| ports.protocol == *transport) else {
                continue;
            };
            samples.add(&[server.service, &server.view.name, &server.address, transport.word()], value(ports));
        }
    }
}

/// A sample for each real server that has a value.
pub(super) fn each<V: Into<Value>>(
    source: &Source<'_>,
    samples: &mut Samples<'_>,
    value: impl Fn(&Server<'_>) -> Option<V>,
) {
    for server in &source.servers {
        if let Some(value) = value(server) {
            samples.add(&[server.service, &server.view.name, &server.address], value);
        }
    }
}
