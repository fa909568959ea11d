//! `GET /v1/topics/live`: what is published on the tenant's free MQTT topics, as it comes, as server-sent events.

use std::convert::Infallible;
use std::future::ready;

use axum::extract::State;
use axum::response::sse::{Event, Sse};
use drover_backbone::{LiveMessage, Subscription, token};
use drover_model::Scope;
use drover_mqtt_codec::topic::{TopicFilter, is_within, matches};
use futures_util::{Stream, StreamExt};
use utoipa::IntoParams;

use crate::auth::{ByKey, Caller, Key};
use crate::error::{PROBLEM_JSON, Problem, Sort};
use crate::extract::{Pairs, Query, ReadQuery};
use crate::{Shared, sse};

/// Which topics are to be watched.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TopicsQuery {
    /// A topic filter of MQTT; all topics when absent.
    #[param(value_type = String, required = false, example = "plant/+/state")]
    pub filter: String,
}

impl ReadQuery for TopicsQuery {
    fn read(pairs: &Pairs) -> Result<Self, Problem> {
        let filter = pairs.one("filter")?.unwrap_or("#").to_owned();
        let parsed = TopicFilter::parse(&filter).map_err(|error| Problem::field("filter", error))?;
        if parsed.group().is_some() {
            return Err(Problem::field("filter", "a watcher shares with nobody; leave $share out"));
        }
        Ok(Self { filter })
    }
}

/// Watch MQTT topics
///
/// Server-sent events: `event: message` has the data `{"topic","ts","qos","retain","payload"}`, or `payload_base64` when the bytes are no text, and with MQTT 5
/// `properties`, as far as the message has any of `payload_is_utf8`, `message_expiry_s`, `content_type`, `response_topic`,
/// `correlation_data_base64`, `user_properties` (`[{"name","value"}]`).
/// Topics under `v1/` belong to devices and are not here: see `/v1/live`. An API key needs `mqtt:subscribe:<filter>` besides `api:read`. A reader that is too slow loses messages and is told: `event:
/// lagged` has `{"lost":n}`. A comment comes every 15 s without an event.
#[utoipa::path(
    get, path = "/v1/topics/live", tag = "Sessions", operation_id = "watchTopics", params(TopicsQuery),
    responses(
        (status = 200, description = "A stream that lasts until either side ends it", body = String, content_type = "text/event-stream",
            example = "event: message\ndata: {\"topic\":\"plant/7/state\",\"ts\":1795978800000,\"qos\":1,\"retain\":false,\"payload\":\"on\"}\n\n"),
        (status = 503, description = "Too many streams are open", body = Problem, content_type = PROBLEM_JSON),
    ),
)]
pub async fn watch(
    State(api): Shared,
    Caller(tenant): Caller,
    ByKey(key): ByKey,
    Query(query): Query<TopicsQuery>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    if let Some(key) = key.as_ref().filter(|key| !may_watch(key, &query.filter)) {
        let detail = format!("API key {} has no scope mqtt:subscribe:{}", key.id, query.filter);
        return Err(Problem::new(Sort::Denied, detail));
    }
    let place = sse::place(&api, &tenant)?;
    let subject = format!("message.{}", token(tenant.as_str()));
    let items = items(api.live.subscribe(&subject, None));
    let events = items.filter_map(move |item| {
        ready(match item {
            Item::Lagged(lost) => Some(lagged(lost)),
            Item::Message(message) => {
                let mut parts = message.payload.splitn(2, |byte| *byte == 0);
                let topic = parts.next().and_then(|topic| std::str::from_utf8(topic).ok());
                let is_wanted = topic.is_some_and(|topic| matches(&query.filter, topic));
                let data = parts.next().filter(|_| is_wanted).map(String::from_utf8_lossy);
                data.map(|data| Event::default().event("message").data(data))
            }
        })
    });
    Ok(sse::answer(&api, key, place, events))
}

/// What a key may not subscribe to by MQTT it does not see here either.
fn may_watch(key: &Key, filter: &str) -> bool {
    let covers = |scope: &Scope| match scope {
        Scope::Subscribe(allowed) => is_within(filter, allowed),
        Scope::Publish(_) | Scope::Read | Scope::Write => false,
    };
    key.scopes.iter().any(covers)
}

/// What a subscription has for its reader.
enum Item {
    Message(LiveMessage),
    /// So many messages were lost before the next one.
    Lagged(u64),
}

fn lagged(lost: u64) -> Event {
    Event::default().event("lagged").data(format!("{{\"lost\":{lost}}}"))
}

/// One subscription. Its queue is bounded; how many messages it lost is told before the next one.
fn items(subscription: Subscription) -> impl Stream<Item = Item> + Send {
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
