//! The table `latest_samples`: of each device one row with the newest sample of every key.

use std::collections::BTreeMap;
use std::fmt::Write;

use drover_model::{Flags, Value};
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use prost::Message;
use prost::bytes::Bytes;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqliteConnection, SqlitePool};

use crate::StoreError;
use crate::census::{Counted, DeviceBounds, LargeRow};
use crate::gone::Gone;
use crate::head::{DeviceHead, Head};
use crate::sample::Stored;

/// Devices read and written by one statement.
const BATCH_DEVICES: usize = 256;

/// Bytes of new rows after which a statement takes no further device.
const BATCH_BYTES: usize = 8 << 20;

/// The newest sample of each key.
pub(crate) type Newest = BTreeMap<Box<str>, Stored>;

/// What the column `samples` holds; in ascending order of keys.
#[derive(Clone, PartialEq, Message)]
struct Encoded {
    #[prost(message, repeated, tag = "1")]
    samples: Vec<EncodedSample>,
}

#[derive(Clone, PartialEq, Message)]
struct EncodedSample {
    /// Text; as bytes it is not copied out of the row.
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(int64, tag = "2")]
    ts: i64,
    #[prost(uint64, tag = "3")]
    seq: u64,
    #[prost(uint32, tag = "4")]
    flags: u32,
    #[prost(oneof = "EncodedValue", tags = "5, 6, 7")]
    value: Option<EncodedValue>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum EncodedValue {
    #[prost(double, tag = "5")]
    Number(f64),
    #[prost(bool, tag = "6")]
    Bool(bool),
    #[prost(string, tag = "7")]
    Text(String),
}

fn encode(newest: Newest) -> Vec<u8> {
    let samples = newest.into_iter().map(|(key, sample)| EncodedSample {
        key: Bytes::from(String::from(key)),
        ts: sample.ts,
        seq: sample.seq,
        flags: sample.flags.0.into(),
        value: Some(match sample.value {
            Value::Number(number) => EncodedValue::Number(number),
            Value::Bool(truth) => EncodedValue::Bool(truth),
            Value::Text(text) => EncodedValue::Text(text.into()),
        }),
    });
    Encoded { samples: samples.collect() }.encode_to_vec()
}

fn decode(bytes: &[u8]) -> Result<Newest, StoreError> {
    let mut newest = Newest::new();
    decode_each(bytes, |key, sample| {
        newest.insert(key.into(), sample);
    })?;
    Ok(newest)
}

/// Hands over the samples of a row, one after the other.
fn decode_each(bytes: &[u8], mut take: impl FnMut(&str, Stored)) -> Result<(), StoreError> {
    let damaged = |detail: String| StoreError::Damaged { table: "latest_samples", detail };
    let encoded =
        Encoded::decode(Bytes::copy_from_slice(bytes)).map_err(|error| damaged(error.to_string()))?;
    for sample in encoded.samples {
        let key = std::str::from_utf8(&sample.key).map_err(|error| damaged(error.to_string()))?;
        let value = match sample.value {
            Some(EncodedValue::Number(number)) => Value::Number(number),
            Some(EncodedValue::Bool(truth)) => Value::Bool(truth),
            Some(EncodedValue::Text(text)) => Value::Text(text.into()),
            None => return Err(damaged(format!("{key} has no value"))),
        };
        let flags = Flags(u8::try_from(sample.flags).unwrap_or(0));
        take(key, Stored { ts: sample.ts, seq: sample.seq, value, flags });
    }
    Ok(())
}

/// Keeps the newer of two samples of a key; whether that changed anything.
pub(crate) fn merge(newest: &mut Newest, key: &str, sample: Stored) -> bool {
    match newest.get_mut(key) {
        Some(known) if *known == sample || !sample.supersedes(known) => return false,
        Some(known) => *known = sample,
        None => {
            newest.insert(key.into(), sample);
        }
    }
    true
}

