//! Tenants and credentials from outside, through their gRPC links.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail in this way")]

#[path = "../../api/tests/world/mod.rs"]
mod world;

use drover_proto::devices::v1::CreateDeviceRequest;
use drover_proto::devices::v1::devices_client::DevicesClient;
use drover_proto::provisioning::v1::credentials_client::CredentialsClient;
use drover_proto::provisioning::v1::tenants_client::TenantsClient;
use drover_proto::provisioning::v1::*;
use drover_rpc::{Link, request};
use drover_trust::TokenHash;
use tonic::{Code, Status};
use world::{World, tenant};

fn tenants(world: &World) -> TenantsClient<Link> {
    TenantsClient::new(world.env.peers.link("provisioning"))
}

fn credentials(world: &World) -> CredentialsClient<Link> {
    CredentialsClient::new(world.env.peers.link("provisioning"))
}

async fn register(world: &World, device: &str) {
    let message = CreateDeviceRequest { id: device.into(), ..CreateDeviceRequest::default() };
    let mut devices = DevicesClient::new(world.env.peers.link("devices"));
    devices.create_device(request(&tenant("default"), message)).await.unwrap();
}

async fn issue(world: &World, device: &str) -> Result<CreateCredentialResponse, Status> {
    let message = CreateCredentialRequest { device: device.into(), r#type: CredentialType::Token.into() };
    Ok(credentials(world).create_credential(request(&tenant("default"), message)).await?.into_inner())
}

async fn verifiers(world: &World, of: &str, device: &str) -> Vec<Verifier> {
    let message = GetVerifiersRequest { tenant: of.into(), device: device.into() };
    credentials(world).get_verifiers(message).await.unwrap().into_inner().verifiers
}

#[tokio::test]
async fn the_default_tenant_is_there_and_stays_when_the_service_is_built_again() {
    let world = World::start().await;
    drover_provisioning::build(drover_provisioning::Config {}, &world.env).await.unwrap();
    let answer = tenants(&world).list_tenants(ListTenantsRequest::default()).await.unwrap().into_inner();
    assert_eq!(answer.tenants.len(), 1);
    assert_eq!((answer.tenants[0].id.as_str(), answer.tenants[0].name.as_str()), ("default", "default"));
}

#[tokio::test]
async fn tenants_are_made_once_and_listed_in_pages() {
    let world = World::start().await;
    for id in ["acme", "beta", "gamma"] {
        let message = CreateTenantRequest { id: id.into(), name: format!("The {id}") };
        let made = tenants(&world).create_tenant(message).await.unwrap().into_inner().tenant.unwrap();
        assert_eq!(made.name, format!("The {id}"));
    }
    let again =
        tenants(&world).create_tenant(CreateTenantRequest { id: "acme".into(), name: String::new() }).await;
    assert_eq!(again.unwrap_err().code(), Code::AlreadyExists);
    let bad =
        tenants(&world).create_tenant(CreateTenantRequest { id: "a/b".into(), name: String::new() }).await;
    assert_eq!(bad.unwrap_err().code(), Code::InvalidArgument);

    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let message = ListTenantsRequest { page_size: 3, page_token };
        let answer = tenants(&world).list_tenants(message).await.unwrap().into_inner();
        seen.extend(answer.tenants.into_iter().map(|tenant| tenant.id));
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["acme", "beta", "default", "gamma"]);
    let missing = tenants(&world).get_tenant(GetTenantRequest { id: "none".into() }).await.unwrap_err();
    assert!(missing.code() == Code::NotFound && missing.message().contains("none"), "{missing}");
}

