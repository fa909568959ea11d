//! Messages that a gateway refused, counted by tenant and reason until the ledger has them.

use std::collections::HashMap;

use drover_model::Tenant;
use drover_proto::backbone::v1::RefusedCounts;
use parking_lot::Mutex;

/// Why a gateway refused a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusedReason {
    /// The sender may not publish to the topic.
    NotAllowed,
    /// The message is longer than is allowed.
    TooLarge,
    /// The tenant has too many retained messages.
    RetainedFull,
    /// The topic has too many levels.
    TopicInvalid,
    /// The log took no more records for too long.
    LogBusy,
    /// The tenant has no such device.
    UnknownDevice,
    /// What the sender says of the message is none that there is.
    Invalid,
}

impl RefusedReason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::NotAllowed,
        Self::TooLarge,
        Self::RetainedFull,
        Self::TopicInvalid,
        Self::LogBusy,
        Self::UnknownDevice,
        Self::Invalid,
    ];

    /// The name in the ledger and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::TooLarge => "too_large",
            Self::RetainedFull => "retained_full",
            Self::TopicInvalid => "topic_invalid",
            Self::LogBusy => "log_busy",
            Self::UnknownDevice => "unknown_device",
            Self::Invalid => "invalid",
        }
    }
}

type Counts = HashMap<RefusedReason, u64>;

/// Counts that are not in the log yet; bounded by tenants and reasons.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashMap<Tenant, Counts>>);

impl Refusals {
    pub(crate) fn add(&self, tenant: &Tenant, reason: RefusedReason) {
        let mut tenants = self.0.lock();
        if let Some(counts) = tenants.get_mut(tenant) {
            *counts.entry(reason).or_default() += 1;
        } else {
            tenants.insert(tenant.clone(), HashMap::from([(reason, 1)]));
        }
    }

    /// Takes everything that was counted.
    pub(crate) fn take(&self) -> Vec<(Tenant, RefusedCounts)> {
        let tenants = std::mem::take(&mut *self.0.lock());
        tenants
            .into_iter()
            .map(|(tenant, counts)| {
                let by_reason =
                    counts.iter().map(|(reason, count)| (reason.as_str().to_owned(), *count)).collect();
                (tenant, RefusedCounts { by_reason })
            })
            .collect()
    }

    /// Puts back what could not be written.
    pub(crate) fn put_back(&self, tenant: &Tenant, counts: &RefusedCounts) {
        let mut tenants = self.0.lock();
        let kept = tenants.entry(tenant.clone()).or_default();
        for reason in RefusedReason::ALL {
            if let Some(count) = counts.by_reason.get(reason.as_str()) {
                *kept.entry(reason).or_default() += count;
            }
        }
    }
}
