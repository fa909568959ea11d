//! What every part stands on, embedded in this process: log, live channels, database; opened from the data directory into an [`Env`].

mod log_metrics;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use drover_backbone::{Live, Log, LogHealth, LogOptions, Producer, ProducerOptions};
use drover_db::Db;
use drover_rpc::Peers;
use drover_trust::TrustError;
use serde::Deserialize;

use crate::certificates::{Certificates, TlsSettings, server_names};
use crate::config::Range;
use crate::data_dir::{DATABASE, LOG};
use crate::traces::Traces;
use crate::{DataDir, Env, Health, Metrics, PartHealth, Program, Section, Status, Stop, Tasks};

/// Section `[log]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// Logs of each stream.
    pub shards: u16,
    /// Size of a file.
    pub segment_bytes: u64,
    /// Bound of all files.
    pub max_bytes: u64,
    /// Bound of what each log keeps in memory for readers.
    pub recent_bytes: usize,
    /// How long a frame stays open.
    pub linger_us: u64,
    /// Length at which it closes.
    pub frame_bytes: usize,
    /// Records at which it closes.
    pub frame_records: u16,
    /// Bound of what is on its way to the disk.
    pub max_pending_bytes: usize,
}

impl Section for LogSettings {
    const RANGES: &'static [Range] = &[
        ("shards", 1, 256),
        ("segment_bytes", 65_536, 1_073_741_824),
        ("max_bytes", 1_048_576, 1_125_899_906_842_624),
        ("recent_bytes", 65_536, 4_294_967_296),
        ("linger_us", 0, 1_000_000),
        ("frame_bytes", 1_024, 1_048_576),
        ("frame_records", 1, 512),
        ("max_pending_bytes", 4_194_304, 17_179_869_184),
    ];

    fn problems(&self) -> Vec<(&'static str, String)> {
        let (files, segment) = (self.max_bytes, self.segment_bytes);
        let is_small = files < segment;
        let problem = || format!("{files} is less than one file, log.segment_bytes of {segment}");
        is_small.then(|| ("max_bytes", problem())).into_iter().collect()
    }
}

impl LogSettings {
    fn log(&self) -> LogOptions {
        LogOptions {
            shards: self.shards,
            segment_bytes: self.segment_bytes,
            max_bytes: self.max_bytes,
            recent_bytes: self.recent_bytes,
        }
    }

    fn producer(&self, producer: u64, epoch: u64) -> ProducerOptions {
        ProducerOptions {
            linger: Duration::from_micros(self.linger_us),
            frame_bytes: self.frame_bytes,
            frame_records: self.frame_records,
            max_pending_bytes: self.max_pending_bytes,
            producer,
            epoch,
        }
    }
}

/// Opens everything and starts the tasks that keep it well.
pub(crate) async fn open(
    program: &Program,
    data_dir: &Arc<DataDir>,
    tasks: &Tasks,
    stop: &Stop,
) -> anyhow::Result<Env> {
    let settings = &program.settings.log;
    let health = Health::default();
    let metrics = Metrics::default();
    #[cfg(target_os = "linux")]
    crate::process_metrics::register(&metrics, program.clock.now());

    let traces = Traces::start(&program.settings.runtime, &program.rng, &metrics, (tasks, stop))?;
    let certificates = certificates(program, data_dir, &program.settings.tls)?;
    let tls = drover_trust::server_config(certificates.resolver(), &[])?;
    tasks.spawn("certificates", certificates.keep(stop.clone()));

    let log = open_log(data_dir, settings.log()).await?;
    log_metrics::register(&metrics, &log);
    tasks.spawn("log health", follow(log.clone(), health.part("log"), stop.clone()));
    let producer_id = u64::from_le_bytes(program.rng.bytes());
    let producer = Producer::new(&log, settings.producer(producer_id, data_dir.next_epoch()?));
    let db = Db::open(&data_dir.file(DATABASE)).await.context(DATABASE)?;

    Ok(Env {
        log,
        producer,
        live: Live::embedded(),
        db,
        peers: Peers::default(),
        clock: program.clock.clone(),
        rng: program.rng.clone(),
        metrics,
        traces,
        tasks: tasks.clone(),
        stop: stop.clone(),
        health,
        data_dir: data_dir.path().to_owned(),
        tls,
        administrator_sha256: *data_dir.administrator(&program.rng)?.as_bytes(),
    })
}

fn certificates(
    program: &Program,
    data_dir: &Arc<DataDir>,
    tls: &TlsSettings,
) -> anyhow::Result<Certificates> {
    let configured = tls.names.clone();
    let names = move || server_names(&configured).unwrap_or_else(|_: TrustError| Vec::new());
    Certificates::open(data_dir, tls, program.clock.clone(), names)
}

/// Off the async threads: it reads the end of each log.
async fn open_log(data_dir: &DataDir, options: LogOptions) -> anyhow::Result<Log> {
    let url = format!("embedded:{}", data_dir.file(LOG).display());
    let log = tokio::task::spawn_blocking(move || Log::open(&url, options)).await?;
    log.context("section [log]")
}

/// Tells the health of the process what the log says of itself; the log has written it down already.
async fn follow(log: Log, part: PartHealth, stop: Stop) -> anyhow::Result<()> {
    let mut health = log.watch_health();
    loop {
        let status = match &*health.borrow_and_update() {
            LogHealth::Ready => Status::Ok,
            LogHealth::Failing { detail, .. } => Status::Degraded(format!(
                "records cannot be written, so none are acknowledged: {detail}; it goes on by itself once writing works"
            )),
            LogHealth::Full { detail } => Status::Degraded(format!(
                "the log is full, so new records are refused: {detail}; raise log.max_bytes or see why parts lag behind"
            )),
        };
        part.set(status);
        // Cancel-safe: `changed` loses no change.
        tokio::select! {
            changed = health.changed() => changed.context("the log is gone")?,
            () = stop.finish() => return Ok(()),
        }
    }
}
