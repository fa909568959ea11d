//! The gRPC services: each method decodes, calls, encodes; nothing else.

use drover_model::{CredentialId, DeviceId, TenantId};
use drover_proto::provisioning::v1 as pb;
use tonic::{Request, Response, Status};

use crate::credentials::{Credential, Credentials};
use crate::error::Error;
use crate::tenants::{TenantRow, Tenants};
use drover_rpc::Page;

mod api_keys;

pub use api_keys::ApiKeysService;

/// `drover.provisioning.v1.Tenants`.
pub struct TenantsService(pub Tenants);

#[tonic::async_trait]
impl pb::tenants_server::Tenants for TenantsService {
    async fn create_tenant(
        &self,
        request: Request<pb::CreateTenantRequest>,
    ) -> Result<Response<pb::CreateTenantResponse>, Status> {
        let pb::CreateTenantRequest { id, name } = request.into_inner();
        let tenant = self.0.create(&id, &name).await?;
        Ok(Response::new(pb::CreateTenantResponse { tenant: Some(encode_tenant(tenant)) }))
    }

    async fn get_tenant(
        &self,
        request: Request<pb::GetTenantRequest>,
    ) -> Result<Response<pb::GetTenantResponse>, Status> {
        let tenant = self.0.get(&request.into_inner().id).await?;
        Ok(Response::new(pb::GetTenantResponse { tenant: Some(encode_tenant(tenant)) }))
    }

    async fn list_tenants(
        &self,
        request: Request<pb::ListTenantsRequest>,
    ) -> Result<Response<pb::ListTenantsResponse>, Status> {
        let pb::ListTenantsRequest { page_size, page_token } = request.into_inner();
        let page = Page::parse(page_size, &page_token).map_err(Error::from)?;
        let (tenants, next_page_token) = self.0.list(&page).await?;
        let tenants = tenants.into_iter().map(encode_tenant).collect();
        Ok(Response::new(pb::ListTenantsResponse { tenants, next_page_token }))
    }
}

/// `drover.provisioning.v1.Credentials`.
pub struct CredentialsService(pub Credentials);

#[tonic::async_trait]
impl pb::credentials_server::Credentials for CredentialsService {
    async fn create_credential(
        &self,
        request: Request<pb::CreateCredentialRequest>,
    ) -> Result<Response<pb::CreateCredentialResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        let request = request.into_inner();
        if request.r#type() != pb::CredentialType::Token {
            return Err(Error::UnknownType.into());
        }
        let (credential, secret) = self.0.create(&tenant, &device_id(&request.device)?).await?;
        let credential = Some(encode_credential(&credential));
        Ok(Response::new(pb::CreateCredentialResponse { credential, secret }))
    }

    async fn list_credentials(
        &self,
        request: Request<pb::ListCredentialsRequest>,
    ) -> Result<Response<pb::ListCredentialsResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        let pb::ListCredentialsRequest { device, page_size, page_token } = request.into_inner();
        let page = Page::parse(page_size, &page_token).map_err(Error::from)?;
        let (credentials, next_page_token) = self.0.list(&tenant, &device_id(&device)?, &page).await?;
        let credentials = credentials.iter().map(encode_credential).collect();
        Ok(Response::new(pb::ListCredentialsResponse { credentials, next_page_token }))
    }

    async fn delete_credential(
        &self,
        request: Request<pb::DeleteCredentialRequest>,
    ) -> Result<Response<pb::DeleteCredentialResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        let pb::DeleteCredentialRequest { device, credential } = request.into_inner();
        let credential = CredentialId::parse(&credential).map_err(Error::from)?;
        self.0.delete(&tenant, &device_id(&device)?, &credential).await?;
        Ok(Response::new(pb::DeleteCredentialResponse {}))
    }

    async fn delete_credentials_of(
        &self,
        request: Request<pb::DeleteCredentialsOfRequest>,
    ) -> Result<Response<pb::DeleteCredentialsOfResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        self.0.delete_all(&tenant, &device_id(&request.into_inner().device)?).await?;
        Ok(Response::new(pb::DeleteCredentialsOfResponse {}))
    }

    async fn get_verifiers(
        &self,
        request: Request<pb::GetVerifiersRequest>,
    ) -> Result<Response<pb::GetVerifiersResponse>, Status> {
        let pb::GetVerifiersRequest { tenant, device } = request.into_inner();
        let tenant = TenantId::parse(&tenant).map_err(Error::from)?;
        let verifiers = self.0.verifiers(&tenant, &device_id(&device)?).await?;
        let verifiers = verifiers
            .into_iter()
            .map(|verifier| pb::Verifier {
                credential: verifier.id.to_string(),
                token_sha256: verifier.token_sha256,
            })
            .collect();
        Ok(Response::new(pb::GetVerifiersResponse { verifiers }))
    }
}

fn device_id(text: &str) -> Result<DeviceId, Error> {
    Ok(DeviceId::parse(text)?)
}

fn encode_tenant(tenant: TenantRow) -> pb::Tenant {
    pb::Tenant { id: tenant.id.to_string(), name: tenant.name, created_us: tenant.created.as_micros() }
}

fn encode_credential(credential: &Credential) -> pb::Credential {
    pb::Credential {
        id: credential.id.to_string(),
        r#type: pb::CredentialType::Token.into(),
        created_us: credential.created.as_micros(),
    }
}
