//! The newest points of one shard, in memory: for each device one run of rows in order of arrival.
//! Nothing here waits, locks or touches a file.

mod order;

use drover_model::{Flags, Timestamp, Value, ValueRef};
use hashbrown::HashMap;

use crate::census::{self, Census, DeviceBounds, OverBounds, Sender};
use crate::erasures::{Erased, Erasures};
use crate::file::Wanted;
use crate::sample::Stored;

pub(crate) use order::Sorter;

/// Up to here the keys of a device are searched one by one, beyond through a map.
const SCANNED_SERIES: usize = 16;

/// What a row's bits are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Form {
    Number,
    Bool,
    /// The bits are a position in [`Head::texts`].
    Text,
}

/// One point.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) ts: i64,
    pub(crate) seq: u64,
    pub(crate) bits: u64,
    /// Position in [`Head::keys`].
    pub(crate) key: u32,
    pub(crate) form: Form,
    pub(crate) flags: Flags,
}

/// What is known of one key of one device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Series {
    pub(crate) key: u32,
    /// Position of its newest row.
    newest: u32,
    pub(crate) rows: u32,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct DeviceHead {
    pub(crate) rows: Vec<Row>,
    pub(crate) series: Vec<Series>,
    /// Of all its texts.
    text_bytes: usize,
    /// The series that the next point is likely of: messages repeat their keys in the same order.
    likely: usize,
    by_key: Option<Box<HashMap<u32, u32>>>,
}

#[derive(Debug, Clone)]
pub(crate) struct TenantHead {
    pub(crate) name: Box<str>,
    devices: HashMap<Box<str>, u32>,
}

/// The points of a shard that no file holds yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    tenants: Vec<TenantHead>,
    tenant_numbers: HashMap<Box<str>, usize>,
    devices: Vec<DeviceHead>,
    keys: Vec<Box<str>>,
    key_numbers: HashMap<Box<str>, u32>,
    texts: Vec<Box<str>>,
    points: usize,
    bytes: usize,
}

/// A device of a head; valid within one [`HeadWriter`].
#[derive(Debug, Clone, Copy)]
pub struct DeviceSlot(u32);

/// Write access to the head of a shard.
#[derive(Debug)]
pub struct HeadWriter<'a> {
    head: &'a mut Head,
    frozen: Option<&'a Head>,
    census: &'a mut Census,
    erasures: &'a mut Erasures,
    bounds: DeviceBounds,
    tenant: usize,
}

impl<'a> HeadWriter<'a> {
    pub(crate) fn new(
        head: &'a mut Head,
        frozen: Option<&'a Head>,
        census: &'a mut Census,
        erasures: &'a mut Erasures,
        bounds: DeviceBounds,
    ) -> Self {
        Self { head, frozen, census, erasures, bounds, tenant: 0 }
    }

    /// The slot of a device. The names have been checked: they are ids.
    pub fn device(&mut self, tenant: &str, device: &str) -> DeviceSlot {
        if self.head.tenants.get(self.tenant).is_none_or(|last| *last.name != *tenant) {
            self.tenant = self.head.tenant(tenant);
        }
        DeviceSlot(self.head.device(self.tenant, device))
    }

