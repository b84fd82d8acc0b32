//! Keys of the hash tables.

use super::Plain;

/// An IPv6 address, or an IPv4 address as `::ffff:a.b.c.d`, in network order.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Bytes as in the IPv6 header.
    pub octets: [u8; 16],
}

impl Address {
    /// From the bytes of an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub fn v4(octets: [u8; 4]) -> Self {
        Self::v4_word(u32::from_ne_bytes(octets))
    }

    /// From an IPv4 address as a word in memory order.
    #[inline(always)]
    #[must_use]
    pub fn v4_word(word: u32) -> Self {
        Self::from_words([0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]), word])
    }

    /// From the bytes of an IPv6 address.
    #[inline(always)]
    #[must_use]
    pub const fn v6(octets: [u8; 16]) -> Self {
        Self { octets }
    }

    /// Whether this is an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub fn is_v4(&self) -> bool {
        let [a, b, c, _] = self.words();
        a == 0 && b == 0 && c == u32::from_ne_bytes([0, 0, 0xff, 0xff])
    }

    /// Four words in memory order, for hashing and masking.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> [u32; 4] {
        let o = self.octets;
        [
            u32::from_ne_bytes([o[0], o[1], o[2], o[3]]),
            u32::from_ne_bytes([o[4], o[5], o[6], o[7]]),
            u32::from_ne_bytes([o[8], o[9], o[10], o[11]]),
            u32::from_ne_bytes([o[12], o[13], o[14], o[15]]),
        ]
    }

    /// The inverse of [`Self::words`]. Words stay whole all the way, so that the kernel program
    /// stores four of them and not sixteen bytes.
    #[inline(always)]
    #[must_use]
    pub fn from_words(words: [u32; 4]) -> Self {
        let bytes = words.map(u32::to_ne_bytes);
        let mut octets = [0; 16];
        octets.copy_from_slice(bytes.as_flattened());
        Self { octets }
    }

    /// The bits that are also in `mask`: the client's network.
    ///
    /// ```
    /// use lb_common::abi::Address;
    ///
    /// let mut mask = Address::v6([0xff; 16]);
    /// mask.octets[15] = 0;
    /// assert_eq!(Address::v4([172, 26, 11, 70]).masked(&mask), Address::v4([172, 26, 11, 0]));
    /// ```
    #[inline(always)]
    #[must_use]
    pub fn masked(&self, mask: &Self) -> Self {
        let (a, m) = (self.words(), mask.words());
        Self::from_words([a[0] & m[0], a[1] & m[1], a[2] & m[2], a[3] & m[3]])
    }
}

impl From<core::net::IpAddr> for Address {
    fn from(address: core::net::IpAddr) -> Self {
        match address {
            core::net::IpAddr::V4(v4) => Self::v4(v4.octets()),
            core::net::IpAddr::V6(v6) => Self::v6(v6.octets()),
        }
    }
}

impl From<Address> for core::net::IpAddr {
    fn from(address: Address) -> Self {
        core::net::Ipv6Addr::from(address.octets).to_canonical()
    }
}

/// One conversation, as the client's packets name it.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// Source of the client's packets.
    pub client: Address,
    /// Their destination.
    pub vip: Address,
    /// Source port, host order.
    pub client_port: u16,
    /// Destination port, host order.
    pub vip_port: u16,
    /// IP protocol number: 6 or 17.
    pub protocol: u8,
    /// Zero.
    pub spare8: u8,
    /// Zero. (An array of three bytes would be cleared by a call in the kernel program.)
    pub spare16: u16,
}

/// A single port of a VIP.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePortKey {
    /// The VIP.
    pub vip: Address,
    /// Host order.
    pub port: u16,
    /// IP protocol number: 6 or 17.
    pub protocol: u8,
    /// Zero.
    pub spare: u8,
}

/// The port ranges of a VIP for one protocol.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRangesKey {
    /// The VIP.
    pub vip: Address,
    /// IP protocol number: 6 or 17.
    pub protocol: u8,
    /// Zero.
    pub spare8: u8,
    /// Zero. (An array of three bytes would be cleared by a call in the kernel program.)
    pub spare16: u16,
}

/// A client of a service, over all its ports and both protocols.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersistenceKey {
    /// The client's address under the service's mask.
    pub client: Address,
    /// The service.
    pub service: u32,
}

/// A datagram in fragments (RFC 791 §3.2, RFC 8200 §4.5).
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FragmentKey {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Identification, host order; 16 bits in IPv4.
    pub identification: u32,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub spare8: u8,
    /// Zero. (An array of three bytes would be cleared by a call in the kernel program.)
    pub spare16: u16,
}

const _: () = {
    assert!(size_of::<FlowKey>() == 16 + 16 + 2 + 2 + 1 + 1 + 2);
    assert!(size_of::<ServicePortKey>() == 16 + 2 + 1 + 1);
    assert!(size_of::<PortRangesKey>() == 16 + 1 + 1 + 2);
    assert!(size_of::<PersistenceKey>() == 16 + 4);
    assert!(size_of::<FragmentKey>() == 16 + 16 + 4 + 1 + 1 + 2);
};

impl Plain for FlowKey {}
impl Plain for ServicePortKey {}
impl Plain for PortRangesKey {}
impl Plain for PersistenceKey {}
impl Plain for FragmentKey {}
