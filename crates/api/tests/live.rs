//! The live stream.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail in this way")]

mod stub;
mod world;

use axum::body::Body;
use http::StatusCode;
use http_body_util::BodyExt;
use stub::{Rest, request};

async fn open(rest: &Rest, query: &str) -> Body {
    let answer = rest.send(request(&format!("GET /v1/live{query}"), "").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    answer.into_body()
}

async fn next(body: &mut Body) -> Option<String> {
    let frame = body.frame().await?.unwrap();
    Some(String::from_utf8(frame.into_data().unwrap().into()).unwrap())
}

#[tokio::test]
async fn a_stream_shows_what_was_asked_for_and_no_other_tenants() {
    let rest = Rest::start().await;
    let live = &rest.world.env.live;
    let mut one = open(&rest, "?devices=pump.7&streams=telemetry").await;
    let mut all = open(&rest, "").await;
    live.publish("telemetry.acme.pump%2E7", "acme".into());
    live.publish("event.default.pump%2E7", r#"{"device":"pump.7","ts":1,"event":{}}"#.into());
    assert_eq!(
        next(&mut all).await.unwrap(),
        "event: events\ndata: {\"device\":\"pump.7\",\"ts\":1,\"event\":{}}\n\n"
    );
    live.publish("telemetry.default.other", "{}".into());
    assert_eq!(next(&mut all).await.unwrap(), "event: telemetry\ndata: {}\n\n");
    live.publish("telemetry.default.pump%2E7", r#"{"device":"pump.7"}"#.into());
    assert_eq!(next(&mut one).await.unwrap(), "event: telemetry\ndata: {\"device\":\"pump.7\"}\n\n");
}

#[tokio::test]
async fn a_slow_reader_is_told_how_much_it_lost() {
    let rest = Rest::start().await;
    let mut body = open(&rest, "?streams=telemetry").await;
    for number in 0..1_500 {
        rest.world.env.live.publish("telemetry.default.a", format!("{number}").into());
    }
    assert_eq!(next(&mut body).await.unwrap(), "event: lagged\ndata: {\"lost\":476}\n\n");
    assert_eq!(next(&mut body).await.unwrap(), "event: telemetry\ndata: 0\n\n");
    assert_eq!(next(&mut body).await.unwrap(), "event: telemetry\ndata: 1\n\n");
}

#[tokio::test]
async fn streams_are_bounded_and_end_when_the_server_stops() {
    let rest = Rest::with_bounds(16, 1).await;
    let mut body = open(&rest, "").await;
    let second = rest.get("/v1/live").await;
    assert_eq!((second.status, second.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    drop(body);
    body = open(&rest, "").await;
    rest.world.env.stop.begin_drain();
    assert_eq!(next(&mut body).await, None);
}
