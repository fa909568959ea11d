//! `drover watch`: the fleet at a glance, again and again: which devices send, how much, their last values, the ledger, the health.
//! Every picture is asked for anew; the stream of messages one by one is `drover tail`'s.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use drover_model::DeviceId;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Client, Query, Target};
use crate::failure::{Code, Outcome};
use crate::output::{Format, Output, field, note, plain, shortened};

/// What is counted as now.
const WINDOW_S: u32 = 60;
/// Rows of the answer: the keys of some hundreds of devices.
const MOST_KEYS: usize = 10_000;
/// Values that a row shows.
const SHOWN_VALUES: usize = 3;
/// Takes the cursor to the top and everything away.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

#[derive(Args)]
#[command(after_help = "\
Shows devices that sent within the last minute, the most active first. On a terminal each picture takes the place of the one before it;
in a pipe they follow one another, with -o json as one line each. Ctrl-C ends it.")]
pub struct WatchArgs {
    /// Only these devices, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "IDS")]
    devices: Vec<DeviceId>,
    /// Seconds between two pictures
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3_600), value_name = "SECONDS")]
    every: u64,
    /// Devices that are shown
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1_000), value_name = "N")]
    limit: u16,
    /// Stop after so many pictures
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// A device within the window.
#[derive(Debug, Default, PartialEq)]
struct Active {
    points: u64,
    seen: String,
    values: Vec<(String, Value)>,
}

pub async fn run(args: WatchArgs, target: &Target, output: Output) -> Outcome {
    let client = target.client()?;
    let mut left = args.count;
    let mut is_first = true;
    while left != Some(0) {
        if !is_first {
            tokio::time::sleep(Duration::from_secs(args.every)).await;
        }
        match look(&client, &args).await {
            Ok(picture) => show(&picture, &args, output)?,
            // A server that is started again is waited for; at the first time it may be the wrong one.
            Err(failure) if failure.code == Code::Unreachable && !is_first => {
                note(&format!("drover: {failure}"));
            }
            Err(failure) => return Err(failure),
        }
        is_first = false;
        left = left.map(|left| left - 1);
    }
    Ok(())
}

/// Everything that a picture shows, as JSON has it.
async fn look(client: &Client, args: &WatchArgs) -> Outcome<Value> {
    let answer = client.write(Method::POST, "/v1/query", &json!({ "sql": sql(&args.devices) })).await?;
    let (ledger, health) = (client.get("/v1/ledger", &Query::new()).await?, client.health().await?.body);
    let devices = ranked(active(&answer), usize::from(args.limit));
    let devices: Vec<Value> = devices
        .into_iter()
        .map(|(device, active)| {
            let values: BTreeMap<_, _> = active.values.into_iter().collect();
            json!({ "device": device, "seen": active.seen, "points": active.points, "values": values })
        })
        .collect();
    Ok(json!({ "health": health, "ledger": ledger, "window_s": WINDOW_S, "devices": devices }))
}

/// Ids have no quotes, so they need no escape.
fn sql(devices: &[DeviceId]) -> String {
    let ids: Vec<String> = devices.iter().map(|id| format!("'{id}'")).collect();
    let only = if ids.is_empty() { String::new() } else { format!(" AND device IN ({})", ids.join(", ")) };
    format!(
        "SELECT device, key, count(*) AS points, max(ts) AS seen, last(value, ts) AS value, last(text, ts) AS text FROM points \
         WHERE ts > now() - INTERVAL '{WINDOW_S} seconds'{only} GROUP BY device, key ORDER BY device, key LIMIT {MOST_KEYS}"
    )
}

fn active(answer: &Value) -> BTreeMap<String, Active> {
    let rows = answer.get("rows").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut devices: BTreeMap<String, Active> = BTreeMap::new();
    for row in rows {
        let device = devices.entry(field(row, "/device")).or_default();
        device.points += row.get("points").and_then(Value::as_u64).unwrap_or(0);
        // Times in one form and zone are in the order of their texts.
        device.seen = field(row, "/seen").max(std::mem::take(&mut device.seen));
        let value = row.get("value").filter(|value| !value.is_null()).or_else(|| row.get("text"));
        device.values.push((field(row, "/key"), value.cloned().unwrap_or_default()));
    }
    devices
}

