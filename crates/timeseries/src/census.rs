//! Counts keys and text of the devices that have many of them, so that no device outgrows its row of `latest_samples`. Of the
//! others it is enough to know that their rows and what the heads hold of them are small.

use std::hash::{DefaultHasher, Hash, Hasher};

use hashbrown::HashMap;

use crate::erasures::Erased;
use crate::head::{DeviceHead, Head, Row};

/// A device whose row, or whose part of the live head, has more than one in so many of what it may have is counted.
const COUNTED_SHARE: usize = 8;

/// What the latest values of one device may take. A device that was small when the head was last written may go over by an
/// eighth, once.
#[derive(Debug, Clone, Copy)]
pub struct DeviceBounds {
    /// Keys.
    pub keys: usize,
    /// Bytes of the texts among its latest values.
    pub text_bytes: usize,
}

impl Default for DeviceBounds {
    fn default() -> Self {
        Self { keys: 10_000, text_bytes: 1 << 20 }
    }
}

impl DeviceBounds {
    /// Up to so many bytes a row of `latest_samples` is small: a sample takes more than [`COUNTED_SHARE`] bytes of it.
    pub(crate) fn small_row_bytes(self) -> usize {
        self.keys.min(self.text_bytes / COUNTED_SHARE)
    }

    fn is_small(self, keys: usize, text_bytes: usize) -> bool {
        keys <= self.keys / COUNTED_SHARE && text_bytes <= self.text_bytes / COUNTED_SHARE
    }
}

/// Which bound of its device a record would break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverBounds {
    /// [`DeviceBounds::keys`].
    Keys,
    /// [`DeviceBounds::text_bytes`].
    Text,
}

/// What is remembered of the latest value of a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    pub(crate) key: u64,
    pub(crate) ts: i64,
    pub(crate) text_bytes: usize,
}

impl Counted {
    pub(crate) fn new(key: &str, ts: i64, text_bytes: usize) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        Self { key: hasher.finish(), ts, text_bytes }
    }
}

/// A row of `latest_samples` that is not small.
#[derive(Debug)]
pub(crate) struct LargeRow {
    pub(crate) tenant: Box<str>,
    pub(crate) device: Box<str>,
    pub(crate) samples: Vec<Counted>,
}

/// The counted devices of a shard.
#[derive(Debug, Default)]
pub(crate) struct Census {
    tenants: HashMap<Box<str>, HashMap<Box<str>, Count>>,
}

#[derive(Debug, Default)]
struct Count {
    latest: HashMap<u64, Counted>,
    text_bytes: usize,
}

impl Census {
    /// Takes a row in.
    pub(crate) fn learn(&mut self, row: LargeRow) {
        let count = self.tenants.entry(row.tenant).or_default().entry(row.device).or_default();
        for sample in row.samples {
            count.put(sample);
        }
    }

    /// Takes in what a flush left behind: `frozen` is in the rows now, of which `large` are not small.
    pub(crate) fn settle(&mut self, frozen: &Head, large: Vec<LargeRow>, live: &Head) {
        for (tenant, devices) in &mut self.tenants {
            devices.retain(|device, _| frozen.find(tenant, device).is_none());
        }
        for row in large {
            let head = live.find(&row.tenant, &row.device);
            let newest: Vec<_> = head.into_iter().flat_map(|device| counted(live, device, None)).collect();
            let (tenant, device) = (row.tenant.clone(), row.device.clone());
            self.learn(row);
            self.learn(LargeRow { tenant, device, samples: newest });
        }
        self.tenants.retain(|_, devices| !devices.is_empty());
    }

    /// Forgets a key of a device, or the device.
    pub(crate) fn erase(&mut self, tenant: &str, device: &str, key: Option<&str>) {
        let Some(key) = key else {
            if let Some(devices) = self.tenants.get_mut(tenant) {
                devices.remove(device);
            }
            return;
        };
        if let Some(count) = self.find(tenant, device) {
            let known = count.latest.remove(&Counted::new(key, 0, 0).key);
            count.text_bytes -= known.map_or(0, |known| known.text_bytes);
        }
    }

    fn find(&mut self, tenant: &str, device: &str) -> Option<&mut Count> {
        if self.tenants.is_empty() {
            return None;
        }
        self.tenants.get_mut(tenant)?.get_mut(device)
    }
}

/// Who sends a record, and what is known of its device.
pub(crate) struct Sender<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) device: &'a str,
    pub(crate) heads: [Option<&'a Head>; 2],
    pub(crate) erased: Option<&'a Erased>,
    /// Keys and bytes of text that the live head has of it.
    pub(crate) live: (usize, usize),
}

