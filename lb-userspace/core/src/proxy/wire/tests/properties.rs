//! What holds for any bytes.

use bytes::Bytes;
use http::Method;
use proptest::prelude::*;

use super::{MOST, answer, method, mutated, read};

/// The bytes in pieces that end at these places.
fn pieces<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

fn garbage() -> impl Strategy<Value = Bytes> {
    let beginnings = [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ];
    let noise = prop::collection::vec(any::<u8>(), 0..200);
    (prop::sample::select(beginnings.to_vec()), noise)
        .prop_map(|(begin, noise)| [begin.as_bytes(), &noise].concat().into())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn it_does_not_matter_in_which_pieces_an_answer_comes(
        answer in mutated(),
        method in method(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        max_bytes in prop_oneof![Just(MOST), 1_usize..100],
    ) {
        let (whole, why) = read(&[&answer], &method, max_bytes);
        let (split, why_split) = read(&pieces(&answer, &cuts), &method, max_bytes);
        prop_assert_eq!(why, why_split);
        prop_assert_eq!(&whole, &split);
        let bytes: Vec<_> = answer.chunks(1).collect();
        let (single, why_single) = read(&bytes, &method, max_bytes);
        prop_assert_eq!(why, why_single);
        prop_assert_eq!(whole, single);
    }

    #[test]
    fn a_cut_answer_is_never_taken_for_a_whole_one(answer in answer(), cut in any::<prop::sample::Index>()) {
        let (seen, why) = read(&[&answer], &Method::GET, MOST);
        let delimited = seen.head.as_ref().is_some_and(|head| head.keeps_alive);
        if why.is_ok() && delimited {
            let used = answer.len() - seen.rest.len();
            prop_assert!(read(&[&answer[..cut.index(used)]], &Method::GET, MOST).1.is_err());
        }
    }

    #[test]
    fn nothing_panics(bytes in garbage(), method in method(), max_bytes in 0_usize..300) {
        let (seen, _) = read(&[&bytes], &method, max_bytes);
        prop_assert!(seen.data.len() <= bytes.len());
        let (split, _) = read(&bytes.chunks(3).collect::<Vec<_>>(), &method, max_bytes);
        prop_assert_eq!(seen, split);
    }
}
