//! The question: two ends of one flow.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::*;

#[test]
fn a_question_names_both_ends() {
    let query = ExplainQuery::parse("client=10.1.2.3&vip=10.0.0.100%3A80").unwrap();
    assert_eq!(query.client, ClientEnd { address: "10.1.2.3".parse().unwrap(), port: None });
    assert_eq!((query.vip.0, query.protocol), ("10.0.0.100:80".parse().unwrap(), None));
    let query = ExplainQuery::parse("client=[2001:db8::7]:5&vip=[2001:db8::1]:443&protocol=udp").unwrap();
    assert_eq!((query.client.port, query.protocol), (Some(5), Some(Transport::Udp)));
}

#[test]
fn a_bad_question_is_refused_with_what_would_be_right() {
    let cases = [
        ("vip=10.0.0.1:80", "parameter `client` is missing"),
        ("client=10.1.2.3", "parameter `vip` is missing"),
        ("client=10.1.2.3&vip=10.0.0.1:80&port=4", "unknown parameter `port`; known are: client, vip, protocol"),
        (
            "client=somebody&vip=10.0.0.1:80",
            "`somebody` is no client; write its address, with a port if it matters: 10.1.2.3, 10.1.2.3:40000, \
             [2001:db8::7]:40000",
        ),
        (
            "client=10.1.2.3&vip=10.0.0.1",
            "`10.0.0.1` is no VIP with its port; write them like 10.0.0.100:443 or [2001:db8::100]:443",
        ),
        ("client=10.1.2.3:0&vip=10.0.0.1:80", "`10.1.2.3:0` has port 0, which no packet has"),
        (
            "client=10.1.2.3&vip=[2001:db8::1]:80",
            "10.1.2.3 and 2001:db8::1 are not of one family: an IPv4 client reaches an IPv4 address, an IPv6 client an \
             IPv6 one",
        ),
        ("client=10.1.2.3&vip=10.0.0.1:80&protocol=sctp", "protocol `sctp` is not one of: tcp, udp"),
    ];
    for (text, sentence) in cases {
        assert_eq!(ExplainQuery::parse(text).unwrap_err().to_string(), sentence);
    }
}

proptest! {
    #[test]
    fn a_question_round_trips(
        client in any::<IpAddr>(),
        port in proptest::option::of(1..=u16::MAX),
        vip in any::<IpAddr>(),
        vip_port in 1..=u16::MAX,
        protocol in proptest::option::of(prop_oneof![Just(Transport::Tcp), Just(Transport::Udp)]),
    ) {
        let client = ClientEnd { address: client.to_canonical(), port };
        let vip = VipEnd(SocketAddr::new(vip.to_canonical(), vip_port));
        match ExplainQuery::new(client, vip, protocol) {
            Ok(query) => prop_assert_eq!(ExplainQuery::parse(&query.encode()), Ok(query)),
            Err(_) => prop_assert_ne!(client.address.is_ipv4(), vip.0.is_ipv4()),
        }
    }

    #[test]
    fn any_text_is_a_question_or_a_sentence(text in ".*") {
        let _ = ExplainQuery::parse(&text);
        let _ = text.parse::<ClientEnd>();
        let _ = text.parse::<VipEnd>();
    }
}
