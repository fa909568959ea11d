//! gRPC as integrators meet it: the real server over its socket, by the client crate, by Python's grpcio, and by a bare client.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use drover_sdk::proto::devices::v1::ListDevicesRequest;
use drover_sdk::proto::stream::v1::telemetry_client::TelemetryClient;
use drover_sdk::proto::stream::v1::{LatestRequest, QueryRequest, Refusal, RefusalReason};
use drover_sdk::{Client, Error, Publication};
use drover_testkit::{Drover, eventually};
use drover_tests::ordinary_clients::{example, python_with_grpc, run};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

fn address(server: &Drover) -> String {
    format!("http://{}", server.address("grpc"))
}

async fn client(server: &Drover) -> Client {
    Client::connect(&address(server), server.token()).await.unwrap()
}

/// A connection without any token.
async fn channel(server: &Drover) -> Channel {
    Channel::from_shared(address(server)).unwrap().connect().await.unwrap()
}

/// A key's secret.
async fn key(server: &Drover, scope: &str) -> String {
    let body = json!({ "id": scope.replace(':', "-"), "scopes": [scope] });
    let (status, key) = server.call(Method::POST, "/v1/api-keys", Some(body)).await;
    assert_eq!(status, 201, "{key}");
    key["secret"].as_str().unwrap().to_owned()
}

fn measured(device: &str, n: i64) -> Publication {
    Publication::json(device, &json!({ "ts": 1_717_200_000_000_i64 + n * 1_000, "values": { "n": n } }))
}

async fn ledger(server: &Drover) -> Value {
    eventually("nothing is pending", async || {
        let ledger = server.get("/v1/ledger").await;
        (ledger["pending"] == json!(0) && ledger["accepted"] != json!(0)).then_some(ledger)
    })
    .await
}

#[tokio::test]
async fn what_was_published_is_on_the_disk_and_survives_a_kill() {
    let server = Drover::start().await;
    server.device("pump").await;
    let published = client(&server).await.publish((0..2_500).map(|n| measured("pump", n))).await.unwrap();
    assert_eq!((published.accepted, published.refusals.as_slice()), (2_500, &[][..]));
    let server = Drover::start_in(server.kill().await, &[]).await;
    let ledger = ledger(&server).await;
    assert_eq!((&ledger["accepted"], &ledger["stored"]), (&json!(2_500), &json!(2_500)), "{ledger}");
    let client = client(&server).await;
    let rows = client.rows("SELECT count(*) AS n, max(value) AS last FROM points").await.unwrap();
    assert_eq!(rows, [json!({"n": 2_500, "last": 2_499.0})]);
    let series = client.range("pump", &drover_sdk::Range::default()).await.unwrap();
    assert_eq!(series["n"].len(), 2_500);
    server.stop().await;
}

#[tokio::test]
async fn what_can_not_be_taken_is_refused_by_itself_and_counted() {
    let server = Drover::start().await;
    server.device("pump").await;
    let client = client(&server).await;
    let publications = [
        measured("pump", 0),
        measured("nobody", 0),
        measured("a/b", 0),
        Publication::event("pump", &json!({ "door": "open" })),
        Publication::telemetry("pump", "", "not json"),
    ];
    let published = client.publish(publications).await.unwrap();
    assert_eq!(published.accepted, 3);
    let refused: Vec<_> =
        published.refusals.iter().map(|refusal| (refusal.index, refusal.reason())).collect();
    let expected = [(1, RefusalReason::UnknownDevice), (2, RefusalReason::Invalid)];
    assert_eq!(refused, expected, "{published:?}");
    let detail = |refusal: &Refusal| refusal.detail.clone();
    assert_eq!(detail(&published.refusals[0]), "there is no device nobody; make it first");
    let ledger = eventually("the refused ones are counted", async || {
        let ledger = ledger(&server).await;
        (ledger["refused"] != json!({})).then_some(ledger)
    })
    .await;
    assert_eq!(ledger["refused"], json!({"unknown_device": 1, "invalid": 1}));
    assert_eq!((&ledger["stored"], &ledger["dead_lettered"]), (&json!(2), &json!(1)), "{ledger}");
    let events = server.get("/v1/devices/pump/events").await;
    assert_eq!(events["items"][0]["event"], json!({"door": "open"}), "{events}");
    server.stop().await;
}

#[tokio::test]
async fn a_key_publishes_with_the_scope_to_write_and_for_its_own_tenant() {
    let server = Drover::start().await;
    server.device("pump").await;
    let publish = async |token: &str| {
        let client = Client::connect(&address(&server), token).await.unwrap();
        client.publish([measured("pump", 0)]).await
    };
    assert_eq!(publish(&key(&server, "api:write").await).await.unwrap().accepted, 1);
    for token in [key(&server, "api:read").await.as_str(), "drv_wrong"] {
        assert!(matches!(publish(token).await, Err(Error::Refused(_))), "{token}");
    }
    server.call(Method::POST, "/v1/tenants", Some(json!({"id": "acme"}))).await;
    let theirs = client(&server).await.for_tenant("acme").unwrap();
    let published = theirs.publish([measured("pump", 0)]).await.unwrap();
    assert_eq!(published.refusals[0].reason(), RefusalReason::UnknownDevice);
    server.stop().await;
}

