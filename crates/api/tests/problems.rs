//! What is refused, and how it is said.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail in this way")]

mod stub;
mod world;

use std::collections::BTreeMap;

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use stub::{Answer, Rest, request};

/// Every call of the document that needs a token: method and path with sample parameters, names of its query parameters.
fn calls(document: &Value) -> Vec<(String, Vec<String>)> {
    let mut calls = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation.get("security").is_some() {
                continue;
            }
            let path = path.replace("{id}", "pump-7").replace("{credential}", "c");
            let of_query = |parameter: &&Value| parameter["in"] == "query";
            let parameters = operation["parameters"].as_array().unwrap().iter().filter(of_query);
            let names = parameters.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect();
            calls.push((format!("{} {path}", method.to_uppercase()), names));
        }
    }
    assert!(calls.len() >= 16, "{calls:?}");
    calls
}

fn problem(answer: &Answer, status: StatusCode) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let body = answer.json();
    assert_eq!(body["status"], status.as_u16());
    body
}

#[tokio::test]
async fn every_call_needs_the_token() {
    let rest = Rest::start().await;
    for (call, _) in calls(&rest.document().await) {
        let (method, path) = call.split_once(' ').unwrap();
        for token in [None, Some("Bearer wrong"), Some("Basic drv_administrator")] {
            let mut builder = Request::builder().method(method).uri(path);
            if let Some(token) = token {
                builder = builder.header("authorization", token);
            }
            let answer = rest.read(builder.body(Body::empty()).unwrap()).await;
            let body = problem(&answer, StatusCode::UNAUTHORIZED);
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            assert!(body["detail"].as_str().unwrap().contains("admin.token"), "{call}");
        }
    }
}

#[tokio::test]
async fn every_call_refuses_a_parameter_that_it_does_not_know() {
    let rest = Rest::start().await;
    let mut calls = calls(&rest.document().await);
    calls.extend([("GET /v1/health".to_owned(), Vec::new()), ("GET /metrics".to_owned(), Vec::new())]);
    calls.push(("HEAD /v1/ledger".to_owned(), Vec::new()));
    for (call, names) in calls {
        let answer = rest.call(&format!("{call}?colour=red"), "").await;
        if call.starts_with("HEAD") {
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
            continue;
        }
        let body = problem(&answer, StatusCode::BAD_REQUEST);
        assert_eq!(body["errors"][0]["field"], "colour", "{call}");
        let detail = body["errors"][0]["detail"].as_str().unwrap();
        assert!(names.iter().all(|name| detail.contains(name.as_str())), "{call}: {detail}");
        assert_eq!(names.is_empty(), detail.contains("takes none"), "{call}: {detail}");
    }
}

#[tokio::test]
async fn every_list_refuses_a_wrong_size() {
    let rest = Rest::start().await;
    let mut lists = 0;
    for (call, names) in calls(&rest.document().await) {
        if names.iter().any(|name| name == "page_size") {
            lists += 1;
            for size in ["0", "10001", "many", "-1"] {
                let body = problem(
                    &rest.call(&format!("{call}?page_size={size}"), "").await,
                    StatusCode::BAD_REQUEST,
                );
                assert_eq!(body["errors"][0]["field"], "page_size", "{call}");
            }
        }
    }
    assert_eq!(lists, 8);
}

