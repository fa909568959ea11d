//! Points: bytes on disk, and how long questions take.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use drover_tests::load::fleet::{self, Job, Login};
use drover_tests::load::rest::Rest;
use drover_tests::load::server::Plan;

use crate::Bench;
use crate::load::as_f64;
use crate::table::Report;

/// The demo's recorded day.
const DAY: &str = include_str!("../../../../crates/drover/demo-data/surfrad-slv16001.csv");
const STATIONS: usize = 400;
const MANY_DEVICES: usize = 10_000;
/// Looks, five seconds apart, between which no merge ended; one takes some seconds.
const QUIET: u32 = 3;
/// Questions of each sort; the median counts.
const QUESTIONS: usize = 21;

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    // Ten million points are a few files of flushes: merge them all the same.
    let plan = Plan::new(&bench.program, &bench.folder.join("points")).set("DROVER_STREAM__COMPACT_FILES", 2);
    let server = plan.start().await?;
    let rest = server.rest()?;
    replay(&server.address("mqtt")?, stations(&rest, STATIONS).await?, 1).await?;
    settle(&rest).await?;
    queries(report, &rest).await?;
    questions(report, &rest).await?;
    let data_dir = server.data_dir().to_owned();
    many_devices(report, &rest, &server.address("mqtt")?).await?;
    server.stop()?;
    let (bytes, points) = (folder_bytes(&data_dir.join("points"))?, points(STATIONS, 1));
    report.context("points written", "", points);
    report.at_most("demo's data on disk", "B/point", as_f64(bytes) / points, 3.0);
    Ok(())
}

pub(crate) async fn stations(rest: &Rest, count: usize) -> anyhow::Result<Vec<Login>> {
    let mut logins = Vec::new();
    for index in 0..count {
        let device = format!("station-{index:03}");
        logins.push(Login { token: Some(rest.register(&device).await?), device });
    }
    Ok(logins)
}

/// Points of so many stations in so many days.
pub(crate) fn points(stations: usize, days: u64) -> f64 {
    as_f64(rows().len() as u64 * stations as u64 * days) * columns()
}

/// The key that is asked for.
pub(crate) fn key() -> &'static str {
    DAY.lines().next().unwrap_or_default().split(',').nth(1).unwrap_or_default()
}

fn rows() -> Vec<&'static str> {
    DAY.lines().skip(1).collect()
}

/// Values of a row that are there, on average; the time is not one.
fn columns() -> f64 {
    let values: usize =
        rows().iter().map(|row| row.split(',').skip(1).filter(|cell| !cell.is_empty()).count()).sum();
    as_f64(values as u64) / as_f64(rows().len().max(1) as u64)
}

/// One message a row. As in the demo, each station has the day seven minutes after the one before it; the days after the first one are
/// the same day, moved a little further.
pub(crate) async fn replay(address: &str, logins: Vec<Login>, days: u64) -> anyhow::Result<()> {
    let names: Vec<&str> = DAY.lines().next().unwrap_or_default().split(',').skip(1).collect();
    let bodies: Arc<Vec<String>> = Arc::new(rows().iter().map(|row| body(&names, row)).collect());
    let last = bodies.len() as u64;
    let job = Job {
        address: address.to_owned(),
        logins,
        topic: "v1/telemetry".into(),
        qos: 1,
        window: 16,
        rate: None,
        duration: Duration::from_secs(1_200),
        payload: Arc::new(move |client, number, out| {
            let row = (number + client as u64 * 7 + number / last * 13) % last;
            let text = format!(
                "{{\"ts\":{},\"values\":{}}}",
                START_MS + number * 60_000,
                bodies[usize::try_from(row).unwrap_or(0)]
            );
            out.extend_from_slice(text.as_bytes());
        }),
        forgive: false,
        messages: Some(last * days),
    };
    fleet::run(job).await?;
    Ok(())
}

/// 2026-01-01T00:00:00Z.
pub(crate) const START_MS: u64 = 1_767_225_600_000;

fn body(names: &[&str], row: &str) -> String {
    let values: Vec<String> = names
        .iter()
        .zip(row.split(',').skip(1))
        .filter(|(_, cell)| !cell.is_empty())
        .map(|(name, cell)| format!("\"{name}\":{cell}"))
        .collect();
    format!("{{{}}}", values.join(","))
}

