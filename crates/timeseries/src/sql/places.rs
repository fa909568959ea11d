//! How many queries run at a time, in all and of one tenant.

use std::sync::Arc;
use std::time::Duration;

use drover_model::Tenant;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::QueryError;

/// How long a query waits for others to end.
const QUEUE: Duration = Duration::from_secs(5);

/// The places of queries; of one tenant half of them, at least one.
pub(crate) struct Places {
    all: Arc<Semaphore>,
    of_tenant: usize,
    tenants: Mutex<HashMap<Box<str>, Arc<Semaphore>>>,
}

/// Two places: among all queries, and among the tenant's.
pub(crate) type Place = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Places {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(places.max(1))),
            of_tenant: (places / 2).max(1),
            tenants: Mutex::default(),
        }
    }

    /// Waits for a place, not for ever.
    pub(crate) async fn take(&self, tenant: &Tenant) -> Result<Place, QueryError> {
        let own = self.of(tenant.as_str());
        // The tenant's first: who waits for it holds no place that others could have.
        let both = async {
            Ok::<_, tokio::sync::AcquireError>((
                own.acquire_owned().await?,
                Arc::clone(&self.all).acquire_owned().await?,
            ))
        };
        match tokio::time::timeout(QUEUE, both).await {
            Ok(Ok((own, all))) => Ok((all, own)),
            Ok(Err(_)) | Err(_) => Err(QueryError::Busy),
        }
    }

    fn of(&self, tenant: &str) -> Arc<Semaphore> {
        let mut tenants = self.tenants.lock();
        if let Some(known) = tenants.get(tenant) {
            return Arc::clone(known);
        }
        // Those in whose places nobody is, and for which nobody waits.
        tenants.retain(|_, places| Arc::strong_count(places) > 1);
        let places = Arc::new(Semaphore::new(self.of_tenant));
        tenants.insert(tenant.into(), Arc::clone(&places));
        places
    }
}
