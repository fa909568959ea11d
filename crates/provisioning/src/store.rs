//! All SQL of the service; that of API keys in a file of its own.

use drover_db::Db;
use drover_model::{CredentialId, DeviceId, Tenant, TenantId, Timestamp};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::credentials::{Credential, MAX_CREDENTIALS, Verifier};
use crate::error::Error;
use crate::tenants::TenantRow;
use drover_rpc::Page;

mod api_keys;

const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "tenants_and_credentials", include_str!("../migrations/0001_tenants_and_credentials.sql")),
    (2, "api_keys", include_str!("../migrations/0002_api_keys.sql")),
];

/// Tenants, credentials and API keys in the database.
#[derive(Debug, Clone)]
pub struct Store {
    db: Db,
}

impl Store {
    pub async fn open(db: Db) -> Result<Self, Error> {
        db.migrate("provisioning", &drover_db::migrations(MIGRATIONS)).await?;
        Ok(Self { db })
    }

    /// Whether the id was free.
    pub async fn insert_tenant(&self, tenant: &TenantRow) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        let done = sqlx::query(
            "INSERT INTO tenants (id, name, created_us) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING",
        )
        .bind(tenant.id.as_str())
        .bind(&tenant.name)
        .bind(tenant.created.as_micros())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    pub async fn tenant(&self, id: &TenantId) -> Result<Option<TenantRow>, Error> {
        let row = sqlx::query("SELECT id, name, created_us FROM tenants WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(self.db.read())
            .await?;
        row.as_ref().map(read_tenant).transpose()
    }

    pub async fn tenants(&self, page: &Page) -> Result<Vec<TenantRow>, Error> {
        let rows = sqlx::query("SELECT id, name, created_us FROM tenants WHERE id > $1 ORDER BY id LIMIT $2")
            .bind(&page.after)
            .bind(page.rows())
            .fetch_all(self.db.read())
            .await?;
        rows.iter().map(read_tenant).collect()
    }

    /// Whether there was room for it.
    pub async fn insert_credential(
        &self,
        tenant: &Tenant,
        device: &DeviceId,
        credential: &Credential,
        token_sha256: &[u8],
    ) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        let done = sqlx::query(
            "INSERT INTO credentials (tenant, device, id, token_sha256, created_us) SELECT $1, $2, $3, $4, $5 \
             WHERE (SELECT COUNT(*) FROM credentials WHERE tenant = $1 AND device = $2) < $6",
        )
        .bind(tenant.as_str())
        .bind(device.as_str())
        .bind(credential.id.as_str())
        .bind(token_sha256)
        .bind(credential.created.as_micros())
        .bind(i64::try_from(MAX_CREDENTIALS).unwrap_or(i64::MAX))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    pub async fn credentials(
        &self,
        tenant: &Tenant,
        device: &DeviceId,
        page: &Page,
    ) -> Result<Vec<Credential>, Error> {
        let rows = sqlx::query(
            "SELECT id, created_us FROM credentials WHERE tenant = $1 AND device = $2 AND id > $3 \
             ORDER BY id LIMIT $4",
        )
        .bind(tenant.as_str())
        .bind(device.as_str())
        .bind(&page.after)
        .bind(page.rows())
        .fetch_all(self.db.read())
        .await?;
        rows.iter()
            .map(|row| {
                let id = CredentialId::parse(row.try_get("id")?)?;
                Ok(Credential { id, created: Timestamp::from_micros(row.try_get("created_us")?) })
            })
            .collect()
    }

    /// Whether it was there.
    pub async fn delete_credential(
        &self,
        tenant: &Tenant,
        device: &DeviceId,
        credential: &CredentialId,
    ) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        let done = sqlx::query("DELETE FROM credentials WHERE tenant = $1 AND device = $2 AND id = $3")
            .bind(tenant.as_str())
            .bind(device.as_str())
            .bind(credential.as_str())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    pub async fn delete_credentials(&self, tenant: &Tenant, device: &DeviceId) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        sqlx::query("DELETE FROM credentials WHERE tenant = $1 AND device = $2")
            .bind(tenant.as_str())
            .bind(device.as_str())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    pub async fn verifiers(&self, tenant: &TenantId, device: &DeviceId) -> Result<Vec<Verifier>, Error> {
        let rows = sqlx::query("SELECT id, token_sha256 FROM credentials WHERE tenant = $1 AND device = $2")
            .bind(tenant.as_str())
            .bind(device.as_str())
            .fetch_all(self.db.read())
            .await?;
        rows.iter()
            .map(|row| {
                let id = CredentialId::parse(row.try_get("id")?)?;
                Ok(Verifier { id, token_sha256: row.try_get("token_sha256")? })
            })
            .collect()
    }
}

fn read_tenant(row: &SqliteRow) -> Result<TenantRow, Error> {
    Ok(TenantRow {
        id: TenantId::parse(row.try_get("id")?)?,
        name: row.try_get("name")?,
        created: Timestamp::from_micros(row.try_get("created_us")?),
    })
}