#[tokio::test]
async fn a_secret_is_given_once_and_only_its_hash_is_kept() {
    let world = World::start().await;
    register(&world, "pump-7").await;
    let made = issue(&world, "pump-7").await.unwrap();
    assert!(made.secret.starts_with("drv_"));

    let found = verifiers(&world, "default", "pump-7").await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].credential, made.credential.clone().unwrap().id);
    let hash = TokenHash::from_bytes(found[0].token_sha256.clone().try_into().unwrap());
    assert!(hash.matches(made.secret.as_bytes()));

    let message = ListCredentialsRequest { device: "pump-7".into(), ..ListCredentialsRequest::default() };
    let listed = credentials(&world).list_credentials(request(&tenant("default"), message)).await.unwrap();
    assert_eq!(listed.into_inner().credentials, [made.credential.unwrap()]);
}

#[tokio::test]
async fn a_device_that_is_not_registered_gets_no_credential() {
    let world = World::start().await;
    let error = issue(&world, "ghost").await.unwrap_err();
    assert!(error.code() == Code::NotFound && error.message().contains("ghost"), "{error}");
    assert!(verifiers(&world, "default", "ghost").await.is_empty());
    assert!(verifiers(&world, "nowhere", "ghost").await.is_empty());
}

#[tokio::test]
async fn another_tenant_neither_sees_nor_deletes_a_credential() {
    let world = World::start().await;
    register(&world, "pump-7").await;
    let made = issue(&world, "pump-7").await.unwrap().credential.unwrap();
    assert!(verifiers(&world, "acme", "pump-7").await.is_empty());
    let message = DeleteCredentialRequest { device: "pump-7".into(), credential: made.id.clone() };
    let other = credentials(&world).delete_credential(request(&tenant("acme"), message.clone())).await;
    assert_eq!(other.unwrap_err().code(), Code::NotFound);
    credentials(&world).delete_credential(request(&tenant("default"), message)).await.unwrap();
    assert!(verifiers(&world, "default", "pump-7").await.is_empty());
}

#[tokio::test]
async fn a_device_has_at_most_sixteen_credentials_and_a_type_must_be_named() {
    let world = World::start().await;
    register(&world, "pump-7").await;
    for _ in 0..16 {
        issue(&world, "pump-7").await.unwrap();
    }
    assert_eq!(issue(&world, "pump-7").await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(verifiers(&world, "default", "pump-7").await.len(), 16);
    let message = CreateCredentialRequest { device: "pump-7".into(), r#type: 7 };
    let error =
        credentials(&world).create_credential(request(&tenant("default"), message)).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_revocation_is_answered_when_every_gateway_is_done_with_it() {
    let world = World::start().await;
    register(&world, "pump-7").await;
    let made = issue(&world, "pump-7").await.unwrap().credential.unwrap();
    let mut gateway = world.env.live.subscribe("credentials.changed.>", None);
    let message = DeleteCredentialRequest { device: "pump-7".into(), credential: made.id };
    let mut credentials = credentials(&world);
    let mut revoked = std::pin::pin!(credentials.delete_credential(request(&tenant("default"), message)));
    let notice = tokio::select! {
        _ = &mut revoked => panic!("the gateway has not looked yet"),
        notice = gateway.next() => notice.unwrap(),
    };
    assert_eq!(&*notice.subject, "credentials.changed.default.pump-7");
    assert!(verifiers(&world, "default", "pump-7").await.is_empty());
    drop(notice);
    revoked.await.unwrap();
}

#[tokio::test]
async fn gateways_hear_of_a_revocation_whose_caller_has_gone_away() {
    let world = World::start().await;
    register(&world, "pump-7").await;
    let made = issue(&world, "pump-7").await.unwrap().credential.unwrap();
    let mut gateway = world.env.live.subscribe("credentials.changed.>", None);
    let message = DeleteCredentialRequest { device: "pump-7".into(), credential: made.id };
    let mut credentials = credentials(&world);
    tokio::select! {
        biased;
        _ = credentials.delete_credential(request(&tenant("default"), message)) => panic!("it is too early"),
        () = tokio::task::yield_now() => {}
    }
    gateway.next().await.unwrap();
    assert!(verifiers(&world, "default", "pump-7").await.is_empty());
}
