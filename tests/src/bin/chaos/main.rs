//! `make chaos`: many publishers, SIGKILL at random moments, restart, and then the accounts: telemetry that was acknowledged must be
//! stored once, and messages to other clients must reach them, at QoS 2 once. Also a full disk and a clock that jumps. The report is a
//! table, and JSON with `--json FILE`.

#![expect(clippy::print_stdout, reason = "a program that reports to its terminal")]

mod client;
mod delivery;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use comfy_table::Table;
use delivery::Delivery;
use drover_tests::load::fleet::{self, Job, Login, Outcome};
use drover_tests::load::rest::Ledger;
use drover_tests::load::server::{Plan, Server};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use serde::Serialize;

/// Messages of telemetry a second at QoS 1, of all clients together: many in flight at every moment, and few enough to read them all back.
const RATE: f64 = 10_000.0;

/// Devices that publish telemetry at QoS 2, each with a session that outlives its connections.
const EXACT_DEVICES: usize = 4;

/// The library that moves the time of day; the dynamic linker knows what $LIB is.
const FAKETIME: &str = "/usr/lib/$LIB/faketime/libfaketime.so.1";

/// Kill, restart, count.
#[derive(Parser)]
struct Arguments {
    /// Rounds of kill and restart.
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Clients that publish telemetry at QoS 1.
    #[arg(long, default_value_t = 50)]
    clients: usize,
    /// The program under test.
    #[arg(long, default_value = "bin/drover")]
    program: PathBuf,
    /// Repeats a run.
    #[arg(long)]
    seed: Option<u64>,
    /// Writes the report here too.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What one round, or one fault, amounted to.
#[derive(Debug, Serialize)]
struct Row {
    round: String,
    moment: String,
    sent: u64,
    acknowledged: u64,
    /// For messages between clients: received by them.
    stored: u64,
    lost: u64,
    doubled: u64,
    ready_ms: u128,
}

/// Every message that was sent so far: by device, which numbers were acknowledged and how many were written.
#[derive(Default)]
struct Account {
    sent: HashMap<String, u64>,
    acknowledged: HashMap<String, Vec<u64>>,
}

struct Chaos {
    plan: Plan,
    logins: Vec<Login>,
    account: Account,
    /// Messages between clients, and telemetry at QoS 2.
    delivery: Option<Delivery>,
    rng: SmallRng,
    rows: Vec<Row>,
    /// Merges of point files that were seen, so that kills fell among them.
    merges: f64,
    /// What clients received and should not have.
    faults: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| rand::rng().random());
    println!("seed {seed}");
    let folder = tempfile::tempdir()?;
    let mut chaos = Chaos {
        plan: plan(&arguments.program, &folder.path().join("data")),
        logins: Vec::new(),
        account: Account::default(),
        delivery: None,
        rng: SmallRng::seed_from_u64(seed),
        rows: Vec::new(),
        merges: 0.0,
        faults: Vec::new(),
    };
    let server = chaos.plan.start().await?;
    let rest = server.rest()?;
    for index in 0..arguments.clients {
        let device = format!("c{index}");
        let token = Some(rest.register(&device).await?);
        chaos.logins.push(Login { device, token });
    }
    let mut exact = Vec::new();
    for index in 0..EXACT_DEVICES {
        let device = format!("x{index}");
        let token = Some(rest.register(&device).await?);
        exact.push(Login { device, token });
    }
    chaos.delivery = Some(Delivery::begin(&server.address("mqtt")?, &exact).await?);
    let mut server = server;
    for round in 1..=arguments.rounds {
        server = chaos.kill_round(round, round == arguments.rounds, server).await?;
    }
    server = chaos.clock_jump(server).await?;
    server.stop().context("the last stop")?;
    ensure!(chaos.merges > 0.0, "no point files were merged in any round, so no kill fell into a merge");
    chaos.disk_full(&arguments.program).await?;
    report(&chaos, seed, arguments.json.as_deref())
}

