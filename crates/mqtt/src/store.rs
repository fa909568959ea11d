//! All SQL of the gateway: sessions, their queues and retained messages as the last checkpoint left them.

use std::collections::BTreeSet;
use std::sync::Arc;

use drover_backbone::{Offset, Shard, Stream};
use drover_db::{Db, DbError, Transaction, migrations};
use drover_proto::sessions::v1::{Message, SessionState, Target};
use futures_util::TryStreamExt;
use prost::Message as _;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

/// Rows of one statement; SQLite allows 32,766 values.
const ROWS_PER_STATEMENT: usize = 500;
/// A statement whose rows are so big takes no further row.
const BYTES_PER_STATEMENT: usize = 4 << 20;
/// Rows of ended sessions' queues that are deleted at a time.
const ROWS_PER_DELETE: i64 = 10_000;

/// Rows of `numbers`.
const SESSION: &str = "session";
const MESSAGE: &str = "message";

/// What changed since the last checkpoint, or a part of it: a session's state and its queue belong into the same part, and the
/// positions into the last. Saving it again changes nothing.
#[derive(Debug, Default)]
pub(crate) struct Checkpoint {
    /// Number, tenant, and everything but the queue.
    pub(crate) sessions: Vec<(u64, String, SessionState)>,
    /// Sessions that are over: their queues go too.
    pub(crate) ended: Vec<u64>,
    pub(crate) queued: Vec<Queued>,
    /// Session and sequence of what left a queue.
    pub(crate) settled: Vec<(u64, u64)>,
    /// Tenant, topic, and its message, if it has one now.
    pub(crate) retained: Vec<(String, String, Option<Message>)>,
    /// The first frame of each shard that may not be in here.
    pub(crate) positions: Vec<(Stream, Shard, Offset)>,
    pub(crate) numbers: Numbers,
}

/// A message that is new in the queue of `target.session`.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) target: Target,
    pub(crate) tenant: String,
    pub(crate) message: Arc<Message>,
}

/// What the next session and the next message are called. They only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) next_session: u64,
    pub(crate) next_message: u64,
}

#[derive(Clone)]
pub(crate) struct Store {
    db: Db,
}

impl Store {
    pub(crate) async fn open(db: &Db) -> Result<Self, DbError> {
        let set = migrations(&[(1, "sessions", include_str!("../migrations/0001_sessions.sql"))]);
        db.migrate("mqtt", &set).await?;
        Ok(Self { db: db.clone() })
    }

    /// Writes all of it, or nothing.
    pub(crate) async fn save(&self, checkpoint: &Checkpoint) -> Result<(), DbError> {
        let mut tx = self.db.begin().await?;
        upsert_sessions(&mut tx, &checkpoint.sessions).await?;
        insert_messages(&mut tx, &checkpoint.queued).await?;
        insert_queue(&mut tx, &checkpoint.queued).await?;
        let mut left = BTreeSet::new();
        delete_settled(&mut tx, &checkpoint.settled, &mut left).await?;
        delete_ended(&mut tx, &checkpoint.ended, &mut left).await?;
        delete_unqueued(&mut tx, left).await?;
        save_retained(&mut tx, &checkpoint.retained).await?;
        save_positions(&mut tx, &checkpoint.positions).await?;
        save_numbers(&mut tx, checkpoint.numbers).await?;
        tx.commit().await
    }

    /// Passes on number, tenant and state of every session.
    pub(crate) async fn sessions(
        &self,
        mut each: impl FnMut(u64, String, SessionState),
    ) -> Result<(), DbError> {
        let mut rows = sqlx::query("SELECT number, tenant, state FROM sessions").fetch(self.db.read());
        while let Some(row) = rows.try_next().await? {
            each(unsigned(&row, 0), row.get(1), decode(&row, 2)?);
        }
        Ok(())
    }

