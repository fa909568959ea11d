//! `drover.provisioning.v1.ApiKeys`.

use drover_model::{ApiKeyId, Scope, TenantId};
use drover_proto::provisioning::v1 as pb;
use drover_rpc::Page;
use tonic::{Request, Response, Status};

use crate::api_keys::{ApiKey, ApiKeyVerifier, ApiKeys};
use crate::error::Error;

/// `drover.provisioning.v1.ApiKeys`.
pub struct ApiKeysService(pub ApiKeys);

#[tonic::async_trait]
impl pb::api_keys_server::ApiKeys for ApiKeysService {
    async fn create_api_key(
        &self,
        request: Request<pb::CreateApiKeyRequest>,
    ) -> Result<Response<pb::CreateApiKeyResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        let pb::CreateApiKeyRequest { id, description, scopes } = request.into_inner();
        let (key, secret) = self.0.create(&tenant, key_id(&id)?, description, &scopes).await?;
        Ok(Response::new(pb::CreateApiKeyResponse { api_key: Some(encode(key)), secret }))
    }

    async fn get_api_key(
        &self,
        request: Request<pb::GetApiKeyRequest>,
    ) -> Result<Response<pb::GetApiKeyResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        let key = self.0.get(&tenant, key_id(&request.into_inner().id)?).await?;
        Ok(Response::new(pb::GetApiKeyResponse { api_key: Some(encode(key)) }))
    }

    async fn list_api_keys(
        &self,
        request: Request<pb::ListApiKeysRequest>,
    ) -> Result<Response<pb::ListApiKeysResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        let pb::ListApiKeysRequest { page_size, page_token } = request.into_inner();
        let page = Page::parse(page_size, &page_token).map_err(Error::from)?;
        let (keys, next_page_token) = self.0.list(&tenant, &page).await?;
        let api_keys = keys.into_iter().map(encode).collect();
        Ok(Response::new(pb::ListApiKeysResponse { api_keys, next_page_token }))
    }

    async fn delete_api_key(
        &self,
        request: Request<pb::DeleteApiKeyRequest>,
    ) -> Result<Response<pb::DeleteApiKeyResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        self.0.delete(&tenant, key_id(&request.into_inner().id)?).await?;
        Ok(Response::new(pb::DeleteApiKeyResponse {}))
    }

    async fn get_api_key_verifier(
        &self,
        request: Request<pb::GetApiKeyVerifierRequest>,
    ) -> Result<Response<pb::GetApiKeyVerifierResponse>, Status> {
        let pb::GetApiKeyVerifierRequest { tenant, id } = request.into_inner();
        let tenant = TenantId::parse(&tenant).map_err(Error::from)?;
        let verifier = self.0.verifier(&tenant, &key_id(&id)?).await?.map(|verifier| {
            let ApiKeyVerifier { token_sha256, scopes } = verifier;
            pb::ApiKeyVerifier { token_sha256, scopes: encode_scopes(&scopes) }
        });
        Ok(Response::new(pb::GetApiKeyVerifierResponse { verifier }))
    }

    async fn find_api_key(
        &self,
        request: Request<pb::FindApiKeyRequest>,
    ) -> Result<Response<pb::FindApiKeyResponse>, Status> {
        let (tenant, key) = self.0.find(&request.into_inner().token_sha256).await?;
        Ok(Response::new(pb::FindApiKeyResponse { tenant: tenant.to_string(), api_key: Some(encode(key)) }))
    }
}

fn key_id(text: &str) -> Result<ApiKeyId, Error> {
    Ok(ApiKeyId::parse(text)?)
}

fn encode(key: ApiKey) -> pb::ApiKey {
    pb::ApiKey {
        id: key.id.to_string(),
        scopes: encode_scopes(&key.scopes),
        description: key.description,
        created_us: key.created.as_micros(),
    }
}

fn encode_scopes(scopes: &[Scope]) -> Vec<String> {
    scopes.iter().map(ToString::to_string).collect()
}
