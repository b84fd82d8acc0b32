//! The daemon as a process, under the names that Prometheus' own libraries use.

use crate::metrics::extra::Process;
use crate::metrics::family::{Family, Kind, Samples};
use crate::metrics::source::Source;
use crate::metrics::text::Value;

pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "process_start_time_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "When the process started, in seconds since 1970-01-01 UTC.",
        samples: |source, samples| {
            #[expect(clippy::cast_precision_loss, reason = "2^53 ms are 285,000 years")]
            one(source, samples, |process| process.started_at_ms as f64 / 1000.0);
        },
    },
    Family {
        name: "process_cpu_seconds_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Time that CPUs have spent on the process, in user and kernel mode.",
        samples: |source, samples| one(source, samples, |process| process.cpu.as_secs_f64()),
    },
    Family {
        name: "process_virtual_memory_bytes",
        kind: Kind::Gauge,
        labels: &[],
        help: "Size of the address space.",
        samples: |source, samples| one(source, samples, |process| process.virtual_bytes),
    },
    Family {
        name: "process_resident_memory_bytes",
        kind: Kind::Gauge,
        labels: &[],
        help: "Memory that the process occupies; the tables of the datapath are the kernel's.",
        samples: |source, samples| one(source, samples, |process| process.resident_bytes),
    },
    Family {
        name: "process_open_fds",
        kind: Kind::Gauge,
        labels: &[],
        help: "File descriptors that are open.",
        samples: |source, samples| one(source, samples, |process| process.open_files),
    },
    Family {
        name: "process_max_fds",
        kind: Kind::Gauge,
        labels: &[],
        help: "File descriptors that may be open.",
        samples: |source, samples| {
            // Written as infinity where there is no limit.
            one(source, samples, |process| process.max_files.map_or(Value::Real(f64::INFINITY), Value::Whole));
        },
    },
];

fn one<V: Into<Value>>(source: &Source<'_>, samples: &mut Samples<'_>, value: impl Fn(&Process) -> V) {
    if let Some(process) = &source.extra.process {
        samples.add(&[], value(process));
    }
}
