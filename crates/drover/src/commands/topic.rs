//! `drover topic`: what is published on free MQTT topics, as it comes.

use clap::{Args, Subcommand};
use owo_colors::OwoColorize;
use serde_json::Value;

use crate::client::{Query, Target};
use crate::failure::Outcome;
use crate::output::{Output, field};
use crate::period;
use crate::watch::watch;

#[derive(Subcommand)]
pub enum TopicCommand {
    /// Messages as they are published
    Tail(TailArgs),
}

#[derive(Args)]
pub struct TailArgs {
    /// A topic filter, such as plant/+/state; all topics when left out
    filter: Option<String>,
    /// Stop after so many messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

pub async fn run(command: TopicCommand, target: &Target, output: Output) -> Outcome {
    let TopicCommand::Tail(TailArgs { filter, count }) = command;
    let query: Query = filter.into_iter().map(|filter| ("filter", filter)).collect();
    watch(target, ("/v1/topics/live", &query), count, output, (&|_, _| true, line)).await
}

/// One message as one line: time of day, topic, QoS, content.
fn line(_: &str, message: &Value, colours: bool) -> String {
    let time = message.get("ts").and_then(Value::as_i64).map(period::show_millis).unwrap_or_default();
    let topic = field(message, "/topic");
    let mut flags = format!("qos {}", field(message, "/qos"));
    if message.get("retain").and_then(Value::as_bool) == Some(true) {
        flags.push_str(" retained");
    }
    let content = match message.get("payload") {
        Some(payload) => payload.as_str().unwrap_or_default().to_owned(),
        None => format!("base64:{}", field(message, "/payload_base64")),
    };
    if !colours {
        return format!("{time}  {topic}  {flags}  {content}");
    }
    format!("{}  {}  {}  {content}", time.dimmed(), topic.cyan(), flags.dimmed())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_is_one_line() {
        let message = json!({"topic": "a/b", "ts": 0, "qos": 1, "retain": true, "payload": "on"});
        assert_eq!(line("message", &message, false), "1970-01-01T00:00:00.000Z  a/b  qos 1 retained  on");
        let message = json!({"topic": "a", "ts": 0, "qos": 0, "retain": false, "payload_base64": "/w=="});
        assert_eq!(line("message", &message, false), "1970-01-01T00:00:00.000Z  a  qos 0  base64:/w==");
    }
}
