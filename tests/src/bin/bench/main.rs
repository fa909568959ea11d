//! `make bench`: what a message, a session, a point and a start cost, with the bound that the project set itself and mosquitto beside
//! it where that is installed. Nothing here fails on a slow machine; the table tells.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that reports to its terminal")]

mod broker;
mod history;
mod idle;
mod load;
mod points;
mod start;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::table::Report;

/// Measures this build.
#[derive(Parser)]
struct Arguments {
    /// The program under test.
    #[arg(long, default_value = "bin/drover")]
    program: PathBuf,
    /// Seconds of each load scenario.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Only scenarios whose name begins so: start, load-paced, load-flat-out, load-qos-0, load-flood, load-peer, broker-fan-out,
    /// broker-fan-in, broker-sessions, broker-retained, idle, points, history, head.
    #[arg(long, default_value = "")]
    only: String,
    /// Sessions that outlive their connections, in `broker-sessions`; at least 10,000.
    #[arg(long, default_value_t = 100_000)]
    sessions: usize,
    /// Writes the figures here too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Keeps data on this folder's disk; a temporary folder in the working directory when not given.
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// What every scenario gets.
pub(crate) struct Bench {
    pub(crate) program: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) duration: Duration,
    pub(crate) sessions: usize,
    only: String,
}

impl Bench {
    /// Whether a scenario was asked for.
    pub(crate) fn wants(&self, scenario: &str) -> bool {
        scenario.starts_with(&self.only)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let base = arguments.folder.clone().unwrap_or_else(|| ".".into());
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(base)?;
    let bench = Bench {
        program: arguments.program,
        folder: folder.path().into(),
        duration: Duration::from_secs(arguments.seconds),
        sessions: arguments.sessions,
        only: arguments.only,
    };
    let mut report = Report::default();
    if bench.wants("start") {
        start::run(&bench, &mut report).await?;
    }
    load::run(&bench, &mut report).await?;
    broker::run(&bench, &mut report).await?;
    if bench.wants("idle") {
        idle::run(&bench, &mut report).await?;
    }
    if bench.wants("points") {
        points::run(&bench, &mut report).await?;
    }
    history::run(&bench, &mut report).await?;
    report.print();
    if let Some(file) = arguments.json {
        report.write(&file)?;
    }
    Ok(())
}