/// Small segments, frequent flushes, merges of files and checkpoints, so that kills fall into them.
fn plan(program: &Path, data_dir: &Path) -> Plan {
    Plan::new(program, data_dir)
        .set("DROVER_LOG__SEGMENT_BYTES", 1 << 20)
        .set("DROVER_STREAM__FLUSH_INTERVAL_S", 1)
        .set("DROVER_MQTT__CHECKPOINT_INTERVAL_S", 1)
        .set("DROVER_STREAM__FLUSH_POINTS", 20_000)
        .set("DROVER_STREAM__COMPACT_FILES", 2)
}

impl Chaos {
    fn job(&self, server: &Server, duration: Duration) -> anyhow::Result<Job> {
        let bases: Vec<u64> = self
            .logins
            .iter()
            .map(|login| self.account.sent.get(&login.device).copied().unwrap_or(0))
            .collect();
        Ok(Job {
            address: server.address("mqtt")?,
            logins: self.logins.clone(),
            topic: "v1/telemetry".into(),
            qos: 1,
            window: 16,
            rate: Some(RATE),
            duration,
            payload: Arc::new(move |client, number, out| {
                let number = bases.get(client).copied().unwrap_or(0) + number;
                out.extend_from_slice(format!("{{\"n\":{number},\"t\":21.5,\"on\":true}}").as_bytes());
            }),
            forgive: true,
            messages: None,
        })
    }

    fn record(&mut self, outcome: &Outcome) -> (u64, u64) {
        for (index, login) in self.logins.iter().enumerate() {
            let base = self.account.sent.get(&login.device).copied().unwrap_or(0);
            let numbers = self.account.acknowledged.entry(login.device.clone()).or_default();
            numbers.extend(outcome.acknowledged[index].iter().map(|number| base + number));
            *self.account.sent.entry(login.device.clone()).or_default() += outcome.sent[index];
        }
        (outcome.sent_in_all(), outcome.acknowledged_in_all())
    }

    /// Publishes, kills at a random moment, starts again (and now and then kills in the middle of that), counts.
    async fn kill_round(&mut self, round: u32, is_last: bool, server: Server) -> anyhow::Result<Server> {
        // Who is away comes back in every second round.
        let all = is_last || round.is_multiple_of(2);
        let publishing = fleet::start(self.job(&server, Duration::from_secs(30))?);
        let mut delivery = self.delivery.take().context("sessions have begun")?;
        let running = delivery.start(&server.address("mqtt")?, all);
        let moment = Duration::from_millis(self.rng.random_range(300..3_000));
        tokio::time::sleep(moment).await;
        // None is counted in a server that is too young to answer.
        self.merges += server.rest()?.metric("drover_stream_compactions_total").await.unwrap_or(0.0);
        server.kill()?;
        let outcome = publishing.await?;
        delivery.stop(running).await?;
        let (sent, acknowledged) = self.record(&outcome);
        let mut said = format!("{} ms under load", moment.as_millis());
        if round.is_multiple_of(3) {
            let into = Duration::from_millis(self.rng.random_range(0..250));
            let mut child = self.plan.spawn()?;
            tokio::time::sleep(into).await;
            child.kill()?;
            child.wait()?;
            said.push_str(&format!(", {} ms into start-up", into.as_millis()));
        }
        let server = self.plan.start().await?;
        let figures = delivery.settle(&server.address("mqtt")?, all).await?;
        self.faults.append(&mut delivery.faults);
        self.delivery = Some(delivery);
        let row = self.count(&server, (round.to_string(), said.clone()), (sent, acknowledged)).await?;
        self.rows.push(row);
        self.rows.push(Row {
            round: format!("{round} clients"),
            moment: said,
            sent: figures.sent,
            acknowledged: figures.acknowledged,
            stored: figures.received,
            lost: figures.lost,
            doubled: figures.doubled,
            ready_ms: server.ready_after.as_millis(),
        });
        Ok(server)
    }