/// The row of one device.
pub(crate) async fn get(db: &SqlitePool, tenant: &str, device: &str) -> Result<Newest, StoreError> {
    let row = sqlx::query("SELECT samples FROM latest_samples WHERE tenant = $1 AND device = $2")
        .bind(tenant)
        .bind(device)
        .fetch_optional(db)
        .await?;
    row.map_or_else(|| Ok(Newest::new()), |row| decode(row.try_get("samples")?))
}

/// The rows of a tenant's devices after `after`, by name, one after the other.
pub(crate) fn list<'a>(
    db: &'a SqlitePool,
    tenant: &'a str,
    after: &'a str,
) -> BoxStream<'a, Result<SqliteRow, sqlx::Error>> {
    sqlx::query(
        "SELECT device, samples FROM latest_samples WHERE tenant = $1 AND device > $2 ORDER BY device",
    )
    .bind(tenant)
    .bind(after)
    .fetch(db)
}

/// Takes a row of [`list`] apart: name of the device and samples go to `take`, the answer is the name.
pub(crate) fn read(row: &SqliteRow, mut take: impl FnMut(&str, &str, Stored)) -> Result<&str, StoreError> {
    let name = row.try_get(0)?;
    decode_each(row.try_get(1)?, |key, sample| take(name, key, sample))?;
    Ok(name)
}

/// The rows that are not small.
pub(crate) async fn large(db: &SqlitePool, bounds: DeviceBounds) -> Result<Vec<LargeRow>, StoreError> {
    let mut rows =
        sqlx::query("SELECT tenant, device, samples FROM latest_samples WHERE length(samples) > $1")
            .bind(i64::try_from(bounds.small_row_bytes()).unwrap_or(i64::MAX))
            .fetch(db);
    let mut large = Vec::new();
    while let Some(row) = rows.try_next().await? {
        large.push(large_row(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)?);
    }
    Ok(large)
}

fn large_row(tenant: &str, device: &str, row: &[u8]) -> Result<LargeRow, StoreError> {
    let mut samples = Vec::new();
    decode_each(row, |key, sample| {
        samples.push(Counted::new(key, sample.ts, sample.value.borrowed().text_bytes()));
    })?;
    Ok(LargeRow { tenant: tenant.into(), device: device.into(), samples })
}

/// Brings the rows up to what a head holds, without what of a tenant is gone. The answer is which of its devices have rows that
/// are not small.
pub(crate) async fn update(
    db: &mut SqliteConnection,
    head: &Head,
    gone: &(dyn Fn(&str) -> Gone + Sync),
    bounds: DeviceBounds,
) -> Result<Vec<LargeRow>, StoreError> {
    let mut large = Vec::new();
    for tenant in head.tenants() {
        let update = Update { tenant: &tenant.name, head, gone: gone(&tenant.name), bounds };
        let mut devices: Vec<_> = head.devices(tenant).collect();
        devices.sort_unstable_by_key(|(name, _)| *name);
        let mut rest = devices.as_slice();
        while !rest.is_empty() {
            let batch = rest.get(..BATCH_DEVICES).unwrap_or(rest);
            let changes = update.changes(db, batch).await?;
            rest = rest.get(changes.devices..).unwrap_or_default();
            large.extend(changes.large);
            if !changes.rows.is_empty() {
                put(db, &tenant.name, changes.rows).await?;
            }
        }
    }
    Ok(large)
}

/// What becomes of the rows of some devices.
#[derive(Default)]
struct Changes<'a> {
    /// How many devices these are.
    devices: usize,
    /// The new rows, of those devices whose row would change.
    rows: Vec<(&'a str, Vec<u8>)>,
    large: Vec<LargeRow>,
}

/// What the rows of one tenant are brought up to.
struct Update<'a> {
    tenant: &'a str,
    head: &'a Head,
    gone: Gone,
    bounds: DeviceBounds,
}

