//! `/v1/sessions`: the MQTT sessions of a tenant, connected or not.

use axum::extract::{Path, State};
use drover_model::Timestamp;
use drover_proto::mqtt::v1 as pb;
use http::StatusCode;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::Shared;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::{Json, Pairs, Query, ReadQuery};
use crate::page::{Page, PageQuery};

/// Session Expiry Interval of a session that never ends by itself (MQTT 5, 3.1.2.11.2).
const NEVER: u32 = u32::MAX;

/// What the server keeps of an MQTT client.
#[derive(Debug, Serialize, ToSchema)]
pub struct Session {
    /// Names it for ever; another session of the same client has another one.
    #[schema(example = "42")]
    pub id: String,
    #[schema(example = "pump-7")]
    pub client_id: String,
    /// Whose client id it is: `device:<id>`, `app:<key id>`; absent for clients without credentials.
    #[schema(example = "device:pump-7")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    pub connected: bool,
    /// When its client left, RFC 3339; absent while it is connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub offline_since: Option<String>,
    /// How long it outlives its connection, in seconds; absent when for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 3600)]
    pub expiry_s: Option<u32>,
    pub subscriptions: Vec<Subscription>,
    /// Messages for the client that it has not acknowledged.
    #[schema(example = 0)]
    pub queued: u64,
    #[schema(example = 0)]
    pub queued_bytes: u64,
    /// Whether a will is published should the client not come back.
    pub has_will: bool,
}

/// What a session is subscribed to, with the options of MQTT 5, 3.8.3.1.
#[derive(Debug, Serialize, ToSchema)]
pub struct Subscription {
    #[schema(example = "dev/pump-7/#")]
    pub filter: String,
    #[schema(example = 1)]
    pub qos: u32,
    pub no_local: bool,
    pub retain_as_published: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<u32>,
}

impl From<pb::Session> for Session {
    fn from(session: pb::Session) -> Self {
        let offline_since = Timestamp::from_micros(session.offline_since_us).to_string();
        Self {
            id: session.id.to_string(),
            client_id: session.client_id,
            owner: (!session.owner.is_empty()).then_some(session.owner),
            connected: session.connected,
            offline_since: (!session.connected).then_some(offline_since),
            expiry_s: (session.expiry_s != NEVER).then_some(session.expiry_s),
            subscriptions: session.subscriptions.into_iter().map(Subscription::from).collect(),
            queued: session.queued,
            queued_bytes: session.queued_bytes,
            has_will: session.has_will,
        }
    }
}

impl From<pb::Subscription> for Subscription {
    fn from(subscription: pb::Subscription) -> Self {
        Self {
            filter: subscription.filter,
            qos: subscription.qos,
            no_local: subscription.no_local,
            retain_as_published: subscription.retain_as_published,
            subscription_id: (subscription.subscription_id != 0).then_some(subscription.subscription_id),
        }
    }
}

/// Which sessions are wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SessionsQuery {
    /// Only the sessions with this client id.
    #[param(value_type = String, required = false, example = "pump-7")]
    pub client_id: String,
    /// Only the sessions of this owner: `device:<id>`, or `app:<key id>` for the applications with an API key.
    #[param(value_type = String, required = false, example = "device:pump-7")]
    pub owner: String,
}

impl ReadQuery for SessionsQuery {
    fn read(pairs: &Pairs) -> Result<Self, Problem> {
        Ok(Self { client_id: pairs.text("client_id")?, owner: pairs.text("owner")? })
    }
}

/// List the MQTT sessions
///
/// Older ones first.
#[utoipa::path(
    get, path = "/v1/sessions", tag = "Sessions", operation_id = "listSessions", params(PageQuery, SessionsQuery),
    responses((status = 200, description = "A page of sessions", body = Page<Session>)),
)]
pub async fn list(
    State(api): Shared,
    Caller(tenant): Caller,
    Query(page): Query<PageQuery>,
    Query(wanted): Query<SessionsQuery>,
) -> Result<Json<Page<Session>>, Problem> {
    let PageQuery { page_size, page_token } = page;
    let SessionsQuery { client_id, owner } = wanted;
    let request = pb::ListSessionsRequest { page_size, page_token, client_id, owner };
    let answer = api.sessions.clone().list_sessions(drover_rpc::request(&tenant, request)).await;
    let answer = answer.map_err(|status| Problem::of_field("page_token", &status))?.into_inner();
    let items = answer.sessions.into_iter().map(Session::from).collect();
    Ok(Json(Page { items, next_page_token: answer.next_page_token }))
}

/// Get one MQTT session
#[utoipa::path(
    get, path = "/v1/sessions/{id}", tag = "Sessions", operation_id = "getSession",
    params(("id" = String, Path, description = "Id of the session", example = "42")),
    responses((status = 200, description = "The session", body = Session)),
)]
pub async fn get(
    State(api): Shared,
    Caller(tenant): Caller,
    Path(id): Path<String>,
) -> Result<Json<Session>, Problem> {
    let request = drover_rpc::request(&tenant, pb::GetSessionRequest { id: number(&id)? });
    let answer = api.sessions.clone().get_session(request).await?.into_inner();
    answer.session.map(|session| Json(session.into())).ok_or_else(Problem::internal)
}

/// End an MQTT session
///
/// With everything that waits in it. A connected client is disconnected (MQTT 5: 0x98), and may begin a new session at once. Its will
/// is published.
#[utoipa::path(
    delete, path = "/v1/sessions/{id}", tag = "Sessions", operation_id = "endSession",
    params(("id" = String, Path, description = "Id of the session", example = "42")),
    responses((status = 204, description = "Ended")),
)]
pub async fn end(
    State(api): Shared,
    Caller(tenant): Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let request = drover_rpc::request(&tenant, pb::EndSessionRequest { id: number(&id)? });
    api.sessions.clone().end_session(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn number(id: &str) -> Result<u64, Problem> {
    id.parse().map_err(|_| Problem::field("id", "the id of a session is a number; the list has it"))
}
