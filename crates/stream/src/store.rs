//! All SQL of the stream service.

mod feed_groups;
mod keep;
mod retention;

use std::collections::HashMap;

use drover_backbone::{Offset, Shard};
use drover_db::{Db, DbError, migrations};
use drover_model::{DeviceId, Tenant};
use drover_rpc::Page;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use crate::batch::{DeadLetter, ErasedEvents, Event, Rows};
use crate::config::Config;
use crate::error::Error;
use crate::ledger::{ByTenant, Counts};
pub(crate) use feed_groups::{GroupAt, GroupRow};
use keep::List;

pub(crate) use retention::Rules;

/// Rows of one insert statement; SQLite allows 32,766 values.
const ROWS_PER_INSERT: usize = 500;
/// What a row takes on a page, about, beside its content.
const ROW_BYTES: usize = 256;

#[derive(Clone)]
pub(crate) struct Store {
    db: Db,
    events: List,
    dead_letters: List,
}

impl Store {
    pub(crate) async fn open(db: &Db, config: &Config) -> Result<Self, DbError> {
        let set = migrations(&[
            (1, "stream", include_str!("../migrations/0001_stream.sql")),
            (2, "kept", include_str!("../migrations/0002_kept.sql")),
            (3, "retention", include_str!("../migrations/0003_retention.sql")),
            (4, "feed groups", include_str!("../migrations/0004_feed_groups.sql")),
        ]);
        db.migrate("stream", &set).await?;
        Ok(Self { db: db.clone(), events: List::events(config), dead_letters: List::dead_letters(config) })
    }

    pub(crate) async fn begin(&self) -> Result<drover_db::Transaction, DbError> {
        self.db.begin().await
    }

    /// The first frame that the database does not cover.
    pub(crate) async fn offset(&self, stream: &str, shard: Shard) -> Result<Offset, Error> {
        let row = sqlx::query("SELECT next FROM offsets WHERE stream = $1 AND shard = $2")
            .bind(stream)
            .bind(i64::from(shard.0))
            .fetch_optional(self.db.read())
            .await?;
        Ok(Offset(row.map_or(0, |row| row.get::<i64, _>(0)).cast_unsigned()))
    }

    pub(crate) async fn counts(&self) -> Result<ByTenant, Error> {
        let mut counts = HashMap::new();
        let rows =
            sqlx::query("SELECT tenant, stored, dead_lettered FROM ledger").fetch_all(self.db.read()).await?;
        for row in rows {
            let entry: &mut Counts = counts.entry(row.get::<String, _>(0).into()).or_default();
            entry.stored = row.get::<i64, _>(1).cast_unsigned();
            entry.dead_lettered = row.get::<i64, _>(2).cast_unsigned();
        }
        let rows = sqlx::query("SELECT tenant, reason, records FROM ledger_refused")
            .fetch_all(self.db.read())
            .await?;
        for row in rows {
            let entry: &mut Counts = counts.entry(row.get::<String, _>(0).into()).or_default();
            entry.refused.insert(row.get(1), row.get::<i64, _>(2).cast_unsigned());
        }
        Ok(counts)
    }

