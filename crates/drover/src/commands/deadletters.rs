//! `drover deadletters`: messages that were accepted and could not be understood.

use clap::Args;
use serde_json::Value;

use super::LIST_LIMIT;
use crate::client::{Query, Target};
use crate::failure::Outcome;
use crate::output::{Column, Format, Output, field, shortened};

#[derive(Args)]
pub struct DeadlettersArgs {
    /// The most to show
    #[arg(long, default_value_t = LIST_LIMIT, value_name = "N")]
    limit: usize,
}

const COLUMNS: &[Column] = &[
    ("RECEIVED", |d| field(d, "/received")),
    ("DEVICE", |d| field(d, "/device")),
    ("TOPIC", |d| field(d, "/topic")),
    ("REASON", |d| field(d, "/reason")),
    ("PAYLOAD (BASE64)", |d| field(d, "/payload_base64")),
];

pub async fn run(args: DeadlettersArgs, target: &Target, output: Output) -> Outcome {
    let keep = if output.format == Format::Table { without_payload } else { |letter| letter };
    let letters = target.client()?.list_of("/v1/deadletters", &Query::new(), args.limit, keep).await?;
    output.list(COLUMNS, letters)
}

/// What a table shows, so that a thousand large ones need no memory.
fn without_payload(mut letter: Value) -> Value {
    if let Some(payload) = letter.get_mut("payload_base64") {
        *payload = Value::String(shortened(payload.as_str().unwrap_or_default()));
    }
    letter
}
