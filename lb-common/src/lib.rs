//! What the kernel program and the daemon share, and the datapath that both of them run.
//!
//! [`abi`] is the layout of the kernel tables, [`wire`] the formats of the packets, and
//! [`datapath`] the one function that decides about a packet. It is compiled twice: into the XDP
//! program by `lb-ebpf`, and for the host, where unit tests run it over tables in memory
//! ([`testing`]). Absent: allocation, `unsafe`, the kernel.
#![cfg_attr(not(any(test, feature = "testing")), no_std)]
#![forbid(unsafe_code)]

pub mod abi;
pub mod datapath;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod trace;
pub mod wire;