#[tokio::test]
async fn one_message_is_published_by_rest() {
    let server = Drover::start().await;
    server.device("pump").await;
    let post = async |device: &str, body: Vec<u8>| {
        let url = format!("{}/v1/devices/{device}/telemetry", server.url());
        let request = reqwest::Client::new().post(url).bearer_auth(server.token());
        request.header("content-type", "application/json").body(body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(post("pump", br#"{"temp": 21.5}"#.to_vec()).await, 204);
    assert_eq!(post("nobody", b"{}".to_vec()).await, 404);
    assert_eq!(post("pump", vec![b' '; 2 << 20]).await, 413);
    let latest = eventually("it is readable", async || {
        let latest = server.get("/v1/devices/pump/telemetry/latest").await;
        latest.get("temp").cloned()
    })
    .await;
    assert_eq!(latest["value"], json!(21.5));
    server.stop().await;
}

#[tokio::test]
async fn a_call_without_token_and_one_that_is_too_long_are_told_why() {
    let server = Drover::start().await;
    let mut telemetry = TelemetryClient::new(channel(&server).await);
    let refused = telemetry.latest(LatestRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let mut long = Request::new(LatestRequest { device: "a".repeat(5 << 20), ..LatestRequest::default() });
    long.metadata_mut().insert("authorization", format!("Bearer {}", server.token()).parse().unwrap());
    let refused = telemetry.latest(long).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    // The connection is still good.
    let mut devices = client(&server).await.devices();
    assert!(devices.list_devices(ListDevicesRequest::default()).await.is_ok());
    server.stop().await;
}

#[tokio::test]
async fn health_is_told_without_token_and_a_stop_ends_the_watch() {
    let server = Drover::start().await;
    let mut health = HealthClient::new(channel(&server).await);
    for service in ["", "drover.stream.v1.Telemetry"] {
        let asked = health.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap();
        assert_eq!(asked.into_inner().status(), ServingStatus::Serving, "{service}");
    }
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    server.signal("TERM");
    // It may hear first that nobody is served any more.
    let ended = loop {
        match watch.message().await {
            Ok(Some(status)) => assert_eq!(status.status(), ServingStatus::NotServing),
            Ok(None) => break Code::Ok,
            Err(status) => break status.code(),
        }
    };
    assert_eq!(ended, Code::Unavailable);
    assert!(server.ended().await.success());
}

#[tokio::test]
async fn a_question_that_nobody_waits_for_ends() {
    let server = Drover::start().await;
    server.device("pump").await;
    let client = client(&server).await;
    client.publish((0..1_000).map(|n| measured("pump", n))).await.unwrap();
    ledger(&server).await;
    let endless = "SELECT count(*) FROM points a, points b, points c, points d WHERE a.value + b.value < c.value * d.value";
    let sql = QueryRequest { sql: endless.to_owned(), ..QueryRequest::default() };
    let answer = client.telemetry().query(sql).await;
    drop(answer);
    eventually("the call has ended", async || {
        let metrics = reqwest::get(format!("{}/metrics", server.url())).await.ok()?.text().await.ok()?;
        let ended = r#"service="drover.stream.v1.Telemetry",method="Query",code="CANCELLED""#;
        let ended = format!("drover_grpc_calls_total{{{ended}}} 1");
        metrics.lines().any(|line| line == ended).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn the_example_in_python_does_what_it_says() {
    let Some(python) = python_with_grpc() else { return };
    let server = Drover::start().await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let stubs = tempfile::tempdir().unwrap();
    let mut generate = Command::new(&python);
    generate.args(["-m", "grpc_tools.protoc", "-I", "proto"]).current_dir(&root);
    generate.arg(format!("--python_out={}", stubs.path().display()));
    generate.arg(format!("--grpc_python_out={}", stubs.path().display()));
    for file in ["devices/v1/devices", "stream/v1/publish", "stream/v1/telemetry"] {
        generate.arg(format!("proto/drover/{file}.proto"));
    }
    let generated = run(&mut generate).await;
    assert!(generated.status.success(), "{}", String::from_utf8_lossy(&generated.stderr));

    let mut command = Command::new(python);
    command.arg(root.join("examples/python/integrator.py")).args(["--address", server.address("grpc")]);
    command.env("PYTHONPATH", stubs.path()).env("DROVER_TOKEN", server.token());
    let output = run(&mut command).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "refused 60 REFUSAL_REASON_UNKNOWN_DEVICE there is no device nobody; make it first\n\
         published 60\nlatest 59.0\nhourly [29.5]\nrows [{'n': 60}]\n"
    );
    server.stop().await;
}

#[tokio::test]
async fn the_example_in_rust_does_what_it_says() {
    let server = Drover::start().await;
    let mut command = Command::new(example("integrator"));
    command.arg(address(&server)).env("DROVER_TOKEN", server.token());
    let output = run(&mut command).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "published 1440\nlatest Number(59.0)\nhours 24\nrow {\"hottest\":59.0,\"n\":1440}\n"
    );
    server.stop().await;
}
