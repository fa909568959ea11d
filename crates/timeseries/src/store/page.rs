//! A page of latest values: of many devices at a time, so each name of a key is kept once, and no lock is held for long.

use drover_db::DbError;
use drover_model::{DeviceId, TelemetryKey};
use futures_util::TryStreamExt;
use hashbrown::HashMap;

use super::{Inner, ShardSlot, ShardState};
use crate::gone::Gone;
use crate::head::{DeviceHead, Head};
use crate::sample::{Sample, Stored};
use crate::{StoreError, latest, newest};

/// Most devices of one page of latest values.
pub const MAX_LATEST_DEVICES: u32 = 10_000;

/// What the samples of a page take, about: more than other pages, for 10,000 devices with dozens of keys.
const PAGE_BYTES: usize = 16_000_000;

/// Devices that are read while a shard is locked, and rows that are decoded before other tasks have their turn.
const STRIDE: usize = 256;

/// The newest samples of a device, with the position of their key in [`LatestPage::keys`], ascending.
pub type NumberedSamples = Vec<(u32, Sample)>;

/// Latest values of some devices, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LatestPage {
    /// Names of the keys in ascending order.
    pub keys: Vec<TelemetryKey>,
    /// The devices and what they measured last.
    pub devices: Vec<(DeviceId, NumberedSamples)>,
    /// Whether it ends before the limit, because of its size, and devices are left.
    pub has_more: bool,
}

/// Samples of a device with the numbers of their keys, in no order, a key perhaps more than once.
type Found = Vec<(u32, Stored)>;

/// Numbers for names of keys.
#[derive(Default)]
struct Keys {
    names: Vec<TelemetryKey>,
    numbers: HashMap<TelemetryKey, u32>,
}

impl Keys {
    /// None if it is not the name of a key.
    fn number(&mut self, name: &str) -> Option<u32> {
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        let key = TelemetryKey::parse(name).ok()?;
        let number = u32::try_from(self.names.len()).ok()?;
        self.names.push(key.clone());
        self.numbers.insert(key, number);
        Some(number)
    }

    /// The names in order, and of each number its place among them.
    fn sorted(mut self) -> (Vec<TelemetryKey>, Vec<u32>) {
        self.names.sort_unstable();
        let mut places = vec![0; self.names.len()];
        for (place, name) in (0..).zip(&self.names) {
            let number = self.numbers.get(name).copied().unwrap_or_default();
            if let Some(slot) = places.get_mut(number as usize) {
                *slot = place;
            }
        }
        (self.names, places)
    }
}

/// Reads the heads, then the database: a flush that is published in between is then seen twice rather than not at all.
pub(super) async fn read(
    inner: &Inner,
    tenant: &str,
    after: &str,
    limit: usize,
) -> Result<LatestPage, StoreError> {
    let mut keys = Keys::default();
    let heads = in_memory(inner, tenant, after, limit, &mut keys).await;
    // Behind the last one, more may be in memory that was not read.
    let end = heads.last().filter(|_| weight(&heads) > PAGE_BYTES).map(|(name, _)| name.clone());
    let mut heads = heads.into_iter().peekable();
    let mut devices: Vec<(Box<str>, Found)> = Vec::with_capacity(heads.len());
    let (mut bytes, mut has_more) = (0, end.is_some());
    let gone = |shard: &ShardSlot| inner.gone(&shard.state.read(), tenant);
    let gone: Vec<Gone> = inner.shards.iter().map(gone).collect();
    // Of a device's shard, only, there is something to say.
    let counts = |name: &str, key: &str, sample: &Stored| !gone.iter().any(|it| it.of(name).has(key, sample));
    let mut rows = latest::list(inner.db.read(), tenant, after);
    while let Some(row) = rows.try_next().await.map_err(DbError::from)? {
        let mut found = Found::new();
        let name = latest::read(&row, |name, key, sample| {
            if counts(name, key, &sample) {
                bytes += newest::weight(&sample);
                found.extend(keys.number(key).map(|number| (number, sample)));
            }
        })?;
        if end.as_deref().is_some_and(|end| name > end) {
            break;
        }
        while let Some(earlier) = heads.next_if(|(head, _)| **head < *name) {
            devices.push(earlier);
        }
        if let Some((_, newer)) = heads.next_if(|(head, _)| **head == *name) {
            found.extend(newer);
        }
        if !found.is_empty() {
            devices.push((name.into(), found));
        }
        if devices.len() >= limit {
            break;
        }
        if bytes > PAGE_BYTES {
            has_more |= heads.next().is_some() || rows.try_next().await.map_err(DbError::from)?.is_some();
            heads = Vec::new().into_iter().peekable();
            break;
        }
        if devices.len().is_multiple_of(STRIDE) {
            tokio::task::yield_now().await;
        }
    }
    devices.extend(heads);
    devices.truncate(limit);
    has_more |= cut(&mut devices);
    let (keys, places) = keys.sorted();
    let settled =
        |(name, found): (Box<str>, Found)| Some((DeviceId::parse(&name).ok()?, settle(found, &places)));
    Ok(LatestPage { keys, devices: devices.into_iter().filter_map(settled).collect(), has_more })
}

