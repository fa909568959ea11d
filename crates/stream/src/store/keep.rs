//! The table `kept`: how much there is of each tenant's events and dead letters. What goes beyond their bounds is deleted, the
//! oldest first, in the transaction that brought the newest.

use std::collections::HashMap;

use futures_util::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use crate::config::Config;
use crate::error::Error;

/// Rows and the bytes of their contents.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Amount {
    items: i64,
    size_bytes: i64,
}

impl Amount {
    fn add(&mut self, size_bytes: i64) {
        self.items += 1;
        self.size_bytes += size_bytes;
    }

    fn exceeds(self, bound: Self) -> bool {
        self.items > bound.items || self.size_bytes > bound.size_bytes
    }

    fn less(self, gone: Self) -> Self {
        Self { items: self.items - gone.items, size_bytes: self.size_bytes - gone.size_bytes }
    }
}

/// A table that holds what came last, and what of it counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct List {
    table: &'static str,
    content: &'static str,
    bound: Amount,
}

impl List {
    pub(super) fn events(config: &Config) -> Self {
        let bound = bound(config.events_per_tenant, config.events_bytes_per_tenant);
        Self { table: "events", content: "json", bound }
    }

    pub(super) fn dead_letters(config: &Config) -> Self {
        let bound = bound(config.dead_letters_per_tenant, config.dead_letters_bytes_per_tenant);
        Self { table: "dead_letters", content: "payload", bound }
    }

    /// What an insert ends with, so that it says what is new.
    pub(super) fn returning(self) -> String {
        format!(" ON CONFLICT DO NOTHING RETURNING tenant, octet_length({})", self.content)
    }

    /// Counts what an insert said, and deletes the oldest rows of whoever has too much now.
    pub(super) async fn keep(self, tx: &mut SqliteConnection, new: &[SqliteRow]) -> Result<(), Error> {
        let mut tenants: HashMap<String, Amount> = HashMap::new();
        for row in new {
            tenants.entry(row.try_get(0)?).or_default().add(row.try_get(1)?);
        }
        for (tenant, new) in tenants {
            let kept = self.add(tx, &tenant, new).await?;
            if kept.exceeds(self.bound) {
                self.delete_oldest(tx, &tenant, kept).await?;
            }
        }
        Ok(())
    }

    /// Takes off what was deleted: number and bytes.
    pub(super) async fn less(
        self,
        tx: &mut SqliteConnection,
        tenant: &str,
        gone: &SqliteRow,
    ) -> Result<(), Error> {
        let gone = Amount { items: gone.try_get(0)?, size_bytes: gone.try_get(1)? };
        self.add(tx, tenant, Amount::default().less(gone)).await?;
        Ok(())
    }

    async fn add(self, tx: &mut SqliteConnection, tenant: &str, more: Amount) -> Result<Amount, Error> {
        let row = sqlx::query(
            "INSERT INTO kept (tenant, list, items, size_bytes) VALUES ($1, $2, $3, $4)
             ON CONFLICT (tenant, list) DO UPDATE SET items = kept.items + excluded.items,
                 size_bytes = kept.size_bytes + excluded.size_bytes
             RETURNING items, size_bytes",
        )
        .bind(tenant)
        .bind(self.table)
        .bind(more.items)
        .bind(more.size_bytes)
        .fetch_one(tx)
        .await?;
        Ok(Amount { items: row.try_get(0)?, size_bytes: row.try_get(1)? })
    }

    async fn delete_oldest(self, tx: &mut SqliteConnection, tenant: &str, kept: Amount) -> Result<(), Error> {
        let mut gone = Amount::default();
        let mut last = (i64::MIN, i64::MIN);
        let oldest = format!(
            "SELECT received_us, seq, octet_length({}) FROM {} WHERE tenant = $1 ORDER BY received_us, seq",
            self.content, self.table
        );
        let mut rows = sqlx::query(AssertSqlSafe(oldest)).bind(tenant).fetch(&mut *tx);
        while kept.less(gone).exceeds(self.bound) {
            let Some(row) = rows.try_next().await? else { break };
            gone.add(row.try_get(2)?);
            last = (row.try_get(0)?, row.try_get(1)?);
        }
        drop(rows);
        let delete =
            format!("DELETE FROM {} WHERE tenant = $1 AND (received_us, seq) <= ($2, $3)", self.table);
        sqlx::query(AssertSqlSafe(delete)).bind(tenant).bind(last.0).bind(last.1).execute(&mut *tx).await?;
        self.add(tx, tenant, Amount::default().less(gone)).await?;
        Ok(())
    }
}

fn bound(items: u32, size_bytes: u64) -> Amount {
    Amount { items: i64::from(items), size_bytes: i64::try_from(size_bytes).unwrap_or(i64::MAX) }
}
