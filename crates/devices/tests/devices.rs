//! The registry from outside, through its gRPC link.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail in this way")]

#[path = "../../api/tests/world/mod.rs"]
mod world;

use std::collections::HashMap;

use drover_proto::devices::v1::devices_client::DevicesClient;
use drover_proto::devices::v1::*;
use drover_proto::provisioning::v1::credentials_client::CredentialsClient;
use drover_proto::provisioning::v1::{CreateCredentialRequest, CredentialType, GetVerifiersRequest};
use drover_rpc::{Link, request};
use tonic::Code;
use world::{World, tenant};

fn client(world: &World) -> DevicesClient<Link> {
    DevicesClient::new(world.env.peers.link("devices"))
}

fn labels(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn create(world: &World, of: &str, id: &str, pairs: &[(&str, &str)]) -> Result<Device, tonic::Status> {
    let message = CreateDeviceRequest { id: id.into(), profile: String::new(), labels: labels(pairs) };
    let answer = client(world).create_device(request(&tenant(of), message)).await?;
    Ok(answer.into_inner().device.unwrap())
}

async fn list(
    world: &World,
    of: &str,
    message: ListDevicesRequest,
) -> Result<(Vec<String>, String), tonic::Status> {
    let answer = client(world).list_devices(request(&tenant(of), message)).await?.into_inner();
    Ok((answer.devices.into_iter().map(|device| device.id).collect(), answer.next_page_token))
}

#[tokio::test]
async fn a_device_is_read_back_as_it_was_registered() {
    let world = World::start().await;
    let made = create(&world, "default", "pump-7", &[("site", "north")]).await.unwrap();
    assert_eq!((made.profile.as_str(), made.version, made.created_us), ("default", 1, world::NOW_MS * 1_000));
    let read = client(&world)
        .get_device(request(&tenant("default"), GetDeviceRequest { id: "pump-7".into() }))
        .await;
    assert_eq!(read.unwrap().into_inner().device.unwrap(), made);
}

#[tokio::test]
async fn an_id_can_be_taken_once_in_each_tenant() {
    let world = World::start().await;
    create(&world, "a", "pump-7", &[]).await.unwrap();
    assert_eq!(create(&world, "a", "pump-7", &[("x", "y")]).await.unwrap_err().code(), Code::AlreadyExists);
    create(&world, "b", "pump-7", &[]).await.unwrap();
    assert_eq!(list(&world, "b", ListDevicesRequest::default()).await.unwrap().0, ["pump-7"]);
    let other = client(&world)
        .delete_device(request(&tenant("b"), DeleteDeviceRequest { id: "pump-7".into() }))
        .await;
    other.unwrap();
    assert_eq!(list(&world, "a", ListDevicesRequest::default()).await.unwrap().0, ["pump-7"]);
}

#[tokio::test]
async fn a_list_comes_in_pages_and_by_all_of_its_labels() {
    let world = World::start().await;
    for (id, site) in [("a", "north"), ("b", "south"), ("c", "north"), ("d", "north")] {
        create(&world, "default", id, &[("site", site), ("kind", "pump"), ("id", id)]).await.unwrap();
    }
    let wanted = labels(&[("site", "north"), ("kind", "pump")]);
    let message = ListDevicesRequest { page_size: 2, page_token: String::new(), labels: wanted };
    let (ids, next) = list(&world, "default", message.clone()).await.unwrap();
    assert_eq!(ids, ["a", "c"]);
    let (ids, next) =
        list(&world, "default", ListDevicesRequest { page_token: next, ..message }).await.unwrap();
    assert_eq!((ids, next.as_str()), (vec!["d".to_owned()], ""));
    let wrong = ListDevicesRequest { page_token: "!".into(), ..ListDevicesRequest::default() };
    let error = list(&world, "default", wrong).await.unwrap_err();
    assert!(error.code() == Code::InvalidArgument && error.message().contains("page_token"), "{error}");
}

#[tokio::test]
async fn a_change_counts_and_a_wrong_version_or_profile_is_refused() {
    let world = World::start().await;
    create(&world, "default", "a", &[("site", "north"), ("floor", "2")]).await.unwrap();
    let change = UpdateDeviceRequest {
        id: "a".into(),
        profile: Some("big".into()),
        set_labels: labels(&[("site", "south")]),
        remove_labels: vec!["floor".into()],
        version: Some(1),
    };
    let update = |change: UpdateDeviceRequest| async {
        client(&world).update_device(request(&tenant("default"), change)).await
    };
    let device = update(change.clone()).await.unwrap().into_inner().device.unwrap();
    assert_eq!((device.version, device.profile.as_str()), (2, "big"));
    assert_eq!(device.labels, labels(&[("site", "south")]));
    let error = update(change.clone()).await.unwrap_err();
    assert!(error.code() == Code::Aborted && error.message().contains("version 2, not 1"), "{error}");
    let bad = UpdateDeviceRequest { profile: Some("a b".into()), version: None, ..change.clone() };
    let error = update(bad).await.unwrap_err();
    assert!(error.code() == Code::InvalidArgument && error.message().contains("profile has"), "{error}");
    let error = update(UpdateDeviceRequest { id: "b".into(), ..change }).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
}

#[tokio::test]
async fn a_device_has_a_bounded_number_of_labels() {
    let world = World::start().await;
    create(&world, "default", "a", &[("first", "1")]).await.unwrap();
    let set_labels = (0..64).map(|number| (format!("l{number}"), String::new())).collect();
    let change = UpdateDeviceRequest { id: "a".into(), set_labels, ..UpdateDeviceRequest::default() };
    let error = client(&world).update_device(request(&tenant("default"), change)).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    let read =
        client(&world).get_device(request(&tenant("default"), GetDeviceRequest { id: "a".into() })).await;
    assert_eq!(read.unwrap().into_inner().device.unwrap().version, 1);
}

#[tokio::test]
async fn deleting_a_device_removes_its_credentials_and_tells_the_gateways() {
    let world = World::start().await;
    create(&world, "default", "a.1", &[("x", "y")]).await.unwrap();
    let mut credentials = CredentialsClient::new(world.env.peers.link("provisioning"));
    let message = CreateCredentialRequest { device: "a.1".into(), r#type: CredentialType::Token.into() };
    credentials.create_credential(request(&tenant("default"), message)).await.unwrap();
    let mut changes = world.env.live.subscribe("credentials.changed.default.*", None);

    let delete = || async {
        client(&world)
            .delete_device(request(&tenant("default"), DeleteDeviceRequest { id: "a.1".into() }))
            .await
    };
    // Whoever does not listen any more is not waited for.
    let (deleted, change) = tokio::join!(delete(), async move { changes.next().await.unwrap() });
    deleted.unwrap();
    assert_eq!((&*change.subject, &*change.payload), ("credentials.changed.default.a%2E1", &b"gone"[..]));
    let message = GetVerifiersRequest { tenant: "default".into(), device: "a.1".into() };
    assert!(credentials.get_verifiers(message).await.unwrap().into_inner().verifiers.is_empty());
    assert_eq!(delete().await.unwrap_err().code(), Code::NotFound);
    create(&world, "default", "a.1", &[]).await.unwrap();
}

#[tokio::test]
async fn what_a_deleted_device_measured_is_erased_before_one_can_be_made_anew() {
    let world = World::start().await;
    create(&world, "default", "a.1", &[]).await.unwrap();
    let delete = || async {
        client(&world)
            .delete_device(request(&tenant("default"), DeleteDeviceRequest { id: "a.1".into() }))
            .await
    };
    world.erased.set_away(true);
    let error = delete().await.unwrap_err();
    assert!(error.code() == Code::Unavailable && error.message().contains("not erased yet"), "{error}");
    assert_eq!(list(&world, "default", ListDevicesRequest::default()).await.unwrap().0, Vec::<String>::new());
    assert_eq!(create(&world, "default", "a.1", &[]).await.unwrap_err().code(), Code::Unavailable);
    world.erased.set_away(false);
    create(&world, "default", "a.1", &[]).await.unwrap();
    assert_eq!(world.erased.asked(), ["a.1@default "]);

    world.erased.set_away(true);
    delete().await.unwrap_err();
    world.erased.set_away(false);
    delete().await.unwrap();
    assert_eq!(world.erased.asked().len(), 2);
    assert_eq!(delete().await.unwrap_err().code(), Code::NotFound);
}
