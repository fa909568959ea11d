//! `drover export`: history into one file, Parquet or CSV. It is asked for in windows of bounded size, so that no bound of a query is met
//! and neither side holds much of it.

mod sink;
mod windows;

use std::path::{Path, PathBuf};

use clap::Args;
use drover_model::{DeviceId, TelemetryKey, Timestamp};
use serde_json::{Value, json};

use crate::arrow_answer::ArrowAnswer;
use crate::client::{Client, Target};
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Column, Output, field};
use crate::period;
use sink::{Form, Sink};
use windows::Windows;

#[derive(Args)]
#[command(after_help = "\
The columns are device, key, ts (UTC), value (a number; booleans are 0 and 1) and text; value or text is empty. Rows are sorted by day, device,
key and time. The file has its name only when it is whole. What arrives while the command runs may be in it or not.

Times: -1h, -30m, -2d, now, a date like 2026-01-31 (its midnight in UTC), RFC 3339, or milliseconds since 1970.

Examples:
  drover export --out history.parquet
  drover export --devices pump-1,pump-2 --keys temperature --from 2026-01-01 --to 2026-02-01 --out january.csv")]
pub struct ExportArgs {
    /// File to write; its ending, .parquet or .csv, says the form
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Only these devices, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "DEVICES")]
    devices: Vec<DeviceId>,
    /// Only these keys, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = key, value_name = "KEYS")]
    keys: Vec<TelemetryKey>,
    /// Start of the range, as a time (see below)
    #[arg(long, allow_hyphen_values = true, value_parser = time, value_name = "TIME")]
    from: Option<Timestamp>,
    /// End of the range, which is not part of it
    #[arg(long, allow_hyphen_values = true, value_parser = time, value_name = "TIME")]
    to: Option<Timestamp>,
}

const COLUMNS: &[Column] = &[
    ("FILE", |e| field(e, "/file")),
    ("POINTS", |e| field(e, "/points")),
    ("BYTES", |e| field(e, "/size_bytes")),
];

fn key(text: &str) -> Result<TelemetryKey, String> {
    TelemetryKey::parse(text).map_err(|error| error.to_string())
}

fn time(text: &str) -> Result<Timestamp, String> {
    let text = period::absolute(text, period::now())?;
    Timestamp::parse(&text).map_err(|error| error.to_string())
}

pub async fn run(args: ExportArgs, target: &Target, output: Output) -> Outcome {
    let form = form(&args.out)?;
    let client = target.client()?;
    let wanted = Wanted {
        devices: args.devices.iter().map(ToString::to_string).collect(),
        keys: args.keys.iter().map(ToString::to_string).collect(),
        from: args.from.unwrap_or(Timestamp::MIN),
        to: args.to.unwrap_or(Timestamp::MAX),
    };
    if wanted.from >= wanted.to {
        return Err(Failure::new(Code::Usage, "the range is empty: --to must be later than --from"));
    }
    let summary = export(&client, &wanted, (&args.out, form), output).await?;
    output.object(COLUMNS, &summary)
}

fn form(path: &Path) -> Outcome<Form> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("csv") => Ok(Form::Csv),
        Some("parquet") => Ok(Form::Parquet),
        _ => {
            let problem = format!("{}: name a file that ends in .parquet or .csv", path.display());
            Err(Failure::new(Code::Usage, problem))
        }
    }
}

/// What is to be exported.
struct Wanted {
    devices: Vec<String>,
    keys: Vec<String>,
    from: Timestamp,
    to: Timestamp,
}

impl Wanted {
    /// The condition of a query for it.
    fn condition(&self) -> String {
        let mut conditions = Vec::new();
        if self.from > Timestamp::MIN {
            conditions.push(format!("ts >= {}", moment(self.from.as_micros())));
        }
        if self.to < Timestamp::MAX {
            conditions.push(format!("ts < {}", moment(self.to.as_micros())));
        }
        for (column, names) in [("device", &self.devices), ("key", &self.keys)] {
            if !names.is_empty() {
                let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
                conditions.push(format!("{column} IN ({})", names.join(", ")));
            }
        }
        if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") }
    }
}

fn moment(micros: i64) -> String {
    format!("to_timestamp_micros({micros})")
}

fn quoted(name: &str) -> String {
    format!("'{}'", name.replace('\'', "''"))
}

async fn export(
    client: &Client,
    wanted: &Wanted,
    (path, form): (&Path, Form),
    output: Output,
) -> Outcome<Value> {
    // Before the server is asked: a file that can't be written is known at once.
    let mut sink = Sink::create(path, form)?;
    let condition = wanted.condition();
    let windows = Windows::ask(client, &condition).await?;
    let bar = output.points_bar(windows.rows(), "exporting");
    let mut points = 0;
    for window in windows.conditions() {
        let sql = format!(
            "SELECT device, key, ts, value, text FROM points WHERE {condition} AND {window} ORDER BY device, key, ts"
        );
        let mut answer = ArrowAnswer::ask(client, &sql).await?;
        while let Some(batch) = answer.next().await? {
            points += batch.num_rows() as u64;
            bar.inc(batch.num_rows() as u64);
            sink.write(&batch)?;
        }
        sink.begin(&answer.schema()?)?;
    }
    bar.finish_and_clear();
    let size_bytes = sink.finish()?;
    Ok(json!({ "file": path.to_string_lossy(), "points": points, "size_bytes": size_bytes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_of_the_file_says_its_form() {
        assert_eq!(form(Path::new("a/history.parquet")).unwrap(), Form::Parquet);
        assert_eq!(form(Path::new("history.csv")).unwrap(), Form::Csv);
        for name in ["history", "history.json", "csv"] {
            assert!(form(Path::new(name)).unwrap_err().message.contains(".parquet or .csv"), "{name}");
        }
    }

    #[test]
    fn a_condition_names_what_is_wanted_and_nothing_else() {
        let mut wanted = Wanted { devices: vec![], keys: vec![], from: Timestamp::MIN, to: Timestamp::MAX };
        assert_eq!(wanted.condition(), "true");
        wanted.devices = vec!["a".into(), "it's".into()];
        wanted.from = Timestamp::from_millis(1);
        let expected = "ts >= to_timestamp_micros(1000) AND device IN ('a', 'it''s')";
        assert_eq!(wanted.condition(), expected);
    }
}
