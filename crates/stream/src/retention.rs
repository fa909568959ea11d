//! How long points are kept: rules of each tenant by key, beside the setting for what no rule speaks of. The points' store knows
//! which rule counts and what follows from it.

use std::sync::Arc;
use std::time::Duration;

use drover_model::{Clock, TelemetryKey, Tenant};
use drover_proto::stream::v1 as proto;
use drover_proto::stream::v1::retention_server::Retention as Service;
use drover_timeseries::{Retention as Kept, RetentionRule};
use tokio::sync::Mutex;
use tonic::{Request, Response, Status};

use crate::error::Error;
use crate::store::{Rules, Store};

/// What matches every key.
const ALL: &str = "*";
/// Rules of one tenant.
const MAX_RULES: usize = 64;
/// A hundred years.
pub(crate) const MAX_DAYS: u32 = 36_500;
const DAY_S: u64 = 86_400;

/// The rules; cheap to clone.
#[derive(Clone)]
pub(crate) struct Retention {
    store: Store,
    points: drover_timeseries::Store,
    default_days: u32,
    clock: Clock,
    /// Held while rules change, so that the last ones written are in force.
    changing: Arc<Mutex<()>>,
}

impl Retention {
    /// Puts the rules of the database in force.
    pub(crate) async fn open(
        store: Store,
        points: drover_timeseries::Store,
        default_days: u32,
        clock: Clock,
    ) -> Result<Self, Error> {
        let this = Self { store, points, default_days, clock, changing: Arc::default() };
        this.put_in_force().await?;
        Ok(this)
    }

    async fn put_in_force(&self) -> Result<(), Error> {
        let of_tenant = |(tenant, rules): (String, Rules)| {
            let rules =
                rules.into_iter().map(|(keys, days)| RetentionRule { keys: keys.into(), keep: keep(days) });
            (tenant.into(), rules.collect())
        };
        let rules = self.store.retention().await?.into_iter().map(of_tenant).collect();
        self.points.set_retention(&Kept { default: keep(self.default_days), rules }, self.clock.now());
        Ok(())
    }

    async fn set(&self, tenant: &Tenant, rules: &Rules) -> Result<(), Error> {
        let _alone = self.changing.lock().await;
        self.store.set_retention(tenant, rules).await?;
        self.put_in_force().await
    }
}

#[tonic::async_trait]
impl Service for Retention {
    async fn get_retention(
        &self,
        request: Request<proto::GetRetentionRequest>,
    ) -> Result<Response<proto::GetRetentionResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        let rules = self.store.retention().await?.remove(tenant.as_str()).unwrap_or_default();
        let mut rules: Vec<RetentionRule> = rules
            .into_iter()
            .map(|(keys, days)| RetentionRule { keys: keys.into(), keep: keep(days) })
            .collect();
        rules.sort_by(RetentionRule::by_precedence);
        let rules = rules.into_iter().map(|rule| proto::RetentionRule {
            keys: Some(rule.keys.into()).filter(|keys| keys != ALL).unwrap_or_default(),
            days: rule.keep.map_or(0, |keep| u32::try_from(keep.as_secs() / DAY_S).unwrap_or(MAX_DAYS)),
        });
        let rules = rules.collect();
        Ok(Response::new(proto::GetRetentionResponse { rules, default_days: self.default_days }))
    }

    async fn set_retention(
        &self,
        request: Request<proto::SetRetentionRequest>,
    ) -> Result<Response<proto::SetRetentionResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        let rules = check(request.into_inner().rules)?;
        self.set(&tenant, &rules).await?;
        Ok(Response::new(proto::SetRetentionResponse {}))
    }
}

fn keep(days: u32) -> Option<Duration> {
    (days > 0).then(|| Duration::from_secs(u64::from(days) * DAY_S))
}

fn check(rules: Vec<proto::RetentionRule>) -> Result<Rules, Error> {
    if rules.len() > MAX_RULES {
        return Err(Error::Field { field: "items", reason: "are more than 64" });
    }
    let mut checked = Rules::new();
    for proto::RetentionRule { keys, days } in rules {
        let keys = if keys.is_empty() { ALL.to_owned() } else { keys };
        // A pattern is what would be a key with letters in the place of its stars.
        TelemetryKey::parse(&keys.replace('*', "x"))?;
        if days > MAX_DAYS {
            return Err(Error::Field { field: "days", reason: "are more than 36500; 0 is for ever" });
        }
        if checked.insert(keys, days).is_some() {
            return Err(Error::Field {
                field: "items",
                reason: "has two rules for the same keys; leave one out",
            });
        }
    }
    Ok(checked)
}
