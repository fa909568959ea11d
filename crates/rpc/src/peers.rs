//! Which services there are and how to reach them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tonic::service::Routes;

use crate::Link;

/// Where a service's routes will be.
type Slot = Arc<OnceLock<Routes>>;

/// The services that this process can call.
#[derive(Clone, Default)]
pub struct Peers {
    services: Arc<Mutex<HashMap<&'static str, Slot>>>,
}

impl Peers {
    /// A handle to a service, whether or not it runs yet.
    pub fn link(&self, peer: &'static str) -> Link {
        Link::new(peer, self.slot(peer))
    }

    /// Makes a service of this process reachable. The first call for a name counts.
    pub fn serve(&self, peer: &'static str, routes: Routes) {
        let _ = self.slot(peer).set(routes.prepare());
    }

    fn slot(&self, peer: &'static str) -> Slot {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.entry(peer).or_default().clone()
    }
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_set().entries(services.keys()).finish()
    }
}
