//! `GET /v1/live`: what devices send, as it comes, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use drover_backbone::{LiveMessage, Subscription, token};
use drover_model::{DeviceId, Tenant};
use futures_util::stream::{BoxStream, SelectAll};
use futures_util::{Stream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use utoipa::IntoParams;

use crate::auth::{self, ByKey, Caller, Key};
use crate::error::{PROBLEM_JSON, Problem, Sort};
use crate::extract::{Pairs, Query, ReadQuery};
use crate::{Api, Shared};

/// Most devices that one stream may name.
const MAX_DEVICES: usize = 256;
/// A comment is sent after so long without an event, so that neither side takes the other for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What can be watched: its name in the query and in events, the first token of its subjects.
const STREAMS: [(&str, &str); 2] = [("telemetry", "telemetry"), ("events", "event")];

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
        Ok(Self { devices: pairs.separated("devices", MAX_DEVICES)?, streams })
    }
}

/// Watch what devices send
///
/// Server-sent events. `event: telemetry` has the data `{"device","ts","values":{…}}`, with `"flags":["time_replaced"]`
/// when the device's time lay too far in the future, so that `ts` is the time of arrival; `event: events` has `{"device","ts","event":{…}}`.
/// A reader that is too slow loses messages and is told: `event: lagged` has `{"lost":n}`. A comment comes every 15 s without an event.
#[utoipa::path(
    get, path = "/v1/live", tag = "Telemetry", operation_id = "watch", params(LiveQuery),
    responses(
        (status = 200, description = "A stream that lasts until either side ends it", body = String, content_type = "text/event-stream",
            example = "event: telemetry\ndata: {\"device\":\"pump-7\",\"ts\":1795978800000,\"values\":{\"temp\":21.5}}\n\n"),
        (status = 503, description = "Too many streams are open", body = Problem, content_type = PROBLEM_JSON),
    ),
)]
pub async fn watch(
    State(api): Shared,
    Caller(tenant): Caller,
    ByKey(key): ByKey,
    Query(query): Query<LiveQuery>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let events = subscribe(&api, &tenant, &query);
    stream(&api, key, events)
}

/// Events as an answer that lasts until either side ends it or the key is deleted that it was asked for with, if there is room for one
/// more.
pub fn stream<S: Stream<Item = Event> + Send + 'static>(
    api: &Arc<Api>,
    key: Option<Key>,
    events: S,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>> + use<S>>, Problem> {
    let permit = api.live_streams.clone().try_acquire_owned().map_err(|_| {
        Problem::new(
            Sort::Unavailable,
            "too many live streams are open; close one, or raise api.max_live_streams",
        )
    })?;
    let stop = api.stop.clone();
    let revoked = Box::pin(auth::revoked(api.clone(), key));
    let events = events
        .take_until(revoked)
        .take_until(async move { stop.drain().await })
        .map(move |event| held(&permit, event));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// The permit lives as long as the stream that this closes over.
fn held(_: &OwnedSemaphorePermit, event: Event) -> Result<Event, Infallible> {
    Ok(event)
}

fn subscribe(api: &Arc<Api>, tenant: &Tenant, query: &LiveQuery) -> SelectAll<BoxStream<'static, Event>> {
    let mut all = SelectAll::new();
    for (name, subject) in STREAMS {
        if !query.streams.is_empty() && !query.streams.iter().any(|stream| stream == name) {
            continue;
        }
        let prefix = format!("{subject}.{}", token(tenant.as_str()));
        if query.devices.is_empty() {
            all.push(events(name, api.live.subscribe(&format!("{prefix}.*"), None)));
        }
        for device in &query.devices {
            let subject = format!("{prefix}.{}", token(device.as_str()));
            all.push(events(name, api.live.subscribe(&subject, None)));
        }
    }
    all
}

fn events(name: &'static str, subscription: Subscription) -> BoxStream<'static, Event> {
    let event = move |item| match item {
        Item::Lagged(lost) => lagged(lost),
        Item::Message(message) => {
            Event::default().event(name).data(String::from_utf8_lossy(&message.payload))
        }
    };
    items(subscription).map(event).boxed()
}

/// What a subscription has for its reader.
pub enum Item {
    Message(LiveMessage),
    /// So many messages were lost before the next one.
    Lagged(u64),
}

pub fn lagged(lost: u64) -> Event {
    Event::default().event("lagged").data(format!("{{\"lost\":{lost}}}"))
}

/// One subscription. Its queue is bounded; how many messages it lost is told before the next one.
pub fn items(subscription: Subscription) -> impl Stream<Item = Item> + Send {
    let start = (subscription, 0_u64, None);
    futures_util::stream::unfold(start, move |(mut subscription, told, waiting)| async move {
        let message = match waiting {
            Some(message) => message,
            None => subscription.next().await?,
        };
        let lost = subscription.lagged();
        if lost > told {
            return Some((Item::Lagged(lost - told), (subscription, lost, Some(message))));
        }
        Some((Item::Message(message), (subscription, told, None)))
    })
}