    /// Starts again an hour back, then an hour ahead.
    async fn clock_jump(&mut self, mut server: Server) -> anyhow::Result<Server> {
        if Command::new("faketime").arg("--version").output().is_err() {
            println!("ignored: clock jump, as the command faketime is missing");
            return Ok(server);
        }
        for jump in ["-1h", "+1h"] {
            server.kill()?;
            // Not the command faketime: it runs the program as a child of its own, which a kill would not reach.
            let plan = self.plan.clone().set("LD_PRELOAD", FAKETIME).set("FAKETIME", jump);
            let plan = plan.set("FAKETIME_DONT_FAKE_MONOTONIC", 1).set("DONT_FAKE_MONOTONIC", 1);
            server = plan.start().await?;
            let outcome = fleet::run(self.job(&server, Duration::from_secs(1))?).await?;
            let (sent, acknowledged) = self.record(&outcome);
            server.kill()?;
            server = self.plan.start().await?;
            let row = self
                .count(
                    &server,
                    (format!("clock {jump}"), "after 1 s under load".into()),
                    (sent, acknowledged),
                )
                .await?;
            self.rows.push(row);
        }
        Ok(server)
    }

    /// A small disk that fills up: no acknowledgement while it is full, sick health, and recovery by itself.
    async fn disk_full(&mut self, program: &Path) -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let Some(disk) = Disk::mount(folder.path())? else {
            println!("ignored: full disk, as mounting a tmpfs needs root");
            return Ok(());
        };
        self.plan = plan(program, &folder.path().join("data")).set("DROVER_LOG__MAX_BYTES", 1_u64 << 30);
        let server = self.plan.start().await?;
        self.account = Account::default();
        self.delivery = None;
        let rest = server.rest()?;
        for login in &mut self.logins {
            login.token = Some(rest.register(&login.device).await?);
        }
        let publishing = fleet::start(self.job(&server, Duration::from_secs(12))?);
        tokio::time::sleep(Duration::from_secs(1)).await;
        disk.fill()?;
        let log_is_sick =
            async || rest.health().await.is_ok_and(|health| health["parts"]["log"]["status"] == "degraded");
        let sick = wait_for(Duration::from_secs(15), log_is_sick).await;
        ensure!(sick, "/v1/health says that the log is well on a full disk: {}", rest.health().await?);
        let health = rest.health().await?;
        println!("full disk: {health}");
        disk.clear()?;
        let well = wait_for(Duration::from_secs(30), async || rest.is_healthy().await).await;
        ensure!(well, "/v1/health does not recover when space returns: {}", rest.health().await?);
        let outcome = publishing.await?;
        let (sent, acknowledged) = self.record(&outcome);
        server.kill()?;
        let server = self.plan.start().await?;
        let row = self
            .count(
                &server,
                ("disk full".into(), "until the log fails, then freed".into()),
                (sent, acknowledged),
            )
            .await?;
        self.rows.push(row);
        server.stop().context("the stop after a full disk")
    }

    /// All devices, and which of their numbers were acknowledged.
    fn accounts(&self) -> impl Iterator<Item = (&str, &[u64])> {
        let often = self.logins.iter().map(|login| {
            let numbers = self.account.acknowledged.get(&login.device);
            (login.device.as_str(), numbers.map(Vec::as_slice).unwrap_or_default())
        });
        often.chain(self.delivery.iter().flat_map(Delivery::telemetry))
    }

    /// Compares what was acknowledged with what can be read.
    async fn count(
        &self,
        server: &Server,
        (round, moment): (String, String),
        (sent, acknowledged): (u64, u64),
    ) -> anyhow::Result<Row> {
        let rest = server.rest()?;
        let settled = wait_for(Duration::from_secs(20), async || {
            rest.ledger().await.is_ok_and(|ledger| ledger.pending == 0)
        })
        .await;
        ensure!(settled, "the ledger still has pending records after 20 s: {:?}", rest.ledger().await?);
        let (mut lost, mut doubled, mut stored) = (0, 0, 0);
        for (device, acknowledged) in self.accounts() {
            let mut times: HashMap<u64, u64> = HashMap::new();
            for number in numbers(
                &rest
                    .get(&format!(
                        "/v1/devices/{device}/telemetry?keys=n&from=0&to=9999999999999&limit=100000"
                    ))
                    .await?,
            )? {
                *times.entry(number).or_default() += 1;
                stored += 1;
            }
            lost += acknowledged.iter().filter(|number| !times.contains_key(number)).count() as u64;
            doubled += times.values().filter(|&&count| count > 1).count() as u64;
        }
        let ledger: Ledger = rest.ledger().await?;
        if ledger.stored != stored {
            bail!("the ledger says {} stored, {stored} can be read", ledger.stored);
        }
        Ok(Row {
            round,
            moment,
            sent,
            acknowledged,
            stored,
            lost,
            doubled,
            ready_ms: server.ready_after.as_millis(),
        })
    }
}

