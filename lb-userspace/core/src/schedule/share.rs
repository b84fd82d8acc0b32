//! Shares out a number of places by weight.

use std::cmp::Reverse;

/// How many of `places` each weight gets: all places are given, nobody with a weight gets none,
/// and everybody else is within one place of the exact share (largest remainder; ties go to the
/// earlier one).
///
/// Weights whose exact share is below one place get one, and the others share what is left.
/// `places` must be at least the number of non-zero weights.
pub(super) fn shares(weights: &[u32], places: u32) -> Vec<u32> {
    let mut shares = vec![0; weights.len()];
    let mut by_weight: Vec<usize> = (0..weights.len()).filter(|&i| weights[i] > 0).collect();
    debug_assert!(by_weight.len() <= places as usize);
    by_weight.sort_by_key(|&i| weights[i]);

    let mut places = u64::from(places);
    let mut weight: u64 = weights.iter().copied().map(u64::from).sum();
    let mut small = 0;
    for &i in &by_weight {
        if u64::from(weights[i]) * places >= weight {
            break;
        }
        shares[i] = 1;
        small += 1;
        places -= 1;
        weight -= u64::from(weights[i]);
    }

    let large = &mut by_weight[small..];
    let mut left = places;
    for &i in large.iter() {
        shares[i] = exact(weights[i], places, weight).0;
        left -= u64::from(shares[i]);
    }
    large.sort_by_key(|&i| (Reverse(exact(weights[i], places, weight).1), i));
    for &i in large.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
        shares[i] += 1;
    }
    shares
}

/// Whole places and remainder.
fn exact(weight: u32, places: u64, all: u64) -> (u32, u64) {
    let product = u64::from(weight) * places;
    (u32::try_from(product / all).unwrap_or(u32::MAX), product % all)
}

#[cfg(test)]
mod tests;
