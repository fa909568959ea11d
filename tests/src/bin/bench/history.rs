//! History: a hundred million points, what merging them costs, how long questions about them take, and what of that is noticed by
//! devices that send meanwhile. DuckDB, where it is installed, reads the same files.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use drover_tests::load::fleet::{self, Job, Login, Outcome};
use drover_tests::load::process;
use drover_tests::load::rest::Rest;
use drover_tests::load::server::{Plan, Server};

use crate::Bench;
use crate::load::as_f64;
use crate::points::{
    START_MS, folder_bytes, key, median, median_query, merged, points, replay, settle, stations,
};
use crate::table::Report;

const STATIONS: usize = 133;
const DAYS: u64 = 30;
/// Stations whose day is a million points.
const HEAD_STATIONS: usize = 37;
/// Memory of a query where that is looked at.
const QUERY_BYTES: u64 = 64 << 20;
/// Devices that send while questions are asked, and their messages a second in all.
const CALM_CLIENTS: usize = 100;
const CALM_RATE: f64 = 1_000.0;

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    if bench.wants("history") {
        history(bench, report).await?;
    }
    if bench.wants("head") {
        head(bench, report).await?;
    }
    Ok(())
}

async fn history(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    // At first nothing is merged as long as possible, so that all of it can be measured apart.
    let plan = Plan::new(&bench.program, &bench.folder.join("history"));
    write(report, plan.clone().set("DROVER_STREAM__COMPACT_FILES", 64)).await?;
    let plan = plan
        .set("DROVER_STREAM__COMPACT_FILES", 2)
        .set("DROVER_STREAM__FLUSH_INTERVAL_S", 1)
        .set("DROVER_STREAM__QUERY_MEMORY_BYTES", QUERY_BYTES);
    let server = plan.start().await?;
    merge(report, &server).await?;
    let folder = server.data_dir().join("points");
    let all = points(STATIONS, DAYS);
    report.at_most("100 million points on disk", "B/point", as_f64(folder_bytes(&folder)?) / all, 3.0);
    ask(report, &server, &folder).await?;
    beside_questions(bench, report, &server).await?;
    server.stop()
}

async fn write(report: &mut Report, plan: Plan) -> anyhow::Result<()> {
    let server = plan.start().await?;
    let rest = server.rest()?;
    let logins = stations(&rest, STATIONS).await?;
    let before = process::cpu(server.pid())?;
    replay(&server.address("mqtt")?, logins, DAYS).await?;
    settle(&rest).await?;
    let used = process::cpu(server.pid())?.saturating_sub(before);
    let each = used.as_secs_f64() * 1e6 / points(STATIONS, DAYS);
    report.context("100 million points received and stored, CPU", "us/point", each);
    server.stop()
}

async fn merge(report: &mut Report, server: &Server) -> anyhow::Result<()> {
    let rest = server.rest()?;
    let (pid, before) = (server.pid(), process::cpu(server.pid())?);
    let resident = process::resident(pid)?;
    process::forget_peak(pid)?;
    merged(&rest).await?;
    let used = process::cpu(pid)?.saturating_sub(before);
    let merged = rest.metric("drover_stream_compacted_points_total").await?;
    report.at_most("merging them, CPU", "us/point", used.as_secs_f64() * 1e6 / merged.max(1.0), 0.3);
    let more = process::peak(pid)?.saturating_sub(resident);
    report.at_most("merging them, memory on top", "MB", as_f64(more) / 1e6, 200.0);
    Ok(())
}

async fn ask(report: &mut Report, server: &Server, folder: &Path) -> anyhow::Result<()> {
    let (rest, key) = (server.rest()?, key());
    let range = |station: usize, days: u64| {
        let to = START_MS + days * 86_400_000;
        let station = station % STATIONS;
        format!("/v1/devices/station-{station:03}/telemetry?keys={key}&from={START_MS}&to={to}&limit=2000")
    };
    let day = |station| range(station, 1);
    report.at_most("one day of one series of 100 million points", "ms", median(&rest, day).await?, 20.0);
    let month = |station| format!("{}&interval=1h&agg=avg", range(station, DAYS));
    report.at_most("30 days of it as hourly averages", "ms", median(&rest, month).await?, 50.0);
    let means = |_| "SELECT device, avg(value) AS mean FROM points GROUP BY device".to_owned();
    report.context("SQL: mean by device of 100 million points", "ms", median_query(&rest, means).await?);
    let hours = |station: usize| {
        format!(
            "SELECT time_bucket('1h', ts) AS hour, avg(value) AS mean FROM points \
             WHERE device = 'station-{:03}' AND key = '{key}' GROUP BY hour ORDER BY hour",
            station % STATIONS
        )
    };
    report.context("SQL: 30 days of one series by hour", "ms", median_query(&rest, hours).await?);
    duckdb(report, folder, key)?;
    let resident = process::resident(server.pid())?;
    process::forget_peak(server.pid())?;
    let sort = format!(
        "SELECT max(place) AS places FROM \
         (SELECT row_number() OVER (ORDER BY value, ts, device) AS place FROM points WHERE key = '{key}')"
    );
    rest.query(&sort).await?;
    let more = as_f64(process::peak(server.pid())?.saturating_sub(resident)) / 1e6;
    report.context("memory on top while a query sorts six million rows in 67 MB", "MB", more);
    Ok(())
}

