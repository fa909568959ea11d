//! `drover tail`: messages as they arrive, by the live stream of the API. Reconnects by itself, and says so.

use clap::Args;
use drover_model::DeviceId;
use owo_colors::OwoColorize;
use serde_json::Value;

use crate::client::{Query, Target};
use crate::failure::Outcome;
use crate::output::{Output, field};
use crate::period;
use crate::watch::watch;

#[derive(Args)]
pub struct TailArgs {
    /// Only these devices, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "IDS")]
    devices: Vec<DeviceId>,
    /// Only these streams: telemetry, events
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    streams: Vec<String>,
    /// Stop after so many messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

pub async fn run(args: TailArgs, target: &Target, output: Output) -> Outcome {
    watch(&target.client()?, ("/v1/live", &query(&args)), args.count, output, line).await
}

fn query(args: &TailArgs) -> Query {
    let devices: Vec<_> = args.devices.iter().map(DeviceId::as_str).collect();
    let lists = [("devices", devices.join(",")), ("streams", args.streams.join(","))];
    lists.into_iter().filter(|(_, list)| !list.is_empty()).collect()
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
}
