//! `drover retention`: how long points are kept.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Query, Target};
use crate::failure::Outcome;
use crate::output::{Column, Format, Output, field};

const PATH: &str = "/v1/retention";

#[derive(Subcommand)]
pub enum RetentionCommand {
    /// The rules, the one that counts first above those that it overrules
    Get,
    /// Put these rules in the place of all that there are; what they don't keep is gone for good
    Set(SetArgs),
    /// Remove all rules; then the server's setting stream.retention_days counts
    Clear,
}

#[derive(Args)]
pub struct SetArgs {
    /// Days that points are kept, and those of the keys that a pattern matches, like 90 or debug.*=7; 0 is for ever
    #[arg(required = true, value_name = "[KEYS=]DAYS", value_parser = rule)]
    rules: Vec<Value>,
}

const COLUMNS: &[Column] = &[
    ("KEYS", |rule| rule.get("keys").map_or_else(|| "all others".to_owned(), |_| field(rule, "/keys"))),
    ("DAYS", |rule| match field(rule, "/days").as_str() {
        "0" => "for ever".to_owned(),
        days => days.to_owned(),
    }),
];

pub async fn run(command: RetentionCommand, target: &Target, output: Output) -> Outcome {
    let client = target.client()?;
    let answer = match command {
        RetentionCommand::Get => client.get(PATH, &Query::new()).await?,
        RetentionCommand::Set(SetArgs { rules }) => {
            client.write(Method::PUT, PATH, &json!({ "items": rules })).await?
        }
        RetentionCommand::Clear => return client.delete(PATH).await,
    };
    if output.format != Format::Table {
        return output.value(&answer);
    }
    let mut rows = answer.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    if rows.iter().all(|rule| rule.get("keys").is_some()) {
        rows.push(json!({ "days": answer.get("default_days") }));
    }
    output.list(COLUMNS, rows)
}

fn rule(text: &str) -> Result<Value, String> {
    let (keys, days) = text.rsplit_once('=').map_or((None, text), |(keys, days)| (Some(keys), days));
    let days: u32 = days.parse().map_err(|_| "give it as DAYS or KEYS=DAYS, like debug.*=7".to_owned())?;
    Ok(match keys {
        Some(keys) => json!({ "keys": keys, "days": days }),
        None => json!({ "days": days }),
    })
}
