//! `drover tail`: messages as they arrive, by the live stream of the API. Reconnects by itself, and says so.

use std::time::Duration;

use clap::Args;
use drover_model::DeviceId;
use futures_util::StreamExt;
use owo_colors::OwoColorize;
use reqwest::Response;
use serde_json::Value;

use crate::client::{Client, Query, Target};
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Format, Output, field, note};
use crate::period;
use crate::server_sent_events::{Event, Parser};

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

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
    let client = target.client()?;
    let query = query(&args);
    let mut left = args.count;
    let mut response = client.stream("/v1/live", &query).await?;
    loop {
        let Some(reason) = print_all(response, output, &mut left).await? else { return Ok(()) };
        note(&format!("drover: the stream ended ({reason}); connecting again"));
        response = reconnect(&client, &query).await?;
    }
}

fn query(args: &TailArgs) -> Query {
    let devices: Vec<_> = args.devices.iter().map(DeviceId::as_str).collect();
    let lists = [("devices", devices.join(",")), ("streams", args.streams.join(","))];
    lists.into_iter().filter(|(_, list)| !list.is_empty()).collect()
}

/// Tries until the server answers. A refusal ends it.
async fn reconnect(client: &Client, query: &Query) -> Outcome<Response> {
    let mut wait = FIRST_WAIT;
    loop {
        tokio::time::sleep(wait).await;
        match client.stream("/v1/live", query).await {
            Err(failure) if failure.code == Code::Unreachable => {
                wait = (wait * 2).min(LONGEST_WAIT);
                note(&format!("drover: no answer yet; trying again in {:.1} s", wait.as_secs_f32()));
            }
            other => return other,
        }
    }
}

/// Prints the messages of one connection. `None` when as many as wanted were printed, else why it ended.
async fn print_all(response: Response, output: Output, left: &mut Option<u64>) -> Outcome<Option<String>> {
    let mut parser = Parser::default();
    let mut pieces = response.bytes_stream();
    while *left != Some(0) {
        let piece = match pieces.next().await {
            Some(Ok(piece)) => piece,
            Some(Err(error)) => return Ok(Some(error.to_string())),
            None => return Ok(Some("the server closed it".to_owned())),
        };
        let events =
            parser.feed(&piece).map_err(|_| Failure::failed("the server sent a line without end"))?;
        for event in events {
            if *left == Some(0) {
                break;
            }
            if event.name == "lagged" {
                note(&format!("drover: this reader is too slow and missed messages: {}", event.data));
                continue;
            }
            print(&event, output)?;
            *left = left.map(|left| left - 1);
        }
    }
    Ok(None)
}

fn print(event: &Event, output: Output) -> Outcome {
    let Ok(mut message) = serde_json::from_str::<Value>(&event.data) else {
        return output.line(&format!("{}: {}", event.name, event.data));
    };
    if output.format == Format::Table {
        return output.line(&line(&event.name, &message, output.colours()));
    }
    if let Value::Object(fields) = &mut message {
        fields.insert("stream".to_owned(), Value::String(event.name.clone()));
    }
    output.stream_item(&message)
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
