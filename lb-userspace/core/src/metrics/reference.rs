//! The reference of all families, as Markdown.
//!
//! In: the families. Out: one table per section. Absent: words of its own about any family.

use std::fmt::Write as _;

use super::families::SECTIONS;

/// Series that one more real server with a health check makes, and one more virtual service without
/// real servers.
pub(super) const SERIES_PER_SERVER: usize = 18;
pub(super) const SERIES_PER_SERVICE: usize = 11;

const HEAD: &str = "\
# Metrics

`lbd` serves its metrics in the text format of Prometheus (0.0.4) at `/metrics`: always on the API's socket,
and over TCP where `node.metrics_address` says so, without encryption or login, to who asks. Give it an
address of the management network.

```sh
curl --unix-socket /run/lb/lbd.sock http://lbd/metrics
```

```yaml
# prometheus.yml
scrape_configs:
  - job_name: lb
    static_configs:
      - targets: [\"192.168.94.41:9707\"]
```

What to be woken by:

| Something is wrong | Expression |
|---|---|
| A virtual service answers nobody | `lb_service_up == 0` |
| A real server is down | `lb_server_state{state=\"down\"} == 1` |
| The machine itself has a problem | `lb_problems > 0` |
| Packets are dropped | `sum by (reason) (rate(lb_datapath_packets_total{action=\"drop\"}[5m])) > 0` |
| A table is nearly full | `lb_table_entries{table=~\"flows\\|persistence\\|replies\"} / lb_table_capacity_entries > 0.9` |
| Source ports of l4-snat run out | `lb_source_ports_in_use / lb_source_ports > 0.8` |
| More new flows arrive than are recorded | `rate(lb_new_flows_beyond_limit_total[5m]) > 0` |
| The configuration file was refused | `lb_configuration_last_reload_successful == 0` |
| XDP fell back to the network stack | `lb_interface_xdp{xdp=\"generic\"} == 1` |

A real server that is drained or halted has `lb_server_up` 0 and is not `down`: nobody is woken by what an
administrator ordered.
";

/// The reference of all families.
#[must_use]
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\n## How many series\n\n\
         A real server with a health check makes {SERIES_PER_SERVER} series, in l4-snat two more for each protocol, a virtual service\n\
         {SERIES_PER_SERVICE} more, each reason of the datapath two; the rest is a few dozen. Ten virtual services with five real\n\
         servers each are about a thousand. Labels come from the configuration and from closed sets; no client, flow\n\
         or sentence is ever one. A real server that changes its name or address begins new series.\n"
    );
    for section in SECTIONS {
        let _ = write!(
            text,
            "\n## {}\n\n{}\n\n| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n",
            section.title, section.about
        );
        for family in section.families {
            let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} |",
                family.name,
                family.kind.word(),
                labels.join(", "),
                family.help
            );
        }
    }
    text
}
