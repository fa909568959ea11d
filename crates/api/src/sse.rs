//! Server-sent events: an answer that lasts.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use drover_gateway::Place;
use drover_model::{Tenant, TenantId};
use futures_util::{Stream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;

use crate::Api;
use crate::auth::{self, Key};
use crate::error::{Problem, Sort};

/// A comment is sent after so long without an event, so that neither side takes the other for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A place among the streams that are open, and among those of the tenant.
pub struct StreamPlace {
    _stream: OwnedSemaphorePermit,
    _tenant: Place<TenantId>,
}

/// Takes one.
pub fn place(api: &Api, tenant: &Tenant) -> Result<StreamPlace, Problem> {
    let stream = api.live_streams.clone().try_acquire_owned().map_err(|_| {
        Problem::new(
            Sort::Unavailable,
            "too many live streams are open; close one, or raise api.max_live_streams",
        )
    })?;
    let tenant = api.tenants_watching.take(tenant.id()).ok_or_else(|| {
        Problem::new(
            Sort::Exhausted,
            "the tenant has its half of the live streams open; close one, or raise api.max_live_streams",
        )
    })?;
    Ok(StreamPlace { _stream: stream, _tenant: tenant })
}

/// Events until either side ends them, or the key is deleted that they were asked for with.
pub fn answer<S: Stream<Item = Event> + Send + 'static>(
    api: &Arc<Api>,
    key: Option<Key>,
    place: StreamPlace,
    events: S,
) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<S>> {
    let stop = api.stop.clone();
    let revoked = Box::pin(auth::revoked(api.clone(), key));
    let events = events
        .take_until(revoked)
        .take_until(async move { stop.drain().await })
        .map(move |event| held(&place, event));
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

/// The place is kept as long as the stream that this closes over.
fn held(_: &StreamPlace, event: Event) -> Result<Event, Infallible> {
    Ok(event)
}
