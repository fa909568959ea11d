//! REST from outside, over HTTP without a socket: the control plane for real, the stream service as a stub.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail in this way")]

mod stub;
mod world;

use axum::body::Body;
use drover_testkit::eventually;
use http::StatusCode;
use serde_json::{Value, json};
use stub::{Rest, request};

#[tokio::test]
async fn a_device_lives_from_registration_to_deletion() {
    let rest = Rest::start().await;
    let made =
        rest.call("POST /v1/devices", r#"{"id":"pump-7","labels":{"site":"north","floor":"2"}}"#).await;
    assert_eq!((made.status, made.header("location")), (StatusCode::CREATED, "/v1/devices/pump-7"));
    let device = json!({
        "id": "pump-7", "profile": "default", "labels": {"site": "north", "floor": "2"},
        "created": "2026-11-24T19:00:00.000Z", "version": 1
    });
    assert_eq!(made.json(), device);
    assert_eq!(rest.call("POST /v1/devices", r#"{"id":"pump-7"}"#).await.status, StatusCode::CONFLICT);
    let read = rest.get("/v1/devices/pump-7").await;
    assert_eq!((read.json(), read.header("etag")), (device, "\"1\""));

    let patch = r#"{"profile":"big","labels":{"site":"south","floor":null}}"#;
    let stale = request("PATCH /v1/devices/pump-7", patch)
        .header("if-match", "\"9\"")
        .body(Body::from(patch))
        .unwrap();
    assert_eq!(rest.read(stale).await.status, StatusCode::PRECONDITION_FAILED);
    let fresh = request("PATCH /v1/devices/pump-7", patch)
        .header("if-match", "\"1\"")
        .body(Body::from(patch))
        .unwrap();
    let changed = rest.read(fresh).await;
    assert_eq!((changed.status, changed.header("etag")), (StatusCode::OK, "\"2\""));
    assert_eq!(changed.json()["labels"], json!({"site": "south"}));

    let gone = rest.call("DELETE /v1/devices/pump-7", "").await;
    assert_eq!((gone.status, gone.text.as_str()), (StatusCode::NO_CONTENT, ""));
    assert_eq!(rest.call("DELETE /v1/devices/pump-7", "").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_credential_shows_its_secret_once() {
    let rest = Rest::start().await;
    rest.call("POST /v1/devices", r#"{"id":"pump-7"}"#).await;
    let made = rest.call("POST /v1/devices/pump-7/credentials", r#"{"type":"token"}"#).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let issued = made.json();
    assert!(issued["secret"].as_str().unwrap().starts_with("drv_"));
    let id = issued["id"].as_str().unwrap();
    assert_eq!(made.header("location"), format!("/v1/devices/pump-7/credentials/{id}"));
    let listed = rest.get("/v1/devices/pump-7/credentials").await.json();
    assert_eq!(listed["items"], json!([{"id": id, "type": "token", "created": "2026-11-24T19:00:00.000Z"}]));

    let path = format!("DELETE /v1/devices/pump-7/credentials/{id}");
    assert_eq!(rest.call(&path, "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(rest.call(&path, "").await.status, StatusCode::NOT_FOUND);
    assert_eq!(rest.get("/v1/devices/ghost/credentials").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_tenant_is_found_where_its_creation_says() {
    let rest = Rest::start().await;
    let made = rest.call("POST /v1/tenants", r#"{"id":"acme","name":"Acme Pumps"}"#).await;
    assert_eq!((made.status, made.header("location")), (StatusCode::CREATED, "/v1/tenants/acme"));
    assert_eq!(rest.get(made.header("location")).await.json(), made.json());
    assert_eq!(rest.get("/v1/tenants/nobody").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn two_tenants_never_see_each_others_devices() {
    let rest = Rest::start().await;
    assert_eq!(rest.call("POST /v1/tenants", r#"{"id":"acme"}"#).await.status, StatusCode::CREATED);
    rest.call("POST /v1/devices", r#"{"id":"ours"}"#).await;
    rest.call_as("acme", "POST /v1/devices", r#"{"id":"theirs"}"#).await;
    for (tenant, own, other) in [("default", "ours", "theirs"), ("acme", "theirs", "ours")] {
        let listed = rest.call_as(tenant, "GET /v1/devices", "").await.json();
        assert_eq!(listed["items"].as_array().unwrap().len(), 1);
        assert_eq!(listed["items"][0]["id"], own);
        for path in ["", "/telemetry", "/telemetry/latest", "/events", "/credentials"] {
            let answer = rest.call_as(tenant, &format!("GET /v1/devices/{other}{path}"), "").await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{tenant} {other}{path}");
        }
        let deleted = rest.call_as(tenant, &format!("DELETE /v1/devices/{other}"), "").await;
        assert_eq!(deleted.status, StatusCode::NOT_FOUND);
        let issued = rest
            .call_as(tenant, &format!("POST /v1/devices/{other}/credentials"), r#"{"type":"token"}"#)
            .await;
        assert_eq!(issued.status, StatusCode::NOT_FOUND);
    }
    let unknown = rest.call_as("nobody", "GET /v1/devices", "").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert!(unknown.text.contains("nobody"), "{}", unknown.text);
}

#[tokio::test]
async fn lists_of_the_control_plane_come_in_pages_and_by_label() {
    let rest = Rest::start().await;
    for number in 0..5 {
        let site = if number % 2 == 0 { "a:b" } else { "c" };
        rest.call("POST /v1/devices", &format!(r#"{{"id":"d{number}","labels":{{"site":"{site}"}}}}"#)).await;
        rest.call("POST /v1/tenants", &format!(r#"{{"id":"t{number}"}}"#)).await;
        rest.call("POST /v1/devices/d0/credentials", r#"{"type":"token"}"#).await;
    }
    for (path, expected) in [
        ("/v1/devices?", 5),
        ("/v1/tenants?", 6),
        ("/v1/devices/d0/credentials?", 5),
        ("/v1/devices?label=site:a:b&", 3),
    ] {
        let mut seen = Vec::new();
        let mut token = String::new();
        loop {
            let answer = rest.get(&format!("{path}page_size=2{token}")).await.json();
            let items = answer["items"].as_array().unwrap();
            assert!(items.len() <= 2);
            seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
            let Some(next) = answer["next_page_token"].as_str() else { break };
            token = format!("&page_token={next}");
        }
        let mut unique = seen.clone();
        unique.sort();
        unique.dedup();
        assert_eq!((seen.len(), &unique), (expected, &seen), "{path}");
    }
}

#[tokio::test]
async fn lists_of_the_stream_service_hand_on_size_and_token() {
    let rest = Rest::start().await;
    rest.call("POST /v1/devices", r#"{"id":"pump-7"}"#).await;
    let events = rest.get("/v1/devices/pump-7/events?page_size=7&page_token=abc").await.json();
    let event = json!({"ts": 2, "event": {"page_size": 7, "page_token": "abc"}});
    assert_eq!(events, json!({"items": [event], "next_page_token": "next"}));
    let letters = rest.get("/v1/deadletters?page_size=7&page_token=abc").await.json();
    let letter = json!({
        "device": "pump-7", "topic": "v1/telemetry", "received": "1970-01-01T00:00:01.500Z",
        "reason": "7abc", "payload_base64": "bm90IGpzb24="
    });
    assert_eq!(letters, json!({"items": [letter], "next_page_token": "next"}));
    let latest = rest.get("/v1/telemetry/latest?page_size=10000&page_token=abc").await.json();
    let device = json!({"device": "10000abc", "values": {"temp": {"ts": 1500, "value": 0.5}}});
    assert_eq!(latest, json!({"items": [device], "next_page_token": "next"}));
}

#[tokio::test]
async fn telemetry_is_erased_of_all_keys_or_of_some_and_never_by_an_empty_list() {
    let rest = Rest::start().await;
    rest.call("POST /v1/devices", r#"{"id":"pump-7"}"#).await;
    for (query, status) in [
        ("", StatusCode::NO_CONTENT),
        ("?keys=a,b/c", StatusCode::NO_CONTENT),
        ("?keys=", StatusCode::BAD_REQUEST),
    ] {
        let answer = rest.call(&format!("DELETE /v1/devices/pump-7/telemetry{query}"), "").await;
        assert_eq!(answer.status, status, "{query}");
    }
    let unknown = rest.call("DELETE /v1/devices/pump-8/telemetry", "").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert_eq!(rest.world.erased.asked(), ["pump-7@default ", "pump-7@default a,b/c"]);
    assert_eq!(rest.call("DELETE /v1/devices/pump-7", "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(rest.world.erased.asked().len(), 3);
}

#[tokio::test]
async fn telemetry_is_read_as_it_is_asked_for() {
    let rest = Rest::start().await;
    rest.call("POST /v1/devices", r#"{"id":"pump-7"}"#).await;
    let latest = rest.get("/v1/devices/pump-7/telemetry/latest").await;
    let expected = r#"{"speed":{"ts":1500,"value":1200,"flags":["time_replaced"]},"temp":{"ts":1500,"value":21.5},"on":{"ts":1500,"value":true},"mode":{"ts":1500,"value":"auto"}}"#;
    assert_eq!((latest.text.as_str(), latest.header("link")), (expected, ""));
    let rest_of_it = rest.get("/v1/devices/pump-7/telemetry/latest?page_token=a").await;
    let link = r#"</v1/devices/pump-7/telemetry/latest?page_token=a2>; rel="next""#;
    assert_eq!(rest_of_it.header("link"), link);

    let asked = |answer: Value| answer["series"]["asked"][0]["value"].as_str().unwrap().to_owned();
    let query =
        "keys=temp,a/b.c&from=1970-01-01T00:00:01Z&to=2000&interval=5m&agg=max&limit=9&page_token=abc";
    let answer = rest.get(&format!("/v1/devices/pump-7/telemetry?{query}")).await.json();
    assert_eq!((&answer["incomplete"], &answer["next_page_token"]), (&json!(["shard 3"]), &json!("next")));
    let text = asked(answer);
    for part in [
        "\"temp\", \"a/b.c\"",
        "from_us: 1000000",
        "to_us: 2000000",
        "interval_us: 300000000",
        "aggregation: Max",
        "limit: 9",
        "page_token: \"abc\"",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let query = "from=2026-01-01&to=9999-12-31T23:59:59Z";
    let text = asked(rest.get(&format!("/v1/devices/pump-7/telemetry?{query}")).await.json());
    assert!(text.contains("from_us: 1767225600000000, to_us: 253402300799000000"), "{text}");
    let query = "from=2026-01-01T00:00:00+01:00&to=2026-01-01T00:00:00%2B00:30";
    let text = asked(rest.get(&format!("/v1/devices/pump-7/telemetry?{query}")).await.json());
    assert!(text.contains("from_us: 1767222000000000, to_us: 1767223800000000"), "{text}");
    let answer = rest.get("/v1/devices/pump-7/telemetry").await.json();
    assert_eq!(answer.get("next_page_token"), None);
    let text = asked(answer);
    assert!(text.contains(&format!("from_us: {}", (world::NOW_MS - 3_600_000) * 1_000)), "{text}");
    assert!(text.contains("interval_us: 0, aggregation: Unspecified, limit: 0"), "{text}");
}

#[tokio::test]
async fn the_ledger_is_the_stream_services() {
    let rest = Rest::start().await;
    let expected =
        json!({"accepted": 3, "stored": 1, "dead_lettered": 1, "pending": 1, "refused": {"too_large": 2}});
    assert_eq!(rest.get("/v1/ledger").await.json(), expected);
}

#[tokio::test]
async fn health_names_the_sick_part_and_needs_no_token() {
    use drover_runtime::Status;
    let rest = Rest::start().await;
    let ask = || rest.read(http::Request::get("/v1/health").body(Body::empty()).unwrap());
    let log = rest.world.env.health.part("log");
    assert_eq!(ask().await.status, StatusCode::SERVICE_UNAVAILABLE);
    log.set(Status::Ok);
    let answer = eventually("the parts are ready", async || {
        Some(ask().await).filter(|answer| answer.status == StatusCode::OK)
    })
    .await;
    let parts = json!({"log": {"status": "ok"}, "mqtt": {"status": "ok"}});
    assert_eq!(answer.json(), json!({"status": "ok", "parts": parts}));
    log.set(Status::Degraded("no space left".into()));
    let answer = ask().await;
    let parts = json!({"log": {"status": "degraded", "detail": "no space left"}, "mqtt": {"status": "ok"}});
    assert_eq!(
        (answer.status, answer.json()),
        (StatusCode::SERVICE_UNAVAILABLE, json!({"status": "degraded", "parts": parts}))
    );
}

#[tokio::test]
async fn metrics_count_by_route_never_by_device() {
    let rest = Rest::start().await;
    rest.get("/v1/devices/secret-name").await;
    rest.get("/nowhere").await;
    let answer = rest.read(http::Request::get("/metrics").body(Body::empty()).unwrap()).await;
    assert!(answer.header("content-type").starts_with("application/openmetrics-text"));
    let line = r#"drover_api_requests_total{route="/v1/devices/{id}",method="GET",status="4xx"} 1"#;
    assert!(answer.text.contains(line), "{}", answer.text);
    assert!(answer.text.contains(r#"drover_api_requests_total{route="none""#));
    assert!(!answer.text.contains("secret-name") && !answer.text.contains("nowhere"));
}

#[tokio::test]
async fn the_start_page_leads_to_the_documentation_which_loads_nothing_from_elsewhere() {
    let rest = Rest::start().await;
    let start = rest.read(http::Request::get("/").body(Body::empty()).unwrap()).await;
    assert_eq!((start.status, start.header("location")), (StatusCode::SEE_OTHER, "/docs"));
    for path in ["/docs", "/docs/page.js", "/docs/style.css"] {
        let file = rest.read(http::Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(file.status, StatusCode::OK);
        assert!(!file.text.contains("http://") && !file.text.contains("https://"), "{path}");
        assert!(file.header("content-security-policy").contains("default-src 'none'"));
    }
}

#[tokio::test]
async fn a_query_is_answered_by_pieces_and_one_that_fails_before_them_is_a_problem() {
    let rest = Rest::start().await;
    let answer = rest.call("POST /v1/query", r#"{"sql":"SELECT 1"}"#).await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({"rows": []})));
    let problem = rest.call("POST /v1/query", r#"{"sql":"wrong"}"#).await;
    assert_eq!(problem.status, StatusCode::BAD_REQUEST);
    assert_eq!(problem.json()["errors"][0]["field"], json!("sql"));
}
