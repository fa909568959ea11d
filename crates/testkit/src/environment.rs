//! An environment by hand, for tests that build parts without a process: embedded back ends in a directory of their own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use drover_backbone::{Live, Log, LogOptions, Producer, ProducerOptions};
use drover_db::Db;
use drover_model::{Clock, ManualClock, Now as _, Tenant, TenantId};
use drover_rpc::Peers;
use drover_runtime::traces::Traces;
use drover_runtime::{Env, Health, Metrics, Rng, Stop, Tasks};
use drover_trust::{Authority, Renewable, TokenHash};

/// The administrator's token of [`environment`].
pub const ADMINISTRATOR_TOKEN: &str = "drv_administrator";

/// Everything that a part is built from, in `directory`. Opened again on the same directory, it goes on with what is there.
pub async fn environment(directory: &Path, clock: &ManualClock) -> Env {
    let url = format!("embedded:{}", directory.join("log").display());
    let options = LogOptions { segment_bytes: 1 << 20, max_bytes: 64 << 20, ..LogOptions::default() };
    let log = Log::open(&url, options).expect("the log opens");
    let stop = Stop::default();
    let now = clock.now();
    let authority = Authority::generate("test", now).expect("an authority");
    let names = ["localhost".parse().expect("a name")];
    let certificate = authority.issue_server(&names, now, Duration::from_secs(3_600)).expect("a certificate");
    let resolver = Arc::new(Renewable::new(certificate.certified_key().expect("a key")));
    let counter = AtomicU8::new(0);
    Env {
        producer: Producer::new(&log, ProducerOptions::new(1, 1)),
        log,
        live: Live::embedded(),
        db: Db::open(&directory.join("drover.db")).await.expect("the database opens"),
        peers: Peers::default(),
        clock: Clock::new(clock.clone()),
        rng: Rng::new(move |bytes| bytes.fill(counter.fetch_add(1, Ordering::Relaxed))),
        metrics: Metrics::default(),
        traces: Traces::default(),
        tasks: Tasks::new(stop.clone()).0,
        stop,
        health: Health::default(),
        data_dir: directory.to_owned(),
        tls: drover_trust::server_config(resolver, &[]).expect("a TLS configuration"),
        administrator_sha256: *TokenHash::of(ADMINISTRATOR_TOKEN.as_bytes()).as_bytes(),
    }
}

/// The proof that a test belongs to a tenant.
#[expect(clippy::disallowed_methods, reason = "a test vouches for itself")]
pub fn tenant(id: &str) -> Tenant {
    Tenant::authenticated(TenantId::parse(id).expect("a tenant id"))
}