/// Counts the points of a record, all of them or none.
pub(crate) fn admit<'p>(
    census: &mut Census,
    bounds: DeviceBounds,
    sender: &Sender<'_>,
    points: impl Iterator<Item = (&'p str, i64, usize)> + Clone,
) -> Result<(), OverBounds> {
    let (keys, text_bytes) =
        points.clone().fold(sender.live, |(keys, bytes), (_, _, text)| (keys + 1, bytes + text));
    let small = bounds.is_small(keys, text_bytes);
    if let Some(count) = census.find(sender.tenant, sender.device) {
        return count.admit(bounds, points);
    }
    if small {
        return Ok(());
    }
    let mut count = Count::default();
    for head in sender.heads.into_iter().flatten() {
        let device = head.find(sender.tenant, sender.device);
        device.into_iter().flat_map(|device| counted(head, device, sender.erased)).for_each(|sample| {
            count.put(sample);
        });
    }
    let admitted = count.admit(bounds, points);
    census.tenants.entry(sender.tenant.into()).or_default().insert(sender.device.into(), count);
    admitted
}

fn counted<'a>(
    head: &'a Head,
    device: &'a DeviceHead,
    erased: Option<&'a Erased>,
) -> impl Iterator<Item = Counted> + 'a {
    let counts = move |row: &&Row| !erased.is_some_and(|erased| erased.has(head.key(row), row.seq));
    let newest = Head::newest(device).filter(counts);
    newest.map(|row| Counted::new(head.key(row), row.ts, head.text_bytes_of(row)))
}

impl Count {
    /// Keeps the newer sample of a key; of equally new ones this. Gives back what was there.
    fn put(&mut self, sample: Counted) -> Option<Counted> {
        let before = self.latest.get(&sample.key).copied();
        if before.is_none_or(|before| sample.ts >= before.ts) {
            self.text_bytes += sample.text_bytes;
            self.text_bytes -= before.map_or(0, |before| before.text_bytes);
            self.latest.insert(sample.key, sample);
        }
        before
    }

    /// A device that is over a bound already, since it was lowered, is only kept from growing.
    fn admit<'p>(
        &mut self,
        bounds: DeviceBounds,
        points: impl Iterator<Item = (&'p str, i64, usize)>,
    ) -> Result<(), OverBounds> {
        let (keys, text_bytes) = (self.latest.len(), self.text_bytes);
        let mut undo = Vec::new();
        for (key, ts, text) in points {
            let sample = Counted::new(key, ts, text);
            undo.push((sample.key, self.put(sample)));
        }
        let over = if self.latest.len() > bounds.keys.max(keys) {
            OverBounds::Keys
        } else if self.text_bytes > bounds.text_bytes.max(text_bytes) {
            OverBounds::Text
        } else {
            return Ok(());
        };
        for (key, before) in undo.into_iter().rev() {
            match before {
                Some(before) => self.latest.insert(key, before),
                None => self.latest.remove(&key),
            };
        }
        self.text_bytes = text_bytes;
        Err(over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: DeviceBounds = DeviceBounds { keys: 2, text_bytes: 100 };

    #[test]
    fn a_record_is_counted_as_a_whole_or_not_at_all() {
        let mut count = Count::default();
        count.admit(BOUNDS, [("a", 1, 60), ("a", 2, 50)].into_iter()).unwrap();
        assert_eq!((count.latest.len(), count.text_bytes), (1, 50));
        let over = count.admit(BOUNDS, [("b", 3, 0), ("a", 3, 0), ("c", 3, 0)].into_iter());
        assert_eq!((over, count.latest.len(), count.text_bytes), (Err(OverBounds::Keys), 1, 50));
        assert_eq!(count.admit(BOUNDS, [("b", 3, 51)].into_iter()), Err(OverBounds::Text));
        count.admit(BOUNDS, [("b", 3, 51), ("a", 3, 49)].into_iter()).unwrap();
        assert_eq!((count.latest.len(), count.text_bytes), (2, 100));
    }

    #[test]
    fn an_older_value_does_not_hide_the_text_of_the_newest() {
        let mut count = Count::default();
        count.admit(BOUNDS, [("a", 9, 100)].into_iter()).unwrap();
        count.admit(BOUNDS, [("a", 1, 0)].into_iter()).unwrap();
        assert_eq!(count.admit(BOUNDS, [("b", 2, 1)].into_iter()), Err(OverBounds::Text));
    }

    #[test]
    fn a_device_over_a_bound_that_was_lowered_may_go_on_but_not_grow() {
        let mut count = Count::default();
        for key in ["a", "b", "c"] {
            count.put(Counted::new(key, 1, 50));
        }
        count.admit(BOUNDS, [("a", 2, 50)].into_iter()).unwrap();
        assert_eq!(count.admit(BOUNDS, [("a", 3, 51)].into_iter()), Err(OverBounds::Text));
        assert_eq!(count.admit(BOUNDS, [("d", 3, 0)].into_iter()), Err(OverBounds::Keys));
    }
}
