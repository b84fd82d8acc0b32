//! Virtual services.

use crate::metrics::family::{Family, Kind};
use crate::view::ServiceState;

pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "lb_service_info",
        kind: Kind::Gauge,
        labels: &["service", "address", "ports", "protocol", "mode", "scheduler"],
        help: "Always 1; what the virtual service is, as labels.",
        samples: |source, samples| {
            for service in &source.services {
                let (address, protocol) = (service.address.to_string(), service.protocol.word());
                let (mode, scheduler) = (service.mode.word(), service.scheduler.word());
                samples.add(&[&service.name, &address, &service.ports, protocol, mode, scheduler], true);
            }
        },
    },
    Family {
        name: "lb_service_up",
        kind: Kind::Gauge,
        labels: &["service"],
        help: "Whether the virtual service answers: 1 when at least one real server takes clients.",
        samples: |source, samples| {
            for service in &source.services {
                samples.add(&[&service.name], service.state != ServiceState::Down);
            }
        },
    },
    Family {
        name: "lb_service_state",
        kind: Kind::Gauge,
        labels: &["service", "state"],
        help: "1 for the state of the virtual service, 0 for the others: up, degraded, down.",
        samples: |source, samples| {
            for service in &source.services {
                let states = ServiceState::ALL.iter().map(|state| (state.word(), *state == service.state));
                samples.states([&service.name], states);
            }
        },
    },
    Family {
        name: "lb_service_connections",
        kind: Kind::Gauge,
        labels: &["service"],
        help: "Flows that are established now.",
        samples: |source, samples| {
            for service in &source.services {
                samples.add(&[&service.name], service.connections);
            }
        },
    },
    Family {
        name: "lb_service_packets_total",
        kind: Kind::Counter,
        labels: &["service"],
        help: "Packets of clients that were sent to its real servers.",
        samples: |source, samples| {
            for service in &source.services {
                samples.add(&[&service.name], service.packets);
            }
        },
    },
    Family {
        name: "lb_service_bytes_total",
        kind: Kind::Counter,
        labels: &["service"],
        help: "Bytes of those packets, with their Ethernet headers.",
        samples: |source, samples| {
            for service in &source.services {
                samples.add(&[&service.name], service.bytes);
            }
        },
    },
    Family {
        name: "lb_service_flows_total",
        kind: Kind::Counter,
        labels: &["service"],
        help: "Flows that were given to its real servers.",
        samples: |source, samples| {
            for service in &source.services {
                samples.add(&[&service.name], service.flows);
            }
        },
    },
    Family {
        name: "lb_service_half_open_flows",
        kind: Kind::Gauge,
        labels: &["service"],
        help: "Flows whose client has sent one packet, as the last sweep found them; many in a flood of SYN.",
        samples: |source, samples| {
            for service in &source.services {
                samples.add(&[&service.name], service.half_open);
            }
        },
    },
    Family {
        name: "lb_new_flows_beyond_limit_total",
        kind: Kind::Counter,
        labels: &["service"],
        help: "New flows beyond the limit of the service: forwarded without a record, refused in l4-nat and l4-snat.",
        samples: |source, samples| {
            for service in &source.services {
                samples.add(&[&service.name], service.new_flows_beyond_limit);
            }
        },
    },
];
