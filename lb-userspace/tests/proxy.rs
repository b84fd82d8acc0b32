//! What the proxy asks of the kernel, in network namespaces. Needs root.

#[path = "proxy/connect.rs"]
mod connect;
#[path = "netlink/namespace.rs"]
#[expect(dead_code, reason = "the tests of netlink use the rest")]
mod namespace;
#[path = "proxy/steering.rs"]
mod steering;
#[path = "proxy/transparent.rs"]
mod transparent;

use std::net::IpAddr;
use std::time::Duration;

/// Longest any condition may take; all are met at once or never.
const PATIENCE: Duration = Duration::from_secs(20);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
