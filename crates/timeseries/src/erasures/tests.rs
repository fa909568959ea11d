//! What is erased, and what is forgotten of it.

use super::*;

fn erasures(each: &[(&str, Option<&str>, u64)]) -> Erasures {
    let mut erasures = Erasures::default();
    for (device, key, below) in each {
        erasures.add("t", device, *key, *below);
    }
    erasures
}

#[test]
fn all_keys_stand_above_one_and_the_later_position_above_the_earlier() {
    let erasures =
        erasures(&[("d", Some("k"), 5), ("d", None, 9), ("d", Some("m"), 7), ("d", Some("n"), 12)]);
    let erased = erasures.device("t", "d").unwrap();
    assert!(erased.has("k", 8) && !erased.has("k", 9));
    assert!(erased.has("n", 11) && !erased.has("n", 12));
    let kept: Vec<_> = erased.each().collect();
    assert_eq!(kept, [("", 9), ("n", 12)]);
}

#[test]
fn what_was_erased_again_meanwhile_is_not_forgotten() {
    let mut erasures = erasures(&[("d", None, 5), ("e", Some("k"), 6)]);
    erasures.recorded(7);
    let settled: Vec<Erasure> = erasures.settled().collect();
    assert_eq!(settled.len(), 2);
    erasures.add("t", "d", None, 8);
    erasures.forget(&settled);
    assert!(erasures.device("t", "d").unwrap().has("k", 7));
    assert_eq!(erasures.device("t", "e"), None);
    let rest: Vec<u64> = erasures.unrecorded(9).into_iter().map(|erasure| erasure.below).collect();
    assert_eq!(rest, [8]);
}
