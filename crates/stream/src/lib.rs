//! Understands and keeps what devices sent: reads the log in order, decodes, stores points, events and dead letters, keeps the
//! ledger, and answers questions about all of it.
//!
//! `pipeline` reads and decides when to commit; `batch` turns records into points and rows, as `reading` understands them; `commit` makes
//! them durable with the offset that they cover; `compaction` merges files; `erase` lets go of what a device measured, `retention` of what is
//! too old; `store` holds the SQL; `tables` is what queries see beside points; `service` answers; `feed` follows the log for others;
//! `publisher` takes what applications send on behalf of devices; `backup` copies all of it and the rest of the installation.

mod backup;
mod batch;
mod commit;
mod compaction;
mod config;
mod erase;
mod error;
mod feed;
mod ledger;
mod metrics;
mod notify;
mod pipeline;
mod publisher;
mod reading;
mod retention;
mod service;
mod store;
mod tables;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use drover_gateway::Ingress;
use drover_proto::devices::v1::devices_client::DevicesClient;
use drover_proto::stream::v1::backups_server::BackupsServer;
use drover_proto::stream::v1::erasures_server::ErasuresServer;
use drover_proto::stream::v1::feed_server::FeedServer;
use drover_proto::stream::v1::publisher_server::PublisherServer;
use drover_proto::stream::v1::retention_server::RetentionServer;
use drover_proto::stream::v1::telemetry_server::TelemetryServer;
use drover_runtime::{Env, Part};
use drover_timeseries::{DeviceBounds, Engine, QueryBounds, StoreOptions};

pub use config::Config;

/// Every setting with its default.
pub const DEFAULTS: &str = include_str!("../default.toml");

/// Wires the service. Starts nothing, binds nothing: the runtime does both.
///
/// # Errors
/// When the database or the files of the store cannot be opened.
pub async fn build(config: Config, env: &Env) -> anyhow::Result<Part> {
    let store =
        store::Store::open(&env.db, &config).await.context("opening the tables of the stream service")?;
    let device_bounds = DeviceBounds {
        keys: config.max_keys_per_device,
        text_bytes: config.max_latest_text_bytes_per_device,
    };
    let options = StoreOptions { shards: env.log.shards(), device_bounds, ..StoreOptions::default() };
    let points = drover_timeseries::Store::open(env.db.clone(), env.data_dir.join(backup::POINTS), options)
        .await
        .context("opening the time-series files")?;
    let retention =
        retention::Retention::open(store.clone(), points.clone(), config.retention_days, env.clock.clone());
    let retention = retention.await.context("the rules of retention")?;
    let ledger = ledger::Ledger::new(env.log.clone(), store.counts().await?);
    let applied = erase::Applied::new(env.log.shards());
    let context = pipeline::Context {
        config,
        env: env.clone(),
        store: store.clone(),
        points: points.clone(),
        ledger: ledger.clone(),
        applied: applied.clone(),
        metrics: metrics::StreamMetrics::register(&env.metrics),
        health: env.health.part("stream"),
    };
    let compaction = compaction::Compaction {
        points: points.clone(),
        files: context.config.compact_files,
        metrics: context.metrics.clone(),
        health: env.health.part("compaction"),
        env: env.clone(),
    };
    let backup = backup::Backup::new(env, points.clone()).context("the folder of an earlier backup")?;
    let (log, producer, clock) = (env.log.clone(), env.producer.clone(), env.clock.clone());
    let eraser = erase::Eraser { log, producer, clock, applied };
    let tables = tables::all(&env.db, &env.peers);
    let queries =
        Engine::new(points.clone(), tables, query_bounds(&context.config), env.data_dir.join("queries"));
    env.metrics.register("stream", |registry| queries.metrics().register(registry));
    let ingress = Arc::new(Ingress::open(env.producer.clone(), env.clock.clone()).context("the log")?);
    let publisher = publisher::Publisher {
        ingress: ingress.clone(),
        devices: DevicesClient::new(env.peers.link("devices")),
        metrics: context.metrics.clone(),
    };
    let stop = env.stop.clone();
    let report = async move {
        ingress.report(async { stop.finish().await }).await;
        Ok(())
    };
    let feed = feed::Feed::new(context.config.clone(), env, store.clone(), context.metrics.clone());
    let service = service::Service { store, points, queries, ledger, shards: env.log.shards() };
    Ok(Part::new("stream")
        .grpc(TelemetryServer::new(service))
        .grpc(FeedServer::new(feed))
        .grpc(ErasuresServer::new(eraser))
        .grpc(RetentionServer::new(retention))
        .grpc(BackupsServer::new(backup))
        .grpc(PublisherServer::new(publisher))
        .task("pipeline", pipeline::run(context))
        .task("compaction", compaction::run(compaction))
        .task("refused publications", report))
}

fn query_bounds(config: &Config) -> QueryBounds {
    QueryBounds {
        memory_bytes: config.query_memory_bytes,
        timeout: Duration::from_secs(config.query_timeout_s),
        rows: config.query_max_rows,
        concurrent: config.queries,
    }
}
