//! All devices at once, a task each, and what they share: the plan, the start, the counts of the moment, the latencies.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use drover_runtime::Stop;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::device::Device;
use super::progress::{Counters, watch};
use super::tally::Record;
use super::{Login, Plan};
use crate::failure::{Failure, Outcome};
use crate::mqtt_connection::Server;
use crate::period;

/// Latencies are told to three digits up to this, in microseconds.
const LONGEST_LATENCY_US: u64 = 3_600_000_000;
const DIGITS: u8 = 3;

/// What all devices share.
pub struct Shared {
    pub plan: Arc<Plan>,
    pub server: Server,
    pub began: Instant,
    pub began_us: i64,
    pub stop: Stop,
    pub counters: Counters,
    answers: Mutex<Answers>,
}

struct Answers {
    latency: Histogram<u64>,
    last: Option<Instant>,
}

impl Shared {
    fn new(plan: Arc<Plan>, server: Server, stop: Stop) -> Outcome<Self> {
        let latency = Histogram::new_with_bounds(1, LONGEST_LATENCY_US, DIGITS)
            .map_err(|error| Failure::failed(format!("can't count latencies: {error}")))?;
        let answers = Mutex::new(Answers { latency, last: None });
        let counters = Counters::default();
        Ok(Self {
            plan,
            server,
            began: Instant::now(),
            began_us: period::now().as_microsecond(),
            stop,
            counters,
            answers,
        })
    }

    /// Counts an acknowledgement that came after so long.
    pub fn acknowledged(&self, after: Duration) {
        self.counters.acknowledged();
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.latency.saturating_record(u64::try_from(after.as_micros()).unwrap_or(u64::MAX));
        answers.last = Some(Instant::now());
    }

    /// From the start to the last acknowledgement; where there are none, to the end of the devices.
    pub fn sending_for(&self) -> Duration {
        let last = self.answers.lock().unwrap_or_else(PoisonError::into_inner).last;
        last.unwrap_or(self.began).saturating_duration_since(self.began)
    }

    fn end(&self) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.last = answers.last.or_else(|| Some(Instant::now()));
    }

    /// Times from write to acknowledgement, in microseconds.
    pub fn latency(&self) -> Histogram<u64> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).latency.clone()
    }

    /// The 99th of a hundred, in milliseconds.
    pub fn p99_ms(&self) -> f64 {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        super::report::millis(answers.latency.value_at_quantile(0.99))
    }
}

/// Runs all devices to their end; what each did, and what they shared.
pub async fn run(
    plan: &Arc<Plan>,
    server: &Server,
    logins: Vec<Login>,
    stop: &Stop,
    is_live: bool,
) -> Outcome<(Vec<Record>, Arc<Shared>)> {
    let shared = Arc::new(Shared::new(plan.clone(), server.clone(), stop.clone())?);
    let mut tasks = JoinSet::new();
    let mut records = vec![Record::default(); logins.len()];
    for (index, login) in logins.into_iter().enumerate() {
        let device = Device::new(shared.clone(), index as u64, login);
        tasks.spawn(async move { (index, device.run().await) });
    }
    let joining = async {
        while let Some(done) = tasks.join_next().await {
            let (index, record) =
                done.map_err(|error| Failure::failed(format!("a device failed: {error}")))?;
            if let Some(place) = records.get_mut(index) {
                *place = record;
            }
        }
        Ok::<(), Failure>(())
    };
    tokio::select! {
        // Cancel-safe: the view only looks.
        outcome = joining => outcome?,
        () = watch(&shared, is_live) => {}
    }
    shared.end();
    Ok((records, shared))
}
