//! Puts the rows of a device in the order of a file: key, time, place in the log.

use super::{DeviceHead, Head, Row};

/// Sorts devices of one head, one after the other, in the same buffers.
pub(crate) struct Sorter {
    /// Of each key, its place among the sorted names.
    ranks: Vec<u32>,
    /// Of each key, where its next row goes in `sorted`.
    next: Vec<usize>,
    sorted: Vec<Row>,
}

impl Sorter {
    pub(crate) fn new(head: &Head) -> Self {
        let mut order: Vec<usize> = (0..head.keys.len()).collect();
        order.sort_unstable_by_key(|key| head.keys.get(*key));
        let mut ranks = vec![0; order.len()];
        for (rank, key) in order.into_iter().enumerate() {
            if let Some(slot) = ranks.get_mut(key) {
                *slot = u32::try_from(rank).expect("a head has fewer than 2^32 keys");
            }
        }
        Self { next: vec![0; ranks.len()], ranks, sorted: Vec::new() }
    }

    /// The rows of a device in order; of the same key and time only the one that came last in the log.
    pub(crate) fn sort(&mut self, device: &DeviceHead) -> &[Row] {
        let mut series = device.series.clone();
        series.sort_unstable_by_key(|series| self.ranks.get(series.key as usize));
        let mut start = 0;
        for series in &series {
            if let Some(next) = self.next.get_mut(series.key as usize) {
                *next = start;
            }
            start += series.rows as usize;
        }
        self.sorted.clear();
        let Some(first) = device.rows.first() else { return &[] };
        self.sorted.resize(device.rows.len(), *first);
        for row in &device.rows {
            let next = self.next.get_mut(row.key as usize).expect("every key of a row has a place");
            *self.sorted.get_mut(*next).expect("the series count their rows") = *row;
            *next += 1;
        }
        let mut rest = self.sorted.as_mut_slice();
        for series in &series {
            let (run, others) = rest.split_at_mut(series.rows as usize);
            if !run.is_sorted_by_key(|row| (row.ts, row.seq)) {
                run.sort_by_key(|row| (row.ts, row.seq));
            }
            rest = others;
        }
        self.sorted.dedup_by(|later, kept| {
            let same = later.key == kept.key && later.ts == kept.ts;
            if same {
                *kept = *later;
            }
            same
        });
        &self.sorted
    }
}
