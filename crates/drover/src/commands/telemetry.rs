//! `drover telemetry`: what a device measured, as a range or the latest values.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, ValueEnum};
use drover_model::DeviceId;
use serde_json::Value;

use crate::client::{Query, Target};
use crate::failure::Outcome;
use crate::output::{Format, Output, note, plain};
use crate::period;

/// Keys up to which a table has a column for each; above, a row for each point.
const MAX_COLUMNS: usize = 8;

#[derive(Args)]
#[command(
    after_help = "Times: -1h, -30m, -2d, now, a date like 2026-01-31 (its midnight in UTC), RFC 3339, or \
                  milliseconds since 1970.\n\nExamples:\n  \
                  drover telemetry station-01 --latest\n  \
                  drover telemetry station-01 --keys temperature_c --from -1h\n  \
                  drover telemetry station-01 --from -1d --interval 1h --agg avg"
)]
pub struct TelemetryArgs {
    device: DeviceId,
    /// Only these keys, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "KEYS")]
    keys: Vec<String>,
    /// Start of the range, as a time (see below)
    #[arg(long, allow_hyphen_values = true, value_parser = time, value_name = "TIME")]
    from: Option<String>,
    /// End of the range, which is not part of it
    #[arg(long, allow_hyphen_values = true, value_parser = time, value_name = "TIME")]
    to: Option<String>,
    /// Length of the intervals to aggregate over, like 5m
    #[arg(long, requires = "agg", value_name = "LENGTH")]
    interval: Option<String>,
    /// What to make of an interval's values
    #[arg(long, requires = "interval", value_name = "HOW")]
    agg: Option<Aggregation>,
    /// The most points of a key
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// The latest value of each key instead of a range
    #[arg(long, conflicts_with_all = ["from", "to", "interval", "agg", "limit"])]
    latest: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Aggregation {
    Avg,
    Min,
    Max,
    Sum,
    Count,
    Last,
}

fn time(text: &str) -> Result<String, String> {
    period::absolute(text, period::now())
}

pub async fn run(args: TelemetryArgs, target: &Target, output: Output) -> Outcome {
    let client = target.client()?;
    let path = format!("/v1/devices/{}/telemetry", args.device);
    if args.latest {
        let mut latest = client.get(&format!("{path}/latest"), &Query::new()).await?;
        if let (Value::Object(values), false) = (&mut latest, args.keys.is_empty()) {
            values.retain(|key, _| args.keys.contains(key));
        }
        return print_latest(output, &latest);
    }
    let answer = client.get(&path, &query(args)).await?;
    if let Some(missing) =
        answer.get("incomplete").filter(|list| list.as_array().is_some_and(|list| !list.is_empty()))
    {
        note(&format!("drover: the answer is incomplete, these could not be read: {missing}"));
    }
    print_range(output, &answer)
}

fn query(args: TelemetryArgs) -> Query {
    let keys = (!args.keys.is_empty()).then(|| args.keys.join(","));
    let aggregation =
        args.agg.and_then(|agg| agg.to_possible_value()).map(|value| value.get_name().to_owned());
    let limit = args.limit.map(|limit| limit.to_string());
    let pairs = [
        ("keys", keys),
        ("from", args.from),
        ("to", args.to),
        ("interval", args.interval),
        ("agg", aggregation),
        ("limit", limit),
    ];
    pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn print_latest(output: Output, latest: &Value) -> Outcome {
    if output.format != Format::Table {
        return output.value(latest);
    }
    let values = latest.as_object().into_iter().flatten();
    let rows = values.map(|(key, sample)| vec![key.clone(), value_of(sample), time_of(sample)]).collect();
    output.rows(&titles(["KEY", "VALUE", "TIME"]), rows)
}

fn print_range(output: Output, answer: &Value) -> Outcome {
    if output.format != Format::Table {
        return output.value(answer);
    }
    let empty = serde_json::Map::new();
    let series = answer.get("series").and_then(Value::as_object).unwrap_or(&empty);
    let (head, rows) = if series.len() <= MAX_COLUMNS { wide(series) } else { long(series) };
    output.rows(&head, rows)
}

type Series = serde_json::Map<String, Value>;
type Rows = (Vec<String>, Vec<Vec<String>>);

/// A row for each time, a column for each key.
fn wide(series: &Series) -> Rows {
    let mut cells: BTreeMap<i64, BTreeMap<&str, String>> = BTreeMap::new();
    for (key, sample) in samples(series) {
        cells.entry(millis_of(sample)).or_default().insert(key, value_of(sample));
    }
    let head = std::iter::once("TIME".to_owned()).chain(series.keys().cloned()).collect();
    let rows = cells.into_iter().map(|(millis, mut row)| {
        let values = series.keys().map(|key| row.remove(key.as_str()).unwrap_or_default());
        std::iter::once(period::show_millis(millis)).chain(values).collect()
    });
    (head, rows.collect())
}

/// A row for each point, by time.
fn long(series: &Series) -> Rows {
    let points: BTreeSet<_> =
        samples(series).map(|(key, sample)| (millis_of(sample), key, value_of(sample))).collect();
    let rows = points
        .into_iter()
        .map(|(millis, key, value)| vec![period::show_millis(millis), key.to_owned(), value]);
    (titles(["TIME", "KEY", "VALUE"]), rows.collect())
}

fn samples(series: &Series) -> impl Iterator<Item = (&str, &Value)> {
    series
        .iter()
        .flat_map(|(key, list)| list.as_array().into_iter().flatten().map(|sample| (key.as_str(), sample)))
}

fn titles<const N: usize>(titles: [&str; N]) -> Vec<String> {
    titles.map(str::to_owned).to_vec()
}

fn millis_of(sample: &Value) -> i64 {
    sample.get("ts").and_then(Value::as_i64).unwrap_or_default()
}

fn time_of(sample: &Value) -> String {
    period::show_millis(millis_of(sample))
}

fn value_of(sample: &Value) -> String {
    sample.get("value").map(plain).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn series(value: &Value) -> Series {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn few_keys_become_columns_and_gaps_stay_empty() {
        let series = series(
            &json!({"a": [{"ts": 0, "value": 1}, {"ts": 1000, "value": 2}], "b": [{"ts": 1000, "value": "x"}]}),
        );
        let (head, rows) = wide(&series);
        assert_eq!(head, ["TIME", "a", "b"]);
        assert_eq!(rows, [["1970-01-01T00:00:00.000Z", "1", ""], ["1970-01-01T00:00:01.000Z", "2", "x"]]);
    }

    #[test]
    fn many_keys_become_rows_by_time() {
        let series = series(&json!({"a": [{"ts": 1000, "value": 2}], "b": [{"ts": 0, "value": true}]}));
        let (_, rows) = long(&series);
        assert_eq!(rows, [["1970-01-01T00:00:00.000Z", "b", "true"], ["1970-01-01T00:00:01.000Z", "a", "2"]]);
    }
}
