use std::net::{IpAddr, SocketAddr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

// What HAProxy 2.6.12 sent over loopback: send-proxy, send-proxy-v2 with crc32c, a health check, and the clients of a
// TLS listener with every option it has (ssl, cert-cn, ssl-cipher, cert-sig, cert-key, authority, crc32c, unique-id).
const V1_TCP4: &[u8] = b"PROXY TCP4 127.0.0.1 127.0.0.1 52194 19001\r\n";
const V1_TCP6: &[u8] = b"PROXY TCP6 ::1 ::1 55704 19005\r\n";
const V2_LOCAL: &str = "0d0a0d0a000d0a515549540a20000000";
const V2_TCP4: &str = "0d0a0d0a000d0a515549540a211100137f0000017f000001b6304a3a03000482e3097f";
const V2_TCP6: &str = "0d0a0d0a000d0a515549540a2121002b00000000000000000000000000000001\
    00000000000000000000000000000001bd004a3c030004fd3b78bb";
const V2_TLS: &str = "0d0a0d0a000d0a515549540a211100827f0000017f000001885c4a3b0300041b66f284\
    020010706163732e6578616d706c652e6f726705000d37463030303030313a38383543\
    2000490700000000210007544c5376312e33220007636c69656e7431250007525341\
    3230343824000a5253412d534841323536230016544c535f4145535f3235365f47434d5f534841333834";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|digit| u8::try_from(digit.to_digit(16)?).ok()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn header(source: &str, destination: &str) -> Header {
    Header { source: source.parse().ok(), destination: destination.parse().ok(), tls: false }
}

fn recorded() -> Vec<(Vec<u8>, Header)> {
    vec![
        (V1_TCP4.to_vec(), header("127.0.0.1:52194", "127.0.0.1:19001")),
        (V1_TCP6.to_vec(), header("[::1]:55704", "[::1]:19005")),
        (hex(V2_LOCAL), Header::default()),
        (hex(V2_TCP4), header("127.0.0.1:46640", "127.0.0.1:19002")),
        (hex(V2_TCP6), header("[::1]:48384", "[::1]:19004")),
        (hex(V2_TLS), Header { tls: true, ..header("127.0.0.1:34908", "127.0.0.1:19003") }),
        // The examples of sections 2.1 and the longest line there is.
        (
            b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n".to_vec(),
            header("192.168.0.1:56324", "192.168.0.11:443"),
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), Header::default()),
        (
            b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"
                .to_vec(),
            Header::default(),
        ),
    ]
}

/// A header of version 2 around `following`.
fn v2(command: u8, family: u8, following: &[u8]) -> Vec<u8> {
    let length = u16::try_from(following.len()).unwrap();
    [v2::SIGNATURE, &[command, family], &length.to_be_bytes(), following].concat()
}

#[test]
fn recorded_headers_are_read_and_nothing_behind_them() {
    for (bytes, header) in recorded() {
        let with_data = [bytes.as_slice(), b"\r\nGET / HTTP/1.1\r\n"].concat();
        assert_eq!(parse(&with_data), Ok(Parsed::Done { value: header, length: bytes.len() }));
    }
}

#[test]
fn a_header_in_pieces_is_read_when_its_last_byte_is_there_and_not_before() {
    for (bytes, header) in recorded() {
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Ok(Parsed::More), "{end} bytes of {bytes:?}");
        }
        assert_eq!(parse(&bytes), Ok(Parsed::Done { value: header, length: bytes.len() }));
    }
}

#[test]
fn one_wrong_bit_does_not_get_past_a_checksum() {
    for text in [V2_TCP4, V2_TCP6, V2_TLS] {
        let good = hex(text);
        // The command is left out: as LOCAL the same header is right, and says nothing. So is the family: without
        // addresses nothing that follows means anything.
        for bit in (8 * 14..8 * good.len()).chain(0..8 * 12) {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(parse(&bytes), Ok(Parsed::Done { .. })) || unchecked(&bytes), "bit {bit} of {text}");
        }
    }
}

/// The bit has turned the checksum's own type into another one, or its field's length or the header's so that none is there.
fn unchecked(bytes: &[u8]) -> bool {
    let addresses = if bytes[13] == 0x11 { 12 } else { 36 };
    bytes[16 + addresses] != 3 || usize::from(bytes[14]) * 256 + usize::from(bytes[15]) == addresses
}

#[test]
fn what_is_no_header_is_refused_at_its_first_wrong_byte() {
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01", b"PROXX", b"\r\n\r\n\0\r\nQUIP", b"proxy TCP4"] {
        assert_eq!(parse(bytes), Err(Malformed::Absent), "{bytes:?}");
    }
}

