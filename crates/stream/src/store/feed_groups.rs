//! The table `feed_groups`.

use drover_model::{FeedGroupId, Tenant, Timestamp};
use drover_rpc::Page;
use sqlx::{Row, SqliteConnection};

use super::Store;
use crate::error::Error;

/// A group as it is listed.
pub(crate) struct GroupRow {
    pub(crate) name: String,
    pub(crate) cursor: String,
    pub(crate) moved_us: i64,
}

/// A group, and when something becomes of it.
#[derive(Clone, Copy)]
pub(crate) struct GroupAt<'a> {
    pub(crate) tenant: &'a Tenant,
    pub(crate) group: &'a FeedGroupId,
    pub(crate) now: Timestamp,
}

impl Store {
    /// Where the group goes on; a new one, of which a tenant has at most `most`, at `start`.
    pub(crate) async fn join_group(
        &self,
        at: GroupAt<'_>,
        start: impl FnOnce() -> String,
        most: u32,
    ) -> Result<String, Error> {
        let mut tx = self.begin().await?;
        if let Some(known) = cursor(&mut tx, at).await? {
            return Ok(known);
        }
        check_room(&mut tx, at.tenant, most).await?;
        let start = start();
        set_cursor(&mut tx, at, &start).await?;
        tx.commit().await?;
        Ok(start)
    }

    /// Sets where the group goes on, whether or not it is known.
    pub(crate) async fn seek_group(&self, at: GroupAt<'_>, to: &str, most: u32) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        if cursor(&mut tx, at).await?.is_none() {
            check_room(&mut tx, at.tenant, most).await?;
        }
        set_cursor(&mut tx, at, to).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Moves the group to what `moved` makes of its place.
    pub(crate) async fn move_group(
        &self,
        at: GroupAt<'_>,
        moved: impl FnOnce(&str) -> Result<String, Error>,
    ) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        let before = cursor(&mut tx, at).await?.ok_or_else(|| Error::NoGroup(at.group.clone()))?;
        let after = moved(&before)?;
        set_cursor(&mut tx, at, &after).await?;
        tx.commit().await?;
        Ok(())
    }

    /// By name, those after that of the page before.
    pub(crate) async fn groups(&self, tenant: &Tenant, page: &Page) -> Result<Vec<GroupRow>, Error> {
        let rows = sqlx::query(
            "SELECT name, cursor, moved_us FROM feed_groups WHERE tenant = $1 AND name > $2 ORDER BY name LIMIT $3",
        )
        .bind(tenant.as_str())
        .bind(&page.after)
        .bind(page.rows())
        .fetch_all(self.db.read())
        .await?;
        let group = |row: &sqlx::sqlite::SqliteRow| {
            Ok(GroupRow { name: row.try_get(0)?, cursor: row.try_get(1)?, moved_us: row.try_get(2)? })
        };
        rows.iter().map(group).collect()
    }

    pub(crate) async fn delete_group(&self, tenant: &Tenant, group: &FeedGroupId) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        let gone = sqlx::query("DELETE FROM feed_groups WHERE tenant = $1 AND name = $2")
            .bind(tenant.as_str())
            .bind(group.as_str())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        if gone.rows_affected() == 0 { Err(Error::NoGroup(group.clone())) } else { Ok(()) }
    }
}

async fn cursor(tx: &mut SqliteConnection, at: GroupAt<'_>) -> Result<Option<String>, Error> {
    let row = sqlx::query("SELECT cursor FROM feed_groups WHERE tenant = $1 AND name = $2")
        .bind(at.tenant.as_str())
        .bind(at.group.as_str())
        .fetch_optional(tx)
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

async fn check_room(tx: &mut SqliteConnection, tenant: &Tenant, most: u32) -> Result<(), Error> {
    let row = sqlx::query("SELECT COUNT(*) FROM feed_groups WHERE tenant = $1")
        .bind(tenant.as_str())
        .fetch_one(tx)
        .await?;
    if row.try_get::<i64, _>(0)? >= i64::from(most) { Err(Error::TooManyGroups(most)) } else { Ok(()) }
}

async fn set_cursor(tx: &mut SqliteConnection, at: GroupAt<'_>, cursor: &str) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO feed_groups (tenant, name, cursor, moved_us) VALUES ($1, $2, $3, $4)
         ON CONFLICT (tenant, name) DO UPDATE SET cursor = excluded.cursor, moved_us = excluded.moved_us",
    )
    .bind(at.tenant.as_str())
    .bind(at.group.as_str())
    .bind(cursor)
    .bind(at.now.as_micros())
    .execute(tx)
    .await?;
    Ok(())
}