#[tokio::test]
async fn a_request_over_its_time_is_told_so() {
    let rest = Rest::start().await;
    tokio::time::pause();
    let answer = rest.get("/v1/deadletters?page_token=stuck").await;
    let body = problem(&answer, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(body["type"], "/docs#problem-timeout");
}

#[tokio::test]
async fn refusals_name_the_field_and_the_remedy() {
    let rest = Rest::start().await;
    rest.call("POST /v1/devices", r#"{"id":"pump-7"}"#).await;
    rest.call("POST /v1/devices", r#"{"id":"internal"}"#).await;
    rest.call("POST /v1/devices", r#"{"id":"panic"}"#).await;
    rest.call("POST /v1/api-keys", r#"{"id":"board"}"#).await;
    let calls = [
        ("POST /v1/devices", r#"{"id":"pump-7"}"#),
        ("POST /v1/devices", r#"{"id":"pump/7"}"#),
        ("POST /v1/devices", r#"{"id":7}"#),
        ("POST /v1/devices", r#"{"labels":{}}"#),
        ("POST /v1/devices", "{\"id\":\"a\",\n \"colour\":\"red\"}"),
        ("POST /v1/devices", r#"{"id":"a","labels":{"site":7}}"#),
        ("POST /v1/devices", r#"{"id":"a","labels":{"si:te":"x"}}"#),
        ("POST /v1/devices", r#"{"id":"a","profile":null}"#),
        ("POST /v1/devices", r#"{"id":"#),
        ("POST /v1/devices", r#"{"id":"a"} x"#),
        ("POST /v1/devices", r#"["a"]"#),
        ("POST /v1/devices", r#"{"id":"a","profile":""}"#),
        ("DELETE /v1/devices/a/credentials/b%20c", ""),
        ("POST /v1/devices/pump-7/credentials", r#"{"type":"x509","csr":"-----BEGIN"}"#),
        ("POST /v1/devices/pump-7/credentials", r#"{"type":"key"}"#),
        ("POST /v1/tenants", r#"{"id":"default"}"#),
        ("POST /v1/devices", r#"{"id":"app:board"}"#),
        ("POST /v1/api-keys", r#"{"id":"board"}"#),
        ("POST /v1/api-keys", r#"{"id":"a b"}"#),
        ("POST /v1/api-keys", r#"{"id":"a","scopes":[]}"#),
        ("POST /v1/api-keys", r#"{"id":"a","scopes":["read"]}"#),
        ("POST /v1/api-keys", r#"{"id":"a","scopes":["mqtt:publish:a#"]}"#),
        ("GET /v1/api-keys/ghost", ""),
        ("GET /v1/devices/ghost", ""),
        ("GET /v1/devices/a%20b", ""),
        ("GET /v1/devices?label=site", ""),
        ("GET /v1/devices?page_token=%21", ""),
        ("GET /v1/devices?page_size=1&page_size=2", ""),
        ("GET /v1/devices/pump-7/events?page_token=wrong", ""),
        ("GET /v1/devices/pump-7/telemetry?from=yesterday", ""),
        ("GET /v1/devices/pump-7/telemetry?from=5&to=5", ""),
        ("GET /v1/devices/pump-7/telemetry?interval=5", ""),
        ("GET /v1/devices/pump-7/telemetry?agg=avg", ""),
        ("GET /v1/devices/pump-7/telemetry?interval=5m&agg=median", ""),
        ("GET /v1/devices/pump-7/telemetry?keys=a,/b", ""),
        ("GET /v1/live?streams=telemetry,logs", ""),
        ("GET /v1/devices/internal/telemetry/latest", ""),
        ("GET /v1/devices/panic/telemetry/latest", ""),
        ("GET /v2/devices", ""),
        ("PUT /v1/devices", ""),
    ];
    let mut answers = BTreeMap::new();
    for (call, body) in calls {
        let answer = rest.call(call, body).await;
        assert_eq!(answer.header("content-type"), "application/problem+json", "{call}");
        answers.insert(format!("{call} {body}"), answer.json());
    }
    insta::assert_json_snapshot!(answers);
    assert!(!json!(answers).to_string().contains("/var/lib"));
}

#[tokio::test]
async fn a_bound_of_the_server_is_no_fault_of_the_caller() {
    let rest = Rest::start().await;
    let body =
        problem(&rest.get("/v1/deadletters?page_token=large").await, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(body.get("errors"), None);
}

#[tokio::test]
async fn a_wrong_token_of_a_range_is_named() {
    let rest = Rest::start().await;
    rest.call("POST /v1/devices", r#"{"id":"pump-7"}"#).await;
    let answer = rest.get("/v1/devices/pump-7/telemetry?page_token=wrong").await;
    assert_eq!(problem(&answer, StatusCode::BAD_REQUEST)["errors"][0]["field"], "page_token");
}

#[tokio::test]
async fn a_wrong_method_is_told_which_ones_there_are() {
    let rest = Rest::start().await;
    let answer = rest.call("PUT /v1/devices", "").await;
    problem(&answer, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.header("allow"), "POST,GET,HEAD");
}

#[tokio::test]
async fn a_body_must_be_json_of_a_bounded_size() {
    let rest = Rest::start().await;
    for media_type in ["text/plain", ""] {
        let answer = Request::post("/v1/devices").header("authorization", format!("Bearer {}", world::TOKEN));
        let answer = answer.header("content-type", media_type).body(Body::from(r#"{"id":"a"}"#)).unwrap();
        problem(&rest.read(answer).await, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let large = format!(r#"{{"id":"{}"}}"#, "a".repeat(1 << 20));
    problem(&rest.call("POST /v1/devices", &large).await, StatusCode::PAYLOAD_TOO_LARGE);
    let deep = format!(r#"{{"labels":{}"#, r#"{"a":"#.repeat(100_000));
    problem(&rest.call("POST /v1/devices", &deep).await, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_if_match_that_is_no_version_is_refused() {
    let rest = Rest::start().await;
    rest.call("POST /v1/devices", r#"{"id":"a"}"#).await;
    let patch = request("PATCH /v1/devices/a", "{}").header("if-match", "1").body(Body::from("{}")).unwrap();
    let body = problem(&rest.read(patch).await, StatusCode::BAD_REQUEST);
    assert_eq!(body["errors"][0]["field"], "If-Match");
}

#[tokio::test]
async fn a_request_too_many_is_told_to_come_again() {
    let rest = Rest::with_bounds(1, 1).await;
    rest.call("POST /v1/devices", r#"{"id":"stuck"}"#).await;
    let stuck = rest.get("/v1/devices/stuck/telemetry/latest");
    let mut stuck = std::pin::pin!(stuck);
    let second = tokio::select! {
        biased;
        _ = stuck.as_mut() => panic!("it never answers"),
        answer = async {
            loop {
                let answer = rest.get("/v1/devices").await;
                if answer.status != StatusCode::OK {
                    break answer;
                }
            }
        } => answer,
    };
    problem(&second, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(second.header("retry-after"), "1");
    let health = rest.read(Request::get("/v1/health").body(Body::empty()).unwrap()).await;
    assert_eq!(health.status, StatusCode::OK);
}

#[tokio::test]
async fn the_document_says_what_it_always_said() {
    let rest = Rest::start().await;
    let mut document = rest.document().await;
    assert_eq!(document["openapi"], "3.1.0");
    document["info"]["version"] = json!("…");
    insta::assert_json_snapshot!(document);
}