    /// The slot of a device that is about to get these points, all of one record.
    ///
    /// # Errors
    /// [`OverBounds`] when they would bring the device over its bounds; then none of them may be added.
    pub fn admit<'p>(
        &mut self,
        tenant: &str,
        device: &str,
        points: impl Iterator<Item = (&'p str, Timestamp, ValueRef<'p>)> + Clone,
    ) -> Result<DeviceSlot, OverBounds> {
        let slot = self.device(tenant, device);
        let live = self.head.at(slot.0);
        let live = (live.series.len(), live.text_bytes);
        let heads = [self.frozen, Some(&*self.head)];
        let sender = Sender { tenant, device, heads, erased: self.erasures.device(tenant, device), live };
        let points = points.map(|(key, ts, value)| (key, ts.as_micros(), value.text_bytes()));
        census::admit(self.census, self.bounds, &sender, points)?;
        Ok(slot)
    }

    /// Erases what a device has below a position of the log: some keys, or all of them when none is named. What is erased is
    /// hidden from here on, wherever it lies.
    pub fn erase<'k>(
        &mut self,
        tenant: &str,
        device: &str,
        keys: impl IntoIterator<Item = &'k str>,
        below: u64,
    ) {
        let mut keys = keys.into_iter().peekable();
        if keys.peek().is_none() {
            self.erasures.add(tenant, device, None, below);
            self.census.erase(tenant, device, None);
        }
        for key in keys {
            self.erasures.add(tenant, device, Some(key), below);
            self.census.erase(tenant, device, Some(key));
        }
        if let Some(erased) = self.erasures.device(tenant, device) {
            self.head.erase(tenant, device, erased);
        }
    }

    /// Adds a point. For the same device, key and time the higher `seq` is shown; of equal ones the later call.
    #[expect(clippy::too_many_arguments, reason = "a struct would be built and taken apart at every point")]
    pub fn push(
        &mut self,
        device: DeviceSlot,
        key: &str,
        ts: Timestamp,
        value: ValueRef<'_>,
        seq: u64,
        flags: Flags,
    ) {
        let (form, bits) = match value {
            ValueRef::Number(number) => (Form::Number, number.to_bits()),
            ValueRef::Bool(truth) => (Form::Bool, f64::from(u8::from(truth)).to_bits()),
            ValueRef::Text(text) => (Form::Text, self.head.text(text.into())),
        };
        let row = Row { ts: ts.as_micros(), seq, bits, key: 0, form, flags };
        self.head.push(device.0, key, row);
    }
}

impl Head {
    pub(crate) fn points(&self) -> usize {
        self.points
    }

