//! What was erased of a shard: of a device everything, or some keys, as far as it came before a position of the log. It is hidden
//! from the moment on at which the erasure's own record is applied; the head lets go of it at once, and merges leave it out of
//! their files. An erasure is forgotten when nothing that it hides is left.

mod table;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::file::Part;
use crate::head::Head;

pub(crate) use table::{load, put, remove};

/// What of one device is erased.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Erased {
    /// Everything below this position.
    all: u64,
    /// Of a key, everything below this position.
    keys: BTreeMap<Box<str>, u64>,
}

impl Erased {
    /// Whether a row is among it.
    pub(crate) fn has(&self, key: &str, seq: u64) -> bool {
        seq < self.all || self.keys.get(key).is_some_and(|below| seq < *below)
    }

    /// Whether every key is, up to this position.
    pub(crate) fn has_all(&self, seq: u64) -> bool {
        seq < self.all
    }

    /// The newest of its positions.
    fn newest(&self) -> u64 {
        self.keys.values().copied().fold(self.all, u64::max)
    }

    /// Takes a further erasure in; none of the keys means all of them.
    fn add(&mut self, key: Option<&str>, below: u64) {
        match key {
            Some(key) if below > self.all => {
                let known = self.keys.entry(key.into()).or_default();
                *known = below.max(*known);
            }
            Some(_) => {}
            None => {
                self.all = self.all.max(below);
                self.keys.retain(|_, known| *known > below);
            }
        }
    }

    /// Each key with its position; the empty one stands for all.
    fn each(&self) -> impl Iterator<Item = (&str, u64)> {
        let all = (self.all > 0).then_some(("", self.all));
        all.into_iter().chain(self.keys.iter().map(|(key, below)| (&**key, *below)))
    }
}

/// What of one tenant's devices is erased.
#[derive(Debug, Clone, Default)]
pub(crate) struct OfTenant {
    devices: BTreeMap<Box<str>, Erased>,
    newest: u64,
}

impl OfTenant {
    pub(crate) fn device(&self, device: &str) -> Option<&Erased> {
        self.devices.get(device)
    }

    /// Whether a part may have rows that are erased, of the devices whose names are `wanted`; of no names, all.
    pub(crate) fn meets(&self, part: &Part, wanted: &[Box<str>]) -> bool {
        self.newest > part.clean_to && self.of(part).any(|(device, _)| has(wanted, device))
    }

    /// The devices that a part may have erased rows of, by name.
    pub(crate) fn devices_of(&self, part: &Part) -> Vec<Box<str>> {
        self.of(part).map(|(device, _)| device.into()).collect()
    }

    fn of<'a>(&'a self, part: &'a Part) -> impl Iterator<Item = (&'a str, &'a Erased)> {
        let (first, last) = (&*part.min_device, &*part.max_device);
        // A range whose ends are in the wrong order would panic; a damaged manifest must not.
        let names = (first <= last).then_some((Bound::Included(first), Bound::Included(last)));
        let devices = names.into_iter().flat_map(|names| self.devices.range::<str, _>(names));
        devices.filter(|(_, erased)| erased.newest() > part.clean_to).map(|(name, erased)| (&**name, erased))
    }
}

fn has(names: &[Box<str>], name: &str) -> bool {
    names.is_empty() || names.binary_search_by(|wanted| (**wanted).cmp(name)).is_ok()
}

/// An erasure as the table has it; the empty key stands for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Erasure {
    pub(crate) tenant: Box<str>,
    pub(crate) device: Box<str>,
    pub(crate) key: Box<str>,
    pub(crate) below: u64,
}

/// The erasures of a shard.
#[derive(Debug, Default)]
pub(crate) struct Erasures {
    tenants: HashMap<Box<str>, Arc<OfTenant>>,
    /// Everything that was erased up to this position is here, or nothing is left that it would hide.
    applied: u64,
    /// Erasures below this position are in the table, and the log is not read from before them again.
    recorded: u64,
}

impl Erasures {
    /// Takes in a row of the table.
    pub(crate) fn learn(&mut self, row: &Erasure) {
        self.add(&row.tenant, &row.device, Some(&*row.key).filter(|key| !key.is_empty()), row.below);
        self.recorded = self.recorded.max(row.below.saturating_add(1));
    }

    /// Erases what a device has below a position: one key, or all of them.
    pub(crate) fn add(&mut self, tenant: &str, device: &str, key: Option<&str>, below: u64) {
        let of_tenant = Arc::make_mut(self.tenants.entry(tenant.into()).or_default());
        of_tenant.devices.entry(device.into()).or_default().add(key, below);
        of_tenant.newest = of_tenant.newest.max(below);
        self.applied = self.applied.max(below);
    }

    pub(crate) fn of(&self, tenant: &str) -> Option<&Arc<OfTenant>> {
        self.tenants.get(tenant)
    }

    pub(crate) fn device(&self, tenant: &str, device: &str) -> Option<&Erased> {
        self.of(tenant)?.device(device)
    }

    /// Up to here a head or a merge that leaves out what is erased now is clean.
    pub(crate) fn applied(&self) -> u64 {
        self.applied
    }

    /// Takes away what a head has of it.
    pub(crate) fn clean(&self, head: &mut Head) {
        for (tenant, of_tenant) in &self.tenants {
            for (device, erased) in &of_tenant.devices {
                head.erase(tenant, device, erased);
            }
        }
    }

    /// Those below a position that are not in the table.
    pub(crate) fn unrecorded(&self, below: u64) -> Vec<Erasure> {
        let is_new = |erasure: &Erasure| self.recorded <= erasure.below && erasure.below < below;
        self.each().filter(is_new).collect()
    }

    pub(crate) fn recorded(&mut self, below: u64) {
        self.recorded = self.recorded.max(below);
    }

    /// Those that are in the table.
    pub(crate) fn settled(&self) -> impl Iterator<Item = Erasure> {
        self.each().filter(|erasure| erasure.below < self.recorded)
    }

    /// Forgets some, unless more was erased meanwhile.
    pub(crate) fn forget(&mut self, erasures: &[Erasure]) {
        for erasure in erasures {
            let Some(of_tenant) = self.tenants.get_mut(&*erasure.tenant) else { continue };
            let of_tenant = Arc::make_mut(of_tenant);
            let Some(erased) = of_tenant.devices.get_mut(&*erasure.device) else { continue };
            if erasure.key.is_empty() {
                erased.all = if erased.all == erasure.below { 0 } else { erased.all };
            } else if erased.keys.get(&*erasure.key) == Some(&erasure.below) {
                erased.keys.remove(&*erasure.key);
            }
            if *erased == Erased::default() {
                of_tenant.devices.remove(&*erasure.device);
            }
        }
        self.tenants.retain(|_, of_tenant| !of_tenant.devices.is_empty());
    }

    fn each(&self) -> impl Iterator<Item = Erasure> {
        self.tenants.iter().flat_map(|(tenant, of_tenant)| {
            of_tenant.devices.iter().flat_map(move |(device, erased)| {
                erased.each().map(move |(key, below)| Erasure {
                    tenant: tenant.clone(),
                    device: device.clone(),
                    key: key.into(),
                    below,
                })
            })
        })
    }
}

#[cfg(test)]
mod tests;