    /// Passes on tenant and message of every topic that has one.
    pub(crate) async fn retained(&self, mut each: impl FnMut(String, Message)) -> Result<(), DbError> {
        let mut rows = sqlx::query("SELECT tenant, body FROM retained").fetch(self.db.read());
        while let Some(row) = rows.try_next().await? {
            each(row.get(0), decode(&row, 1)?);
        }
        Ok(())
    }

    /// The first frame of each shard that the database may not cover; the first of all for shards that aren't named.
    pub(crate) async fn positions(&self) -> Result<Vec<(Stream, Shard, Offset)>, DbError> {
        let rows = sqlx::query("SELECT stream, shard, next FROM positions").fetch_all(self.db.read()).await?;
        let position = |row: &SqliteRow| {
            let name = row.get::<&str, _>(0);
            let stream = Stream::ALL.into_iter().find(|stream| stream.as_str() == name).ok_or_else(|| {
                sqlx::Error::Decode(format!("positions: no stream is called {name:?}").into())
            })?;
            let shard =
                u16::try_from(row.get::<i64, _>(1)).map_err(|error| sqlx::Error::Decode(error.into()))?;
            Ok((stream, Shard(shard), Offset(unsigned(row, 2))))
        };
        rows.iter().map(position).collect()
    }

    pub(crate) async fn numbers(&self) -> Result<Numbers, DbError> {
        let mut numbers = Numbers::default();
        for row in sqlx::query("SELECT what, next FROM numbers").fetch_all(self.db.read()).await? {
            match row.get(0) {
                SESSION => numbers.next_session = unsigned(&row, 1),
                MESSAGE => numbers.next_message = unsigned(&row, 1),
                _ => {}
            }
        }
        Ok(numbers)
    }

    /// What stands in a session's queue after a sequence, in order, at most `limit`.
    pub(crate) async fn page(
        &self,
        session: u64,
        after_sequence: u64,
        limit: u32,
    ) -> Result<Vec<(Target, Message)>, DbError> {
        let rows = sqlx::query(
            "SELECT queue.sequence, queue.qos, queue.retain, queue.ids, messages.body
             FROM queue JOIN messages ON messages.number = queue.message
             WHERE queue.session = $1 AND queue.sequence > $2 ORDER BY queue.sequence LIMIT $3",
        )
        .bind(session.cast_signed())
        .bind(after_sequence.cast_signed())
        .bind(i64::from(limit))
        .fetch_all(self.db.read())
        .await?;
        let entry = |row: &SqliteRow| {
            let target = Target {
                session,
                sequence: unsigned(row, 0),
                qos: row.get(1),
                retain: row.get(2),
                subscription_ids: ids(row.get(3)),
            };
            Ok((target, decode(row, 4)?))
        };
        rows.iter().map(entry).collect()
    }
}

fn unsigned(row: &SqliteRow, column: usize) -> u64 {
    row.get::<i64, _>(column).cast_unsigned()
}

fn decode<T: prost::Message + Default>(row: &SqliteRow, column: usize) -> Result<T, DbError> {
    let bytes = row.get::<&[u8], _>(column);
    Ok(T::decode(bytes).map_err(|error| sqlx::Error::Decode(error.into()))?)
}

/// Subscription identifiers out of a row of `queue`.
fn ids(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().copied().map(u32::from_be_bytes).collect()
}

/// Cuts rows into those of one statement each.
fn statements<T>(mut rows: &[T], size_bytes: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |row: &&T| {
            let before = bytes;
            bytes += size_bytes(row);
            before < BYTES_PER_STATEMENT
        };
        let count = rows.iter().take(ROWS_PER_STATEMENT).take_while(fits).count();
        let (some, rest) = rows.split_at(count);
        rows = rest;
        (!some.is_empty()).then_some(some)
    })
}

// Rows are written in the order of their keys, so that a page is written once, however small the cache is.

