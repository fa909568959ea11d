//! A stream service with canned answers, and REST calls without a socket.
#![allow(dead_code, reason = "each test uses a part of it")]

mod feed;

use axum::Router;
use axum::body::Body;
use drover_proto::stream::v1::feed_server::FeedServer;
use drover_proto::stream::v1::telemetry_server::{Telemetry, TelemetryServer};
use drover_proto::stream::v1::*;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tonic::{Response, Status};
use tower::ServiceExt;

use crate::world::{TOKEN, World};

/// Answers with what it was asked, so that a test sees what a call became.
pub struct Stub;

fn sample(value: value::Kind, flags: u32) -> Option<Sample> {
    Some(Sample {
        ts_us: 1_500_999,
        value: Some(drover_proto::stream::v1::Value { kind: Some(value) }),
        flags,
    })
}

#[tonic::async_trait]
impl Telemetry for Stub {
    type QueryStream = BoxStream<'static, Result<QueryResponse, Status>>;

    async fn query(
        &self,
        request: tonic::Request<QueryRequest>,
    ) -> Result<Response<Self::QueryStream>, Status> {
        let request = request.into_inner();
        let pieces = match request.sql.as_str() {
            "waits" => return Ok(Response::new(stream::pending().boxed())),
            "wrong" => vec![Err(Status::invalid_argument("line 1, column 1: that is no query"))],
            "breaks" => vec![Ok("{"), Err(Status::unavailable("the disk is gone"))],
            _ => vec![Ok("{\"rows\":"), Ok("[]}")],
        };
        let piece = |piece: &'static str| QueryResponse { piece: piece.into() };
        Ok(Response::new(stream::iter(pieces).map_ok(piece).boxed()))
    }

    async fn range(&self, request: tonic::Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let request = request.into_inner();
        if request.page_token == "wrong" {
            return Err(Status::invalid_argument("page_token is not one that this list gave out"));
        }
        let next_page_token = if request.limit == 0 { "" } else { "next" }.to_owned();
        let asked = format!("{request:?}");
        let samples = vec![sample(value::Kind::Text(asked), 0).unwrap()];
        let series = vec![Series { key: "asked".into(), samples }];
        Ok(Response::new(RangeResponse { series, incomplete: vec!["shard 3".into()], next_page_token }))
    }

    async fn latest(
        &self,
        request: tonic::Request<LatestRequest>,
    ) -> Result<Response<LatestResponse>, Status> {
        let LatestRequest { device, page_token } = request.into_inner();
        match device.as_str() {
            "panic" => panic!("on purpose"),
            "internal" => return Err(Status::internal("secret path /var/lib")),
            "stuck" => std::future::pending().await,
            _ => {}
        }
        let values = [
            ("speed", value::Kind::Number(1_200.0), 1),
            ("temp", value::Kind::Number(21.5), 0),
            ("on", value::Kind::Truth(true), 0),
            ("mode", value::Kind::Text("auto".into()), 0),
        ];
        let values =
            values.map(|(key, value, flags)| LatestValue { key: key.into(), sample: sample(value, flags) });
        let next_page_token = if page_token.is_empty() { String::new() } else { format!("{page_token}2") };
        Ok(Response::new(LatestResponse { values: values.into(), next_page_token }))
    }

    async fn list_latest(
        &self,
        request: tonic::Request<ListLatestRequest>,
    ) -> Result<Response<ListLatestResponse>, Status> {
        let ListLatestRequest { page_size, page_token } = request.into_inner();
        let kind = Some(keyed_sample::Kind::Number(0.5));
        let sample = KeyedSample { key: 1, ts_us: 1_500_000, flags: 0, kind };
        let devices =
            vec![DeviceLatest { device: format!("{page_size}{page_token}"), samples: vec![sample] }];
        let keys = vec!["other".into(), "temp".into()];
        Ok(Response::new(ListLatestResponse { devices, next_page_token: "next".into(), keys }))
    }

    async fn list_events(
        &self,
        request: tonic::Request<ListEventsRequest>,
    ) -> Result<Response<ListEventsResponse>, Status> {
        let ListEventsRequest { page_size, page_token, .. } = request.into_inner();
        if page_token == "wrong" {
            return Err(Status::invalid_argument("page_token is not one that this list gave out"));
        }
        let json = format!("{{\"page_size\": {page_size}, \"page_token\": {page_token:?}}}");
        Ok(Response::new(ListEventsResponse {
            events: vec![Event { ts_us: 2_000, json }],
            next_page_token: "next".into(),
        }))
    }

    async fn list_dead_letters(
        &self,
        request: tonic::Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        let ListDeadLettersRequest { page_size, page_token } = request.into_inner();
        match page_token.as_str() {
            "stuck" => std::future::pending::<()>().await,
            "large" => return Err(Status::out_of_range("Error, decoded message length too large")),
            _ => {}
        }
        let dead_letters = vec![DeadLetter {
            device: "pump-7".into(),
            topic: "v1/telemetry".into(),
            received_us: 1_500_000,
            reason: format!("{page_size}{page_token}"),
            payload: b"not json".to_vec(),
        }];
        Ok(Response::new(ListDeadLettersResponse { dead_letters, next_page_token: "next".into() }))
    }

    async fn get_ledger(
        &self,
        _: tonic::Request<GetLedgerRequest>,
    ) -> Result<Response<GetLedgerResponse>, Status> {
        let refused = [("too_large".to_owned(), 2)].into();
        Ok(Response::new(GetLedgerResponse { accepted: 3, stored: 1, dead_lettered: 1, pending: 1, refused }))
    }
}

/// The REST server of a world of its own.
pub struct Rest {
    pub world: World,
    pub router: Router,
}

/// An answer, read to its end.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

impl Rest {
    pub async fn start() -> Self {
        Self::with_bounds(256, 256).await
    }

    pub async fn with_bounds(max_requests: usize, max_live_streams: usize) -> Self {
        let world = World::start_with(|stream| {
            stream.add_service(TelemetryServer::new(Stub)).add_service(FeedServer::new(Stub))
        })
        .await;
        let mqtt = toml::from_str(drover_mqtt::DEFAULTS).unwrap();
        drover_mqtt::build(mqtt, &world.env).await.unwrap().start(&world.env);
        let config = drover_api::Config {
            max_connections: 16,
            max_connections_per_source: 16,
            max_requests,
            max_live_streams,
            max_grpc_calls: 256,
            websocket_origins: Vec::new(),
        };
        let router = drover_api::router(&config, &world.env);
        Self { world, router }
    }

    pub async fn send(&self, request: Request<Body>) -> http::Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub async fn read(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.send(request).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.into()).unwrap(),
        }
    }

    /// A call by the administrator; `call` is method, space, path.
    pub async fn call(&self, call: &str, body: &str) -> Answer {
        self.call_as("default", call, body).await
    }

    pub async fn call_as(&self, tenant: &str, call: &str, body: &str) -> Answer {
        self.read(
            request(call, body).header("x-drover-tenant", tenant).body(Body::from(body.to_owned())).unwrap(),
        )
        .await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(&format!("GET {path}"), "").await
    }

    pub async fn document(&self) -> Value {
        self.get("/openapi.json").await.json()
    }
}

/// The start of a request with the administrator's token.
pub fn request(call: &str, body: &str) -> http::request::Builder {
    let (method, path) = call.split_once(' ').unwrap();
    let builder =
        Request::builder().method(method).uri(path).header("authorization", format!("Bearer {TOKEN}"));
    if body.is_empty() { builder } else { builder.header("content-type", "application/json") }
}
