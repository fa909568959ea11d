//! The gRPC service for operators: sessions are listed, shown, ended.

use std::sync::Arc;

use drover_model::{Kind, Timestamp};
use drover_proto::mqtt::v1 as pb;
use drover_rpc::{Page, status};
use tonic::{Request, Response, Status};

use crate::gateway::Gateway;
use crate::session::{Ending, Session, Subscription};
use crate::space::Space;

/// `drover.mqtt.v1.Sessions`.
pub(crate) struct Sessions(pub(crate) Arc<Gateway>);

impl Sessions {
    /// The space of the caller's tenant; `None` when it has had no client.
    fn space<T>(&self, request: &Request<T>) -> Result<Option<Arc<Space>>, Status> {
        Ok(self.0.spaces.find(drover_rpc::tenant(request)?.id()))
    }

    fn find<T>(&self, request: &Request<T>, id: u64) -> Result<(Arc<Space>, Arc<Session>), Status> {
        let space = self.space(request)?;
        let found = space.and_then(|space| space.session(id).map(|session| (space, session)));
        // One that waits for its will only.
        let found = found.filter(|(_, session)| !session.state.lock().has_ended);
        found.ok_or_else(|| status(Kind::NotFound, format!("there is no session {id}")))
    }
}

#[tonic::async_trait]
impl pb::sessions_server::Sessions for Sessions {
    async fn list_sessions(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Result<Response<pb::ListSessionsResponse>, Status> {
        let space = self.space(&request)?;
        let pb::ListSessionsRequest { page_size, page_token, client_id, owner } = request.into_inner();
        let invalid = |error: drover_rpc::PageError| status(Kind::Invalid, error.to_string());
        let page = Page::parse(page_size, &page_token).map_err(invalid)?;
        let after = page.position(0, |text| text.parse().ok()).map_err(invalid)?;
        let is_wanted = |session: &Session| {
            (client_id.is_empty() || *session.key.client_id == *client_id)
                && (owner.is_empty() || session.key.owner.to_string() == owner)
                && !session.state.lock().has_ended
        };
        let mut sessions =
            space.map(|space| space.list(after, page.rows_usize(), is_wanted)).unwrap_or_default();
        let next_page_token = page.cut(&mut sessions, |session| session.number.to_string());
        let sessions = sessions.iter().map(|session| encode(session)).collect();
        Ok(Response::new(pb::ListSessionsResponse { sessions, next_page_token }))
    }

    async fn get_session(
        &self,
        request: Request<pb::GetSessionRequest>,
    ) -> Result<Response<pb::GetSessionResponse>, Status> {
        let (_, session) = self.find(&request, request.get_ref().id)?;
        Ok(Response::new(pb::GetSessionResponse { session: Some(encode(&session)) }))
    }

    async fn end_session(
        &self,
        request: Request<pb::EndSessionRequest>,
    ) -> Result<Response<pb::EndSessionResponse>, Status> {
        let (space, session) = self.find(&request, request.get_ref().id)?;
        if let Some(Some(mut ended)) = self.0.end_session(&space, &session, Ending::ByOperator) {
            let failed = |_| status(Kind::Unavailable, "the log takes nothing at the moment");
            ended.durable().await.map_err(failed)?;
        }
        Ok(Response::new(pb::EndSessionResponse {}))
    }
}

fn encode(session: &Session) -> pb::Session {
    let state = session.state.lock();
    let connected = state.attachment.is_some();
    let offline_since_us = Timestamp::from_millis(state.offline_since_ms).as_micros();
    pb::Session {
        id: session.number,
        client_id: session.key.client_id.as_ref().to_owned(),
        owner: session.key.owner.to_string(),
        connected,
        offline_since_us: if connected { 0 } else { offline_since_us },
        expiry_s: state.expiry_s,
        subscriptions: state.subscriptions.iter().map(encode_subscription).collect(),
        queued: u64::try_from(state.outbox.len()).unwrap_or(u64::MAX),
        queued_bytes: u64::try_from(state.outbox.bytes()).unwrap_or(u64::MAX),
        has_will: state.will.is_some(),
    }
}

fn encode_subscription(subscription: &Subscription) -> pb::Subscription {
    let options = subscription.options;
    pb::Subscription {
        filter: subscription.filter.as_ref().to_owned(),
        qos: options.qos.as_u8().into(),
        no_local: options.no_local,
        retain_as_published: options.retain_as_published,
        subscription_id: options.id.map_or(0, std::num::NonZeroU32::get),
    }
}
