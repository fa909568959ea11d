//! The credentials of devices. A secret leaves in the answer that makes it and is kept only as its SHA-256.

use drover_model::{Clock, CredentialId, DeviceId, Kind, Party, Tenant, TenantId, Timestamp};
use drover_proto::devices::v1::GetDeviceRequest;
use drover_proto::devices::v1::devices_client::DevicesClient;
use drover_rpc::Link;
use drover_runtime::Rng;
use drover_trust::TokenHash;

use crate::error::Error;
use crate::gateways::Gateways;
use crate::store::Store;
use drover_rpc::Page;

/// Most credentials of one device: a gateway compares a secret with each of them.
pub const MAX_CREDENTIALS: usize = 16;

/// A credential without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    pub id: CredentialId,
    pub created: Timestamp,
}

/// What a secret is checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier {
    pub id: CredentialId,
    pub token_sha256: Vec<u8>,
}

/// The rules for credentials.
#[derive(Clone)]
pub struct Credentials {
    pub store: Store,
    pub devices: DevicesClient<Link>,
    pub gateways: Gateways,
    pub clock: Clock,
    pub rng: Rng,
}

impl Credentials {
    /// A new token for a registered device: its credential and its secret, which every gateway takes when this returns.
    pub async fn create(&self, tenant: &Tenant, device: &DeviceId) -> Result<(Credential, String), Error> {
        self.check_device(tenant, device).await?;
        let secret = drover_trust::token_from(self.rng.bytes());
        let credential = Credential { id: self.random_id()?, created: self.clock.now() };
        let hash = TokenHash::of(secret.as_bytes());
        if !self.store.insert_credential(tenant, device, &credential, hash.as_bytes()).await? {
            return Err(Error::TooManyCredentials(device.clone()));
        }
        // The device may have been deleted since the first look; then its credentials were removed before this one came.
        if let Err(error) = self.check_device(tenant, device).await {
            self.store.delete_credential(tenant, device, &credential.id).await?;
            return Err(error);
        }
        self.gateways.tell(tenant, &Party::Device(device.clone())).await;
        Ok((credential, secret))
    }

    /// A page of a device's credentials, and the token of the next one.
    pub async fn list(
        &self,
        tenant: &Tenant,
        device: &DeviceId,
        page: &Page,
    ) -> Result<(Vec<Credential>, String), Error> {
        self.check_device(tenant, device).await?;
        let mut rows = self.store.credentials(tenant, device, page).await?;
        let next = page.cut(&mut rows, |credential| credential.id.to_string());
        Ok((rows, next))
    }

    /// Removes one credential. It is refused everywhere when this returns.
    pub async fn delete(
        &self,
        tenant: &Tenant,
        device: &DeviceId,
        credential: &CredentialId,
    ) -> Result<(), Error> {
        let (this, tenant, device, credential) =
            (self.clone(), tenant.clone(), device.clone(), credential.clone());
        self.gateways
            .to_the_end(async move {
                if !this.store.delete_credential(&tenant, &device, &credential).await? {
                    return Err(Error::NoCredential { device, credential });
                }
                this.gateways.tell(&tenant, &Party::Device(device)).await;
                Ok(())
            })
            .await
    }

    /// Removes all credentials of a device that is deleted. They are refused everywhere when this returns, and its sessions are over.
    pub async fn delete_all(&self, tenant: &Tenant, device: &DeviceId) -> Result<(), Error> {
        let (this, tenant, device) = (self.clone(), tenant.clone(), device.clone());
        self.gateways
            .to_the_end(async move {
                this.store.delete_credentials(&tenant, &device).await?;
                // Also when there were none: it may have sessions from when it had some.
                this.gateways.tell_gone(&tenant, &Party::Device(device)).await;
                Ok(())
            })
            .await
    }

    /// What a device's secret is checked against. The caller is a gateway that has not authenticated anybody yet, so the
    /// tenant is only a name; an unknown one has no verifiers.
    pub async fn verifiers(&self, tenant: &TenantId, device: &DeviceId) -> Result<Vec<Verifier>, Error> {
        self.store.verifiers(tenant, device).await
    }

    async fn check_device(&self, tenant: &Tenant, device: &DeviceId) -> Result<(), Error> {
        let request = drover_rpc::request(tenant, GetDeviceRequest { id: device.to_string() });
        match self.devices.clone().get_device(request).await {
            Ok(_) => Ok(()),
            Err(status) if drover_rpc::kind_of(&status) == Kind::NotFound => {
                Err(Error::NoDevice(device.clone()))
            }
            Err(status) => Err(Error::Registry(status)),
        }
    }

    fn random_id(&self) -> Result<CredentialId, Error> {
        Ok(CredentialId::parse(&format!("{:016x}", u64::from_be_bytes(self.rng.bytes())))?)
    }
}
