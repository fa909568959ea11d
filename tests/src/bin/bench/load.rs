//! Messages: flat out, paced, and without acknowledgement.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use drover_tests::load::fleet::{self, Job, Login, Outcome};
use drover_tests::load::peer::{MOSQUITTO, Mosquitto};
use drover_tests::load::process;
use drover_tests::load::rest::Rest;
use drover_tests::load::server::{Plan, Server};

use crate::Bench;
use crate::table::Report;

const CLIENTS: usize = 500;
const WINDOW: usize = 16;
const PACED_RATE: f64 = 4_000.0;
const FLOOD_CLIENTS: usize = 100;
const FLOOD_BUDGET: u32 = 2_000;
const CALM_RATE: f64 = 1_000.0;

/// Each scenario on a server of its own, so that none pays for what another left behind.
pub(crate) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    if bench.wants("load-paced") {
        let (server, logins) = start(bench, "paced").await?;
        paced(bench, report, &server, &logins).await?;
        server.stop()?;
    }
    if bench.wants("load-flat-out") {
        let (server, logins) = start(bench, "flat-out").await?;
        flat_out(bench, report, &server, &logins).await?;
        server.stop()?;
    }
    if bench.wants("load-qos-0") {
        let (server, logins) = start(bench, "qos-0").await?;
        unacknowledged(bench, report, &server, &logins).await?;
        server.stop()?;
    }
    if bench.wants("load-flood") {
        flood(bench, report).await?;
    }
    beside(bench, report).await
}

async fn start(bench: &Bench, name: &str) -> anyhow::Result<(Server, Vec<Login>)> {
    let server = Plan::new(&bench.program, &bench.folder.join(name)).start().await?;
    let logins = register(&server.rest()?, "", CLIENTS).await?;
    Ok((server, logins))
}

/// Devices whose names at login end with `suffix`.
async fn register(rest: &Rest, suffix: &str, count: usize) -> anyhow::Result<Vec<Login>> {
    let mut logins = Vec::new();
    for index in 0..count {
        let device = format!("bench-{index:04}");
        let token = Some(rest.register(&device).await?);
        logins.push(Login { token, device: device + suffix });
    }
    Ok(logins)
}

fn job(address: String, logins: &[Login], duration: Duration) -> Job {
    Job {
        address,
        logins: logins.to_vec(),
        topic: "v1/telemetry".into(),
        qos: 1,
        window: WINDOW,
        rate: None,
        duration,
        payload: Arc::new(payload),
        forgive: false,
        messages: None,
    }
}

/// 128 bytes of JSON with six changing numbers.
fn payload(client: usize, number: u64, out: &mut Vec<u8>) {
    let wave = (number + client as u64) % 400;
    let text = format!(
        "{{\"temperature\":{}.{},\"humidity\":{}.{},\"pressure\":10{}.{},\"voltage\":3.{},\"rssi\":-{},\"count\":{number}",
        wave / 20,
        wave % 10,
        40 + wave % 30,
        wave % 7,
        10 + wave % 9,
        wave % 5,
        wave % 100,
        60 + wave % 20,
    );
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b",\"pad\":\"");
    while out.len() < 126 {
        out.push(b'x');
    }
    out.extend_from_slice(b"\"}");
}

/// CPU of a process while a job runs, in microseconds a message; and the outcome.
async fn measured(pid: u32, job: Job) -> anyhow::Result<(f64, Outcome)> {
    let before = process::cpu(pid)?;
    let outcome = fleet::run(job).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let used = process::cpu(pid)?.saturating_sub(before);
    Ok((micros_each(used, outcome.sent_in_all()), outcome))
}

