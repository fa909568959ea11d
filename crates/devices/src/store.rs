//! All SQL of the registry.

use drover_db::{Db, Transaction};
use drover_model::{Device, DeviceId, Labels, Tenant, TenantId, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, SqliteExecutor};

use crate::error::Error;
use crate::labels::MAX_LABELS;
use crate::registry::Change;
use drover_rpc::Page;

const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "devices", include_str!("../migrations/0001_devices.sql")),
    (2, "deletions", include_str!("../migrations/0002_deletions.sql")),
];

/// What became of a new device.
#[derive(Debug)]
pub enum Inserted {
    Done,
    Exists,
    /// One with this id was deleted, and what it measured is not erased yet.
    Deleting,
}

/// Deletions that are taken up again at a time.
const DELETIONS: i64 = 256;

/// What became of a change.
#[derive(Debug)]
pub enum Updated {
    Done(Device),
    NotFound,
    Changed { expected: u64, found: u64 },
    TooManyLabels,
}

/// Devices and their labels in the database.
#[derive(Debug, Clone)]
pub struct Store {
    db: Db,
}

impl Store {
    pub async fn open(db: Db) -> Result<Self, Error> {
        db.migrate("devices", &drover_db::migrations(MIGRATIONS)).await?;
        Ok(Self { db })
    }

    pub async fn insert(&self, tenant: &Tenant, device: &Device) -> Result<Inserted, Error> {
        let mut tx = self.db.begin().await?;
        if is_deleting(&mut *tx, tenant, &device.id).await? {
            return Ok(Inserted::Deleting);
        }
        let done = sqlx::query(
            "INSERT INTO devices (tenant, id, profile, created_us, version) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (tenant, id) DO NOTHING",
        )
        .bind(tenant.as_str())
        .bind(device.id.as_str())
        .bind(&device.profile)
        .bind(device.created.as_micros())
        .bind(i64::try_from(device.version).unwrap_or(i64::MAX))
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(Inserted::Exists);
        }
        set_labels(&mut tx, tenant, &device.id, &device.labels).await?;
        tx.commit().await?;
        Ok(Inserted::Done)
    }

    pub async fn get(&self, tenant: &Tenant, id: &DeviceId) -> Result<Option<Device>, Error> {
        get(self.db.read(), tenant, id).await
    }

    /// One row more than the page holds, when there is one.
    pub async fn list(&self, tenant: &Tenant, labels: &Labels, page: &Page) -> Result<Vec<Device>, Error> {
        let mut query = QueryBuilder::new(
            "SELECT d.id, d.profile, d.created_us, d.version, l.name, l.value FROM \
             (SELECT tenant, id, profile, created_us, version FROM devices WHERE tenant = ",
        );
        query.push_bind(tenant.as_str()).push(" AND id > ").push_bind(&page.after);
        for (name, value) in labels {
            query.push(" AND id IN (SELECT device FROM device_labels WHERE tenant = ");
            query.push_bind(tenant.as_str()).push(" AND name = ").push_bind(name);
            query.push(" AND value = ").push_bind(value).push(")");
        }
        query.push(" ORDER BY id LIMIT ").push_bind(page.rows()).push(
            ") AS d LEFT JOIN device_labels AS l ON l.tenant = d.tenant AND l.device = d.id ORDER BY d.id",
        );
        fold(&query.build().fetch_all(self.db.read()).await?)
    }

    /// Which of these are devices.
    pub async fn filter(&self, tenant: &Tenant, ids: &[String]) -> Result<Vec<String>, Error> {
        let mut query = QueryBuilder::new("SELECT id FROM devices WHERE tenant = ");
        query.push_bind(tenant.as_str()).push(" AND id IN (");
        let mut list = query.separated(", ");
        for id in ids {
            list.push_bind(id);
        }
        list.push_unseparated(")");
        let rows = query.build().fetch_all(self.db.read()).await?;
        rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
    }

    pub async fn update(&self, tenant: &Tenant, id: &DeviceId, change: &Change) -> Result<Updated, Error> {
        let mut tx = self.db.begin().await?;
        let expected = change.version.map(|version| i64::try_from(version).unwrap_or(i64::MAX));
        let done = sqlx::query(
            "UPDATE devices SET profile = COALESCE($3, profile), version = version + 1 \
             WHERE tenant = $1 AND id = $2 AND version = COALESCE($4, version)",
        )
        .bind(tenant.as_str())
        .bind(id.as_str())
        .bind(change.profile.as_deref())
        .bind(expected)
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            let found = get(&mut *tx, tenant, id).await?;
            return Ok(found.map_or(Updated::NotFound, |device| Updated::Changed {
                expected: change.version.unwrap_or_default(),
                found: device.version,
            }));
        }
        remove_labels(&mut tx, tenant, id, &change.remove_labels).await?;
        set_labels(&mut tx, tenant, id, &change.set_labels).await?;
        match get(&mut *tx, tenant, id).await? {
            None => Ok(Updated::NotFound),
            Some(device) if device.labels.len() > MAX_LABELS => Ok(Updated::TooManyLabels),
            Some(device) => {
                tx.commit().await?;
                Ok(Updated::Done(device))
            }
        }
    }

    /// Whether it was there. Its labels go with it; that it was deleted is noted until [`Self::deleted`].
    pub async fn delete(&self, tenant: &Tenant, id: &DeviceId) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        let done = sqlx::query("DELETE FROM devices WHERE tenant = $1 AND id = $2")
            .bind(tenant.as_str())
            .bind(id.as_str())
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query("INSERT INTO deletions (tenant, device) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(tenant.as_str())
            .bind(id.as_str())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Whether it was deleted and what it measured is not erased yet.
    pub async fn is_deleting(&self, tenant: &Tenant, id: &DeviceId) -> Result<bool, Error> {
        is_deleting(self.db.read(), tenant, id).await
    }

    /// Tenants and ids of some such devices.
    pub async fn deleting(&self) -> Result<Vec<(Tenant, DeviceId)>, Error> {
        let rows = sqlx::query("SELECT tenant, device FROM deletions LIMIT $1")
            .bind(DELETIONS)
            .fetch_all(self.db.read())
            .await?;
        let read = |row: &SqliteRow| {
            let tenant = TenantId::parse(row.try_get(0)?)?;
            Ok((vouched(tenant), DeviceId::parse(row.try_get(1)?)?))
        };
        rows.iter().map(read).collect()
    }

    /// Notes that what it measured is erased.
    pub async fn deleted(&self, tenant: &Tenant, id: &DeviceId) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        sqlx::query("DELETE FROM deletions WHERE tenant = $1 AND device = $2")
            .bind(tenant.as_str())
            .bind(id.as_str())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "the row was written for a tenant that was authenticated")]
