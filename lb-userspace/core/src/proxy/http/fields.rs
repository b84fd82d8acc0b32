//! Fields that end at this hop (RFC 9110 section 7.6.1), and those that nobody but the balancer may send.
//!
//! One pass over the names finds what there is, so that a request with none of them pays for nothing else.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderValue, Version};

/// Fields of a connection that are no header of their own in `http`.
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Those that are taken out whether Connection names them or not; TE and Upgrade are looked at first.
static OF_THE_HOP: [HeaderName; 6] =
    [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING, HTTP2_SETTINGS, EXPECT];

/// What a pass over the names has found.
#[derive(Default)]
pub(super) struct Found {
    /// Bits of [`OF_THE_HOP`].
    hop: u8,
    te: bool,
    upgrade: bool,
    /// Fields of a stranger that only a proxy sends, under whatever spelling.
    pub(super) forwarding: Vec<HeaderName>,
    /// Names that some server reads as Content-Length or Transfer-Encoding.
    disguised: Vec<HeaderName>,
}

impl Found {
    pub(super) fn new(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for name in headers.keys() {
            found.note(name);
        }
        found
    }

    fn note(&mut self, name: &HeaderName) {
        let text = name.as_str();
        match text.as_bytes().first() {
            Some(b'c' | b'e' | b'h' | b'k' | b'p') => {
                if let Some(index) = OF_THE_HOP.iter().position(|hop| hop == name) {
                    self.hop |= 1 << index;
                }
            }
            Some(b't') => {
                self.te |= name == TE;
                if name == TRANSFER_ENCODING {
                    self.hop |= 1 << 3;
                }
            }
            Some(b'u') => self.upgrade |= name == UPGRADE,
            Some(b'f') if name == FORWARDED => self.forwarding.push(name.clone()),
            Some(b'x') if is_forwarding(text) => self.forwarding.push(name.clone()),
            _ => {}
        }
        // Servers that hand fields to programs as variables (CGI and its heirs) do not tell `_` from `-`.
        if text.contains('_') && matches!(text.replace('_', "-").as_str(), "content-length" | "transfer-encoding") {
            self.disguised.push(name.clone());
        }
    }

    /// Takes out what ends at this hop. `true`: an upgrade was asked for, and its two fields are still there.
    pub(super) fn strip(&self, headers: &mut HeaderMap, upgrade: bool) -> bool {
        let named = if self.hop & 1 != 0 { Named::new(headers) } else { Named::default() };
        let upgrade = upgrade && named.upgrade && self.upgrade && is_upgrade(headers);
        for name in named.others {
            headers.remove(name);
        }
        for (index, name) in OF_THE_HOP.iter().enumerate() {
            if self.hop & (1 << index) != 0 {
                headers.remove(name);
            }
        }
        for name in &self.disguised {
            headers.remove(name);
        }
        if self.te {
            strip_te(headers);
        }
        if upgrade {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        } else if self.upgrade {
            headers.remove(UPGRADE);
        }
        upgrade
    }

    /// Whether Transfer-Encoding was there.
    pub(super) fn is_transfer_coded(&self) -> bool {
        self.hop & (1 << 3) != 0
    }
}

/// Fields that rules may not touch: they belong to a connection or to the length of a body.
pub(super) fn is_reserved(name: &HeaderName) -> bool {
    OF_THE_HOP.contains(name) || [TE, TRAILER, UPGRADE, CONTENT_LENGTH].contains(name)
}

/// X-Forwarded-For and all its kin, also as a server of CGI reads them.
fn is_forwarding(name: &str) -> bool {
    const PREFIX: &[u8] = b"x-forwarded-";
    let begins = name.as_bytes().get(..PREFIX.len());
    begins.is_some_and(|begins| begins.iter().zip(PREFIX).all(|(a, b)| a == b || (*a == b'_' && *b == b'-')))
}

/// What Connection names.
#[derive(Default)]
struct Named {
    upgrade: bool,
    others: Vec<HeaderName>,
}

impl Named {
    fn new(headers: &HeaderMap) -> Self {
        let mut named = Self::default();
        for option in options(headers, &CONNECTION) {
            // Most of all there is.
            if option.eq_ignore_ascii_case(b"keep-alive") || option.eq_ignore_ascii_case(b"close") {
                continue;
            }
            if option.eq_ignore_ascii_case(b"upgrade") {
                named.upgrade = true;
                continue;
            }
            // Without these two a message would mean something else.
            if let Ok(name) = HeaderName::from_bytes(option)
                && ![HOST, CONTENT_LENGTH, TE].contains(&name)
            {
                named.others.push(name);
            }
        }
        named
    }
}

/// The elements of a list in all fields of a name.
pub(super) fn options<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let values = headers.get_all(name).into_iter();
    let elements = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// Whether what is asked for in Upgrade can be carried on. HTTP/2 and TLS cannot: the connection would go on where no
/// rule looks (RFC 9113 section 3.1 has no upgrade to `h2c` any more).
fn is_upgrade(headers: &HeaderMap) -> bool {
    let mut protocols = options(headers, &UPGRADE).peekable();
    let carried = |protocol: &[u8]| {
        let name = protocol.split(|byte| *byte == b'/').next().unwrap_or_default();
        ![b"h2c".as_slice(), b"h2", b"http", b"tls"].iter().any(|refused| name.eq_ignore_ascii_case(refused))
    };
    protocols.peek().is_some() && protocols.all(carried)
}

/// `trailers` may stay: it is said of the whole way (RFC 9110 section 10.1.4).
fn strip_te(headers: &mut HeaderMap) {
    let trailers = options(headers, &TE).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    } else {
        headers.remove(TE);
    }
}

/// Whether requests of this version can ask for an upgrade.
pub(super) fn can_upgrade(version: Version) -> bool {
    version == Version::HTTP_11
}
