//! `drover query`: SQL over what devices measured, once or in a shell.

mod answer;
mod shell;

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Response;
use serde_json::{Value, json};

use crate::arrow_answer::broken;
use crate::client::{Client, Target};
use crate::failure::{Failure, Outcome};
use crate::new_file::NewFile;
use crate::output::Output;

const CSV: &str = "text/csv";
const ARROW: &str = "application/vnd.apache.arrow.stream";
const JSON: &str = "application/json";

#[derive(Args)]
#[command(
    group(ArgGroup::new("form").args(["csv", "arrow"])),
    after_help = "Tables: points (device, key, ts, value, text, seq, flags), events (device, ts, event), devices (id, profile, labels, \
                  created), alarms.\n\nFunctions beside those of standard SQL: time_bucket('5m', ts), first(value, ts), last(value, ts), \
                  percentile(value, 0.95), and the table time_buckets('1h', from, to) to fill gaps.\n\nExamples:\n  \
                  drover query \"SELECT key, count(*) AS n FROM points GROUP BY key\"\n  \
                  drover query --csv --out day.csv \"SELECT * FROM points WHERE ts > now() - INTERVAL '1 day'\"\n  \
                  drover query    (a shell, with history and completion)"
)]
pub struct QueryArgs {
    /// The query; without it, standard input, and on a terminal a shell
    sql: Option<String>,
    /// Read the query from a file
    #[arg(long, value_name = "FILE", conflicts_with = "sql")]
    file: Option<PathBuf>,
    /// Write CSV, with a header
    #[arg(long)]
    csv: bool,
    /// Write Arrow's streaming form
    #[arg(long)]
    arrow: bool,
    /// Write to a file instead of standard output
    #[arg(long, value_name = "FILE", requires = "form")]
    out: Option<PathBuf>,
    /// Seconds that the query may take, fewer than the server's setting
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    timeout: Option<u32>,
}

pub async fn run(args: QueryArgs, target: &Target, output: Output) -> Outcome {
    let client = target.client()?;
    let sql = match (&args.sql, &args.file) {
        (Some(sql), _) => sql.clone(),
        (None, Some(file)) => read(file)?,
        (None, None) if io::stdin().is_terminal() && !args.csv && !args.arrow => {
            return shell::run(&client, output, args.timeout).await;
        }
        (None, None) => io::read_to_string(io::stdin())?,
    };
    let form = match (args.csv, args.arrow) {
        (true, _) => CSV,
        (_, true) => ARROW,
        _ => return answer::print(output, &ask(&client, &sql, args.timeout).await?),
    };
    if args.out.is_none() && form == ARROW && io::stdout().is_terminal() {
        return Err(Failure::failed("Arrow is not for the eye: name a file with --out, or pipe it"));
    }
    let response = client.ask("/v1/query", &body(&sql, args.timeout), form).await?;
    match &args.out {
        Some(path) => save(path, response, output).await,
        None => copy(response, &mut io::stdout().lock(), &ProgressBar::hidden()).await,
    }
}

fn read(path: &PathBuf) -> Outcome<String> {
    fs::read_to_string(path)
        .map_err(|error| Failure::failed(format!("can't read {}: {error}", path.display())))
}

fn body(sql: &str, timeout: Option<u32>) -> Value {
    match timeout {
        Some(seconds) => json!({ "sql": sql, "timeout_s": seconds }),
        None => json!({ "sql": sql }),
    }
}

/// An answer as a whole. One that breaks off is an error.
async fn ask(client: &Client, sql: &str, timeout: Option<u32>) -> Outcome<Value> {
    let response = client.ask("/v1/query", &body(sql, timeout), JSON).await?;
    let bytes = response.bytes().await.map_err(|error| broken(&error))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::failed(format!("the server's answer is not what a query has: {error}")))
}

/// Writes an answer to a file, which is there under its name only when it is whole.
async fn save(path: &Path, response: Response, output: Output) -> Outcome {
    let mut file = NewFile::create(path)?;
    let style = ProgressStyle::with_template("{spinner} {decimal_bytes} {decimal_bytes_per_sec} {elapsed}");
    let bar =
        ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    if output.is_quiet() {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    let written = copy(response, &mut file, &bar).await;
    bar.finish_and_clear();
    written?;
    let bytes = file.finish()?;
    output.note(&format!("{}: {bytes} bytes", path.display()));
    Ok(())
}

async fn copy(response: Response, to: &mut dyn Write, bar: &ProgressBar) -> Outcome {
    let mut pieces = response.bytes_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| broken(&error))?;
        bar.inc(piece.len() as u64);
        match to.write_all(&piece) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            other => other?,
        }
    }
    Ok(to.flush()?)
}
