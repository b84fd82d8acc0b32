//! Health checks of real servers, and of all together.

use super::server::{LABELS, each};
use crate::metrics::family::{Family, Kind};
use crate::view::{Check, HealthState};

pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "lb_server_health_check_up",
        kind: Kind::Gauge,
        labels: LABELS,
        help: "Whether the health check finds the real server up.",
        samples: |source, samples| each(source, samples, |server| up(server.check?)),
    },
    Family {
        name: "lb_server_health_check_duration_seconds",
        kind: Kind::Gauge,
        labels: LABELS,
        help: "How long the last probe took, good or failed.",
        samples: |source, samples| {
            each(source, samples, |server| server.check?.history.first().map(|last| last.took_ms / 1000.0));
        },
    },
    Family {
        name: "lb_server_health_check_failures_in_a_row",
        kind: Kind::Gauge,
        labels: LABELS,
        help: "Probes that have failed since the last good one.",
        samples: |source, samples| {
            each(source, samples, |server| {
                up(server.check?).map(|_| u64::from(server.check.map_or(0, |c| c.failures)))
            });
        },
    },
    Family {
        name: "lb_server_health_check_last_good_timestamp_seconds",
        kind: Kind::Gauge,
        labels: LABELS,
        help: "When a probe was last good, in seconds since 1970-01-01 UTC; no sample when none ever was.",
        samples: |source, samples| {
            each(source, samples, |server| {
                server.check?.last_good_seconds.map(|age| source.extra.at.saturating_sub(age))
            });
        },
    },
    Family {
        name: "lb_health_check_probes_under_way",
        kind: Kind::Gauge,
        labels: &[],
        help: "Probes that are under way now, of all real servers.",
        samples: |source, samples| samples.add(&[], source.health.under_way),
    },
    Family {
        name: "lb_health_check_latest_start_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "The latest that a probe has started after its time since lbd started.",
        samples: |source, samples| {
            #[expect(clippy::cast_precision_loss, reason = "2^53 ms are longer than any machine runs")]
            samples.add(&[], source.health.latest_start_ms as f64 / 1000.0);
        },
    },
];

/// What the check says, once it has spoken.
fn up(check: &Check) -> Option<bool> {
    match check.state {
        HealthState::Up => Some(true),
        HealthState::Down => Some(false),
        HealthState::Checking | HealthState::Unchecked => None,
    }
}
