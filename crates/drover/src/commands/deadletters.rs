//! `drover deadletters`: messages that were accepted and could not be understood.

use clap::Args;

use super::LIST_LIMIT;
use crate::client::{Query, Target};
use crate::failure::Outcome;
use crate::output::{Column, Output, field};

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
    ("PAYLOAD (BASE64)", |d| shortened(&field(d, "/payload_base64"))),
];

/// Characters of a payload that a table shows; JSON and YAML have it whole.
const SHOWN: usize = 40;

pub async fn run(args: DeadlettersArgs, target: &Target, output: Output) -> Outcome {
    output.list(COLUMNS, target.client()?.list("/v1/deadletters", &Query::new(), args.limit).await?)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_payload_is_cut_in_the_table() {
        assert_eq!(shortened("abc"), "abc");
        assert_eq!(shortened(&"x".repeat(100)).chars().count(), SHOWN + 1);
    }
}
