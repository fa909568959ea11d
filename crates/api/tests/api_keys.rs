//! API keys over REST: their life, and what they let their holders do.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail in this way")]

mod stub;
mod world;

use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::json;
use stub::{Answer, Rest};

async fn make(rest: &Rest, tenant: &str, id: &str, scopes: &[&str]) -> String {
    let body = json!({ "id": id, "scopes": scopes }).to_string();
    let made = rest.call_as(tenant, "POST /v1/api-keys", &body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    made.json()["secret"].as_str().unwrap().to_owned()
}

fn with_key(secret: &str, call: &str, body: &str) -> http::request::Builder {
    let (method, path) = call.split_once(' ').unwrap();
    let builder =
        Request::builder().method(method).uri(path).header("authorization", format!("Bearer {secret}"));
    if body.is_empty() { builder } else { builder.header("content-type", "application/json") }
}

async fn call(rest: &Rest, secret: &str, call: &str, body: &str) -> Answer {
    rest.read(with_key(secret, call, body).body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn a_key_lives_from_creation_to_deletion_and_shows_its_secret_once() {
    let rest = Rest::start().await;
    let made = rest.call("POST /v1/api-keys", r#"{"id":"board","description":"In the hall"}"#).await;
    assert_eq!((made.status, made.header("location")), (StatusCode::CREATED, "/v1/api-keys/board"));
    let mut key = made.json();
    assert!(key["secret"].as_str().unwrap().starts_with("drv_"));
    key.as_object_mut().unwrap().remove("secret");
    let expected = json!({
        "id": "board", "description": "In the hall", "scopes": ["mqtt:publish:#", "mqtt:subscribe:#"],
        "created": "2026-11-24T19:00:00.000Z"
    });
    assert_eq!(key, expected);
    assert_eq!(rest.get("/v1/api-keys/board").await.json(), expected);
    assert_eq!(rest.get("/v1/api-keys").await.json(), json!({ "items": [expected] }));
    let again = rest.call("POST /v1/api-keys", r#"{"id":"board"}"#).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    assert_eq!(rest.call("DELETE /v1/api-keys/board", "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(rest.call("DELETE /v1/api-keys/board", "").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_key_reads_and_writes_as_far_as_its_scopes_go_until_it_is_deleted() {
    let rest = Rest::start().await;
    let reader = make(&rest, "default", "reader", &["api:read"]).await;
    let writer = make(&rest, "default", "writer", &["api:write"]).await;
    let neither = make(&rest, "default", "neither", &["mqtt:subscribe:#"]).await;
    let register = ("POST /v1/devices", r#"{"id":"pump-7"}"#);
    assert_eq!(call(&rest, &writer, register.0, register.1).await.status, StatusCode::CREATED);
    assert_eq!(call(&rest, &reader, "GET /v1/devices/pump-7", "").await.status, StatusCode::OK);
    for (secret, line, body, scope) in [
        (&reader, register.0, register.1, "api:write"),
        (&writer, "GET /v1/devices", "", "api:read"),
        (&neither, "GET /v1/devices", "", "api:read"),
    ] {
        let refused = call(&rest, secret, line, body).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{line}");
        assert!(refused.json()["detail"].as_str().unwrap().contains(scope), "{}", refused.text);
    }
    rest.call("DELETE /v1/api-keys/reader", "").await;
    let refused = call(&rest, &reader, "GET /v1/devices/pump-7", "").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_key_makes_neither_keys_nor_tenants_and_sees_its_own_tenant_only() {
    let rest = Rest::start().await;
    rest.call("POST /v1/tenants", r#"{"id":"acme"}"#).await;
    rest.call("POST /v1/devices", r#"{"id":"ours"}"#).await;
    rest.call_as("acme", "POST /v1/devices", r#"{"id":"theirs"}"#).await;
    let all = ["api:read", "api:write"];
    for (tenant, own, other) in [("default", "ours", "acme"), ("acme", "theirs", "default")] {
        let secret = make(&rest, tenant, "board", &all).await;
        let listed = call(&rest, &secret, "GET /v1/devices", "").await.json();
        assert_eq!((listed["items"].as_array().unwrap().len(), &listed["items"][0]["id"]), (1, &json!(own)));
        for (named, status) in [(tenant, StatusCode::OK), (other, StatusCode::FORBIDDEN)] {
            let request = with_key(&secret, "GET /v1/devices", "").header("x-drover-tenant", named);
            assert_eq!(rest.read(request.body(Body::empty()).unwrap()).await.status, status, "{named}");
        }
        for (line, body) in [
            ("POST /v1/api-keys", r#"{"id":"more"}"#),
            ("GET /v1/api-keys", ""),
            ("GET /v1/api-keys/board", ""),
            ("DELETE /v1/api-keys/board", ""),
            ("POST /v1/tenants", r#"{"id":"more"}"#),
            ("GET /v1/tenants", ""),
        ] {
            assert_eq!(call(&rest, &secret, line, body).await.status, StatusCode::FORBIDDEN, "{line}");
        }
    }
}

#[tokio::test]
async fn the_live_stream_of_a_deleted_key_ends() {
    let rest = Rest::start().await;
    let secret = make(&rest, "default", "board", &["api:read"]).await;
    let open = || rest.send(with_key(&secret, "GET /v1/live", "").body(Body::empty()).unwrap());
    let (first, second) = (open().await, open().await);
    assert_eq!(first.status(), StatusCode::OK);
    let (collected, gone) =
        tokio::join!(first.into_body().collect(), rest.call("DELETE /v1/api-keys/board", ""));
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    collected.unwrap();
    // Nobody had read from this one when the key was deleted.
    second.into_body().collect().await.unwrap();
    assert_eq!(open().await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_key_watches_the_topics_that_it_may_subscribe_to() {
    let rest = Rest::start().await;
    let secret = make(&rest, "default", "board", &["api:read", "mqtt:subscribe:plant/#"]).await;
    for (filter, status) in [("plant/7/state", StatusCode::OK), ("other", StatusCode::FORBIDDEN)] {
        let request = with_key(&secret, &format!("GET /v1/topics/live?filter={filter}"), "");
        assert_eq!(rest.send(request.body(Body::empty()).unwrap()).await.status(), status, "{filter}");
    }
    assert_eq!(call(&rest, &secret, "GET /v1/topics/live", "").await.status, StatusCode::FORBIDDEN);
}