fn weight(devices: &[(Box<str>, Found)]) -> usize {
    devices.iter().flat_map(|(_, found)| found).map(|(_, sample)| newest::weight(sample)).sum()
}

/// Leaves out what is more than a page; at least one device stays.
fn cut(devices: &mut Vec<(Box<str>, Found)>) -> bool {
    let mut bytes = 0;
    let fits = |device: &&(Box<str>, Found)| {
        bytes += weight(std::slice::from_ref(*device));
        bytes <= PAGE_BYTES
    };
    let count = devices.iter().take_while(fits).count().max(1);
    let has_more = count < devices.len();
    devices.truncate(count);
    has_more
}

/// What the heads hold of the first `limit` devices after `after` that are in any of them, by name; not all of these when
/// they are more than a page.
async fn in_memory(
    inner: &Inner,
    tenant: &str,
    after: &str,
    limit: usize,
    keys: &mut Keys,
) -> Vec<(Box<str>, Found)> {
    let mut names: Vec<(Box<str>, &ShardSlot)> = Vec::new();
    for shard in &inner.shards {
        let state = shard.state.read();
        let some = state.names(&inner.gone(&state, tenant), tenant, after, limit);
        drop(state);
        names.extend(some.into_iter().map(|name| (name, shard)));
    }
    names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    names.truncate(limit);
    let mut devices: Vec<(Box<str>, Found)> = Vec::with_capacity(names.len());
    let mut bytes = 0;
    for names in names.chunks(STRIDE) {
        for some in names.chunk_by(|(_, one), (_, other)| std::ptr::eq(*one, *other)) {
            let Some((_, shard)) = some.first() else { continue };
            let state = shard.state.read();
            let gone = inner.gone(&state, tenant);
            for (name, _) in some {
                if bytes > PAGE_BYTES {
                    return devices;
                }
                devices.push((name.clone(), state.found((tenant, name), &gone, keys)));
                bytes += devices.last().map_or(0, |device| weight(std::slice::from_ref(device)));
            }
        }
        tokio::task::yield_now().await;
    }
    devices
}

impl ShardState {
    /// The first `limit` devices by name that come after `after` and have points in memory.
    fn names(&self, gone: &Gone, tenant: &str, after: &str, limit: usize) -> Vec<Box<str>> {
        let mut names: Vec<&str> = Vec::new();
        for head in self.heads() {
            let Some(tenant) = head.tenant_named(tenant) else { continue };
            let devices = head.devices(tenant).filter(|(name, _)| *name > after);
            let counts = |(name, device): &(&str, &DeviceHead)| {
                let gone = gone.of(name);
                Head::newest(device).any(|row| !gone.has_row(head.key(row), (row.ts, row.seq)))
            };
            names.extend(devices.filter(counts).map(|(name, _)| name));
        }
        // A name stands in two heads at the most. Finding the first ones is much less than sorting all while writers wait.
        let enough = limit.saturating_mul(2);
        if names.len() > enough {
            names.select_nth_unstable(enough);
            names.truncate(enough);
        }
        names.sort_unstable();
        names.dedup();
        names.truncate(limit);
        names.into_iter().map(Into::into).collect()
    }

    fn found(&self, (tenant, device): (&str, &str), gone: &Gone, keys: &mut Keys) -> Found {
        let (mut found, gone) = (Found::new(), gone.of(device));
        for (head, device) in self.device(tenant, device) {
            found.reserve_exact(device.series.len());
            for row in Head::newest(device).filter(|row| !gone.has_row(head.key(row), (row.ts, row.seq))) {
                found.extend(keys.number(head.key(row)).map(|number| (number, head.stored(row))));
            }
        }
        found
    }
}

/// The newest sample of each key, in the order of the keys.
fn settle(mut found: Found, places: &[u32]) -> Vec<(u32, Sample)> {
    for (key, _) in &mut found {
        *key = places.get(*key as usize).copied().unwrap_or_default();
    }
    found.sort_by_key(|(key, sample)| (*key, sample.ts, sample.seq));
    found.dedup_by(|later, kept| {
        let same = later.0 == kept.0;
        if same {
            std::mem::swap(later, kept);
        }
        same
    });
    found.into_iter().map(|(key, sample)| (key, sample.into_sample())).collect()
}
