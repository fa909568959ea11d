//! An environment by hand: embedded back ends in a directory of its own, a clock that stands still, and the control plane's parts.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use drover_backbone::{Live, Log, LogOptions, Producer, ProducerOptions};
use drover_db::Db;
use drover_model::{Clock, ManualClock, Tenant, TenantId, Timestamp};
use drover_rpc::Peers;
use drover_runtime::{Env, Health, Metrics, Rng, Stop, Tasks};
use drover_trust::{Authority, Renewable, TokenHash};

/// The administrator's token of every test.
pub const TOKEN: &str = "drv_administrator";
/// 2026-11-24T19:00:00Z.
pub const NOW_MS: i64 = 1_795_546_800_000;

pub struct World {
    pub env: Env,
    pub clock: ManualClock,
    _dir: tempfile::TempDir,
}

impl World {
    /// With provisioning and devices, reachable through their links.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::from_millis(NOW_MS));
        let env = env(dir.path(), &clock).await;
        let provisioning = drover_provisioning::build(drover_provisioning::Config {}, &env).await.unwrap();
        let devices = drover_devices::build(drover_devices::Config {}, &env).await.unwrap();
        provisioning.connect(&env.peers);
        devices.connect(&env.peers);
        Self { env, clock, _dir: dir }
    }
}

async fn env(dir: &std::path::Path, clock: &ManualClock) -> Env {
    let url = format!("embedded:{}", dir.join("log").display());
    let options = LogOptions { segment_bytes: 1 << 20, max_bytes: 64 << 20, ..LogOptions::default() };
    let log = Log::open(&url, options).unwrap();
    let stop = Stop::default();
    let now = Timestamp::from_millis(NOW_MS);
    let authority = Authority::generate("test", now).unwrap();
    let certificate =
        authority.issue_server(&["localhost".parse().unwrap()], now, Duration::from_secs(3_600)).unwrap();
    let resolver = Arc::new(Renewable::new(certificate.certified_key().unwrap()));
    let counter = AtomicU8::new(0);
    Env {
        producer: Producer::new(&log, ProducerOptions::new(1, 1)),
        log,
        live: Live::embedded(),
        db: Db::open(&dir.join("drover.db")).await.unwrap(),
        peers: Peers::default(),
        clock: Clock::new(clock.clone()),
        rng: Rng::new(move |bytes| bytes.fill(counter.fetch_add(1, Ordering::Relaxed))),
        metrics: Metrics::default(),
        tasks: Tasks::new(stop.clone()).0,
        stop,
        health: Health::default(),
        data_dir: dir.to_owned(),
        tls: drover_trust::server_config(resolver, &[]).unwrap(),
        administrator_sha256: *TokenHash::of(TOKEN.as_bytes()).as_bytes(),
    }
}

/// The proof that a test belongs to a tenant.
#[expect(clippy::disallowed_methods, reason = "a test vouches for itself")]
pub fn tenant(id: &str) -> Tenant {
    Tenant::authenticated(TenantId::parse(id).unwrap())
}