fn vouched(tenant: TenantId) -> Tenant {
    Tenant::authenticated(tenant)
}

async fn is_deleting(db: impl SqliteExecutor<'_>, tenant: &Tenant, id: &DeviceId) -> Result<bool, Error> {
    let row = sqlx::query("SELECT 1 FROM deletions WHERE tenant = $1 AND device = $2")
        .bind(tenant.as_str())
        .bind(id.as_str())
        .fetch_optional(db)
        .await?;
    Ok(row.is_some())
}

async fn get(db: impl SqliteExecutor<'_>, tenant: &Tenant, id: &DeviceId) -> Result<Option<Device>, Error> {
    let rows = sqlx::query(
        "SELECT d.id, d.profile, d.created_us, d.version, l.name, l.value FROM devices AS d \
         LEFT JOIN device_labels AS l ON l.tenant = d.tenant AND l.device = d.id \
         WHERE d.tenant = $1 AND d.id = $2",
    )
    .bind(tenant.as_str())
    .bind(id.as_str())
    .fetch_all(db)
    .await?;
    Ok(fold(&rows)?.pop())
}

async fn set_labels(
    tx: &mut Transaction,
    tenant: &Tenant,
    id: &DeviceId,
    labels: &Labels,
) -> Result<(), Error> {
    for (name, value) in labels {
        sqlx::query(
            "INSERT INTO device_labels (tenant, device, name, value) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (tenant, device, name) DO UPDATE SET value = excluded.value",
        )
        .bind(tenant.as_str())
        .bind(id.as_str())
        .bind(name)
        .bind(value)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

async fn remove_labels(
    tx: &mut Transaction,
    tenant: &Tenant,
    id: &DeviceId,
    names: &[String],
) -> Result<(), Error> {
    for name in names {
        sqlx::query("DELETE FROM device_labels WHERE tenant = $1 AND device = $2 AND name = $3")
            .bind(tenant.as_str())
            .bind(id.as_str())
            .bind(name)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// Devices out of rows with one label each, a device's rows side by side.
fn fold(rows: &[SqliteRow]) -> Result<Vec<Device>, Error> {
    let mut devices: Vec<Device> = Vec::new();
    for row in rows {
        let id: &str = row.try_get("id")?;
        if devices.last().is_none_or(|device| device.id.as_str() != id) {
            devices.push(read_device(row, id)?);
        }
        let label: (Option<String>, Option<String>) = (row.try_get("name")?, row.try_get("value")?);
        if let ((Some(name), Some(value)), Some(device)) = (label, devices.last_mut()) {
            device.labels.insert(name, value);
        }
    }
    Ok(devices)
}

fn read_device(row: &SqliteRow, id: &str) -> Result<Device, Error> {
    let id = DeviceId::parse(id)?;
    let version: i64 = row.try_get("version")?;
    let version =
        u64::try_from(version).map_err(|_| Error::ImpossibleVersion { device: id.clone(), version })?;
    Ok(Device {
        id,
        profile: row.try_get("profile")?,
        labels: Labels::new(),
        created: Timestamp::from_micros(row.try_get("created_us")?),
        version,
    })
}
