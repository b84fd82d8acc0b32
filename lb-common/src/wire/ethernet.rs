//! Ethernet II (IEEE 802.3) with 802.1Q and 802.1ad tags.
//!
//! ```text
//! destination 6 | source 6 | [tag 4] [tag 4] | type 2 | payload
//! ```

/// Bytes of both MAC addresses: destination, then source.
pub const ADDRESSES: usize = 12;
/// Bytes of a VLAN tag: its type, then its control information.
pub const TAG: usize = 4;
/// Bytes of an untagged header.
pub const HEADER: usize = 14;

/// IPv4.
pub const TYPE_IPV4: u16 = 0x0800;
/// ARP (RFC 826).
pub const TYPE_ARP: u16 = 0x0806;
/// IPv6.
pub const TYPE_IPV6: u16 = 0x86dd;
/// 802.1Q customer tag.
pub const TYPE_VLAN: u16 = 0x8100;
/// 802.1ad service tag (`QinQ`).
pub const TYPE_SERVICE_VLAN: u16 = 0x88a8;
/// Bits of the control information that are the VLAN; the rest are priority and drop eligibility.
pub const VLAN_MASK: u16 = 0x0fff;
