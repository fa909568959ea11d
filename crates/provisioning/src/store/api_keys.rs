//! The SQL of API keys.

use drover_model::{ApiKeyId, Scope, Tenant, TenantId, Timestamp};
use drover_rpc::Page;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::Store;
use crate::api_keys::{ApiKey, ApiKeyVerifier, MAX_API_KEYS};
use crate::error::Error;

impl Store {
    /// Whether the id was free and there was room.
    pub async fn insert_api_key(
        &self,
        tenant: &Tenant,
        key: &ApiKey,
        token_sha256: &[u8],
    ) -> Result<bool, Error> {
        let scopes: Vec<String> = key.scopes.iter().map(ToString::to_string).collect();
        let mut tx = self.db.begin().await?;
        let done = sqlx::query(
            "INSERT INTO api_keys (tenant, id, description, scopes, token_sha256, created_us) \
             SELECT $1, $2, $3, $4, $5, $6 WHERE (SELECT COUNT(*) FROM api_keys WHERE tenant = $1) < $7 \
             ON CONFLICT (tenant, id) DO NOTHING",
        )
        .bind(tenant.as_str())
        .bind(key.id.as_str())
        .bind(&key.description)
        .bind(scopes.join("\n"))
        .bind(token_sha256)
        .bind(key.created.as_micros())
        .bind(i64::try_from(MAX_API_KEYS).unwrap_or(i64::MAX))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    pub async fn api_key(&self, tenant: &Tenant, id: &ApiKeyId) -> Result<Option<ApiKey>, Error> {
        let row = sqlx::query(
            "SELECT id, description, scopes, created_us FROM api_keys WHERE tenant = $1 AND id = $2",
        )
        .bind(tenant.as_str())
        .bind(id.as_str())
        .fetch_optional(self.db.read())
        .await?;
        row.as_ref().map(read).transpose()
    }

    pub async fn api_keys(&self, tenant: &Tenant, page: &Page) -> Result<Vec<ApiKey>, Error> {
        let rows = sqlx::query(
            "SELECT id, description, scopes, created_us FROM api_keys WHERE tenant = $1 AND id > $2 \
             ORDER BY id LIMIT $3",
        )
        .bind(tenant.as_str())
        .bind(&page.after)
        .bind(page.rows())
        .fetch_all(self.db.read())
        .await?;
        rows.iter().map(read).collect()
    }

    /// Whether it was there.
    pub async fn delete_api_key(&self, tenant: &Tenant, id: &ApiKeyId) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        let done = sqlx::query("DELETE FROM api_keys WHERE tenant = $1 AND id = $2")
            .bind(tenant.as_str())
            .bind(id.as_str())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    pub async fn api_key_verifier(
        &self,
        tenant: &TenantId,
        id: &ApiKeyId,
    ) -> Result<Option<ApiKeyVerifier>, Error> {
        let row = sqlx::query("SELECT token_sha256, scopes FROM api_keys WHERE tenant = $1 AND id = $2")
            .bind(tenant.as_str())
            .bind(id.as_str())
            .fetch_optional(self.db.read())
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(ApiKeyVerifier { token_sha256: row.try_get("token_sha256")?, scopes: read_scopes(&row)? }))
    }

    /// By the hash, whose bytes nobody can choose, so that the time of the search tells nothing of other secrets.
    pub async fn find_api_key(&self, token_sha256: &[u8]) -> Result<Option<(TenantId, ApiKey)>, Error> {
        let row = sqlx::query(
            "SELECT tenant, id, description, scopes, created_us FROM api_keys WHERE token_sha256 = $1",
        )
        .bind(token_sha256)
        .fetch_optional(self.db.read())
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some((TenantId::parse(row.try_get("tenant")?)?, read(&row)?)))
    }
}

fn read(row: &SqliteRow) -> Result<ApiKey, Error> {
    Ok(ApiKey {
        id: ApiKeyId::parse(row.try_get("id")?)?,
        description: row.try_get("description")?,
        scopes: read_scopes(row)?,
        created: Timestamp::from_micros(row.try_get("created_us")?),
    })
}

fn read_scopes(row: &SqliteRow) -> Result<Vec<Scope>, Error> {
    let text: &str = row.try_get("scopes")?;
    text.lines().map(|line| Scope::parse(line).map_err(|error| Error::Scopes(error.into()))).collect()
}
