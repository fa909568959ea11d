//! A provisioning service that knows the secrets which a test gives it, for gateways that a test builds without the control plane.

use std::sync::{Arc, Mutex, PoisonError};

use drover_proto::provisioning::v1 as proto;
use drover_proto::provisioning::v1::api_keys_server::{ApiKeys, ApiKeysServer};
use drover_proto::provisioning::v1::credentials_server::{Credentials, CredentialsServer};
use drover_trust::TokenHash;
use tonic::{Request, Response, Status};

/// Secrets of devices and applications. A clone is the same service.
#[derive(Debug, Clone, Default)]
pub struct Secrets(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// `device@tenant` and secret.
    secrets: Vec<(String, String)>,
    /// `app:key@tenant`, and what the service answers.
    keys: Vec<(String, proto::ApiKeyVerifier)>,
    asked: usize,
}

impl Secrets {
    /// Gives a device, `device@tenant`, a further secret. The credential's id is the secret itself.
    pub fn insert(&self, device: &str, secret: &str) {
        self.known().secrets.push((device.to_owned(), secret.to_owned()));
    }

    /// Gives an application, `app:key@tenant`, its secret and its scopes.
    pub fn insert_key(&self, application: &str, secret: &str, scopes: &[&str]) {
        let token_sha256 = TokenHash::of(secret.as_bytes()).as_bytes().to_vec();
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        self.known().keys.push((application.to_owned(), proto::ApiKeyVerifier { token_sha256, scopes }));
    }

    /// Takes all secrets of a device, or the key of an application, away. Who has to hear of it is told by the test.
    pub fn remove(&self, name: &str) {
        let mut known = self.known();
        known.secrets.retain(|(of, _)| of != name);
        known.keys.retain(|(of, _)| of != name);
    }

    /// How often gateways have asked for verifiers.
    pub fn asked(&self) -> usize {
        self.known().asked
    }

    /// The gRPC service of devices' credentials.
    pub fn service(&self) -> CredentialsServer<Self> {
        CredentialsServer::new(self.clone())
    }

    /// The gRPC service of applications' keys.
    pub fn api_keys(&self) -> ApiKeysServer<Self> {
        ApiKeysServer::new(self.clone())
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

#[tonic::async_trait]
impl ApiKeys for Secrets {
    async fn get_api_key_verifier(
        &self,
        request: Request<proto::GetApiKeyVerifierRequest>,
    ) -> Result<Response<proto::GetApiKeyVerifierResponse>, Status> {
        let request = request.into_inner();
        let name = format!("app:{}@{}", request.id, request.tenant);
        let mut known = self.known();
        known.asked += 1;
        let verifier = known.keys.iter().find(|(of, _)| *of == name).map(|(_, verifier)| verifier.clone());
        Ok(Response::new(proto::GetApiKeyVerifierResponse { verifier }))
    }

    async fn create_api_key(
        &self,
        _: Request<proto::CreateApiKeyRequest>,
    ) -> Result<Response<proto::CreateApiKeyResponse>, Status> {
        Err(Status::unimplemented("a test gives and takes keys by `insert_key` and `remove`"))
    }

    async fn get_api_key(
        &self,
        _: Request<proto::GetApiKeyRequest>,
    ) -> Result<Response<proto::GetApiKeyResponse>, Status> {
        Err(Status::unimplemented("a test gives and takes keys by `insert_key` and `remove`"))
    }

    async fn list_api_keys(
        &self,
        _: Request<proto::ListApiKeysRequest>,
    ) -> Result<Response<proto::ListApiKeysResponse>, Status> {
        Err(Status::unimplemented("a test gives and takes keys by `insert_key` and `remove`"))
    }

    async fn delete_api_key(
        &self,
        _: Request<proto::DeleteApiKeyRequest>,
    ) -> Result<Response<proto::DeleteApiKeyResponse>, Status> {
        Err(Status::unimplemented("a test gives and takes keys by `insert_key` and `remove`"))
    }

    async fn find_api_key(
        &self,
        _: Request<proto::FindApiKeyRequest>,
    ) -> Result<Response<proto::FindApiKeyResponse>, Status> {
        Err(Status::unimplemented("a test gives and takes keys by `insert_key` and `remove`"))
    }
}
