//! The gateways cache what secrets are checked against: how they hear of a change.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use drover_backbone::Live;
use drover_model::{Party, Tenant};
use drover_runtime::Tasks;
use tokio::sync::oneshot;

use crate::error::Error;

/// How long a change waits for the gateways.
const GATEWAYS_TIMEOUT: Duration = Duration::from_secs(5);

/// Everyone who caches verifiers.
#[derive(Clone)]
pub struct Gateways {
    pub live: Live,
    pub tasks: Tasks,
}

impl Gateways {
    /// Does the work even when whoever asked for it goes away: gateways have to hear of what was removed.
    pub async fn to_the_end(
        &self,
        work: impl Future<Output = Result<(), Error>> + Send + 'static,
    ) -> Result<(), Error> {
        let (done, outcome) = oneshot::channel();
        self.tasks.track(async move {
            // Nobody may be there any more to hear it.
            let _ = done.send(work.await);
        });
        outcome.await.map_err(|_| Error::Interrupted)?
    }

    /// Tells gateways to look again, and waits until they have: until their caches know and their sessions have been told to end.
    pub async fn tell(&self, tenant: &Tenant, party: &Party) {
        self.publish(tenant, party, Bytes::new()).await;
    }

    /// Tells them that the device or the key was deleted: sessions whose clients are away end, too.
    pub async fn tell_gone(&self, tenant: &Tenant, party: &Party) {
        self.publish(tenant, party, Bytes::from_static(b"gone")).await;
    }

    async fn publish(&self, tenant: &Tenant, party: &Party, payload: Bytes) {
        let token = drover_backbone::token;
        let subject = format!("credentials.changed.{}.{}", token(tenant.as_str()), token(&party.to_string()));
        if let Err(error) = self.live.publish_and_wait(&subject, payload, GATEWAYS_TIMEOUT).await {
            tracing::warn!(tenant.id = %tenant.as_str(), party = %party, "a gateway may not know of changed credentials yet: {error}");
        }
    }
}
