//! Watching a live stream of the API: messages as they come, with reconnecting, as lines or as JSON.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::Response;
use serde_json::Value;

use crate::client::{Client, Query, Target};
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Format, Output, note};
use crate::period;
use crate::server_sent_events::{Event, Parser};

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Makes a line of a message: the stream's name, the message, whether there are colours.
pub type Line = fn(&str, &Value, bool) -> String;

/// Says whether a message is wanted, and may take from it what is not.
pub type Keep = dyn Fn(&str, &mut Value) -> bool + Send + Sync;

/// Prints messages until `count` of them came. Connects again by itself, and says so; where the stream has places, nothing is missed by that.
pub async fn watch(
    target: &Target,
    what: (&str, &Query),
    count: Option<u64>,
    output: Output,
    how: (&Keep, Line),
) -> Outcome {
    let mut left = count;
    let mut client = target.client()?;
    let mut parser = Parser::default();
    let mut response = client.stream(what, "").await?;
    loop {
        let Some(reason) = print_all(response, &mut parser, output, &mut left, how).await? else {
            return Ok(());
        };
        output.note(&format!("drover: the stream ended ({reason}); connecting again"));
        // What came in part comes again.
        parser = Parser::after(parser.last_id().to_owned());
        response = reconnect(&mut client, target, what, parser.last_id(), output).await?;
    }
}

/// Tries until the server answers. A refusal ends it.
async fn reconnect(
    client: &mut Client,
    target: &Target,
    what: (&str, &Query),
    last_id: &str,
    output: Output,
) -> Outcome<Response> {
    let mut wait = FIRST_WAIT;
    loop {
        tokio::time::sleep(wait).await;
        if target.address("api").is_some() {
            // A local server that was started again may have another address.
            *client = target.client()?;
        }
        match client.stream(what, last_id).await {
            Err(failure) if failure.code == Code::Unreachable => {
                wait = (wait * 2).min(LONGEST_WAIT);
                output.note(&format!("drover: no answer yet; trying again in {:.1} s", wait.as_secs_f32()));
            }
            other => return other,
        }
    }
}

/// Prints the messages of one connection. `None` when as many as wanted were printed, else why it ended.
async fn print_all(
    response: Response,
    parser: &mut Parser,
    output: Output,
    left: &mut Option<u64>,
    how: (&Keep, Line),
) -> Outcome<Option<String>> {
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
            if let Some(missing) = missing(&event) {
                note(&missing);
            } else if print(&event, output, how)? {
                *left = left.map(|left| left - 1);
            }
        }
    }
    Ok(None)
}

/// What an event says of messages that this reader won't see.
fn missing(event: &Event) -> Option<String> {
    match event.name.as_str() {
        "lagged" => Some(format!("drover: this reader is too slow and missed messages: {}", event.data)),
        "gap" => {
            let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
            let until =
                data.get("until").and_then(Value::as_i64).map(period::show_millis).unwrap_or_default();
            Some(format!(
                "drover: messages from before {until} may be missing here, since the server keeps them for a while only; \
                 `drover telemetry` has what was stored"
            ))
        }
        _ => None,
    }
}

/// Prints a message if it is one that is wanted; whether it is.
fn print(event: &Event, output: Output, (keep, line): (&Keep, Line)) -> Outcome<bool> {
    let Ok(mut message) = serde_json::from_str::<Value>(&event.data) else {
        output.line(&format!("{}: {}", event.name, event.data))?;
        return Ok(true);
    };
    if !keep(&event.name, &mut message) {
        return Ok(false);
    }
    if output.format == Format::Table {
        output.line(&line(&event.name, &message, output.colours()))?;
        return Ok(true);
    }
    if let Value::Object(fields) = &mut message {
        fields.insert("stream".to_owned(), Value::String(event.name.clone()));
    }
    output.stream_item(&message)?;
    Ok(true)
}