#[test]
fn lines_of_any_other_form_are_refused() {
    for line in [
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
        "PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
        "PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY UNK\r\n",
        "PROXY \r\n",
    ] {
        assert!(matches!(parse(line.as_bytes()), Err(Malformed::Line(_))), "{line:?}");
    }
}

#[test]
fn a_line_without_an_end_is_given_up_at_its_longest() {
    let line = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
    assert_eq!(parse(&line[..v1::LONGEST - 1]), Ok(Parsed::More));
    assert_eq!(parse(&line[..v1::LONGEST]), Err(Malformed::Endless));
    // Its end one byte too late.
    let late = [&line[..v1::LONGEST - 1], b"\r\n"].concat();
    assert_eq!(parse(&late), Err(Malformed::Endless));
}

#[test]
fn headers_of_version_2_that_break_its_rules_are_refused() {
    let addresses = [10, 0, 0, 1, 10, 0, 0, 2, 0, 80, 1, 187];
    let with = |field: &[u8]| [&addresses, field].concat();
    let cases = [
        (v2(0x11, 0x11, &addresses), Malformed::Version(1)),
        (v2(0x31, 0x11, &addresses), Malformed::Version(3)),
        (v2(0x22, 0x11, &addresses), Malformed::Command(2)),
        (v2(0x21, 0x41, &addresses), Malformed::Family(0x41)),
        (v2(0x21, 0x13, &addresses), Malformed::Family(0x13)),
        (v2(0x21, 0x11, &addresses[..11]), Malformed::Short { needed: 12, got: 11 }),
        (v2(0x21, 0x21, &addresses), Malformed::Short { needed: 36, got: 12 }),
        (v2(0x21, 0x31, &addresses), Malformed::Short { needed: 216, got: 12 }),
        (v2(0x21, 0x11, &[0; LONGEST]), Malformed::Long(LONGEST + 16)),
        (v2(0x21, 0x11, &with(&[4])), Malformed::Field(4)),
        (v2(0x21, 0x11, &with(&[4, 0])), Malformed::Field(4)),
        (v2(0x21, 0x11, &with(&[4, 0, 2, 0])), Malformed::Field(4)),
        (v2(0x21, 0x11, &with(&[3, 0, 3, 0, 0, 0])), Malformed::Field(3)),
        (v2(0x21, 0x11, &with(&[3, 0, 5, 0, 0, 0, 0, 0])), Malformed::Field(3)),
        (v2(0x21, 0x11, &with(&[0x20, 0, 4, 1, 0, 0, 0])), Malformed::Field(0x20)),
    ];
    for (bytes, error) in cases {
        assert_eq!(parse(&bytes), Err(error), "{bytes:?}");
    }
}

#[test]
fn a_header_too_long_is_refused_before_it_has_come() {
    let bytes = v2(0x21, 0x11, &[0; LONGEST]);
    assert_eq!(parse(&bytes[..16]), Err(Malformed::Long(LONGEST + 16)));
}

#[test]
fn families_other_than_tcp_are_skipped() {
    let following = [1; 216];
    for family in [0x00, 0x01, 0x02, 0x10, 0x12, 0x20, 0x22, 0x30, 0x31, 0x32] {
        let length = if family & 0x0f == 0 || family < 0x10 { 216 } else { [0, 12, 36, 216][usize::from(family >> 4)] };
        let bytes = v2(0x21, family, &following[..length]);
        assert_eq!(parse(&bytes), Ok(Parsed::Done { value: Header::default(), length: bytes.len() }), "{family:#x}");
    }
}

#[test]
fn a_local_header_is_skipped_whatever_it_carries() {
    let bytes = v2(0x20, 0xff, &[0xff; 100]);
    assert_eq!(parse(&bytes), Ok(Parsed::Done { value: Header::default(), length: 116 }));
}

#[test]
fn errors_are_sentences_for_who_set_the_sender_up() {
    let error = parse(b"PROXY TCP4 what\x1b is this\r\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the PROXY header "PROXY TCP4 what\u{1b} is this\r" has not the form "PROXY TCP4 <source> <destination> <port> <port>""#
    );
    assert_eq!(
        Malformed::Checksum { said: 1, counted: 0xfd3b_78bb }.to_string(),
        "the PROXY header of version 2 has checksum 0x00000001, but its bytes give 0xfd3b78bb"
    );
}

