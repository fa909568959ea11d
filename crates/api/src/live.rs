//! `GET /v1/live`: what devices send, as it comes or from a place in the feed on, as server-sent events or over WebSocket.

mod message;
pub mod web_socket;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use drover_model::{DeviceId, TelemetryKey, Tenant};
use drover_proto::stream::v1 as pb;
use futures_util::stream;
use http::{HeaderName, HeaderValue};
use tonic::Streaming;
use utoipa::IntoParams;

use crate::auth::{self, ByKey, Caller, Key};
use crate::error::{PROBLEM_JSON, Problem};
use crate::extract::{Pairs, Query, ReadQuery};
use crate::sse::{self, StreamPlace};
use crate::{Api, Shared};
use message::Message;
use web_socket::{Goodbye, Handshake};

/// Most devices, and most keys, that one stream may name.
const MAX_NAMES: usize = 256;
/// Where a browser that connects again says what it got last.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What can be watched.
const STREAMS: [(&str, pb::FeedStream); 2] =
    [("telemetry", pb::FeedStream::Telemetry), ("events", pb::FeedStream::Events)];

/// What is to be watched.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LiveQuery {
    /// Devices, separated by commas; all when absent.
    #[param(value_type = String, required = false, example = "pump-7,pump-8")]
    pub devices: Vec<DeviceId>,
    /// Any of `telemetry` and `events`, separated by commas; both when absent.
    #[param(value_type = String, required = false, example = "telemetry")]
    pub streams: Vec<String>,
    /// Keys of telemetry, separated by commas: other values are left out, and measurements without any of them. All when absent.
    #[param(value_type = String, required = false, example = "temp,state")]
    pub keys: Vec<TelemetryKey>,
    /// The `id` of the last event of an earlier stream with the same question: this one goes on behind it. Now when absent. For who
    /// can't set `Last-Event-ID`, which counts before this.
    #[param(required = false)]
    pub cursor: String,
}

impl ReadQuery for LiveQuery {
    fn read(pairs: &Pairs) -> Result<Self, Problem> {
        let streams: Vec<String> = pairs.separated("streams", STREAMS.len())?;
        if let Some(stream) = streams.iter().find(|stream| !STREAMS.iter().any(|(name, _)| name == stream)) {
            return Err(Problem::field(
                "streams",
                format!("{stream:?} is not known; use telemetry or events"),
            ));
        }
        Ok(Self {
            devices: pairs.separated("devices", MAX_NAMES)?,
            streams,
            keys: pairs.separated("keys", MAX_NAMES)?,
            cursor: pairs.text("cursor")?,
        })
    }
}

/// Watch what devices send
///
/// Server-sent events. `event: telemetry` has the data `{"device","ts","values":{…}}`, with `"flags":["time_replaced"]`
/// when the device's time lay too far in the future, so that `ts` is the time of arrival; `event: events` has `{"device","ts","event":{…}}`.
///
/// Every event has an `id`, also one without data, which comes at first and then every 15 s without another. A stream that is asked for with
/// it, as the header `Last-Event-ID` (which browsers send by themselves) or as `cursor`, goes on behind it, without loss or repetition,
/// for as long as the log keeps what came since. When it doesn't, and when a reader is so slow that it falls behind that, `event: gap`
/// has `{"until","frames"?}`: of what arrived before that time something may be missing, which is among the telemetry and events that are stored.
///
/// With `Upgrade: websocket` the same comes over WebSocket, each message a JSON text `{"event","id","data"}`; `position` is the event without data. The
/// subprotocol is `drover.live.v1`; pages, which can't set `Authorization`, offer `bearer.<token>` beside it, and their origin is this host
/// or among `api.websocket_origins`. The server pings every 15 s and says why it closes; it takes no messages.
#[utoipa::path(
    get, path = "/v1/live", tag = "Telemetry", operation_id = "watch",
    params(LiveQuery, ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event of an earlier stream")),
    responses(
        (status = 200, description = "A stream that lasts until either side ends it", body = String, content_type = "text/event-stream",
            example = "event: telemetry\nid: AQEUZ-3yrw\ndata: {\"device\":\"pump-7\",\"ts\":1795978800000,\"values\":{\"temp\":21.5}}\n\n"),
        (status = 101, description = "The same over WebSocket"),
        (status = 429, description = "Too many readers of the feed", body = Problem, content_type = PROBLEM_JSON),
        (status = 503, description = "Too many streams are open", body = Problem, content_type = PROBLEM_JSON),
    ),
)]
pub async fn watch(
    State(api): Shared,
    Caller(tenant): Caller,
    ByKey(key): ByKey,
    Query(query): Query<LiveQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let last_id = parts.headers.get(LAST_EVENT_ID).cloned();
    let handshake = if web_socket::is_asked_for(&parts.headers) {
        Some(Handshake::agree(parts, &api.websocket_origins)?)
    } else {
        None
    };
    let place = sse::place(&api, &tenant)?;
    let answers = subscribe(&api, &tenant, query, last_id).await?;
    if let Some(handshake) = handshake {
        return over_web_socket(&api, key, (answers, place), handshake);
    }
    // What breaks off is asked for again by the reader, with the last id.
    let events = stream::unfold(answers, async |mut answers| {
        let answer = answers.message().await.ok().flatten()?;
        Some((event(answer.into()), answers))
    });
    Ok(sse::answer(&api, key, place, events).into_response())
}

fn event(Message { event, id, data }: Message) -> Event {
    match data {
        Some(data) => Event::default().event(event).id(id).data(data.to_string()),
        None => Event::default().id(id),
    }
}

fn over_web_socket(
    api: &Arc<Api>,
    key: Option<Key>,
    (answers, place): (Streaming<pb::SubscribeResponse>, StreamPlace),
    handshake: Handshake,
) -> Result<Response, Problem> {
    let (response, connection) = handshake.complete()?;
    let (revoked, stop) = (auth::revoked(api.clone(), key), api.stop.clone());
    api.tasks.track(async move {
        // Cancel-safe: both only wait.
        let end = async move {
            tokio::select! {
                () = revoked => Goodbye::revoked(),
                () = stop.drain() => Goodbye::stop(),
            }
        };
        connection.serve(answers, end).await;
        drop(place);
    });
    Ok(response)
}

async fn subscribe(
    api: &Api,
    tenant: &Tenant,
    query: LiveQuery,
    last_id: Option<HeaderValue>,
) -> Result<Streaming<pb::SubscribeResponse>, Problem> {
    let (field, cursor) = match last_id {
        Some(id) => ("Last-Event-ID", String::from_utf8_lossy(id.as_bytes()).into_owned()),
        None => ("cursor", query.cursor),
    };
    let is_wanted =
        |name: &str| query.streams.is_empty() || query.streams.iter().any(|stream| stream == name);
    let streams = STREAMS.iter().filter(|(name, _)| is_wanted(name)).map(|(_, stream)| (*stream).into());
    let request = pb::SubscribeRequest {
        cursor,
        group: String::new(),
        devices: query.devices.iter().map(ToString::to_string).collect(),
        streams: streams.collect(),
        keys: query.keys.iter().map(ToString::to_string).collect(),
    };
    let answers = api.feed.clone().subscribe(drover_rpc::request(tenant, request)).await;
    answers.map(tonic::Response::into_inner).map_err(|status| Problem::of_field(field, &status))
}
