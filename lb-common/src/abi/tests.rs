//! Layouts and the small functions on them.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn words_of_an_address_round_trip(octets in any::<[u8; 16]>()) {
        let address = Address::v6(octets);
        prop_assert_eq!(Address::from_words(address.words()), address);
    }

    #[test]
    fn addresses_round_trip_and_know_their_family(address in any::<IpAddr>()) {
        let stored = Address::from(address);
        prop_assert_eq!(IpAddr::from(stored), address.to_canonical());
        prop_assert_eq!(stored.is_v4(), address.to_canonical().is_ipv4());
    }

    #[test]
    fn ipv4_by_bytes_and_by_word_are_one(octets in any::<[u8; 4]>()) {
        prop_assert_eq!(Address::v4(octets), Address::v4_word(u32::from_ne_bytes(octets)));
        prop_assert_eq!(Address::v4(octets), Address::from(IpAddr::from(octets)));
    }

    #[test]
    fn a_mask_keeps_its_bits_and_clears_the_rest(octets in any::<[u8; 16]>(), mask in any::<[u8; 16]>()) {
        let masked = Address::v6(octets).masked(&Address::v6(mask)).octets;
        for i in 0..16 {
            prop_assert_eq!(masked[i], octets[i] & mask[i]);
        }
    }

    #[test]
    fn a_filter_bit_is_within_the_filter(octets in any::<[u8; 16]>()) {
        let (word, bit) = filter_bit(&Address::v6(octets));
        prop_assert!(word < VIP_FILTER_WORDS);
        prop_assert_eq!(bit.count_ones(), 1);
    }

    #[test]
    fn a_word_of_a_schedule_holds_four_servers(servers in any::<[u16; 4]>(), word in 0..1000_u32) {
        let packed = schedule_word(servers.map(u32::from));
        for (place, server) in (word * 4..).zip(servers) {
            prop_assert_eq!(server_in_word(packed, place), u32::from(server));
        }
    }

    #[test]
    fn unknown_bytes_are_the_harmless_value(value in any::<u8>()) {
        let state = FlowState::from_u8(value);
        prop_assert_eq!(state as u8, if value <= 3 { value } else { FlowState::Pending as u8 });
        let mode = ServiceMode::from_u8(value);
        prop_assert_eq!(mode as u8, if value <= 3 { value } else { ServiceMode::None as u8 });
        let server = ServerState::from_u8(value);
        prop_assert_eq!(server as u8, if value <= 2 { value } else { ServerState::Down as u8 });
        let scheduler = Scheduler::from_u8(value);
        prop_assert_eq!(scheduler as u8, if value <= 3 { value } else { 0 });
    }
}

#[test]
fn neighbouring_vips_do_not_crowd_the_filter() {
    let bits: std::collections::BTreeSet<_> =
        (0..=255_u8).map(|low| filter_bit(&Address::v4([192, 168, 94, low]))).collect();
    assert_eq!(bits.len(), 256, "a /24 of VIPs shares no bit");
}
