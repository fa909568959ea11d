//! The rules of the registry.

use std::sync::Arc;
use std::time::Duration;

use drover_model::{Clock, Device, DeviceId, Labels, Party, ProfileId, Tenant};
use drover_proto::provisioning::v1::DeleteCredentialsOfRequest;
use drover_proto::provisioning::v1::credentials_client::CredentialsClient;
use drover_proto::stream::v1::EraseTelemetryRequest;
use drover_proto::stream::v1::erasures_client::ErasuresClient;
use drover_rpc::Link;
use drover_runtime::Stop;
use tokio::sync::Mutex;

use crate::error::Error;
use crate::labels;
use crate::store::{Inserted, Store, Updated};
use drover_rpc::Page;

/// The profile of a device for which none was named.
const DEFAULT_PROFILE: &str = "default";

/// Ids of which can be asked at a time.
const MAX_FILTERED: usize = 1_000;
/// How often deletions are looked for that something kept from their end.
const TAKE_UP: Duration = Duration::from_secs(30);

/// What is to change in a device.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Absent: stays.
    pub profile: Option<String>,
    /// Merged into the labels that are there.
    pub set_labels: Labels,
    pub remove_labels: Vec<String>,
    /// The version that the device must have.
    pub version: Option<u64>,
}

/// The devices of all tenants.
#[derive(Debug, Clone)]
pub struct Registry {
    pub store: Store,
    pub credentials: CredentialsClient<Link>,
    pub erasures: ErasuresClient<Link>,
    /// Held while what a deleted device measured is erased, so that nothing of one made anew is.
    pub erasing: Arc<Mutex<()>>,
    pub clock: Clock,
}

impl Registry {
    pub async fn create(
        &self,
        tenant: &Tenant,
        id: DeviceId,
        profile: &str,
        labels: Labels,
    ) -> Result<Device, Error> {
        if id.as_str().starts_with(Party::APPLICATION_PREFIX) {
            return Err(Error::ApplicationName);
        }
        let profile = if profile.is_empty() { DEFAULT_PROFILE } else { profile };
        ProfileId::check(profile)?;
        labels::check(labels.iter())?;
        let device =
            Device { id, profile: profile.to_owned(), labels, created: self.clock.now(), version: 1 };
        let mut inserted = self.store.insert(tenant, &device).await?;
        if matches!(inserted, Inserted::Deleting) {
            self.erase(tenant, &device.id).await?;
            inserted = self.store.insert(tenant, &device).await?;
        }
        match inserted {
            Inserted::Done => Ok(device),
            Inserted::Exists | Inserted::Deleting => Err(Error::Exists(device.id)),
        }
    }

    pub async fn get(&self, tenant: &Tenant, id: DeviceId) -> Result<Device, Error> {
        self.store.get(tenant, &id).await?.ok_or(Error::NotFound(id))
    }

    /// A page of the devices that have all of the labels, and the token of the next page.
    pub async fn list(
        &self,
        tenant: &Tenant,
        labels: &Labels,
        page: &Page,
    ) -> Result<(Vec<Device>, String), Error> {
        labels::check(labels.iter())?;
        let mut devices = self.store.list(tenant, labels, page).await?;
        let next = page.cut(&mut devices, |device| device.id.to_string());
        Ok((devices, next))
    }

    /// Which of these are devices.
    pub async fn filter(&self, tenant: &Tenant, ids: &[String]) -> Result<Vec<String>, Error> {
        if ids.len() > MAX_FILTERED {
            return Err(Error::TooManyIds);
        }
        self.store.filter(tenant, ids).await
    }

    pub async fn update(&self, tenant: &Tenant, id: DeviceId, change: &Change) -> Result<Device, Error> {
        if let Some(profile) = &change.profile {
            ProfileId::check(profile)?;
        }
        labels::check(change.set_labels.iter())?;
        labels::check_number(change.remove_labels.len())?;
        match self.store.update(tenant, &id, change).await? {
            Updated::Done(device) => Ok(device),
            Updated::NotFound => Err(Error::NotFound(id)),
            Updated::Changed { expected, found } => Err(Error::Changed { device: id, expected, found }),
            Updated::TooManyLabels => Err(Error::TooManyLabels(id)),
        }
    }

    /// Credentials go first, so that no failure leaves one behind without its device; and once more after it, for one that
    /// was made in between. What it measured goes last, when nothing more can come of it.
    pub async fn delete(&self, tenant: &Tenant, id: DeviceId) -> Result<(), Error> {
        self.delete_credentials(tenant, &id).await?;
        if !self.store.delete(tenant, &id).await? && !self.store.is_deleting(tenant, &id).await? {
            return Err(Error::NotFound(id));
        }
        self.delete_credentials(tenant, &id).await?;
        self.erase(tenant, &id).await
    }

    /// Takes up deletions that a crash, or an error, kept from their end.
    pub async fn take_up(self, stop: Stop) -> anyhow::Result<()> {
        loop {
            if let Err(error) = self.take_up_once().await {
                tracing::warn!("what a deleted device measured can't be erased, trying again later: {error}");
            }
            // Cancel-safe: neither holds anything.
            tokio::select! {
                () = tokio::time::sleep(TAKE_UP) => {}
                () = stop.drain() => return Ok(()),
            }
        }
    }

    async fn take_up_once(&self) -> Result<(), Error> {
        for (tenant, device) in self.store.deleting().await? {
            self.erase(&tenant, &device).await?;
        }
        Ok(())
    }

    /// Erases what a deleted device measured, unless that was done meanwhile.
    async fn erase(&self, tenant: &Tenant, id: &DeviceId) -> Result<(), Error> {
        let _alone = self.erasing.lock().await;
        if !self.store.is_deleting(tenant, id).await? {
            return Ok(());
        }
        let request = EraseTelemetryRequest { device: id.to_string(), keys: Vec::new() };
        let request = drover_rpc::request(tenant, request);
        self.erasures.clone().erase_telemetry(request).await.map_err(Error::Erasing)?;
        self.store.deleted(tenant, id).await
    }

    async fn delete_credentials(&self, tenant: &Tenant, id: &DeviceId) -> Result<(), Error> {
        let request = drover_rpc::request(tenant, DeleteCredentialsOfRequest { device: id.to_string() });
        self.credentials.clone().delete_credentials_of(request).await.map_err(Error::Provisioning)?;
        Ok(())
    }
}
