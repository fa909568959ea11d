//! The table `erasures`.

use futures_util::TryStreamExt;
use sqlx::{Row, SqliteConnection, SqlitePool};

use super::Erasure;
use crate::StoreError;

/// All of them.
pub(crate) async fn load(db: &SqlitePool) -> Result<Vec<Erasure>, StoreError> {
    let mut rows = sqlx::query("SELECT tenant, device, key, below FROM erasures").fetch(db);
    let mut all = Vec::new();
    while let Some(row) = rows.try_next().await? {
        all.push(Erasure {
            tenant: row.try_get::<&str, _>(0)?.into(),
            device: row.try_get::<&str, _>(1)?.into(),
            key: row.try_get::<&str, _>(2)?.into(),
            below: row.try_get::<i64, _>(3)?.cast_unsigned(),
        });
    }
    Ok(all)
}

/// Writes one in the place of those that it makes needless.
pub(crate) async fn put(db: &mut SqliteConnection, erasure: &Erasure) -> Result<(), StoreError> {
    if erasure.key.is_empty() {
        sqlx::query("DELETE FROM erasures WHERE tenant = $1 AND device = $2 AND below < $3")
            .bind(&*erasure.tenant)
            .bind(&*erasure.device)
            .bind(erasure.below.cast_signed())
            .execute(&mut *db)
            .await?;
    }
    sqlx::query(
        "INSERT INTO erasures (tenant, device, key, below) VALUES ($1, $2, $3, $4)
         ON CONFLICT (tenant, device, key) DO UPDATE SET below = excluded.below",
    )
    .bind(&*erasure.tenant)
    .bind(&*erasure.device)
    .bind(&*erasure.key)
    .bind(erasure.below.cast_signed())
    .execute(db)
    .await?;
    Ok(())
}

/// Removes one, unless more was erased meanwhile.
pub(crate) async fn remove(db: &mut SqliteConnection, erasure: &Erasure) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM erasures WHERE tenant = $1 AND device = $2 AND key = $3 AND below = $4")
        .bind(&*erasure.tenant)
        .bind(&*erasure.device)
        .bind(&*erasure.key)
        .bind(erasure.below.cast_signed())
        .execute(db)
        .await?;
    Ok(())
}
