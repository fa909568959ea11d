//! `drover telemetry`: what a device measured, as a range or the latest values.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use drover_model::DeviceId;
use serde_json::{Map, Value};

use crate::client::{Client, Query, Target, next_page};
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Format, Output, note, plain, shortened};
use crate::{period, plot};

/// Keys up to which a table has a column for each; above, a row for each point.
const MAX_COLUMNS: usize = 8;
/// Columns of a chart that is not on a terminal.
const PLOT_WIDTH: u16 = 100;

#[derive(Args)]
#[command(
    after_help = "Times: -1h, -30m, -2d, now, a date like 2026-01-31 (its midnight in UTC), RFC 3339, or \
                  milliseconds since 1970.\n\nExamples:\n  \
                  drover telemetry station-01 --latest\n  \
                  drover telemetry station-01 --keys temperature_c --from -1h\n  \
                  drover telemetry station-01 --from -1d --interval 1h --agg avg\n  \
                  drover telemetry station-01 --keys temperature_c --from -1d --plot"
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
    /// The most points of a key: the newest ones
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Every point of the range, however many there are
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// The latest value of each key instead of a range
    #[arg(long, conflicts_with_all = ["from", "to", "interval", "agg", "limit", "all"])]
    latest: bool,
    /// A line chart instead of a table
    #[arg(long, conflicts_with = "latest")]
    plot: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Aggregation {
    Avg,
    Min,
    Max,
    Sum,
    Count,
    First,
    Last,
}

fn time(text: &str) -> Result<String, String> {
    period::absolute(text, period::now())
}

pub async fn run(args: TelemetryArgs, target: &Target, output: Output) -> Outcome {
    if args.plot && output.format != Format::Table {
        return Err(Failure::new(Code::Usage, "--plot is for the eye: leave out -o, or --plot"));
    }
    let client = target.client()?;
    let path = format!("/v1/devices/{}/telemetry", args.device);
    if args.latest {
        return print_latest(output, &latest(&client, &path, &args.keys).await?);
    }
    let (all, has_start, plot) = (args.all, args.from.is_some(), args.plot);
    let answer = range(&client, &path, query(args), all).await?;
    let incomplete = answer.get("incomplete").and_then(Value::as_array);
    if let Some(missing) = incomplete.filter(|list| !list.is_empty()) {
        let missing: Vec<String> = missing.iter().map(plain).collect();
        note(&format!("drover: the answer is incomplete, these could not be read: {}", missing.join(", ")));
    }
    let is_empty = answer.get("series").and_then(Value::as_object).is_none_or(Map::is_empty);
    if is_empty && output.format == Format::Table {
        let hint = if has_start { "" } else { "; without --from it is the last hour, --from -1d is a day" };
        output.note(&format!("drover: there are no points in the range{hint}"));
        return Ok(());
    }
    if plot {
        print_plot(output, &answer)?;
    } else {
        print_range(output, &answer)?;
    }
    if next_page(&answer).is_some() {
        output
            .note("drover: there are older points in the range; --all shows them too, --limit more of them");
    }
    Ok(())
}

/// The latest value of each key, over as many pages as there are.
async fn latest(client: &Client, path: &str, keys: &[String]) -> Outcome<Value> {
    let mut values = Map::new();
    let mut next = Some(format!("{path}/latest"));
    while let Some(path) = next {
        let page;
        (page, next) = client.get_linked(&path).await?;
        if let Value::Object(more) = page {
            values.extend(more.into_iter().filter(|(key, _)| keys.is_empty() || keys.contains(key)));
        }
    }
    Ok(Value::Object(values))
}

/// A page of the range, or all of them as one answer.
async fn range(client: &Client, path: &str, query: Query, all: bool) -> Outcome<Value> {
    let mut answer = client.get(path, &query).await?;
    while let Some(token) = next_page(&answer).filter(|_| all) {
        let page = [("page_token", token)].into_iter().chain(query.iter().cloned()).collect();
        answer = joined(client.get(path, &page).await?, answer);
    }
    Ok(answer)
}

/// An answer and the one before it, which is newer. What says how it goes on is the older one's.
fn joined(mut older: Value, mut newer: Value) -> Value {
    let newer_series = newer.get_mut("series").map(Value::take);
    if let (Some(series), Some(Value::Object(newer))) =
        (older.get_mut("series").and_then(Value::as_object_mut), newer_series)
    {
        for (key, points) in newer {
            match (series.get_mut(&key).and_then(Value::as_array_mut), points) {
                (Some(before), Value::Array(points)) => before.extend(points),
                (_, points) => _ = series.insert(key, points),
            }
        }
    }
    if let Some(Value::Array(mut missing)) = newer.get_mut("incomplete").map(Value::take) {
        let more = older.get("incomplete").and_then(Value::as_array).cloned().unwrap_or_default();
        missing.extend(more.into_iter().filter(|name| !missing.contains(name)).collect::<Vec<_>>());
        older["incomplete"] = Value::Array(missing);
    }
    older
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
    let empty = Map::new();
    let series = answer.get("series").and_then(Value::as_object).unwrap_or(&empty);
    let (head, rows) = if series.len() <= MAX_COLUMNS { wide(series) } else { long(series) };
    output.rows(&head, rows)
}

