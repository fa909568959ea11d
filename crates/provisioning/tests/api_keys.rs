//! API keys from outside, through their gRPC link.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail in this way")]

#[path = "../../api/tests/world/mod.rs"]
mod world;

use drover_proto::provisioning::v1::api_keys_client::ApiKeysClient;
use drover_proto::provisioning::v1::tenants_client::TenantsClient;
use drover_proto::provisioning::v1::*;
use drover_rpc::{Link, request};
use drover_trust::TokenHash;
use tonic::{Code, Status};
use world::{NOW_MS, World, tenant};

fn keys(world: &World) -> ApiKeysClient<Link> {
    ApiKeysClient::new(world.env.peers.link("provisioning"))
}

async fn make(world: &World, of: &str, id: &str, scopes: &[&str]) -> Result<CreateApiKeyResponse, Status> {
    let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let message = CreateApiKeyRequest { id: id.into(), description: "The board".into(), scopes };
    Ok(keys(world).create_api_key(request(&tenant(of), message)).await?.into_inner())
}

async fn verifier(world: &World, of: &str, id: &str) -> Option<ApiKeyVerifier> {
    let message = GetApiKeyVerifierRequest { tenant: of.into(), id: id.into() };
    keys(world).get_api_key_verifier(message).await.unwrap().into_inner().verifier
}

async fn with_acme() -> World {
    let world = World::start().await;
    let mut tenants = TenantsClient::new(world.env.peers.link("provisioning"));
    tenants.create_tenant(CreateTenantRequest { id: "acme".into(), name: String::new() }).await.unwrap();
    world
}

#[tokio::test]
async fn a_key_lives_from_creation_to_deletion_and_its_secret_is_kept_as_a_hash() {
    let world = World::start().await;
    let made = make(&world, "default", "board", &["mqtt:publish:a/#", "api:read"]).await.unwrap();
    let key = ApiKey {
        id: "board".into(),
        description: "The board".into(),
        scopes: vec!["mqtt:publish:a/#".into(), "api:read".into()],
        created_us: NOW_MS * 1_000,
    };
    assert_eq!(made.api_key.as_ref(), Some(&key));
    let again = make(&world, "default", "board", &[]).await.unwrap_err();
    assert!(again.code() == Code::AlreadyExists && again.message().contains("board"), "{again}");

    let found = verifier(&world, "default", "board").await.unwrap();
    assert_eq!(found.scopes, key.scopes);
    let hash = TokenHash::from_bytes(found.token_sha256.clone().try_into().unwrap());
    assert!(hash.matches(made.secret.as_bytes()));
    let message = FindApiKeyRequest { token_sha256: found.token_sha256.clone() };
    let whose = keys(&world).find_api_key(message.clone()).await.unwrap().into_inner();
    assert_eq!((whose.tenant.as_str(), whose.api_key.as_ref()), ("default", Some(&key)));

    let one = GetApiKeyRequest { id: "board".into() };
    let got = keys(&world).get_api_key(request(&tenant("default"), one.clone())).await.unwrap().into_inner();
    assert_eq!(got.api_key, Some(key));
    let delete = DeleteApiKeyRequest { id: "board".into() };
    keys(&world).delete_api_key(request(&tenant("default"), delete.clone())).await.unwrap();
    let gone = keys(&world).delete_api_key(request(&tenant("default"), delete)).await.unwrap_err();
    let missing = keys(&world).get_api_key(request(&tenant("default"), one)).await.unwrap_err();
    let unknown = keys(&world).find_api_key(message).await.unwrap_err();
    assert_eq!([gone.code(), missing.code(), unknown.code()], [Code::NotFound; 3]);
    assert_eq!(verifier(&world, "default", "board").await, None);
}

#[tokio::test]
async fn two_tenants_have_keys_of_the_same_id_and_see_only_their_own() {
    let world = with_acme().await;
    let ours = make(&world, "default", "board", &[]).await.unwrap();
    let theirs = make(&world, "acme", "board", &["api:write"]).await.unwrap();
    assert_ne!(ours.secret, theirs.secret);
    make(&world, "acme", "other", &[]).await.unwrap();
    let list = |of: &'static str| {
        let mut keys = keys(&world);
        async move {
            let message = ListApiKeysRequest { page_size: 1, page_token: String::new() };
            keys.list_api_keys(request(&tenant(of), message)).await.unwrap().into_inner()
        }
    };
    let page = list("default").await;
    assert_eq!(page.api_keys, [ours.api_key.unwrap()]);
    assert_eq!(page.next_page_token, "");
    let page = list("acme").await;
    assert_eq!(page.api_keys[0].scopes, ["api:write"]);
    let message = ListApiKeysRequest { page_size: 1, page_token: page.next_page_token };
    let rest = keys(&world).list_api_keys(request(&tenant("acme"), message)).await.unwrap().into_inner();
    assert_eq!((rest.api_keys[0].id.as_str(), rest.next_page_token.as_str()), ("other", ""));
    let delete = DeleteApiKeyRequest { id: "other".into() };
    let refused = keys(&world).delete_api_key(request(&tenant("default"), delete)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}

#[tokio::test]
async fn a_key_that_can_not_be_is_refused_with_its_reason() {
    let world = World::start().await;
    for (of, id, scope, code, part) in [
        ("default", "a/b", "api:read", Code::InvalidArgument, "'/'"),
        ("default", "a", "api:everything", Code::InvalidArgument, "mqtt:publish:"),
        ("default", "a", "mqtt:publish:a#", Code::InvalidArgument, "wildcard"),
        ("nowhere", "a", "api:read", Code::NotFound, "nowhere"),
    ] {
        let error = make(&world, of, id, &[scope]).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_deletion_is_answered_when_every_gateway_is_done_with_it_even_if_nobody_waits() {
    let world = World::start().await;
    make(&world, "default", "board", &[]).await.unwrap();
    let mut gateway = world.env.live.subscribe("credentials.changed.>", None);
    let mut client = keys(&world);
    let message = DeleteApiKeyRequest { id: "board".into() };
    let mut deleted = std::pin::pin!(client.delete_api_key(request(&tenant("default"), message)));
    let notice = tokio::select! {
        _ = &mut deleted => panic!("the gateway has not looked yet"),
        notice = gateway.next() => notice.unwrap(),
    };
    assert_eq!(
        &*notice.subject,
        format!("credentials.changed.default.{}", drover_backbone::token("app:board"))
    );
    assert_eq!(verifier(&world, "default", "board").await, None);
    drop(notice);
    deleted.await.unwrap();
}