fn micros_each(used: Duration, messages: u64) -> f64 {
    used.as_secs_f64() * 1e6 / as_f64(messages.max(1))
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(crate) fn as_f64(number: u64) -> f64 {
    number as f64
}

async fn flat_out(
    bench: &Bench,
    report: &mut Report,
    server: &Server,
    logins: &[Login],
) -> anyhow::Result<()> {
    let (cpu, outcome) = measured(server.pid(), job(server.address("mqtt")?, logins, bench.duration)).await?;
    let rate = as_f64(outcome.acknowledged_in_all()) / outcome.elapsed.as_secs_f64();
    report.at_least("QoS 1 flat out, durable and stored", "msg/s", rate, 50_000.0);
    let pending = server.rest()?.ledger().await?.pending;
    report.at_most("backlog at the end of it", "records", as_f64(pending), rate.max(1.0));
    report.at_most("CPU of it", "us/msg", cpu, 15.0);
    report.context("ack p99 of it", "ms", outcome.latency_ms(0.99));
    report.context("resident after it", "MB", as_f64(process::resident(server.pid())?) / 1e6);
    settle(server).await
}

async fn paced(bench: &Bench, report: &mut Report, server: &Server, logins: &[Login]) -> anyhow::Result<()> {
    let probe = SyncProbe::start(bench)?;
    let paced = Job { rate: Some(PACED_RATE), ..job(server.address("mqtt")?, logins, bench.duration) };
    let (cpu, outcome) = measured(server.pid(), paced).await?;
    let sync_p99 = probe.p99_ms();
    report.at_most("QoS 1 paced at 4,000 msg/s, CPU", "us/msg", cpu, 18.0);
    report.context("fdatasync p99 in the same run", "ms", sync_p99);
    report.at_most("ack p99 of it", "ms", outcome.latency_ms(0.99), 2.0 * sync_p99 + 10.0);
    report.context("ack p50 of it", "ms", outcome.latency_ms(0.5));
    settle(server).await
}

/// A tenant with a budget sends as fast as it is read; another one must not notice.
async fn flood(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let plan = Plan::new(&bench.program, &bench.folder.join("flood"))
        .set("DROVER_MQTT__BUDGET__TENANT_MESSAGES_PER_S", FLOOD_BUDGET)
        .set("DROVER_MQTT__BUDGET__BURST_S", 1);
    let server = plan.start().await?;
    let rest = server.rest()?;
    let calm = register(&rest, "", FLOOD_CLIENTS).await?;
    let other = rest.with_tenant("flood").await?;
    let flooding = register(&other, "@flood", FLOOD_CLIENTS).await?;
    let address = server.address("mqtt")?;
    let paced = || Job { rate: Some(CALM_RATE), ..job(address.clone(), &calm, bench.duration) };
    let alone = fleet::run(paced()).await?;
    let flood = fleet::start(Job { window: 64, ..job(address.clone(), &flooding, bench.duration) });
    let beside = fleet::run(paced()).await?;
    let flooded = flood.await?;
    report.context("ack p99 of a tenant at 1,000 msg/s", "ms", alone.latency_ms(0.99));
    let what = "the same while another one floods, budget 2,000 msg/s";
    report.at_most(what, "ms", beside.latency_ms(0.99), 1.2 * alone.latency_ms(0.99));
    let rate = as_f64(flooded.acknowledged_in_all()) / flooded.elapsed.as_secs_f64();
    report.context("rate of the flood", "msg/s", rate);
    server.stop()
}

async fn unacknowledged(
    bench: &Bench,
    report: &mut Report,
    server: &Server,
    logins: &[Login],
) -> anyhow::Result<()> {
    let before = server.rest()?.ledger().await?;
    let plain = Job { qos: 0, window: 64, ..job(server.address("mqtt")?, logins, bench.duration) };
    let used_before = process::cpu(server.pid())?;
    let outcome = fleet::run(plain).await?;
    settle(server).await?;
    let used = process::cpu(server.pid())?.saturating_sub(used_before);
    let stored = server.rest()?.ledger().await?.stored - before.stored;
    report.at_most("QoS 0 stored, CPU", "us/msg", micros_each(used, stored), 5.0);
    report.context("QoS 0 rate", "msg/s", as_f64(outcome.sent_in_all()) / outcome.elapsed.as_secs_f64());
    report.context("QoS 0 sent and stored", "%", 100.0 * as_f64(stored) / as_f64(outcome.sent_in_all()));
    Ok(())
}

async fn settle(server: &Server) -> anyhow::Result<()> {
    let rest = server.rest()?;
    let (mut before, began) = (u64::MAX, Instant::now());
    loop {
        let ledger = rest.ledger().await?;
        if (ledger.pending == 0 && before == ledger.accepted) || began.elapsed() > Duration::from_secs(60) {
            return Ok(());
        }
        before = ledger.accepted;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn beside(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    if !bench.wants("load-peer") {
        return Ok(());
    }
    let Some(peer) = Mosquitto::start(&bench.folder).await? else {
        eprintln!("mosquitto is not installed; its column stays empty");
        return Ok(());
    };
    let logins: Vec<Login> =
        (0..CLIENTS).map(|index| Login { device: format!("bench-{index}"), token: None }).collect();
    let (cpu, outcome) = measured(peer.pid(), job(peer.address.clone(), &logins, bench.duration)).await?;
    let rate = as_f64(outcome.acknowledged_in_all()) / outcome.elapsed.as_secs_f64();
    report.beside("QoS 1 flat out, durable and stored", MOSQUITTO, rate);
    report.beside("CPU of it", MOSQUITTO, cpu);
    let paced = Job { rate: Some(PACED_RATE), ..job(peer.address.clone(), &logins, bench.duration) };
    let (cpu, outcome) = measured(peer.pid(), paced).await?;
    report.beside("QoS 1 paced at 4,000 msg/s, CPU", MOSQUITTO, cpu);
    report.beside("ack p99 of it", MOSQUITTO, outcome.latency_ms(0.99));
    report.beside("ack p50 of it", MOSQUITTO, outcome.latency_ms(0.5));
    let plain = Job { qos: 0, window: 64, ..job(peer.address.clone(), &logins, bench.duration) };
    let (cpu, _) = measured(peer.pid(), plain).await?;
    report.beside("QoS 0 stored, CPU", MOSQUITTO, cpu);
    Ok(())
}

/// Writes and syncs a small file beside the server's log, as the disk's own limit in the same run.
struct SyncProbe {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<u32>>,
}

impl SyncProbe {
    fn start(bench: &Bench) -> anyhow::Result<Self> {
        let mut file = File::create(bench.folder.join("sync-probe"))?;
        file.write_all(&vec![0; 1 << 20])?;
        file.sync_all()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || {
            use std::os::unix::fs::FileExt as _;
            let mut took = Vec::new();
            while !stopping.load(Ordering::Relaxed) {
                let began = Instant::now();
                let written = file.write_all_at(&[1; 1_024], (took.len() as u64 % 1_000) * 1_024);
                if written.and_then(|()| file.sync_data()).is_err() {
                    break;
                }
                took.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
                std::thread::sleep(Duration::from_millis(20));
            }
            took
        });
        Ok(Self { stop, thread })
    }

    fn p99_ms(self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut took = self.thread.join().unwrap_or_default();
        took.sort_unstable();
        fleet::quantile(&took, 0.99) / 1_000.0
    }
}
