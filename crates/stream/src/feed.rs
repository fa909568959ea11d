//! The feed: what devices sent, read from the log from any place that it still has, so that a reader which comes back misses nothing.
//! `service` is its gRPC, `follower` reads for one call, `wanted` picks, `cursor` is a place, `members` seats the groups.

mod cursor;
mod follower;
mod members;
mod readers;
mod service;
mod wanted;

use std::sync::Arc;

use drover_gateway::{Place, Places};
use drover_model::{FeedGroupId, Tenant, TenantId};
use drover_proto::stream::v1 as proto;
use drover_runtime::Env;
use futures_util::future::Either;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::Status;

use crate::config::Config;
use crate::error::Error;
use crate::metrics::StreamMetrics;
use crate::store::{GroupAt, Store};
use cursor::Cursor;
use follower::{Answer, Follower, Tools};
use members::Members;
use wanted::Wanted;

/// Answers that wait for their reader.
const ANSWERS_AHEAD: usize = 32;

/// Everything that calls share.
pub(crate) struct Feed {
    config: Config,
    env: Env,
    store: Store,
    metrics: StreamMetrics,
    members: Members,
    subscriptions: Arc<Semaphore>,
    of_tenants: Arc<Places<TenantId>>,
}

/// A call's share of the bounds.
struct Permit {
    _one: OwnedSemaphorePermit,
    _of_tenant: Place<TenantId>,
    open: Gauge,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.open.dec();
    }
}

impl Feed {
    pub(crate) fn new(config: Config, env: &Env, store: Store, metrics: StreamMetrics) -> Self {
        Self {
            subscriptions: Arc::new(Semaphore::new(config.subscriptions)),
            of_tenants: Places::new(config.subscriptions_per_tenant),
            config,
            env: env.clone(),
            store,
            metrics,
            members: Members::default(),
        }
    }

    async fn subscribe(
        &self,
        tenant: Tenant,
        request: proto::SubscribeRequest,
    ) -> Result<BoxStream<'static, Answer>, Error> {
        let wanted = Wanted::parse(&self.config, tenant.clone(), &request)?;
        let group = group(&request.group)?;
        let given = self.given(&request.cursor)?;
        let permit = self.permit(&tenant)?;
        let cursor = match (&group, given) {
            (Some(group), given) => self.place_of(&tenant, group, given).await?,
            (None, Some(given)) => given,
            (None, None) => self.end(),
        };
        let seat = group.map(|group| self.members.join(&tenant, &group));
        let tools =
            Tools { log: self.env.log.clone(), clock: self.env.clock.clone(), metrics: self.metrics.clone() };
        let (answers, mut taken) = mpsc::channel(ANSWERS_AHEAD);
        let follower = Follower::new(tools, wanted, cursor, answers);
        let stop = self.env.stop.clone();
        self.env.tasks.track(async move {
            let stopped = async move {
                stop.drain().await;
                Status::unavailable("the server stops; call again with the last cursor")
            };
            let mut seat = seat;
            let lost = match &mut seat {
                Some(seat) => Either::Left(seat.lost()),
                None => Either::Right(std::future::pending()),
            };
            let end = futures_util::future::select(Box::pin(stopped), Box::pin(lost));
            follower.run(end.map(|first| first.factor_first().0)).await;
            drop(permit);
        });
        Ok(stream::poll_fn(move |context| taken.poll_recv(context)).boxed())
    }

    async fn acknowledge(&self, tenant: &Tenant, request: proto::AcknowledgeRequest) -> Result<(), Error> {
        let group = FeedGroupId::parse(&request.group)?;
        let shards = self.env.log.shards();
        let done = Cursor::decode(&request.cursor, shards)?;
        let later = |place: &str| Ok(Cursor::decode(place, shards)?.later(&done).encode());
        self.store.move_group(self.at(tenant, &group), later).await
    }

    /// Where a group goes on. A cursor that was given moves it.
    async fn place_of(
        &self,
        tenant: &Tenant,
        group: &FeedGroupId,
        given: Option<Cursor>,
    ) -> Result<Cursor, Error> {
        let (at, most) = (self.at(tenant, group), self.config.feed_groups_per_tenant);
        if let Some(given) = given {
            self.store.seek_group(at, &given.encode(), most).await?;
            return Ok(given);
        }
        let place = self.store.join_group(at, || self.end().encode(), most).await?;
        Cursor::decode(&place, self.env.log.shards())
    }

    fn given(&self, cursor: &str) -> Result<Option<Cursor>, Error> {
        if cursor.is_empty() { Ok(None) } else { Cursor::decode(cursor, self.env.log.shards()).map(Some) }
    }

    fn end(&self) -> Cursor {
        Cursor::end_of(&self.env.log)
    }

    fn at<'a>(&self, tenant: &'a Tenant, group: &'a FeedGroupId) -> GroupAt<'a> {
        GroupAt { tenant, group, now: self.env.clock.now() }
    }

    fn permit(&self, tenant: &Tenant) -> Result<Permit, Error> {
        let one = self
            .subscriptions
            .clone()
            .try_acquire_owned()
            .map_err(|_| Error::TooManySubscriptions { setting: "stream.subscriptions" })?;
        let of_tenant = self
            .of_tenants
            .take(tenant.id())
            .ok_or(Error::TooManySubscriptions { setting: "stream.subscriptions_per_tenant" })?;
        self.metrics.subscriptions.inc();
        Ok(Permit { _one: one, _of_tenant: of_tenant, open: self.metrics.subscriptions.clone() })
    }
}

fn group(name: &str) -> Result<Option<FeedGroupId>, Error> {
    if name.is_empty() { Ok(None) } else { Ok(Some(FeedGroupId::parse(name)?)) }
}