async fn upsert_sessions(
    tx: &mut Transaction,
    sessions: &[(u64, String, SessionState)],
) -> Result<(), DbError> {
    let mut sessions: Vec<_> = sessions.iter().collect();
    sessions.sort_unstable_by_key(|(number, ..)| *number);
    for some in statements(&sessions, |(.., state)| state.encoded_len()) {
        let mut query = QueryBuilder::<Sqlite>::new("INSERT INTO sessions (number, tenant, state) ");
        query.push_values(some, |mut row, (number, tenant, state)| {
            row.push_bind(number.cast_signed()).push_bind(tenant).push_bind(state.encode_to_vec());
        });
        query.push(" ON CONFLICT (number) DO UPDATE SET tenant = excluded.tenant, state = excluded.state");
        query.build().persistent(false).execute(&mut **tx).await?;
    }
    Ok(())
}

async fn insert_messages(tx: &mut Transaction, queued: &[Queued]) -> Result<(), DbError> {
    let mut messages: Vec<_> = queued.iter().map(|queued| (&queued.tenant, &*queued.message)).collect();
    messages.sort_unstable_by_key(|(_, message)| message.number);
    messages.dedup_by_key(|(_, message)| message.number);
    for some in statements(&messages, |(_, message)| message.encoded_len()) {
        let mut query = QueryBuilder::<Sqlite>::new("INSERT INTO messages (number, tenant, body) ");
        query.push_values(some, |mut row, (tenant, message)| {
            row.push_bind(message.number.cast_signed()).push_bind(*tenant).push_bind(message.encode_to_vec());
        });
        query.push(" ON CONFLICT DO NOTHING").build().persistent(false).execute(&mut **tx).await?;
    }
    Ok(())
}