    /// Writes rows that are named by their position in the log, so that writing them again changes nothing; the oldest of a
    /// tenant go when there are too many of them, and those that are erased.
    pub(crate) async fn insert(&self, rows: &Rows) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        for some in rows.events.chunks(ROWS_PER_INSERT) {
            insert_events(&mut tx, self.events, some).await?;
        }
        for some in rows.dead_letters.chunks(ROWS_PER_INSERT) {
            insert_dead_letters(&mut tx, self.dead_letters, some).await?;
        }
        for erased in &rows.erased {
            delete_events(&mut tx, self.events, erased).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Newest first, those before position `before`; whether there are more than the page holds.
    pub(crate) async fn events(
        &self,
        tenant: &Tenant,
        device: &DeviceId,
        before: i64,
        page: &Page,
    ) -> Result<(Vec<EventRow>, bool), Error> {
        let sizes = sqlx::query(
            "SELECT octet_length(json) FROM events
             WHERE tenant = $1 AND device = $2 AND seq < $3 ORDER BY seq DESC LIMIT $4",
        )
        .bind(tenant.as_str())
        .bind(device.as_str())
        .bind(before)
        .bind(page.rows())
        .fetch_all(self.db.read())
        .await?;
        let count = page.fitting(sizes.iter().map(size));
        let rows = sqlx::query(
            "SELECT seq, received_us, json FROM events
             WHERE tenant = $1 AND device = $2 AND seq < $3 ORDER BY seq DESC LIMIT $4",
        )
        .bind(tenant.as_str())
        .bind(device.as_str())
        .bind(before)
        .bind(i64::try_from(count).unwrap_or(i64::MAX))
        .fetch_all(self.db.read())
        .await?;
        let event = |row: &SqliteRow| EventRow { seq: row.get(0), received_us: row.get(1), json: row.get(2) };
        Ok((rows.iter().map(event).collect(), count < sizes.len()))
    }

    /// Newest first, those before the pair of time and position `before`; whether there are more than the page holds.
    pub(crate) async fn dead_letters(
        &self,
        tenant: &Tenant,
        before: (i64, i64),
        page: &Page,
    ) -> Result<(Vec<DeadLetter>, bool), Error> {
        let sizes = sqlx::query(
            "SELECT length(payload) FROM dead_letters
             WHERE tenant = $1 AND (received_us, seq) < ($2, $3) ORDER BY received_us DESC, seq DESC LIMIT $4",
        )
        .bind(tenant.as_str())
        .bind(before.0)
        .bind(before.1)
        .bind(page.rows())
        .fetch_all(self.db.read())
        .await?;
        let count = page.fitting(sizes.iter().map(size));
        let rows = sqlx::query(
            "SELECT received_us, seq, device, topic, reason, payload FROM dead_letters
             WHERE tenant = $1 AND (received_us, seq) < ($2, $3) ORDER BY received_us DESC, seq DESC LIMIT $4",
        )
        .bind(tenant.as_str())
        .bind(before.0)
        .bind(before.1)
        .bind(i64::try_from(count).unwrap_or(i64::MAX))
        .fetch_all(self.db.read())
        .await?;
        let letter = |row: &SqliteRow| DeadLetter {
            tenant: tenant.as_str().into(),
            received_us: row.get(0),
            seq: row.get(1),
            device: row.get(2),
            topic: row.get(3),
            reason: row.get(4),
            payload: row.get::<Vec<u8>, _>(5).into(),
        };
        Ok((rows.iter().map(letter).collect(), count < sizes.len()))
    }
}

/// What a row takes on a page whose content has the length that the row of `sizes` says.
fn size(row: &SqliteRow) -> usize {
    ROW_BYTES.saturating_add(usize::try_from(row.get::<i64, _>(0)).unwrap_or_default())
}

/// An event as it is read.
pub(crate) struct EventRow {
    pub(crate) seq: i64,
    pub(crate) received_us: i64,
    pub(crate) json: String,
}

async fn insert_events(tx: &mut SqliteConnection, list: List, events: &[Event]) -> Result<(), Error> {
    let mut query =
        QueryBuilder::<Sqlite>::new("INSERT INTO events (tenant, device, seq, received_us, json) ");
    query.push_values(events, |mut row, event| {
        row.push_bind(&event.tenant).push_bind(&event.device).push_bind(event.seq);
        row.push_bind(event.received_us).push_bind(&event.json);
    });
    let new = query.push(list.returning()).build().persistent(false).fetch_all(&mut *tx).await?;
    list.keep(tx, &new).await
}

/// Deletes what a device reported before it was erased.
async fn delete_events(tx: &mut SqliteConnection, list: List, erased: &ErasedEvents) -> Result<(), Error> {
    let gone = sqlx::query(
        "SELECT COUNT(*), COALESCE(SUM(octet_length(json)), 0) FROM events
         WHERE tenant = $1 AND device = $2 AND seq < $3",
    )
    .bind(&erased.tenant)
    .bind(&erased.device)
    .bind(erased.below)
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query("DELETE FROM events WHERE tenant = $1 AND device = $2 AND seq < $3")
        .bind(&erased.tenant)
        .bind(&erased.device)
        .bind(erased.below)
        .execute(&mut *tx)
        .await?;
    list.less(tx, &erased.tenant, &gone).await
}

async fn insert_dead_letters(
    tx: &mut SqliteConnection,
    list: List,
    letters: &[DeadLetter],
) -> Result<(), Error> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "INSERT INTO dead_letters (tenant, received_us, seq, device, topic, reason, payload) ",
    );
    query.push_values(letters, |mut row, letter| {
        row.push_bind(&letter.tenant).push_bind(letter.received_us).push_bind(letter.seq);
        row.push_bind(&letter.device).push_bind(&letter.topic).push_bind(&letter.reason);
        row.push_bind(&letter.payload[..]);
    });
    let new = query.push(list.returning()).build().persistent(false).fetch_all(&mut *tx).await?;
    list.keep(tx, &new).await
}

/// Moves the offset; part of the transaction that holds what it covers.
pub(crate) async fn set_offset(
    tx: &mut SqliteConnection,
    stream: &str,
    shard: Shard,
    next: Offset,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO offsets (stream, shard, next) VALUES ($1, $2, $3)
         ON CONFLICT (stream, shard) DO UPDATE SET next = excluded.next",
    )
    .bind(stream)
    .bind(i64::from(shard.0))
    .bind(next.0.cast_signed())
    .execute(tx)
    .await?;
    Ok(())
}

pub(crate) async fn add_counts(tx: &mut SqliteConnection, counts: &ByTenant) -> Result<(), Error> {
    for (tenant, counts) in counts {
        sqlx::query(
            "INSERT INTO ledger (tenant, stored, dead_lettered) VALUES ($1, $2, $3)
             ON CONFLICT (tenant) DO UPDATE SET stored = ledger.stored + excluded.stored,
                 dead_lettered = ledger.dead_lettered + excluded.dead_lettered",
        )
        .bind(&**tenant)
        .bind(counts.stored.cast_signed())
        .bind(counts.dead_lettered.cast_signed())
        .execute(&mut *tx)
        .await?;
        for (reason, records) in &counts.refused {
            sqlx::query(
                "INSERT INTO ledger_refused (tenant, reason, records) VALUES ($1, $2, $3)
                 ON CONFLICT (tenant, reason) DO UPDATE SET records = ledger_refused.records + excluded.records",
            )
            .bind(&**tenant)
            .bind(reason)
            .bind(records.cast_signed())
            .execute(&mut *tx)
            .await?;
        }
    }
    Ok(())
}
