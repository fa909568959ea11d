//! The counts of the moment, and the line on the terminal that shows them while a fleet runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::sleep;

use super::fleet::Shared;

/// How often the line is drawn.
const EVERY: Duration = Duration::from_millis(250);

/// Counts that all devices add to.
#[derive(Debug, Default)]
pub struct Counters {
    sent: AtomicU64,
    acknowledged: AtomicU64,
    connected: AtomicU64,
    reconnects: AtomicU64,
}

impl Counters {
    pub fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub fn acknowledged(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    pub fn connected(&self, again: bool) {
        self.connected.fetch_add(1, Ordering::Relaxed);
        self.reconnects.fetch_add(u64::from(again), Ordering::Relaxed);
    }

    pub fn disconnected(&self) {
        self.connected.fetch_sub(1, Ordering::Relaxed);
    }

    fn read(&self) -> [u64; 4] {
        [&self.connected, &self.reconnects, &self.sent, &self.acknowledged]
            .map(|counter| counter.load(Ordering::Relaxed))
    }
}

/// Shows the counts until the future is dropped. In a pipe, and when the output is quiet, nothing.
pub async fn watch(shared: &Shared, is_live: bool) {
    let duration = shared.plan.schedule.duration;
    let bar = if is_live { ProgressBar::new(duration.as_secs()) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{bar:20} {elapsed_precise} {msg}");
    let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let _clear = Clear(bar.clone());
    let mut last = 0;
    loop {
        sleep(EVERY).await;
        let [connected, reconnects, sent, acknowledged] = shared.counters.read();
        let rate = (sent - last) * 1_000 / u64::try_from(EVERY.as_millis()).unwrap_or(1);
        last = sent;
        bar.set_position(shared.began.elapsed().as_secs().min(duration.as_secs()));
        bar.set_message(format!(
            "{connected} of {} connected, {sent} sent, {acknowledged} acknowledged, {rate}/s, p99 {:.1} ms, {reconnects} reconnects",
            shared.plan.schedule.devices,
            shared.p99_ms(),
        ));
    }
}

/// Takes the line away, however the view ends.
struct Clear(ProgressBar);

impl Drop for Clear {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