    /// Memory in use, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn tenants(&self) -> &[TenantHead] {
        &self.tenants
    }

    pub(crate) fn find(&self, tenant: &str, device: &str) -> Option<&DeviceHead> {
        let slot = self.tenant_named(tenant)?.devices.get(device)?;
        Some(self.at(*slot))
    }

    pub(crate) fn tenant_named(&self, tenant: &str) -> Option<&TenantHead> {
        self.tenants.get(*self.tenant_numbers.get(tenant)?)
    }

    /// The devices of a tenant, in no order.
    pub(crate) fn devices<'a>(
        &'a self,
        tenant: &'a TenantHead,
    ) -> impl Iterator<Item = (&'a str, &'a DeviceHead)> {
        tenant.devices.iter().map(|(name, slot)| (&**name, self.at(*slot)))
    }

    pub(crate) fn key(&self, row: &Row) -> &str {
        self.key_named(row.key)
    }

    pub(crate) fn key_named(&self, key: u32) -> &str {
        self.keys.get(key as usize).expect("a row's key is in the head's list of keys")
    }

    pub(crate) fn key_number(&self, key: &str) -> Option<u32> {
        self.key_numbers.get(key).copied()
    }

    pub(crate) fn key_count(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn stored(&self, row: &Row) -> Stored {
        let value = match row.form {
            Form::Number => Value::Number(f64::from_bits(row.bits)),
            Form::Bool => Value::Bool(f64::from_bits(row.bits) != 0.0),
            Form::Text => Value::Text(self.text_of(row).into()),
        };
        Stored { ts: row.ts, seq: row.seq, value, flags: row.flags }
    }

    pub(crate) fn text_of(&self, row: &Row) -> &str {
        let position = usize::try_from(row.bits).expect("a text's position fits into memory");
        self.texts.get(position).expect("a text row's bits are in the head's list of texts")
    }

    pub(crate) fn text_bytes_of(&self, row: &Row) -> usize {
        match row.form {
            Form::Text => self.text_of(row).len(),
            Form::Number | Form::Bool => 0,
        }
    }

    /// The newest row of every key of a device.
    pub(crate) fn newest(device: &DeviceHead) -> impl Iterator<Item = &Row> {
        device.series.iter().filter_map(|series| device.rows.get(series.newest as usize))
    }

    /// Takes away what of a device is erased.
    pub(crate) fn erase(&mut self, tenant: &str, device: &str, erased: &Erased) {
        let slot = self.tenant_named(tenant).and_then(|tenant| tenant.devices.get(device)).copied();
        let Some(slot) = slot else { return };
        let device =
            self.devices.get_mut(slot as usize).expect("a slot is given out for a device of the head");
        let rows = std::mem::take(device).rows;
        self.points -= rows.len();
        self.bytes = self.bytes.saturating_sub(rows.capacity() * size_of::<Row>());
        for row in rows.into_iter().filter(|row| !erased.has_all(row.seq)) {
            let key: Box<str> = self.key(&row).into();
            if !erased.has(&key, row.seq) {
                self.push(slot, &key, row);
            }
        }
    }

    /// Takes every point of `other`, as if it had arrived after those here.
    pub(crate) fn absorb(&mut self, other: &Self) {
        for tenant in &other.tenants {
            let number = self.tenant(&tenant.name);
            for (name, device) in other.devices(tenant) {
                let slot = self.device(number, name);
                for row in &device.rows {
                    let bits = match row.form {
                        Form::Text => self.text(other.text_of(row).into()),
                        Form::Number | Form::Bool => row.bits,
                    };
                    self.push(slot, other.key(row), Row { bits, ..*row });
                }
            }
        }
    }

    /// The devices of a tenant that are wanted, in no order.
    pub(crate) fn slots(&self, tenant: &str, wanted: &Wanted) -> Vec<(Box<str>, u32)> {
        let devices = self.tenant_named(tenant).into_iter().flat_map(|tenant| &tenant.devices);
        let devices = devices.filter(|(name, _)| wanted.device(name));
        devices.map(|(name, slot)| (name.clone(), *slot)).collect()
    }

    /// A copy of the rows of a tenant that are wanted, in the order of their arrival; none when there are no such rows.
    pub(crate) fn select(&self, tenant: &str, wanted: &Wanted) -> Option<Self> {
        let mut copy = Self { keys: self.keys.clone(), ..Self::default() };
        let number = copy.tenant(tenant);
        let is_wanted: Vec<bool> = self.keys.iter().map(|key| wanted.key(key)).collect();
        let passes =
            |row: &&Row| wanted.time(row.ts) && is_wanted.get(row.key as usize).is_some_and(|it| *it);
        for (name, slot) in self.slots(tenant, wanted) {
            let mut rows: Vec<Row> = self.at(slot).rows.iter().filter(passes).copied().collect();
            if rows.is_empty() {
                continue;
            }
            for row in rows.iter_mut().filter(|row| row.form == Form::Text) {
                row.bits = copy.text(self.text_of(row).into());
            }
            let mut series: Vec<Series> = self.at(slot).series.clone();
            for series in &mut series {
                series.rows = 0;
            }
            let places: HashMap<u32, usize> =
                series.iter().enumerate().map(|(place, series)| (series.key, place)).collect();
            for row in &rows {
                if let Some(series) = places.get(&row.key).and_then(|place| series.get_mut(*place)) {
                    series.rows += 1;
                }
            }
            let slot = copy.device(number, &name);
            copy.points += rows.len();
            *copy.devices.get_mut(slot as usize).expect("the slot was just made") =
                DeviceHead { rows, series, ..DeviceHead::default() };
        }
        (copy.points > 0).then_some(copy)
    }

    /// The first and the last time of a tenant's rows, of all devices; none without rows.
    pub(crate) fn span(&self, tenant: &str) -> Option<(i64, i64)> {
        let devices = self.tenant_named(tenant).into_iter().flat_map(|tenant| self.devices(tenant));
        let mut times = devices.flat_map(|(_, device)| device.rows.iter().map(|row| row.ts));
        let first = times.next()?;
        Some(times.fold((first, first), |(min, max), ts| (min.min(ts), max.max(ts))))
    }

    pub(crate) fn at(&self, slot: u32) -> &DeviceHead {
        self.devices.get(slot as usize).expect("a slot is given out for a device of the head")
    }

    fn tenant(&mut self, name: &str) -> usize {
        if let Some(number) = self.tenant_numbers.get(name) {
            return *number;
        }
        let number = self.tenants.len();
        self.bytes += size_of::<TenantHead>() + size_of::<(Box<str>, usize)>() + 2 * name.len();
        self.tenants.push(TenantHead { name: name.into(), devices: HashMap::new() });
        self.tenant_numbers.insert(name.into(), number);
        number
    }

    fn device(&mut self, tenant: usize, name: &str) -> u32 {
        let tenant =
            self.tenants.get_mut(tenant).expect("a tenant's number is given out for a tenant of the head");
        if let Some(slot) = tenant.devices.get(name) {
            return *slot;
        }
        let slot = u32::try_from(self.devices.len()).expect("a head has fewer than 2^32 devices");
        tenant.devices.insert(name.into(), slot);
        self.devices.push(DeviceHead::default());
        self.bytes += size_of::<DeviceHead>() + size_of::<(Box<str>, u32)>() + name.len();
        slot
    }

    fn text(&mut self, text: Box<str>) -> u64 {
        self.bytes += size_of::<Box<str>>() + text.len();
        self.texts.push(text);
        self.texts.len() as u64 - 1
    }

    fn push(&mut self, slot: u32, key: &str, mut row: Row) {
        let text_bytes = self.text_bytes_of(&row);
        let device =
            self.devices.get_mut(slot as usize).expect("a slot is given out for a device of the head");
        device.text_bytes += text_bytes;
        let guess = device.series.get(device.likely);
        let known =
            guess.filter(|series| self.keys.get(series.key as usize).is_some_and(|name| **name == *key));
        let position = if known.is_some() {
            device.likely
        } else {
            let number = intern(&mut self.keys, &mut self.key_numbers, &mut self.bytes, key);
            device.position(number, &mut self.bytes)
        };
        device.likely = if position + 1 < device.series.len() { position + 1 } else { 0 };
        let at = u32::try_from(device.rows.len()).expect("a head has fewer than 2^32 points");
        let series = device.series.get_mut(position).expect("the position was just found");
        row.key = series.key;
        let newest = device.rows.get(series.newest as usize).filter(|_| series.rows > 0);
        if newest.is_none_or(|newest| (row.ts, row.seq) >= (newest.ts, newest.seq)) {
            series.newest = at;
        }
        series.rows += 1;
        let before = device.rows.capacity();
        device.rows.push(row);
        self.bytes += (device.rows.capacity() - before) * size_of::<Row>();
        self.points += 1;
    }
}

