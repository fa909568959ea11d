//! The table `point_file`: which parts of which files are part of the store. A file that is not named here does not count.

use std::sync::Arc;

use futures_util::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, SqlitePool};

use crate::file::{Level, Part};
use crate::{StoreError, rollup};

/// A row: whose part, and in which shard.
pub(crate) struct Listed {
    pub(crate) tenant: Box<str>,
    pub(crate) shard: usize,
    pub(crate) part: Part,
}

/// Every part, the oldest file first. Parts of one file share its name.
pub(crate) async fn list(db: &SqlitePool) -> Result<Vec<Listed>, StoreError> {
    let mut rows = sqlx::query(
        "SELECT file, tenant, shard, first_row_group, row_groups, min_ts, max_ts, min_device, max_device, points, \
         size_bytes, level, clean_to, trimmed, \
         rollups FROM point_file ORDER BY file, tenant",
    )
    .fetch(db);
    let mut all = Vec::new();
    let mut file: Arc<str> = "".into();
    while let Some(row) = rows.try_next().await? {
        let name: &str = row.try_get("file")?;
        if *file != *name {
            file = name.into();
        }
        all.push(listed(&row, Arc::clone(&file))?);
    }
    Ok(all)
}

fn listed(row: &SqliteRow, file: Arc<str>) -> Result<Listed, StoreError> {
    let count = |column: &'static str| -> Result<u64, StoreError> {
        let value: i64 = row.try_get(column)?;
        let damaged =
            || StoreError::Damaged { table: "point_file", detail: format!("{column} of {file} is {value}") };
        u64::try_from(value).map_err(|_| damaged())
    };
    let position = |column| count(column).map(|value| usize::try_from(value).unwrap_or(usize::MAX));
    Ok(Listed {
        tenant: row.try_get::<&str, _>("tenant")?.into(),
        shard: position("shard")?,
        part: Part {
            first_row_group: position("first_row_group")?,
            row_groups: position("row_groups")?,
            min_ts: row.try_get("min_ts")?,
            max_ts: row.try_get("max_ts")?,
            min_device: row.try_get::<&str, _>("min_device")?.into(),
            max_device: row.try_get::<&str, _>("max_device")?.into(),
            points: count("points")?,
            size_bytes: count("size_bytes")?,
            level: match count("level")? {
                0 => Level::Flushed,
                _ => Level::Merged,
            },
            clean_to: count("clean_to")?,
            trimmed: row.try_get("trimmed")?,
            rollups: u8::try_from(count("rollups")?).unwrap_or(0),
            file,
        },
    })
}

/// The names of all files, those of rollups too.
pub(crate) async fn names(db: &SqlitePool) -> Result<Vec<String>, StoreError> {
    let rows =
        sqlx::query("SELECT DISTINCT file, rollups FROM point_file ORDER BY file").fetch_all(db).await?;
    let mut names = Vec::new();
    for row in rows {
        let (file, rollups): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        names.extend(rollup::files(&file, u8::try_from(rollups).unwrap_or(0)));
        names.push(file);
    }
    Ok(names)
}

/// Names a part.
pub(crate) async fn add(
    db: &mut SqliteConnection,
    tenant: &str,
    shard: usize,
    part: &Part,
) -> Result<(), StoreError> {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    sqlx::query(
        "INSERT INTO point_file (file, tenant, shard, first_row_group, row_groups, min_ts, max_ts, min_device, \
         max_device, points, size_bytes, level, clean_to, trimmed, rollups) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    )
    .bind(&*part.file)
    .bind(tenant)
    .bind(number(shard as u64))
    .bind(number(part.first_row_group as u64))
    .bind(number(part.row_groups as u64))
    .bind(part.min_ts)
    .bind(part.max_ts)
    .bind(&*part.min_device)
    .bind(&*part.max_device)
    .bind(number(part.points))
    .bind(number(part.size_bytes))
    .bind(part.level as i64)
    .bind(number(part.clean_to))
    .bind(part.trimmed)
    .bind(i64::from(part.rollups))
    .execute(db)
    .await?;
    Ok(())
}

/// Names a part no longer.
pub(crate) async fn remove(db: &mut SqliteConnection, tenant: &str, part: &Part) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM point_file WHERE file = $1 AND tenant = $2")
        .bind(&*part.file)
        .bind(tenant)
        .execute(db)
        .await?;
    Ok(())
}

/// Whether a file is named.
pub(crate) async fn knows(db: &mut SqliteConnection, file: &str) -> Result<bool, StoreError> {
    let row =
        sqlx::query("SELECT 1 FROM point_file WHERE file = $1 LIMIT 1").bind(file).fetch_optional(db).await?;
    Ok(row.is_some())
}
