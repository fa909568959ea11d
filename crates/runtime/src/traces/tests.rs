//! Which messages are traced, and that nothing is asked of them when traces are off.

use super::*;
use crate::Rng;

/// Nothing listens at port 9 of this machine, as a rule; what is sent there is lost either way.
fn traces(trace_ratio: f64) -> (Traces, Metrics) {
    let settings = TraceSettings { otlp_endpoint: "http://127.0.0.1:9".to_owned(), trace_ratio };
    let (metrics, stop) = (Metrics::default(), Stop::default());
    let (tasks, _failure) = Tasks::new(stop.clone());
    let traces = Traces::start(&settings, &Rng::system(), &metrics, (&tasks, &stop)).unwrap();
    (traces, metrics)
}

const CONTEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";

#[test]
fn when_they_are_off_nobody_looks_for_a_trace_context() {
    let off = Traces::default();
    assert!(!off.is_on());
    assert!(off.reception(|| panic!("nobody asks")).is_none());
    assert!(off.request(|| panic!("nobody asks"), Some(&format!("{CONTEXT}-01"))).is_none());
    assert!(off.stored(&format!("{CONTEXT}-01"), Timestamp::from_micros(0)).is_none());
}

#[tokio::test]
async fn the_ratio_decides_only_where_no_trace_context_does() {
    let (none, _) = traces(0.0);
    let (all, _) = traces(1.0);
    let (yes, no) = (format!("{CONTEXT}-01"), format!("{CONTEXT}-00"));
    assert!(none.reception(|| None).is_none() && all.reception(|| None).is_some());
    assert!(none.reception(|| Some(&yes)).is_some() && all.reception(|| Some(&no)).is_none());
    assert!(none.reception(|| Some("nonsense")).is_none() && all.reception(|| Some("nonsense")).is_some());
    let reception = none.reception(|| Some(&yes)).unwrap();
    let own = reception.traceparent();
    assert!(own.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && own.ends_with("-01"), "{own}");
    assert!(!own.contains("b7ad6b7169203331"), "a span of its own: {own}");
    assert!(none.stored(&own, Timestamp::from_micros(0)).is_some());
    assert!(all.stored("", Timestamp::from_micros(0)).is_none(), "the gateway decides");
}

#[tokio::test]
async fn messages_that_wait_for_the_log_are_traced_up_to_a_bound() {
    let (all, _) = traces(1.0);
    let mut waiting: Vec<_> = (0..MAX_RECEPTIONS).map(|_| all.reception(|| None).unwrap()).collect();
    assert!(all.reception(|| None).is_none());
    waiting.pop().unwrap().refused("a test");
    assert!(all.reception(|| None).is_some());
}

#[tokio::test]
async fn spans_beyond_the_queue_are_dropped_and_counted() {
    let (all, metrics) = traces(1.0);
    // Nothing runs the task that sends them while this does not wait.
    for _ in 0..5_000 {
        drop(all.request(|| "test".to_owned(), None));
    }
    let text = metrics.encode();
    let line = text.lines().find(|line| line.starts_with("drover_traces_spans_total{outcome=\"dropped\"}"));
    let dropped: u64 = line.unwrap().rsplit_once(' ').unwrap().1.parse().unwrap();
    assert!((900..=5_000).contains(&dropped), "{dropped}");
}
