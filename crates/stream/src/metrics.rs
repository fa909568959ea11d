//! Metrics of the stream service.

use drover_runtime::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

#[derive(Clone, Default)]
pub(crate) struct StreamMetrics {
    pub(crate) records: Counter,
    pub(crate) points: Counter,
    pub(crate) dead_letters: Counter,
    pub(crate) over_device_bounds: Counter,
    pub(crate) unreadable_records: Counter,
    pub(crate) times_replaced: Counter,
    pub(crate) commits: Counter,
    pub(crate) commit_failures: Counter,
    pub(crate) head_points: Gauge,
    pub(crate) behind_frames: Gauge,
}

impl StreamMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        metrics.register("stream", |registry| {
            let own = Self::default();
            registry.register("records", "Records read from the log", own.records.clone());
            registry.register("points", "Points stored", own.points.clone());
            registry.register("dead_letters", "Records that were dead-lettered", own.dead_letters.clone());
            registry.register(
                "over_device_bounds",
                "Records that were dead-lettered since their device would have had too many keys or too much text",
                own.over_device_bounds.clone(),
            );
            registry.register(
                "unreadable_records",
                "Records of the log that could not be read",
                own.unreadable_records.clone(),
            );
            registry.register(
                "times_replaced",
                "Points whose device time lay too far ahead",
                own.times_replaced.clone(),
            );
            registry.register("commits", "Commits of points, counts and offset", own.commits.clone());
            registry.register(
                "commit_failures",
                "Commits that failed and were retried",
                own.commit_failures.clone(),
            );
            registry.register("head_points", "Points in memory, not yet in a file", own.head_points.clone());
            registry.register(
                "behind_frames",
                "Frames of the log that are not yet applied",
                own.behind_frames.clone(),
            );
            own
        })
    }
}
