//! Version 2: binary (section 2.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crc::{CRC_32_ISCSI, Crc};

use super::{Header, LONGEST, Malformed, Pair};
use crate::proxy::Parsed;

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed<Header>, Malformed> {
    let mut rest = Reader(bytes.get(SIGNATURE.len()..).unwrap_or_default());
    let Some(command) = rest.byte() else { return Ok(Parsed::More) };
    let is_local = match (command >> 4, command & 0x0f) {
        (2, 0) => true,
        (2, 1) => false,
        (2, command) => return Err(Malformed::Command(command)),
        (version, _) => return Err(Malformed::Version(version)),
    };
    let Some(family) = rest.byte() else { return Ok(Parsed::More) };
    let Some(following) = rest.short() else { return Ok(Parsed::More) };
    let length = FIXED + usize::from(following);
    if length > LONGEST {
        return Err(Malformed::Long(length));
    }
    // The family of a LOCAL header means nothing, nor does what follows.
    let addresses = if is_local { None } else { address_bytes(family)? };
    if let Some(needed) = addresses.filter(|needed| FIXED + needed > length) {
        return Err(Malformed::Short { needed, got: usize::from(following) });
    }
    let Some(whole) = bytes.get(..length) else { return Ok(Parsed::More) };
    let value = match addresses {
        Some(needed) => header(family, whole, needed)?,
        None => Header::default(),
    };
    Ok(Parsed::Done { value, length })
}

/// How many bytes the addresses have; `None`: family or protocol is unspecified, and what follows means nothing.
fn address_bytes(family: u8) -> Result<Option<usize>, Malformed> {
    match (family >> 4, family & 0x0f) {
        (0, 0..=2) | (1..=3, 0) => Ok(None),
        (1, 1 | 2) => Ok(Some(2 * 4 + 2 * 2)),
        (2, 1 | 2) => Ok(Some(2 * 16 + 2 * 2)),
        (3, 1 | 2) => Ok(Some(2 * 108)),
        _ => Err(Malformed::Family(family)),
    }
}

fn header(family: u8, whole: &[u8], address_bytes: usize) -> Result<Header, Malformed> {
    let mut rest = Reader(whole.get(FIXED..).unwrap_or_default());
    let addresses = Reader(rest.take(address_bytes).unwrap_or_default()).addresses(family);
    let tls = fields(whole, FIXED + address_bytes)?;
    let (source, destination) = addresses.unzip();
    Ok(Header { source, destination, tls })
}

/// Goes through the TLVs from `at` on. Whether the client spoke TLS.
fn fields(whole: &[u8], at: usize) -> Result<bool, Malformed> {
    let mut rest = Reader(whole.get(at..).unwrap_or_default());
    let mut tls = false;
    while let Some(kind) = rest.byte() {
        let wrong = Malformed::Field(kind);
        let value = rest.short().and_then(|length| rest.take(usize::from(length)));
        let Some(value) = value else { return Err(wrong) };
        match kind {
            CHECKSUM => {
                let said = value.first_chunk::<4>().filter(|_| value.len() == 4).ok_or(wrong)?;
                verify(whole, whole.len() - rest.0.len() - 4, u32::from_be_bytes(*said))?;
            }
            TLS => {
                // One byte of flags and four of the certificate's verification, then fields of its own.
                let [flags, _, _, _, _, ..] = value else { return Err(wrong) };
                tls = flags & TLS_CLIENT != 0;
            }
            _ => {}
        }
    }
    Ok(tls)
}

/// The checksum was counted with zeros in its own place, which is `at`.
fn verify(whole: &[u8], at: usize, said: u32) -> Result<(), Malformed> {
    let mut digest = CRC32C.digest();
    digest.update(whole.get(..at).unwrap_or_default());
    digest.update(&[0; 4]);
    digest.update(whole.get(at + 4..).unwrap_or_default());
    let counted = digest.finalize();
    if said == counted { Ok(()) } else { Err(Malformed::Checksum { said, counted }) }
}

/// What is left to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn short(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Source and destination; `None` where the family is none of TCP's.
    fn addresses(mut self, family: u8) -> Option<(SocketAddr, SocketAddr)> {
        let (source, destination): (IpAddr, IpAddr) = match family {
            TCP4 => (Ipv4Addr::from(self.array::<4>()?).into(), Ipv4Addr::from(self.array::<4>()?).into()),
            TCP6 => (Ipv6Addr::from(self.array::<16>()?).into(), Ipv6Addr::from(self.array::<16>()?).into()),
            _ => return None,
        };
        Some((SocketAddr::new(source, self.short()?), SocketAddr::new(destination, self.short()?)))
    }
}

pub(super) fn write(Pair { source, destination }: Pair, out: &mut Vec<u8>) {
    out.extend_from_slice(SIGNATURE);
    let (family, length): (u8, u16) = if source.is_ipv4() { (TCP4, 12) } else { (TCP6, 36) };
    out.extend_from_slice(&[PROXY, family]);
    out.extend_from_slice(&length.to_be_bytes());
    for address in [source.ip(), destination.ip()] {
        match address {
            IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
        }
    }
    for port in [source.port(), destination.port()] {
        out.extend_from_slice(&port.to_be_bytes());
    }
}

/// LOCAL, of no family, with nothing after it.
pub(super) fn write_own(out: &mut Vec<u8>) {
    out.extend_from_slice(SIGNATURE);
    out.extend_from_slice(&[LOCAL, 0, 0, 0]);
}

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The signature, version and command, family and protocol, length.
const FIXED: usize = 16;

/// Version 2, command PROXY.
const PROXY: u8 = 0x21;
/// The same with command LOCAL.
const LOCAL: u8 = 0x20;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// `PP2_TYPE_CRC32C`.
const CHECKSUM: u8 = 0x03;
/// `PP2_TYPE_SSL`, and its flag `PP2_CLIENT_SSL`.
const TLS: u8 = 0x20;
const TLS_CLIENT: u8 = 0x01;

/// RFC 4960 appendix B; it goes by the name of iSCSI, which had it first.
const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
