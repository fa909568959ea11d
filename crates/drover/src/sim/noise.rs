//! Randomness that is a function of numbers: the same device measures the same at the same time, also when its message is sent again.

/// Numbers mixed to one that looks random (splitmix64 of each in turn).
pub fn mix(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0, |mixed, number| {
        let mut bits = (mixed ^ number).wrapping_add(0x9E37_79B9_7F4A_7C15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    })
}

/// From 0 to below 1.
#[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
pub fn share(numbers: &[u64]) -> f64 {
    (mix(numbers) >> 11) as f64 / (1_u64 << 53) as f64
}

/// From -1 to below 1, all alike.
pub fn spread(numbers: &[u64]) -> f64 {
    share(numbers) * 2.0 - 1.0
}

/// From -1 to below 1, most near 0.
pub fn bell(numbers: &[u64]) -> f64 {
    let bits = mix(numbers);
    (spread(&[bits, 1]) + spread(&[bits, 2]) + spread(&[bits, 3])) / 3.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_numbers_give_the_same_and_others_give_other() {
        assert_eq!(mix(&[1, 2]), mix(&[1, 2]));
        assert_ne!(mix(&[1, 2]), mix(&[2, 1]));
        assert_ne!(mix(&[1]), mix(&[1, 0]));
    }

    #[test]
    fn shares_fill_their_range_evenly() {
        let mean = (0..10_000).map(|number| share(&[7, number])).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        assert!((0..1_000).all(|number| (0.0..1.0).contains(&share(&[number]))));
        assert!((0..1_000).all(|number| (-1.0..1.0).contains(&bell(&[number]))));
    }
}