pub(crate) async fn settle(rest: &Rest) -> anyhow::Result<()> {
    while rest.ledger().await?.pending > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn questions(report: &mut Report, rest: &Rest) -> anyhow::Result<()> {
    let key = key();
    let (from, to) = (START_MS, START_MS + 86_400_000);
    let whole = |station: usize| {
        format!("/v1/devices/station-{station:03}/telemetry?keys={key}&from={from}&to={to}&limit=2000")
    };
    report.at_most("one day of one series of 10 million points", "ms", median(rest, whole).await?, 20.0);
    let hours = |station: usize| format!("{}&interval=1h&agg=avg", whole(station));
    report.context("the same as hourly averages", "ms", median(rest, hours).await?);
    Ok(())
}

async fn queries(report: &mut Report, rest: &Rest) -> anyhow::Result<()> {
    merged(rest).await?;
    let key = key();
    let means = |_| "SELECT device, avg(value) AS mean FROM points GROUP BY device".to_owned();
    report.at_most(
        "SQL: mean by device of 10 million points",
        "ms",
        median_query(rest, means).await?,
        1_000.0,
    );
    let hours = |station: usize| {
        format!(
            "SELECT time_bucket('1h', ts) AS hour, avg(value) AS mean FROM points \
             WHERE device = 'station-{station:03}' AND key = '{key}' GROUP BY hour ORDER BY hour"
        )
    };
    report.context("SQL: hourly means of one series of them", "ms", median_query(rest, hours).await?);
    let seconds = rest.metric("drover_stream_compaction_seconds_total").await?;
    let points = rest.metric("drover_stream_compacted_points_total").await?;
    report.context("merging files, time on one thread", "us/point", seconds * 1e6 / points.max(1.0));
    Ok(())
}

/// Waits until merges of files have ended: for some seconds no further one, though not for ever.
pub(crate) async fn merged(rest: &Rest) -> anyhow::Result<()> {
    let (mut before, mut quiet) = (0.0, 0);
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let now = rest.metric("drover_stream_compactions_total").await?;
        quiet = if (now - before).abs() < f64::EPSILON && now > 0.0 { quiet + 1 } else { 0 };
        if quiet == QUIET {
            return Ok(());
        }
        before = now;
    }
    Ok(())
}

pub(crate) async fn median_query(rest: &Rest, sql: impl Fn(usize) -> String) -> anyhow::Result<f64> {
    let mut took = Vec::new();
    for question in 0..QUESTIONS {
        let sql = sql(question * 17 % STATIONS);
        let began = Instant::now();
        rest.query(&sql).await?;
        took.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    took.sort_unstable();
    Ok(fleet::quantile(&took, 0.5) / 1_000.0)
}

async fn many_devices(report: &mut Report, rest: &Rest, address: &str) -> anyhow::Result<()> {
    let mut logins = Vec::new();
    for index in 0..MANY_DEVICES {
        let device = format!("many-{index:05}");
        logins.push(Login { token: Some(rest.register(&device).await?), device });
    }
    for some in logins.chunks(1_000) {
        let job = Job {
            address: address.to_owned(),
            logins: some.to_vec(),
            topic: "v1/telemetry".into(),
            qos: 1,
            window: 1,
            rate: None,
            duration: Duration::from_secs(60),
            payload: Arc::new(|client, _, out| {
                out.extend_from_slice(
                    format!("{{\"temperature\":{client}.5,\"humidity\":40,\"on\":true}}").as_bytes(),
                );
            }),
            forgive: false,
            messages: Some(1),
        };
        fleet::run(job).await?;
    }
    settle(rest).await?;
    let path = |_| "/v1/telemetry/latest?page_size=10000".to_owned();
    report.at_most("latest of 10,000 devices, 3 keys each", "ms", median(rest, path).await?, 50.0);
    Ok(())
}

pub(crate) async fn median(rest: &Rest, path: impl Fn(usize) -> String) -> anyhow::Result<f64> {
    let mut took = Vec::new();
    for question in 0..QUESTIONS {
        let path = path(question * 17 % STATIONS);
        let began = Instant::now();
        rest.get_bytes(&path).await?;
        took.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    took.sort_unstable();
    Ok(fleet::quantile(&took, 0.5) / 1_000.0)
}

pub(crate) fn folder_bytes(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let size = entry.metadata()?;
        bytes += if size.is_dir() { folder_bytes(&entry.path())? } else { size.len() };
    }
    Ok(bytes)
}
