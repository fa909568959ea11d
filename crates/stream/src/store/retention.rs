//! The table `retention`.

use std::collections::BTreeMap;

use drover_model::Tenant;
use sqlx::Row;

use super::Store;
use crate::error::Error;

/// Days by the name, or the pattern, of a key; 0 for ever.
pub(crate) type Rules = BTreeMap<String, u32>;

impl Store {
    /// The rules of every tenant that has some.
    pub(crate) async fn retention(&self) -> Result<BTreeMap<String, Rules>, Error> {
        let rows = sqlx::query("SELECT tenant, keys, days FROM retention").fetch_all(self.db.read()).await?;
        let mut tenants: BTreeMap<String, Rules> = BTreeMap::new();
        for row in rows {
            let days = u32::try_from(row.try_get::<i64, _>(2)?).unwrap_or_default();
            tenants.entry(row.try_get(0)?).or_default().insert(row.try_get(1)?, days);
        }
        Ok(tenants)
    }

    /// Puts rules in the place of those that a tenant has.
    pub(crate) async fn set_retention(&self, tenant: &Tenant, rules: &Rules) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        sqlx::query("DELETE FROM retention WHERE tenant = $1")
            .bind(tenant.as_str())
            .execute(&mut *tx)
            .await?;
        for (keys, days) in rules {
            sqlx::query("INSERT INTO retention (tenant, keys, days) VALUES ($1, $2, $3)")
                .bind(tenant.as_str())
                .bind(keys)
                .bind(i64::from(*days))
                .execute(&mut *tx)
                .await?;
        }
        Ok(tx.commit().await?)
    }
}