/// The same questions to DuckDB.
fn duckdb(report: &mut Report, folder: &Path, key: &str) -> anyhow::Result<()> {
    let script = "tests/python/duckdb_questions.py";
    let answer = Command::new(".venv/bin/python").arg(script).arg(folder).arg(key).output();
    let answer = match answer {
        Ok(answer) if answer.status.success() => answer,
        Ok(answer) => {
            eprintln!("DuckDB is left out: {}", String::from_utf8_lossy(&answer.stderr));
            return Ok(());
        }
        Err(error) => {
            eprintln!("DuckDB is left out, since .venv is missing (make bench makes it): {error}");
            return Ok(());
        }
    };
    let took: serde_json::Value = serde_json::from_slice(&answer.stdout)?;
    for (what, name) in [
        ("one day of one series of 100 million points", "day"),
        ("30 days of it as hourly averages", "month"),
        ("SQL: mean by device of 100 million points", "means"),
        ("SQL: 30 days of one series by hour", "month"),
    ] {
        report.beside(what, "DuckDB", took[name].as_f64().unwrap_or_default());
    }
    Ok(())
}

/// Devices that send at a pace, alone, and while questions about all points are asked; files are written and merged all the while.
async fn beside_questions(bench: &Bench, report: &mut Report, server: &Server) -> anyhow::Result<()> {
    let rest = server.rest()?;
    let mut logins = Vec::new();
    for index in 0..CALM_CLIENTS {
        let device = format!("calm-{index:03}");
        logins.push(Login { token: Some(rest.register(&device).await?), device });
    }
    let address = server.address("mqtt")?;
    let alone = paced(&address, &logins, bench.duration).await?;
    let is_over = Arc::new(AtomicBool::new(false));
    let asking = ask_on(server.rest()?, is_over.clone());
    let (beside, asked) = tokio::join!(
        async {
            let outcome = paced(&address, &logins, bench.duration).await;
            is_over.store(true, Ordering::Relaxed);
            outcome
        },
        asking
    );
    let (alone, beside) = (alone.latency_ms(0.99), beside?.latency_ms(0.99));
    report.context("ack p99 of devices at 1,000 msg/s, files merged meanwhile", "ms", alone);
    report.at_most("the same while SQL reads all points", "ms", beside, 2.0 * alone);
    report.context("questions answered meanwhile", "", as_f64(asked?));
    Ok(())
}

async fn paced(address: &str, logins: &[Login], duration: Duration) -> anyhow::Result<Outcome> {
    let job = Job {
        address: address.to_owned(),
        logins: logins.to_vec(),
        topic: "v1/telemetry".into(),
        qos: 1,
        window: 16,
        rate: Some(CALM_RATE),
        duration,
        payload: Arc::new(|client, number, out| {
            let text = format!("{{\"a\":{number},\"b\":1.5,\"c\":2.5,\"d\":-3,\"e\":0.1,\"f\":{client}}}");
            out.extend_from_slice(text.as_bytes());
        }),
        forgive: false,
        messages: None,
    };
    fleet::run(job).await
}

async fn ask_on(rest: Rest, is_over: Arc<AtomicBool>) -> anyhow::Result<u64> {
    let mut asked = 0;
    while !is_over.load(Ordering::Relaxed) {
        rest.query("SELECT device, avg(value) AS mean FROM points GROUP BY device").await?;
        asked += 1;
    }
    Ok(asked)
}

/// A start with a million points in the log that no file has yet.
async fn head(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let plan = Plan::new(&bench.program, &bench.folder.join("head"))
        .set("DROVER_STREAM__FLUSH_POINTS", 20_000_000)
        .set("DROVER_STREAM__FLUSH_INTERVAL_S", 86_400);
    let server = plan.start().await?;
    let rest = server.rest()?;
    replay(&server.address("mqtt")?, stations(&rest, HEAD_STATIONS).await?, 1).await?;
    settle(&rest).await?;
    server.kill()?;
    let server = plan.start().await?;
    let ready = Instant::now();
    settle(&server.rest()?).await?;
    let took = server.ready_after + ready.elapsed();
    report.at_most("start until a million points of the log are readable", "s", took.as_secs_f64(), 2.0);
    server.stop()
}