/// Draws numbers and booleans; texts have no place in a chart, which is said.
fn print_plot(output: Output, answer: &Value) -> Outcome {
    let mut lines: Vec<plot::Line> = Vec::new();
    let series = answer.get("series").and_then(Value::as_object).into_iter().flatten();
    for (key, samples) in series {
        let points: Vec<_> = samples.as_array().into_iter().flatten().filter_map(point).collect();
        if points.is_empty() || lines.len() == plot::MAX_LINES {
            note(&format!(
                "drover: {key} is not drawn: choose up to {} keys of numbers with --keys",
                plot::MAX_LINES
            ));
        } else {
            lines.push((key.clone(), points));
        }
    }
    let width = ratatui::crossterm::terminal::size().ok().filter(|_| output.colours());
    output.line(&plot::chart(&lines, width.map_or(PLOT_WIDTH, |(columns, _)| columns), output.colours()))
}

fn point(sample: &Value) -> Option<(f64, f64)> {
    let value = sample.get("value")?;
    let value = value.as_f64().or_else(|| value.as_bool().map(|on| f64::from(u8::from(on))))?;
    Some((sample.get("ts")?.as_f64()?, value))
}

type Series = Map<String, Value>;
type Rows = (Vec<String>, Vec<Vec<String>>);

/// A row for each time, a column for each key. Several points of a key in one millisecond have as many rows.
fn wide(series: &Series) -> Rows {
    let mut cells: BTreeMap<(i64, usize), BTreeMap<&str, String>> = BTreeMap::new();
    for (key, points) in series {
        let mut place = (i64::MIN, 0);
        for sample in points.as_array().into_iter().flatten() {
            let millis = millis_of(sample);
            place = (millis, if place.0 == millis { place.1 + 1 } else { 0 });
            cells.entry(place).or_default().insert(key, value_of(sample));
        }
    }
    let head = std::iter::once("TIME".to_owned()).chain(series.keys().cloned()).collect();
    let rows = cells.into_iter().map(|((millis, _), mut row)| {
        let values = series.keys().map(|key| row.remove(key.as_str()).unwrap_or_default());
        std::iter::once(period::show_millis(millis)).chain(values).collect()
    });
    (head, rows.collect())
}

/// A row for each point, by time.
fn long(series: &Series) -> Rows {
    let mut points: Vec<_> =
        samples(series).map(|(key, sample)| (millis_of(sample), key, value_of(sample))).collect();
    points.sort_by_key(|(millis, key, _)| (*millis, *key));
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
    sample.get("value").map(|value| shortened(&plain(value))).unwrap_or_default()
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
    fn points_of_one_millisecond_are_all_shown() {
        let many = series(&json!({
            "a": [{"ts": 0, "value": 1}, {"ts": 0, "value": 1}, {"ts": 0, "value": 2}, {"ts": 5, "value": 3}],
            "b": [{"ts": 0, "value": "x"}]
        }));
        let cells = |(_, rows): Rows| rows.into_iter().map(|row| row[1..].join("|")).collect::<Vec<_>>();
        assert_eq!(cells(wide(&many)), ["1|x", "1|", "2|", "3|"]);
        assert_eq!(cells(long(&many)), ["a|1", "a|1", "a|2", "b|x", "a|3"]);
    }

    #[test]
    fn pages_become_one_answer() {
        let newer = json!({"series": {"a": [{"ts": 2}], "b": [{"ts": 2}]}, "incomplete": ["x"], "next_page_token": "n"});
        let older = json!({"series": {"a": [{"ts": 1}], "c": [{"ts": 1}]}, "incomplete": ["x", "y"]});
        let both = json!({
            "series": {"a": [{"ts": 1}, {"ts": 2}], "b": [{"ts": 2}], "c": [{"ts": 1}]},
            "incomplete": ["x", "y"]
        });
        assert_eq!(joined(older, newer), both);
    }

    #[test]
    fn many_keys_become_rows_by_time() {
        let series = series(&json!({"a": [{"ts": 1000, "value": 2}], "b": [{"ts": 0, "value": true}]}));
        let (_, rows) = long(&series);
        assert_eq!(rows, [["1970-01-01T00:00:00.000Z", "b", "true"], ["1970-01-01T00:00:01.000Z", "a", "2"]]);
    }
}
