//! The BPF objects, inside the binary: one file to install.

/// The datapath.
pub(super) const DATAPATH: &[u8] = aya::include_bytes_aligned!(env!("LB_EBPF_OBJECT"));

/// The clock.
pub(super) const CLOCK: &[u8] = aya::include_bytes_aligned!(env!("LB_CLOCK_OBJECT"));

/// What steers connections to ranges of ports to the proxy.
pub(super) const LOOKUP: &[u8] = aya::include_bytes_aligned!(env!("LB_LOOKUP_OBJECT"));
