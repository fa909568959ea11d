//! The names that a mistyped one may have meant.

/// How many are offered.
const OFFERED: usize = 3;
/// Longest name that is compared; a longer one is cut.
const MAX_COMPARED: usize = 80;

/// The known names closest to what was written, closest first.
pub(super) fn nearest(written: &str, known: &[String]) -> Vec<String> {
    let mut ranked: Vec<_> = known.iter().map(|name| (distance(written, name), name)).collect();
    ranked.sort();
    ranked.into_iter().take(OFFERED).map(|(_, name)| name.clone()).collect()
}

/// Levenshtein's edit distance.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(MAX_COMPARED).collect();
    let right: Vec<char> = right.chars().take(MAX_COMPARED).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = i;
        let mut before = i + 1;
        for (b, cell) in right.iter().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(a != b);
            diagonal = *cell;
            *cell = replaced.min(diagonal + 1).min(before + 1);
            before = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(left.len())
}