impl Update<'_> {
    /// Goes through `devices`, which are in order, until there are [`BATCH_BYTES`] of new rows.
    async fn changes<'a>(
        &self,
        db: &mut SqliteConnection,
        devices: &[(&'a str, &DeviceHead)],
    ) -> Result<Changes<'a>, StoreError> {
        let mut sql =
            "SELECT device, samples FROM latest_samples WHERE tenant = $1 AND device IN (".to_owned();
        for position in 0..devices.len() {
            let _ = write!(sql, "{}${}", if position == 0 { "" } else { ", " }, position + 2);
        }
        let mut query = sqlx::query(AssertSqlSafe(sql + ") ORDER BY device")).bind(self.tenant);
        for (name, _) in devices {
            query = query.bind(*name);
        }
        let mut rows = query.fetch(db);
        let mut next = rows.try_next().await?;
        let (mut changes, mut bytes) = (Changes::default(), 0);
        for (name, device) in devices {
            let known = next.take_if(|row| row.try_get::<&str, _>(0).is_ok_and(|known| known == *name));
            if known.is_some() {
                next = rows.try_next().await?;
            }
            let known: &[u8] = known.as_ref().map_or(Ok(&[][..]), |row| row.try_get(1))?;
            let new = self.row(name, device, known)?;
            let row = new.as_deref().unwrap_or(known);
            if row.len() > self.bounds.small_row_bytes() {
                changes.large.push(large_row(self.tenant, name, row)?);
            }
            changes.devices += 1;
            if let Some(new) = new {
                bytes += new.len();
                changes.rows.push((*name, new));
            }
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        Ok(changes)
    }

    /// What the row of a device becomes; none when it stays.
    fn row(&self, name: &str, device: &DeviceHead, known: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let (mut newest, gone) = (decode(known)?, self.gone.of(name));
        let count = newest.len();
        newest.retain(|key, sample| !gone.has(key, sample));
        let mut differs = newest.len() < count;
        for row in Head::newest(device).filter(|row| !gone.has_row(self.head.key(row), (row.ts, row.seq))) {
            differs |= merge(&mut newest, self.head.key(row), self.head.stored(row));
        }
        Ok(differs.then(|| encode(newest)))
    }
}

/// Takes erased samples out of the row of a device, and the row away when nothing is left.
pub(crate) async fn erase(
    db: &mut SqliteConnection,
    tenant: &str,
    device: &str,
    gone: &Gone,
) -> Result<(), StoreError> {
    let row = sqlx::query("SELECT samples FROM latest_samples WHERE tenant = $1 AND device = $2")
        .bind(tenant)
        .bind(device)
        .fetch_optional(&mut *db)
        .await?;
    let Some(row) = row else { return Ok(()) };
    let mut newest = decode(row.try_get("samples")?)?;
    let (count, gone) = (newest.len(), gone.of(device));
    newest.retain(|key, sample| !gone.has(key, sample));
    if newest.is_empty() {
        sqlx::query("DELETE FROM latest_samples WHERE tenant = $1 AND device = $2")
            .bind(tenant)
            .bind(device)
            .execute(db)
            .await?;
    } else if newest.len() < count {
        put(db, tenant, vec![(device, encode(newest))]).await?;
    }
    Ok(())
}

async fn put(db: &mut SqliteConnection, tenant: &str, rows: Vec<(&str, Vec<u8>)>) -> Result<(), StoreError> {
    let mut sql = "INSERT INTO latest_samples (tenant, device, samples) VALUES ".to_owned();
    for position in 0..rows.len() {
        let comma = if position == 0 { "" } else { ", " };
        let _ = write!(sql, "{comma}($1, ${}, ${})", 2 * position + 2, 2 * position + 3);
    }
    sql += " ON CONFLICT (tenant, device) DO UPDATE SET samples = excluded.samples";
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(tenant);
    for (device, samples) in rows {
        query = query.bind(device).bind(samples);
    }
    query.execute(db).await?;
    Ok(())
}