impl DeviceHead {
    /// The position of a key's series, which is made if it is new.
    fn position(&mut self, key: u32, bytes: &mut usize) -> usize {
        let found = match &self.by_key {
            Some(map) => map.get(&key).map(|position| *position as usize),
            None => self.series.iter().position(|series| series.key == key),
        };
        if let Some(position) = found {
            return position;
        }
        let position = self.series.len();
        self.series.push(Series { key, newest: 0, rows: 0 });
        *bytes += size_of::<Series>();
        let number = |position: usize| u32::try_from(position).expect("a head has fewer than 2^32 series");
        if let Some(map) = &mut self.by_key {
            map.insert(key, number(position));
        } else if position >= SCANNED_SERIES {
            let all = self.series.iter().enumerate().map(|(position, series)| (series.key, number(position)));
            self.by_key = Some(Box::new(all.collect()));
        }
        position
    }
}

fn intern(
    keys: &mut Vec<Box<str>>,
    numbers: &mut HashMap<Box<str>, u32>,
    bytes: &mut usize,
    key: &str,
) -> u32 {
    if let Some(number) = numbers.get(key) {
        return *number;
    }
    let number = u32::try_from(keys.len()).expect("a head has fewer than 2^32 keys");
    keys.push(key.into());
    numbers.insert(key.into(), number);
    *bytes += 2 * (size_of::<Box<str>>() + key.len()) + size_of::<u32>();
    number
}
