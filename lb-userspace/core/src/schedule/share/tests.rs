use proptest::prelude::*;

use super::shares;

#[test]
fn a_tiny_weight_keeps_one_place() {
    assert_eq!(shares(&[65_535, 1, 0, 1], 509), [507, 1, 0, 1]);
}

#[test]
fn ties_go_to_the_earlier_one() {
    assert_eq!(shares(&[7, 7, 7], 11), [4, 4, 3]);
}

#[test]
fn nobody_with_a_weight_shares_nothing() {
    assert_eq!(shares(&[0, 0], 5), [0, 0]);
    assert!(shares(&[], 5).is_empty());
}

proptest! {
    #[test]
    fn every_place_is_given_and_everybody_is_within_one_of_the_exact_share(
        weights in prop::collection::vec(0_u32..=65_535, 1..60), places in 60_u32..40_000,
    ) {
        let all: f64 = weights.iter().copied().map(f64::from).sum();
        prop_assume!(all > 0.0);

        let shares = shares(&weights, places);

        prop_assert_eq!(shares.iter().sum::<u32>(), places);
        let smallest = weights.iter().copied().filter(|w| *w > 0).min().unwrap_or(1);
        let nobody_was_lifted = f64::from(smallest) * f64::from(places) >= all;
        for (weight, share) in weights.iter().zip(&shares) {
            prop_assert_eq!(*weight > 0, *share > 0);
            let exact = f64::from(*weight) * f64::from(places) / all;
            if nobody_was_lifted {
                prop_assert!((f64::from(*share) - exact).abs() < 1.0, "{} for {}", share, exact);
            }
        }
    }
}