async fn insert_queue(tx: &mut Transaction, queued: &[Queued]) -> Result<(), DbError> {
    let mut queued: Vec<_> = queued.iter().map(|queued| (&queued.target, queued.message.number)).collect();
    queued.sort_unstable_by_key(|(target, _)| (target.session, target.sequence));
    for some in queued.chunks(ROWS_PER_STATEMENT) {
        let mut query =
            QueryBuilder::<Sqlite>::new("INSERT INTO queue (session, sequence, message, qos, retain, ids) ");
        query.push_values(some, |mut row, (target, message)| {
            let ids: Vec<u8> = target.subscription_ids.iter().flat_map(|id| id.to_be_bytes()).collect();
            row.push_bind(target.session.cast_signed()).push_bind(target.sequence.cast_signed());
            row.push_bind(message.cast_signed()).push_bind(i64::from(target.qos));
            row.push_bind(target.retain).push_bind(ids);
        });
        query.push(" ON CONFLICT DO NOTHING").build().persistent(false).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Adds to `left` the messages that left a queue.
async fn delete_settled(
    tx: &mut Transaction,
    settled: &[(u64, u64)],
    left: &mut BTreeSet<i64>,
) -> Result<(), DbError> {
    for some in settled.chunks(ROWS_PER_STATEMENT) {
        let mut query = QueryBuilder::<Sqlite>::new("DELETE FROM queue WHERE (session, sequence) IN (");
        query.push_values(some, |mut row, (session, sequence)| {
            row.push_bind(session.cast_signed()).push_bind(sequence.cast_signed());
        });
        query.push(") RETURNING message");
        let rows = query.build().persistent(false).fetch_all(&mut **tx).await?;
        left.extend(rows.iter().map(|row| row.get::<i64, _>(0)));
    }
    Ok(())
}

/// Adds to `left` the messages that stood in the queues.
async fn delete_ended(tx: &mut Transaction, ended: &[u64], left: &mut BTreeSet<i64>) -> Result<(), DbError> {
    for some in ended.chunks(ROWS_PER_STATEMENT) {
        let mut query = QueryBuilder::<Sqlite>::new("DELETE FROM sessions WHERE number IN (");
        push_list(&mut query, some.iter().map(|number| number.cast_signed()));
        query.push(")").build().persistent(false).execute(&mut **tx).await?;
        loop {
            let mut query = QueryBuilder::<Sqlite>::new(
                "DELETE FROM queue WHERE (session, sequence) IN
                     (SELECT session, sequence FROM queue WHERE session IN (",
            );
            push_list(&mut query, some.iter().map(|number| number.cast_signed()));
            query.push(") LIMIT ").push_bind(ROWS_PER_DELETE).push(") RETURNING message");
            let rows = query.build().persistent(false).fetch_all(&mut **tx).await?;
            left.extend(rows.iter().map(|row| row.get::<i64, _>(0)));
            if i64::try_from(rows.len()).is_ok_and(|rows| rows < ROWS_PER_DELETE) {
                break;
            }
        }
    }
    Ok(())
}

/// Deletes those messages that stand in no queue any more.
async fn delete_unqueued(tx: &mut Transaction, left: BTreeSet<i64>) -> Result<(), DbError> {
    let left: Vec<i64> = left.into_iter().collect();
    for some in left.chunks(ROWS_PER_STATEMENT) {
        let mut query = QueryBuilder::<Sqlite>::new("DELETE FROM messages WHERE number IN (");
        push_list(&mut query, some.iter().copied());
        query.push(") AND NOT EXISTS (SELECT 1 FROM queue WHERE queue.message = messages.number)");
        query.build().persistent(false).execute(&mut **tx).await?;
    }
    Ok(())
}

async fn save_retained(
    tx: &mut Transaction,
    retained: &[(String, String, Option<Message>)],
) -> Result<(), DbError> {
    let mut set = Vec::new();
    let mut removed = Vec::new();
    for (tenant, topic, message) in retained {
        match message {
            Some(message) => set.push((tenant, topic, message)),
            None => removed.push((tenant, topic)),
        }
    }
    set.sort_unstable_by_key(|(tenant, topic, _)| (*tenant, *topic));
    for some in statements(&set, |(.., message)| message.encoded_len()) {
        let mut query = QueryBuilder::<Sqlite>::new("INSERT INTO retained (tenant, topic, body) ");
        query.push_values(some, |mut row, (tenant, topic, message)| {
            row.push_bind(*tenant).push_bind(*topic).push_bind(message.encode_to_vec());
        });
        query.push(" ON CONFLICT (tenant, topic) DO UPDATE SET body = excluded.body");
        query.build().persistent(false).execute(&mut **tx).await?;
    }
    for some in removed.chunks(ROWS_PER_STATEMENT) {
        let mut query = QueryBuilder::<Sqlite>::new("DELETE FROM retained WHERE (tenant, topic) IN (");
        query.push_values(some, |mut row, (tenant, topic)| {
            row.push_bind(*tenant).push_bind(*topic);
        });
        query.push(")").build().persistent(false).execute(&mut **tx).await?;
    }
    Ok(())
}

async fn save_positions(tx: &mut Transaction, positions: &[(Stream, Shard, Offset)]) -> Result<(), DbError> {
    for (stream, shard, next) in positions {
        sqlx::query(
            "INSERT INTO positions (stream, shard, next) VALUES ($1, $2, $3)
             ON CONFLICT (stream, shard) DO UPDATE SET next = excluded.next",
        )
        .bind(stream.as_str())
        .bind(i64::from(shard.0))
        .bind(next.0.cast_signed())
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

async fn save_numbers(tx: &mut Transaction, numbers: Numbers) -> Result<(), DbError> {
    for (what, next) in [(SESSION, numbers.next_session), (MESSAGE, numbers.next_message)] {
        sqlx::query(
            "INSERT INTO numbers (what, next) VALUES ($1, $2)
             ON CONFLICT (what) DO UPDATE SET next = excluded.next WHERE excluded.next > numbers.next",
        )
        .bind(what)
        .bind(next.cast_signed())
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

fn push_list(query: &mut QueryBuilder<Sqlite>, numbers: impl Iterator<Item = i64>) {
    let mut list = query.separated(", ");
    for number in numbers {
        list.push_bind(number);
    }
}

#[cfg(test)]
mod tests;
