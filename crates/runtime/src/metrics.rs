//! The metrics of the process, in Prometheus text form.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::registry::Registry;

/// Where metrics are registered; cheap to clone. Names are `drover_<part>_<noun>_<unit>`; labels come from closed sets.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// Registers a part's metrics under `drover_<part>_`.
    pub fn register<T>(&self, part: &'static str, register: impl FnOnce(&mut Registry) -> T) -> T {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        register(registry.sub_registry_with_prefix("drover").sub_registry_with_prefix(part))
    }

    /// Registers what has names that are the same in every program, without a prefix.
    pub(crate) fn register_standard(&self, collector: Box<dyn Collector>) {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).register_collector(collector);
    }

    /// The OpenMetrics text of all metrics.
    pub fn encode(&self) -> String {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)
            .expect("writing to a string cannot fail");
        text
    }
}
