//! Sets of message numbers of one device, a bit each.

/// A set of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequences {
    words: Vec<u64>,
    count: u64,
}

impl Sequences {
    /// Adds a number; whether it is new.
    pub fn insert(&mut self, number: u64) -> bool {
        let (word, bit) = place(number);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let Some(word) = self.words.get_mut(word) else { return false };
        let is_new = *word & bit == 0;
        *word |= bit;
        self.count += u64::from(is_new);
        is_new
    }

    pub fn contains(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// How many are in it.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many of these are not in the other.
    pub fn count_without(&self, other: &Self) -> u64 {
        let missing = |(index, word): (usize, &u64)| word & !other.words.get(index).copied().unwrap_or(0);
        self.words.iter().enumerate().map(|pair| u64::from(missing(pair).count_ones())).sum()
    }
}

fn place(number: u64) -> (usize, u64) {
    (usize::try_from(number / 64).unwrap_or(usize::MAX - 1), 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(numbers: &[u64]) -> Sequences {
        let mut set = Sequences::default();
        for number in numbers {
            set.insert(*number);
        }
        set
    }

    #[test]
    fn a_number_is_new_once() {
        let mut set = set(&[3, 64, 1_000]);
        assert!(!set.insert(64) && set.insert(65));
        assert_eq!(set.count(), 4);
        assert!(set.contains(1_000) && !set.contains(999) && !set.contains(1 << 40));
    }

    #[test]
    fn what_one_set_has_and_another_lacks_is_counted() {
        assert_eq!(set(&[1, 2, 200]).count_without(&set(&[2])), 2);
        assert_eq!(set(&[1]).count_without(&set(&[1, 5, 900])), 0);
        assert_eq!(set(&[]).count_without(&set(&[1])), 0);
    }
}
