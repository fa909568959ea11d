//! `drover tail`: messages as they arrive, by the live stream of the API. Connects again by itself, where it was, and says so.

use clap::Args;
use drover_model::{DeviceId, TelemetryKey};
use owo_colors::OwoColorize;
use serde_json::Value;

use crate::client::{Query, Target};
use crate::condition::Condition;
use crate::failure::Outcome;
use crate::output::{Output, field};
use crate::period;
use crate::watch::watch;

#[derive(Args)]
#[command(after_help = "Example:\n  drover tail --devices pump-1,pump-2 --keys temp,state --where 'temp>30'")]
pub struct TailArgs {
    /// Only these devices, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "IDS")]
    devices: Vec<DeviceId>,
    /// Only these streams: telemetry, events
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    streams: Vec<String>,
    /// Only these values, separated by commas; messages without any of them are left out
    #[arg(long, value_delimiter = ',', value_name = "KEYS")]
    keys: Vec<TelemetryKey>,
    /// Only messages of which this holds, such as 'temp>30' or 'state=on'; may be repeated, then all must hold
    #[arg(long = "where", value_name = "CONDITION")]
    conditions: Vec<Condition>,
    /// Stop after so many messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

pub async fn run(args: TailArgs, target: &Target, output: Output) -> Outcome {
    let query = query(&args);
    let keep = move |name: &str, message: &mut Value| is_wanted(&args.keys, &args.conditions, name, message);
    watch(target, ("/v1/live", &query), args.count, output, (&keep, line)).await
}

fn query(args: &TailArgs) -> Query {
    let devices: Vec<_> = args.devices.iter().map(DeviceId::as_str).collect();
    let lists = [("devices", devices.join(",")), ("streams", args.streams.join(","))];
    lists.into_iter().filter(|(_, list)| !list.is_empty()).collect()
}

/// Conditions and keys are about values, or the members of an event.
fn is_wanted(keys: &[TelemetryKey], conditions: &[Condition], name: &str, message: &mut Value) -> bool {
    let content = if name == "telemetry" { "values" } else { "event" };
    let Some(content) = message.get_mut(content) else { return conditions.is_empty() && keys.is_empty() };
    if !conditions.iter().all(|condition| condition.holds(content)) {
        return false;
    }
    let Some(members) = content.as_object_mut().filter(|_| !keys.is_empty()) else { return keys.is_empty() };
    members.retain(|name, _| keys.iter().any(|key| key.as_str() == name));
    !members.is_empty()
}

/// One message as one line: time of day, device, content.
fn line(name: &str, message: &Value, colours: bool) -> String {
    let time = message.get("ts").and_then(Value::as_i64).map(period::show_millis).unwrap_or_default();
    let device = field(message, "/device");
    let content = if name == "telemetry" { field(message, "/values") } else { field(message, "/event") };
    let content = if content.is_empty() { message.to_string() } else { content };
    if !colours {
        return format!("{time}  {device}  {name}  {content}");
    }
    format!("{}  {}  {}  {content}", time.dimmed(), device.cyan(), name.green())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_is_one_line() {
        let message = json!({"device": "pump", "ts": 0, "values": {"temperature": 21.5, "on": true}});
        let text = line("telemetry", &message, false);
        assert_eq!(text, "1970-01-01T00:00:00.000Z  pump  telemetry  on=true temperature=21.5");
        assert!(line("telemetry", &message, true).contains("\u{1b}["));
    }

    #[test]
    fn only_wanted_values_of_wanted_messages_are_left() {
        let keys = [TelemetryKey::parse("a").unwrap()];
        let hot = ["b>1".parse().unwrap()];
        let mut message = json!({"values": {"a": 1, "b": 2}});
        assert!(!is_wanted(&keys, &["b>2".parse().unwrap()], "telemetry", &mut message));
        assert!(is_wanted(&keys, &hot, "telemetry", &mut message));
        assert_eq!(message, json!({"values": {"a": 1}}));
        assert!(!is_wanted(&keys, &[], "events", &mut json!({"event": {"b": 1}})));
        assert!(is_wanted(&[], &[], "events", &mut json!({"event": {"b": 1}})));
    }
}