#[test]
fn headers_are_written_as_haproxy_writes_them() {
    let written = |version, source: &str, destination: &str| {
        let mut out = b"before".to_vec();
        write(version, source.parse().unwrap(), destination.parse().unwrap(), &mut out);
        out.strip_prefix(b"before").unwrap().to_vec()
    };
    assert_eq!(written(ProxyProtocol::V1, "127.0.0.1:52194", "127.0.0.1:19001"), V1_TCP4);
    assert_eq!(written(ProxyProtocol::V1, "[::1]:55704", "[::1]:19005"), V1_TCP6);
    // HAProxy's without the checksum's seven bytes.
    let without = |text| {
        let mut bytes = hex(text);
        bytes.truncate(bytes.len() - 7);
        bytes[15] -= 7;
        bytes
    };
    assert_eq!(written(ProxyProtocol::V2, "127.0.0.1:46640", "127.0.0.1:19002"), without(V2_TCP4));
    assert_eq!(written(ProxyProtocol::V2, "[::1]:48384", "[::1]:19004"), without(V2_TCP6));
}

#[test]
fn two_families_become_one() {
    let written = |source: &str, destination: &str| {
        let mut out = Vec::new();
        write(ProxyProtocol::V1, source.parse().unwrap(), destination.parse().unwrap(), &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(written("[::ffff:10.0.0.1]:1", "10.0.0.2:2"), "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n");
    assert_eq!(written("[2001:db8::1]:1", "10.0.0.2:2"), "PROXY TCP6 2001:db8::1 ::ffff:10.0.0.2 1 2\r\n");
}

fn address() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(source in address(), destination in address(), two: bool, after in vec(any::<u8>(), 0..20)) {
        let version = if two { ProxyProtocol::V2 } else { ProxyProtocol::V1 };
        let mut bytes = Vec::new();
        write(version, source, destination, &mut bytes);
        let length = bytes.len();
        bytes.extend_from_slice(&after);
        let Ok(Parsed::Done { value, length: read }) = parse(&bytes) else { panic!("{bytes:?}") };
        prop_assert_eq!(read, length);
        prop_assert_eq!(value.source.map(canonical), Some(canonical(source)));
        prop_assert_eq!(value.destination.map(canonical), Some(canonical(destination)));
        prop_assert!(two || length <= v1::LONGEST);
    }

    #[test]
    fn any_bytes_are_answered_and_the_answer_stays(bytes in begun()) {
        let mut settled = None;
        for end in 0..=bytes.len() {
            let answer = parse(&bytes[..end]);
            if let Ok(Parsed::Done { length, .. }) = answer {
                prop_assert!(length <= end && length <= LONGEST);
            }
            match &settled {
                Some(before) => prop_assert_eq!(before, &answer, "more bytes changed the answer"),
                None if answer == Ok(Parsed::More) => prop_assert!(end < LONGEST),
                None => settled = Some(answer),
            }
        }
    }

    #[test]
    fn mutated_recordings_never_panic(which in 0..9_usize, changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), cut: prop::sample::Index) {
        let mut bytes = recorded().swap_remove(which).0;
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        // Nothing beyond what was said to be the header is ever needed.
        if let Ok(Parsed::Done { value, length }) = parse(&bytes) {
            prop_assert_eq!(parse(&bytes[..length]), Ok(Parsed::Done { value, length }));
            prop_assert_eq!(value.source.is_some(), value.destination.is_some());
        }
        let _ = parse(&bytes[..cut.index(bytes.len())]);
    }
}

/// Bytes that mostly get past the signature.
fn begun() -> impl Strategy<Value = Vec<u8>> {
    let signature =
        prop_oneof![Just(&b""[..]), Just(v1::SIGNATURE), Just(v2::SIGNATURE), Just(&b"PROXY TCP4 1.2.3.4 "[..])];
    let tail = prop_oneof![
        vec(any::<u8>(), 0..200),
        vec(prop_oneof![Just(0x21), Just(0x11), Just(0), Just(3), Just(4)], 0..80)
    ];
    (signature, tail).prop_map(|(signature, tail)| [signature, &tail].concat())
}

#[test]
fn a_connection_of_the_proxy_itself_names_nobody() {
    let cases =
        [(ProxyProtocol::V1, &b"PROXY UNKNOWN\r\n"[..]), (ProxyProtocol::V2, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0")];
    for (version, expected) in cases {
        let mut bytes = Vec::new();
        write_own(version, &mut bytes);
        assert_eq!(bytes, expected);
        assert_eq!(parse(&bytes), Ok(Parsed::Done { value: Header::default(), length: expected.len() }));
    }
}
