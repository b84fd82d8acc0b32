//! What the proxy has carried.

use crate::metrics::family::{Family, Kind};
use crate::metrics::source::Source;
use crate::view::Proxied;

fn proxied<'a>(source: &'a Source<'a>) -> impl Iterator<Item = (&'a str, &'a Proxied)> {
    source.services.iter().filter_map(|service| Some((service.name.as_str(), service.proxied.as_ref()?)))
}

pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "lb_proxy_clients",
        kind: Kind::Gauge,
        labels: &["service"],
        help: "Connections of clients now.",
        samples: |source, samples| {
            for (service, proxied) in proxied(source) {
                samples.add(&[service], proxied.clients);
            }
        },
    },
    Family {
        name: "lb_proxy_accepted_total",
        kind: Kind::Counter,
        labels: &["service"],
        help: "Connections of clients that were accepted.",
        samples: |source, samples| {
            for (service, proxied) in proxied(source) {
                samples.add(&[service], proxied.accepted);
            }
        },
    },
    Family {
        name: "lb_proxy_waiting",
        kind: Kind::Gauge,
        labels: &["service"],
        help: "Connections or requests that wait for room at a real server now.",
        samples: |source, samples| {
            for (service, proxied) in proxied(source) {
                samples.add(&[service], proxied.waiting);
            }
        },
    },
    Family {
        name: "lb_proxy_requests_total",
        kind: Kind::Counter,
        labels: &["service"],
        help: "Requests of HTTP.",
        samples: |source, samples| {
            for (service, proxied) in proxied(source) {
                samples.add(&[service], proxied.requests);
            }
        },
    },
    Family {
        name: "lb_proxy_answers_total",
        kind: Kind::Counter,
        labels: &["service", "class"],
        help: "Answers of HTTP by the class of their status: 1xx to 5xx.",
        samples: |source, samples| {
            for (service, proxied) in proxied(source) {
                for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(proxied.answers) {
                    samples.add(&[service, class], count);
                }
            }
        },
    },
    Family {
        name: "lb_proxy_retries_total",
        kind: Kind::Counter,
        labels: &["service"],
        help: "Attempts on another real server, because one could not be connected to or did not answer.",
        samples: |source, samples| {
            for (service, proxied) in proxied(source) {
                samples.add(&[service], proxied.retries);
            }
        },
    },
    Family {
        name: "lb_proxy_failures_total",
        kind: Kind::Counter,
        labels: &["service", "reason"],
        help: "Connections and requests that ended badly; a reason that has not happened has no series.",
        samples: |source, samples| {
            for (service, proxied) in proxied(source) {
                for failure in &proxied.failures {
                    samples.add(&[service, &failure.reason], failure.count);
                }
            }
        },
    },
];
