//! Watching a live stream of the API: messages as they come, with reconnecting, as lines or as JSON.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::Response;
use serde_json::Value;

use crate::client::{Client, Query};
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Format, Output, note};
use crate::server_sent_events::{Event, Parser};

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Makes a line of a message: the stream's name, the message, whether there are colours.
pub type Line = fn(&str, &Value, bool) -> String;

/// Says whether a message is wanted, and may take from it what is not.
pub type Keep = dyn Fn(&str, &mut Value) -> bool + Send + Sync;

/// Prints messages until `count` of them came. Reconnects by itself, and says so.
pub async fn watch(
    client: &Client,
    (path, query): (&str, &Query),
    count: Option<u64>,
    output: Output,
    (keep, line): (&Keep, Line),
) -> Outcome {
    let mut left = count;
    let mut response = client.stream(path, query).await?;
    loop {
        let Some(reason) = print_all(response, output, &mut left, (keep, line)).await? else { return Ok(()) };
        output.note(&format!("drover: the stream ended ({reason}); connecting again"));
        response = reconnect(client, (path, query), output).await?;
    }
}

/// Tries until the server answers. A refusal ends it.
async fn reconnect(client: &Client, (path, query): (&str, &Query), output: Output) -> Outcome<Response> {
    let mut wait = FIRST_WAIT;
    loop {
        tokio::time::sleep(wait).await;
        match client.stream(path, query).await {
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
    output: Output,
    left: &mut Option<u64>,
    (keep, line): (&Keep, Line),
) -> Outcome<Option<String>> {
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
            if !print(&event, output, (keep, line))? {
                continue;
            }
            *left = left.map(|left| left - 1);
        }
    }
    Ok(None)
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