/// The most active first.
fn ranked(devices: BTreeMap<String, Active>, limit: usize) -> Vec<(String, Active)> {
    let mut ranked: Vec<(String, Active)> = devices.into_iter().collect();
    ranked.sort_by_key(|(_, active)| std::cmp::Reverse(active.points));
    ranked.truncate(limit);
    ranked
}

fn show(picture: &Value, args: &WatchArgs, output: Output) -> Outcome {
    if output.format != Format::Table {
        return output.stream_item(picture);
    }
    if output.colours() {
        output.line(CLEAR)?;
    }
    output.line(&summary(picture))?;
    let titles = ["DEVICE", "LAST", "POINTS/MIN", "VALUES"].map(str::to_owned);
    let devices = picture.get("devices").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    output.rows(&titles, devices.iter().map(row).collect())?;
    // In a pipe a blank line parts one picture from the next.
    if output.colours() || args.count == Some(1) { Ok(()) } else { output.line(" ") }
}

fn summary(picture: &Value) -> String {
    let parts = picture.pointer("/health/parts").and_then(Value::as_object);
    let sick: Vec<String> = parts
        .into_iter()
        .flatten()
        .filter(|(_, part)| field(part, "/status") != "ok")
        .map(|(name, part)| format!("; {name}: {}", field(part, "/detail")))
        .collect();
    format!(
        "health {}{}   accepted {} = stored {} + dead-lettered {} + pending {}",
        field(picture, "/health/status"),
        sick.concat(),
        field(picture, "/ledger/accepted"),
        field(picture, "/ledger/stored"),
        field(picture, "/ledger/dead_lettered"),
        field(picture, "/ledger/pending"),
    )
}

fn row(device: &Value) -> Vec<String> {
    let values = device.get("values").and_then(Value::as_object);
    let values = values.into_iter().flatten().take(SHOWN_VALUES);
    let values: Vec<String> =
        values.map(|(key, value)| format!("{key}={}", shortened(&plain(value)))).collect();
    let seen = field(device, "/seen");
    // The date of what is a minute old says nothing.
    let seen = seen.split_once('T').map_or(seen.as_str(), |(_, time)| time).trim_end_matches('Z');
    let seen = seen.split('.').next().unwrap_or_default().to_owned();
    vec![field(device, "/device"), seen, field(device, "/points"), values.join(" ")]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Value {
        json!({ "rows": [
            {"device": "a", "key": "temp", "points": 5, "seen": "2026-01-01T00:00:05Z", "value": 21.5, "text": null},
            {"device": "b", "key": "state", "points": 9, "seen": "2026-01-01T00:00:07.250Z", "value": null, "text": "on"},
            {"device": "a", "key": "zone", "points": 1, "seen": "2026-01-01T00:00:01Z", "value": 3.0, "text": null},
        ] })
    }

    #[test]
    fn the_most_active_device_comes_first_with_its_last_values() {
        let ranked = ranked(active(&answer()), 10);
        assert_eq!(ranked[0].0, "b");
        assert_eq!(ranked[0].1.values, [("state".to_owned(), json!("on"))]);
        assert_eq!((ranked[1].1.points, ranked[1].1.seen.as_str()), (6, "2026-01-01T00:00:05Z"));
        assert_eq!(super::ranked(active(&answer()), 1).len(), 1);
    }

    #[test]
    fn a_row_shows_the_time_of_day_and_some_values() {
        let device = json!({"device": "b", "seen": "2026-01-01T00:00:07.250Z", "points": 9, "values": {"state": "on"}});
        assert_eq!(row(&device), ["b", "00:00:07", "9", "state=on"]);
    }

    #[test]
    fn a_part_that_is_not_well_is_named() {
        let picture = json!({
            "health": {"status": "degraded", "parts": {"disk": {"status": "fail", "detail": "full"}, "log": {"status": "ok"}}},
            "ledger": {"accepted": 3, "stored": 1, "dead_lettered": 1, "pending": 1}
        });
        assert_eq!(
            summary(&picture),
            "health degraded; disk: full   accepted 3 = stored 1 + dead-lettered 1 + pending 1"
        );
    }

    #[test]
    fn only_the_devices_that_are_named_are_asked_for() {
        let ids = ["a", "b"].map(|id| DeviceId::parse(id).unwrap());
        assert!(sql(&ids).contains("device IN ('a', 'b')"));
        assert!(!sql(&[]).contains("IN ("));
    }
}
