//! Who follows for which group: one call at a time, the newest.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use drover_model::{FeedGroupId, Kind, Tenant, TenantId};
use tokio::sync::oneshot;
use tonic::Status;

type Key = (TenantId, FeedGroupId);
/// Tells a member that another one took over; dropped when the group is gone.
type Taken = oneshot::Sender<()>;

/// Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Members(Arc<Mutex<HashMap<Key, Taken>>>);

/// A group's only place.
pub(crate) struct Seat {
    members: Members,
    key: Key,
    taken: Option<oneshot::Receiver<()>>,
}

impl Members {
    /// Takes the place of the group, from whoever had it.
    pub(crate) fn join(&self, tenant: &Tenant, group: &FeedGroupId) -> Seat {
        let key = key(tenant, group);
        let (tell, taken) = oneshot::channel();
        if let Some(before) = self.all().insert(key.clone(), tell) {
            let _ = before.send(());
        }
        Seat { members: self.clone(), key, taken: Some(taken) }
    }

    pub(crate) fn is_followed(&self, tenant: &Tenant, group: &FeedGroupId) -> bool {
        self.all().contains_key(&key(tenant, group))
    }

    /// Ends the call for a group that is no more.
    pub(crate) fn end(&self, tenant: &Tenant, group: &FeedGroupId) {
        self.all().remove(&key(tenant, group));
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Key, Taken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Resolves when the seat is another's, or the group is gone.
    pub(crate) async fn lost(&mut self) -> Status {
        let Some(taken) = &mut self.taken else { return pending().await };
        let group = &self.key.1;
        match taken.await {
            Ok(()) => drover_rpc::status(
                Kind::Conflict,
                format!("another call for the group {group} took over; one follows at a time"),
            ),
            Err(_) => drover_rpc::status(Kind::NotFound, format!("the group {group} was deleted")),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // From here on nobody hears of this seat, which tells it from one that another has.
        self.taken = None;
        if let Entry::Occupied(seat) = self.members.all().entry(self.key.clone())
            && seat.get().is_closed()
        {
            seat.remove();
        }
    }
}

fn key(tenant: &Tenant, group: &FeedGroupId) -> Key {
    (tenant.id().clone(), group.clone())
}

#[cfg(test)]
mod tests {
    use drover_testkit::tenant;
    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn the_newest_call_has_the_seat_until_it_leaves() {
        let (members, acme, group) = (Members::default(), tenant("acme"), FeedGroupId::parse("etl").unwrap());
        let mut first = members.join(&acme, &group);
        let mut second = members.join(&acme, &group);
        assert_eq!(first.lost().await.code(), Code::Aborted);
        drop(first);
        assert!(members.is_followed(&acme, &group), "the one that left had no seat any more");
        assert!(!members.is_followed(&tenant("other"), &group));
        members.end(&acme, &group);
        assert_eq!(second.lost().await.code(), Code::NotFound);
        let third = members.join(&acme, &group);
        drop(second);
        assert!(members.is_followed(&acme, &group));
        drop(third);
        assert!(!members.is_followed(&acme, &group));
    }
}
