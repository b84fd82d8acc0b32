//! The daemon: what it is, what it did, what it complains about.

use crate::metrics::family::{Family, Kind};
use crate::view::{EventKind, Severity};

pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "lb_build_info",
        kind: Kind::Gauge,
        labels: &["version"],
        help: "Always 1; the version of lbd is a label.",
        samples: |source, samples| samples.add(&[&source.status.version], true),
    },
    Family {
        name: "lb_problems",
        kind: Kind::Gauge,
        labels: &[],
        help: "Problems of this machine itself; `lbctl status` says which.",
        samples: |source, samples| samples.add(&[], source.status.problems.len() as u64),
    },
    Family {
        name: "lb_events_total",
        kind: Kind::Counter,
        labels: &["kind", "severity"],
        help: "Events since lbd started; `lbctl events` lists them.",
        samples: |source, samples| {
            for kind in EventKind::ALL {
                for severity in Severity::ALL {
                    let of_both = source.extra.events.iter().filter(|e| (e.kind, e.severity) == (*kind, *severity));
                    let count = of_both.fold(0, |sum: u64, events| sum.saturating_add(events.count));
                    samples.add(&[kind.word(), severity.word()], count);
                }
            }
        },
    },
    Family {
        name: "lb_configuration_reloads_total",
        kind: Kind::Counter,
        labels: &["result"],
        help: "Reloads of the configuration: succeeded (also without a change), failed.",
        samples: |source, samples| {
            samples.add(&["succeeded"], source.extra.reloads.succeeded);
            samples.add(&["failed"], source.extra.reloads.failed);
        },
    },
    Family {
        name: "lb_configuration_last_reload_successful",
        kind: Kind::Gauge,
        labels: &[],
        help: "Whether the configuration was in force after the last reload, or after the start.",
        samples: |source, samples| samples.add(&[], !source.extra.reloads.last_failed),
    },
    Family {
        name: "lb_configuration_last_reload_success_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "When the configuration was last read and in force, in seconds since 1970-01-01 UTC.",
        samples: |source, samples| samples.add(&[], source.extra.reloads.last_success_at),
    },
    Family {
        name: "lb_configuration_confirmation_pending",
        kind: Kind::Gauge,
        labels: &[],
        help: "Whether the configuration is rolled back unless somebody confirms it.",
        samples: |source, samples| {
            samples.add(&[], source.status.configuration.confirm_within_seconds.is_some());
        },
    },
    Family {
        name: "lb_last_sweep_duration_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "How long the last sweep over the tables of flows and clients took; no sample before the first.",
        samples: |source, samples| {
            if let Some(took) = source.extra.last_sweep {
                samples.add(&[], took.as_secs_f64());
            }
        },
    },
];
