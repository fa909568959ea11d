//! A provisioning service that knows the secrets which a test gives it, for gateways that a test builds without the control plane.

use std::sync::{Arc, Mutex, PoisonError};

use drover_proto::provisioning::v1 as proto;
use drover_proto::provisioning::v1::credentials_server::{Credentials, CredentialsServer};
use drover_trust::TokenHash;
use tonic::{Request, Response, Status};

/// Secrets of devices. A clone is the same service.
#[derive(Debug, Clone, Default)]
pub struct Secrets(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// `device@tenant` and secret.
    secrets: Vec<(String, String)>,
    asked: usize,
}

impl Secrets {
    /// Gives a device, `device@tenant`, a further secret. The credential's id is the secret itself.
    pub fn insert(&self, device: &str, secret: &str) {
        self.known().secrets.push((device.to_owned(), secret.to_owned()));
    }

    /// Takes all secrets of a device away. Who has to hear of it is told by the test.
    pub fn remove(&self, device: &str) {
        self.known().secrets.retain(|(of, _)| of != device);
    }

    /// How often gateways have asked for verifiers.
    pub fn asked(&self) -> usize {
        self.known().asked
    }

    /// The gRPC service.
    pub fn service(&self) -> CredentialsServer<Self> {
        CredentialsServer::new(self.clone())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl Credentials for Secrets {
    async fn get_verifiers(
        &self,
        request: Request<proto::GetVerifiersRequest>,
    ) -> Result<Response<proto::GetVerifiersResponse>, Status> {
        let request = request.into_inner();
        let device = format!("{}@{}", request.device, request.tenant);
        let mut known = self.known();
        known.asked += 1;
        let of_device = known.secrets.iter().filter(|(of, _)| *of == device);
        let verifiers = of_device
            .map(|(_, secret)| proto::Verifier {
                credential: secret.clone(),
                token_sha256: TokenHash::of(secret.as_bytes()).as_bytes().to_vec(),
            })
            .collect();
        Ok(Response::new(proto::GetVerifiersResponse { verifiers }))
    }

    async fn create_credential(
        &self,
        _: Request<proto::CreateCredentialRequest>,
    ) -> Result<Response<proto::CreateCredentialResponse>, Status> {
        Err(Status::unimplemented("a test gives secrets by `insert`"))
    }

    async fn list_credentials(
        &self,
        _: Request<proto::ListCredentialsRequest>,
    ) -> Result<Response<proto::ListCredentialsResponse>, Status> {
        Err(Status::unimplemented("a test knows the secrets that it gave"))
    }

    async fn delete_credential(
        &self,
        _: Request<proto::DeleteCredentialRequest>,
    ) -> Result<Response<proto::DeleteCredentialResponse>, Status> {
        Err(Status::unimplemented("a test takes secrets away by `remove`"))
    }

    async fn delete_credentials_of(
        &self,
        _: Request<proto::DeleteCredentialsOfRequest>,
    ) -> Result<Response<proto::DeleteCredentialsOfResponse>, Status> {
        Err(Status::unimplemented("a test takes secrets away by `remove`"))
    }
}
