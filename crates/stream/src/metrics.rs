//! Metrics of the stream service.

use std::sync::atomic::AtomicU64;

use drover_gateway::RefusedReason;
use drover_runtime::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Default)]
pub(crate) struct StreamMetrics {
    pub(crate) records: Counter,
    pub(crate) points: Counter,
    pub(crate) dead_letters: Counter,
    pub(crate) published: Counter,
    publish_refused: Family<[(&'static str, &'static str); 1], Counter>,
    pub(crate) over_device_bounds: Counter,
    pub(crate) unreadable_records: Counter,
    pub(crate) times_replaced: Counter,
    pub(crate) erasures: Counter,
    pub(crate) commits: Counter,
    pub(crate) commit_failures: Counter,
    pub(crate) compactions: Counter,
    pub(crate) compaction_failures: Counter,
    pub(crate) compacted_points: Counter,
    pub(crate) compaction_seconds: Counter<f64, AtomicU64>,
    pub(crate) files: Gauge,
    pub(crate) file_points: Gauge,
    pub(crate) file_bytes: Gauge,
    pub(crate) head_points: Gauge,
    pub(crate) behind_frames: Gauge,
    pub(crate) subscriptions: Gauge,
    pub(crate) feed_answers: Counter,
    pub(crate) feed_gaps: Counter,
    pub(crate) feed_stalls: Counter,
}

impl StreamMetrics {
    pub(crate) fn publish_refused(&self, reason: RefusedReason) {
        self.publish_refused.get_or_create(&[("reason", reason.as_str())]).inc();
    }

    pub(crate) fn register(metrics: &Metrics) -> Self {
        metrics.register("stream", |registry| {
            let own = Self::default();
            registry.register("records", "Records read from the log", own.records.clone());
            registry.register("points", "Points stored", own.points.clone());
            registry.register("dead_letters", "Records that were dead-lettered", own.dead_letters.clone());
            let help = "Messages taken on behalf of devices from applications";
            registry.register("published", help, own.published.clone());
            let help = "Messages from applications that were not taken, by the ledger's reasons";
            registry.register("publish_refused", help, own.publish_refused.clone());
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
            registry.register(
                "erasures",
                "Erasures of what a device measured",
                own.erasures.clone(),
            );
            registry.register("commits", "Commits of points, counts and offset", own.commits.clone());
            registry.register(
                "commit_failures",
                "Commits that failed and were retried",
                own.commit_failures.clone(),
            );
            own.register_files(registry);
            registry.register("head_points", "Points in memory, not yet in a file", own.head_points.clone());
            registry.register(
                "behind_frames",
                "Frames of the log that are not yet applied",
                own.behind_frames.clone(),
            );
            own.register_feed(registry);
            own
        })
    }

    fn register_feed(&self, registry: &mut Registry) {
        let help = "Readers of the feed: live streams and calls of Subscribe";
        registry.register("subscriptions", help, self.subscriptions.clone());
        let help = "Measurements, events, positions and gaps that readers of the feed got";
        registry.register("feed_answers", help, self.feed_answers.clone());
        let help = "Places where a reader of the feed came after the log had been truncated";
        registry.register("feed_gaps", help, self.feed_gaps.clone());
        let help = "Times that a reader of the feed took nothing for a second and was let go until it does";
        registry.register("feed_stalls", help, self.feed_stalls.clone());
    }

    fn register_files(&self, registry: &mut Registry) {
        registry.register("compactions", "Merges of point files", self.compactions.clone());
        registry.register(
            "compaction_failures",
            "Merges of point files that failed and will be tried again",
            self.compaction_failures.clone(),
        );
        registry.register(
            "compacted_points",
            "Points that merges of point files wrote",
            self.compacted_points.clone(),
        );
        registry.register(
            "compaction_seconds",
            "Time that merges of point files took",
            self.compaction_seconds.clone(),
        );
        registry.register("files", "Point files", self.files.clone());
        registry.register("file_points", "Points in files", self.file_points.clone());
        registry.register(
            "file_bytes",
            "Bytes of point files, without their footers",
            self.file_bytes.clone(),
        );
    }
}