fn numbers(answer: &serde_json::Value) -> anyhow::Result<Vec<u64>> {
    let samples = answer["series"]["n"].as_array().map(Vec::as_slice).unwrap_or_default();
    let number = |sample: &serde_json::Value| -> Option<u64> {
        let value = &sample["value"];
        value.as_u64().or_else(|| value.as_f64().and_then(|number| format!("{number:.0}").parse().ok()))
    };
    samples.iter().map(|sample| number(sample).context("a value that is no number")).collect()
}

async fn wait_for(longest: Duration, holds: impl AsyncFn() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < longest {
        if holds().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

/// A tmpfs of 96 MiB.
struct Disk<'a> {
    folder: &'a Path,
}

impl<'a> Disk<'a> {
    fn mount(folder: &'a Path) -> anyhow::Result<Option<Self>> {
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=96m", "tmpfs"]).arg(folder).output()?;
        Ok(mounted.status.success().then_some(Self { folder }))
    }

    fn fill(&self) -> anyhow::Result<()> {
        let status = Command::new("dd")
            .arg("if=/dev/zero")
            .arg(format!("of={}", self.folder.join("filler").display()))
            .args(["bs=64k", "status=none"])
            .stderr(std::process::Stdio::null())
            .status()?;
        ensure!(!status.success(), "the disk did not fill up");
        Ok(())
    }

    fn clear(&self) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.folder.join("filler"))?)
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder).status();
    }
}

fn report(chaos: &Chaos, seed: u64, json: Option<&Path>) -> anyhow::Result<()> {
    let Chaos { rows, faults, .. } = chaos;
    let mut table = Table::new();
    table.set_header([
        "round",
        "killed",
        "sent",
        "acknowledged",
        "stored or received in all",
        "lost",
        "doubled",
        "ready ms",
    ]);
    for row in rows {
        table.add_row([
            row.round.clone(),
            row.moment.clone(),
            row.sent.to_string(),
            row.acknowledged.to_string(),
            row.stored.to_string(),
            row.lost.to_string(),
            row.doubled.to_string(),
            row.ready_ms.to_string(),
        ]);
    }
    println!("{table}");
    let lost: u64 = rows.iter().map(|row| row.lost).sum();
    let doubled: u64 = rows.iter().map(|row| row.doubled).sum();
    faults.iter().for_each(|fault| println!("fault: {fault}"));
    println!("{} accounts: {lost} lost, {doubled} doubled, {} faults", rows.len(), faults.len());
    if let Some(file) = json {
        let report = serde_json::json!({ "seed": seed, "lost": lost, "doubled": doubled, "faults": faults, "rounds": rows });
        std::fs::write(file, serde_json::to_vec_pretty(&report)?)?;
    }
    ensure!(
        lost == 0 && doubled == 0 && faults.is_empty(),
        "acknowledged messages were lost, doubled or wrong; repeat with --seed {seed}"
    );
    Ok(())
}
