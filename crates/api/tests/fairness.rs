//! One tenant leaves room to the others: requests in work, bodies that do not come, live streams.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail in this way")]

mod stub;
mod world;

use std::convert::Infallible;

use axum::body::Body;
use bytes::Bytes;
use drover_testkit::eventually;
use http::StatusCode;
use stub::{Rest, request};

/// A body whose end never comes.
fn endless() -> Body {
    Body::from_stream(futures_util::stream::pending::<Result<Bytes, Infallible>>())
}

#[tokio::test]
async fn a_tenant_that_sends_slowly_takes_no_more_than_half_of_the_places() {
    let rest = Rest::with_bounds(4, 4).await;
    rest.call("POST /v1/tenants", r#"{"id":"slow"}"#).await;
    let slow = || async {
        let request = request("POST /v1/query", "{}").header("x-drover-tenant", "slow");
        rest.send(request.body(endless()).unwrap()).await.status()
    };
    let others = async {
        eventually("the tenant has its half", async || {
            let answer = rest.call_as("slow", "GET /v1/ledger", "").await;
            (answer.status == StatusCode::TOO_MANY_REQUESTS).then_some(())
        })
        .await;
        assert_eq!(rest.get("/v1/ledger").await.status, StatusCode::OK);
    };
    tokio::select! {
        (first, second) = async { tokio::join!(slow(), slow()) } => panic!("{first} {second}"),
        () = others => {}
    }
    assert_eq!(rest.call_as("slow", "GET /v1/ledger", "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_is_announced_as_too_long_is_refused_before_it_comes() {
    let rest = Rest::start().await;
    let request = request("POST /v1/devices", "{}").header("content-length", "100000000000");
    let answer = rest.send(request.body(endless()).unwrap()).await;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_tenant_has_half_of_the_live_streams() {
    let rest = Rest::with_bounds(16, 4).await;
    rest.call("POST /v1/tenants", r#"{"id":"other"}"#).await;
    let open = |tenant| {
        let request = request("GET /v1/topics/live", "").header("x-drover-tenant", tenant);
        rest.send(request.body(Body::empty()).unwrap())
    };
    let _open = [open("default").await, open("default").await];
    assert_eq!(open("default").await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(open("other").await.status(), StatusCode::OK);
}
