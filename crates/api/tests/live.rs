//! The live stream.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail in this way")]

mod stub;
mod world;

use axum::body::Body;
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::json;
use stub::{Rest, request};

async fn open(rest: &Rest, query: &str, last_id: &str) -> Body {
    let mut head = request(&format!("GET /v1/live{query}"), "");
    if !last_id.is_empty() {
        head = head.header("last-event-id", last_id);
    }
    let answer = rest.send(head.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    answer.into_body()
}

async fn next(body: &mut Body) -> Option<String> {
    let frame = body.frame().await?.unwrap();
    Some(String::from_utf8(frame.into_data().unwrap().into()).unwrap())
}

#[tokio::test]
async fn a_stream_shows_measurements_events_and_gaps_with_their_places() {
    let rest = Rest::start().await;
    let mut body = open(&rest, "", "").await;
    assert_eq!(next(&mut body).await.unwrap(), "id: 0\n\n");
    let asked = r#"default \"\" [] [1, 2] []"#;
    assert_eq!(
        next(&mut body).await.unwrap(),
        format!(
            "event: telemetry\nid: 1\ndata: {{\"device\":\"pump.7\",\"flags\":[\"time_replaced\"],\"ts\":1500,\
             \"values\":{{\"asked\":\"{asked}\",\"on\":true,\"temp\":21}}}}\n\n"
        )
    );
    assert_eq!(
        next(&mut body).await.unwrap(),
        "event: events\nid: 2\ndata: {\"device\":\"pump.7\",\"event\":{\"door\":\"open\"},\"ts\":2000}\n\n"
    );
    assert_eq!(next(&mut body).await.unwrap(), "event: gap\nid: 3\ndata: {\"frames\":7,\"until\":3000}\n\n");
}

#[tokio::test]
async fn a_stream_asks_the_feed_for_what_it_was_asked_for() {
    let rest = Rest::start().await;
    let query = "?devices=pump.7,fan&streams=telemetry&keys=temp&cursor=there";
    for (last_id, cursor) in [("", "there"), ("here", "here")] {
        let mut body = open(&rest, query, last_id).await;
        next(&mut body).await.unwrap();
        let data = next(&mut body).await.unwrap();
        let expected = format!(r#"default \"{cursor}\" [\"pump.7\", \"fan\"] [1] [\"temp\"]"#);
        assert!(data.contains(&expected), "{data}");
    }
}

#[tokio::test]
async fn a_place_that_the_feed_does_not_know_is_refused_by_the_name_it_came_with() {
    let rest = Rest::start().await;
    let refused = rest.get("/v1/live?cursor=wrong").await;
    assert_eq!(
        (refused.status, &refused.json()["errors"]),
        (
            StatusCode::BAD_REQUEST,
            &json!([{"field": "cursor", "detail": "is not one that this server gave out"}])
        )
    );
    let request = request("GET /v1/live", "").header("last-event-id", "wrong").body(Body::empty()).unwrap();
    assert_eq!(rest.read(request).await.json()["errors"][0]["field"], json!("Last-Event-ID"));
}

#[tokio::test]
async fn a_stream_ends_where_the_feed_breaks_off() {
    let rest = Rest::start().await;
    let body = open(&rest, "?devices=broken", "").await;
    let text = body.collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&text).ends_with("\"until\":3000}\n\n"));
}

#[tokio::test]
async fn streams_are_bounded_and_end_when_the_server_stops() {
    let rest = Rest::with_bounds(16, 1).await;
    let body = open(&rest, "", "").await;
    let second = rest.get("/v1/live").await;
    assert_eq!((second.status, second.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    drop(body);
    let body = open(&rest, "", "").await;
    rest.world.env.stop.begin_drain();
    body.collect().await.unwrap();
}
