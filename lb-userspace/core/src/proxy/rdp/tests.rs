use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// MS-RDPBCGR 4.1.1, as Microsoft recorded it.
const ELTONS: &[u8] =
    b"\x03\x00\x00\x2c\x27\xe0\x00\x00\x00\x00\x00Cookie: mstshash=eltons\r\n\x01\x00\x08\x00\x00\x00\x00\x00";

/// A connection request with `variable` behind its fixed part.
fn request(variable: &[u8]) -> Vec<u8> {
    let length = u16::try_from(FIXED + variable.len()).unwrap();
    let [high, low] = length.to_be_bytes();
    let indicator = u8::try_from(length - 5).unwrap_or(u8::MAX);
    [&[3, 0, high, low, indicator, 0xe0, 0, 0, 0, 0, 0], variable].concat()
}

fn named(bytes: &[u8]) -> Option<Cookie> {
    match cookie(bytes) {
        Parsed::Done { value, .. } => value,
        Parsed::More => panic!("wants more than {bytes:?}"),
    }
}

#[test]
fn microsofts_own_example_names_its_user() {
    assert_eq!(cookie(ELTONS), Parsed::Done { value: Some(Cookie::User(b"eltons".to_vec())), length: 36 });
}

#[test]
fn what_freerdp_sends_is_read() {
    // FreeRDP 2.11.7: /u:alice /d:HOSPITAL; /load-balance-info with a broker's token, and with a collection; no user.
    let recorded: [(&[u8], _); 4] = [
        (
            b"\x03\x00\x00+&\xe0\x00\x00\x00\x00\x00Cookie: mstshash=alice\r\n\x01\x00\x08\x00\x03\x00\x00\x00",
            Some(Cookie::User(b"alice".to_vec())),
        ),
        (
            b"\x03\x00\x0072\xe0\x00\x00\x00\x00\x00Cookie: msts=3640205228.15629.0000\r\n\x01\x00\x08\x00\x03\x00\x00\x00",
            Some(Cookie::Chosen("172.31.249.216:3389".parse().unwrap())),
        ),
        (
            b"\x03\x00\x00=8\xe0\x00\x00\x00\x00\x00tsv://MS Terminal Services Plugin.1.Farm\r\n\x01\x00\x08\x00\x03\x00\x00\x00",
            None,
        ),
        (b"\x03\x00\x00&!\xe0\x00\x00\x00\x00\x00Cookie: mstshash=\r\n\x01\x00\x08\x00\x03\x00\x00\x00", None),
    ];
    for (bytes, cookie) in recorded {
        assert_eq!(named(bytes), cookie, "{bytes:?}");
    }
}

#[test]
fn a_request_in_pieces_is_read_at_the_end_of_its_cookie() {
    for end in 0..ELTONS.len() {
        match cookie(&ELTONS[..end]) {
            Parsed::More => assert!(end < 36),
            Parsed::Done { value, .. } => {
                assert!(end >= 36);
                assert_eq!(value, Some(Cookie::User(b"eltons".to_vec())));
            }
        }
    }
}

#[test]
fn a_routing_token_is_the_address_a_broker_has_chosen() {
    // The example in Microsoft's IMsRdpClientAdvancedSettings::LoadBalanceInfo: 172.31.249.216, port 3389.
    let chosen = Some(Cookie::Chosen("172.31.249.216:3389".parse().unwrap()));
    for token in ["3640205228.15629.0000", "3640205228.15629.0000 ", "3640205228.15629"] {
        assert_eq!(named(&request(format!("Cookie: msts={token}\r\n").as_bytes())), chosen, "{token}");
    }
}

#[test]
fn tokens_that_are_no_address_name_nobody() {
    for token in [
        "",
        "1",
        "1.",
        ".1",
        "4294967296.15629.0000",
        "1.65536.0000",
        "1.2.x",
        "1.2.3.4",
        "-1.2.3",
        "+1.2.3",
        "1 .2.3",
        "\u{661}.2.3",
    ] {
        assert_eq!(named(&request(format!("Cookie: msts={token}\r\n").as_bytes())), None, "{token}");
    }
}

#[test]
fn requests_without_a_cookie_name_nobody() {
    let negotiation = b"\x01\x00\x08\x00\x03\x00\x00\x00";
    for variable in [
        &negotiation[..],
        b"",
        b"tsv://MS Terminal Services Plugin.1.Farm\r\n",
        b"Cookie: mstshash=\r\n",
        b"Cookie: mstshash=never ends",
        b"Cookie: other=1\r\n",
    ] {
        assert_eq!(named(&request(variable)), None, "{variable:?}");
    }
}

#[test]
fn what_is_no_request_is_told_by_its_first_wrong_byte() {
    for bytes in
        [&b"GET"[..], b"\x16", b"\x03\x01", b"\x03\x00\x00\x2c\x27\xd0", b"\x03\x00\x00\x0a", b"\x03\x00\xff\xff"]
    {
        assert_eq!(named(bytes), None, "{bytes:?}");
        if let [before @ .., _] = bytes
            && bytes.len() < 3
        {
            assert_eq!(cookie(before), Parsed::More);
        }
    }
}

#[test]
fn a_user_may_have_any_name() {
    for user in [&b"HOSPITAL\\"[..], "Jürgen".as_bytes(), b"\xff\xfe", b" ", b"a=b; c"] {
        let bytes = request(&[b"Cookie: mstshash=", user, b"\r\n"].concat());
        assert_eq!(named(&bytes), Some(Cookie::User(user.to_vec())));
    }
}

proptest! {
    #[test]
    fn every_address_and_port_survives_its_token(address: Ipv4Addr, port: u16) {
        let token = format!("{}.{}.0000", u32::from_le_bytes(address.octets()), port.swap_bytes());
        let bytes = request(format!("Cookie: msts={token}\r\n").as_bytes());
        prop_assert_eq!(named(&bytes), Some(Cookie::Chosen(SocketAddrV4::new(address, port))));
    }

    #[test]
    fn any_bytes_are_answered_and_the_answer_stays(
        good in prop_oneof![Just(0), Just(4), Just(11), Just(28), Just(ELTONS.len())],
        tail in vec(any::<u8>(), 0..64),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut bytes = [&ELTONS[..good], &tail].concat();
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        let mut settled = None;
        for end in 0..=bytes.len() {
            let answer = cookie(&bytes[..end]);
            if let Parsed::Done { length, .. } = answer {
                prop_assert!(length <= end);
            }
            match &settled {
                Some(before) => prop_assert_eq!(before, &answer, "more bytes changed the answer"),
                None if answer == Parsed::More => prop_assert!(end < LONGEST),
                None => settled = Some(answer),
            }
        }
    }
}
