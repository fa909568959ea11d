//! `drover api-key`: what applications prove their identity with.

use clap::{Args, Subcommand};
use drover_model::{ApiKeyId, Scope};
use reqwest::Method;
use serde_json::{Value, json};

use super::LIST_LIMIT;
use super::credential::server_of;
use crate::client::{Query, Target};
use crate::failure::Outcome;
use crate::output::{Column, Format, Output, field, plain};

#[derive(Subcommand)]
pub enum ApiKeyCommand {
    /// Make a key; its secret is shown now and never again
    Create(CreateArgs),
    /// Keys by id, without their secrets
    List {
        /// The most to show
        #[arg(long, default_value_t = LIST_LIMIT, value_name = "N")]
        limit: usize,
    },
    /// One key, without its secret
    Get { id: ApiKeyId },
    /// Delete a key; connections and sessions that used it end
    Delete { id: ApiKeyId },
}

#[derive(Args)]
pub struct CreateArgs {
    id: ApiKeyId,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// What it allows: mqtt:publish:FILTER, mqtt:subscribe:FILTER, api:read, api:write; may be repeated. The whole topic space when
    /// absent
    #[arg(long = "scope", value_name = "SCOPE", value_parser = scope)]
    scopes: Vec<String>,
    /// Print the secret and nothing else
    #[arg(long)]
    only_secret: bool,
}

const COLUMNS: &[Column] = &[
    ("ID", |k| field(k, "/id")),
    ("DESCRIPTION", |k| field(k, "/description")),
    ("SCOPES", scopes),
    ("CREATED", |k| field(k, "/created")),
];

const CREATED: &[Column] =
    &[("ID", |k| field(k, "/id")), ("SCOPES", scopes), ("SECRET", |k| field(k, "/secret"))];

pub async fn run(command: ApiKeyCommand, target: &Target, output: Output) -> Outcome {
    let client = target.client()?;
    match command {
        ApiKeyCommand::Create(args) => {
            let CreateArgs { id, description, scopes, only_secret } = args;
            let mut body = json!({ "id": id.as_str() });
            if let Some(description) = description {
                body["description"] = json!(description);
            }
            if !scopes.is_empty() {
                body["scopes"] = json!(scopes);
            }
            let key = client.write(Method::POST, "/v1/api-keys", &body).await?;
            if only_secret {
                return output.line(&field(&key, "/secret"));
            }
            output.object(CREATED, &key)?;
            match example(target, &key) {
                Some(example) if output.format == Format::Table => output.line(&example),
                _ => Ok(()),
            }
        }
        ApiKeyCommand::List { limit } => {
            output.list(COLUMNS, client.list("/v1/api-keys", &Query::new(), limit).await?)
        }
        ApiKeyCommand::Get { id } => {
            output.object(COLUMNS, &client.get(&format!("/v1/api-keys/{id}"), &Query::new()).await?)
        }
        ApiKeyCommand::Delete { id } => client.delete(&format!("/v1/api-keys/{id}")).await,
    }
}

fn scope(text: &str) -> Result<String, String> {
    Scope::parse(text).map(|scope| scope.to_string()).map_err(|error| error.to_string())
}

fn scopes(key: &Value) -> String {
    let scopes = key.pointer("/scopes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    scopes.iter().map(plain).collect::<Vec<_>>().join(" ")
}

/// The line that shows what the key's first scope of subscription reaches.
fn example(target: &Target, key: &Value) -> Option<String> {
    let scopes = key.pointer("/scopes")?.as_array()?;
    let filter = scopes.iter().find_map(|scope| scope.as_str()?.strip_prefix("mqtt:subscribe:"))?;
    let username = target.username(&format!("app:{}", field(key, "/id")));
    let (server, secret) = (server_of(target)?, field(key, "/secret"));
    // A single quote is all that a shell looks for within single quotes.
    let filter = filter.replace('\'', r"'\''");
    Some(format!(
        "\nSee what devices publish:\n  mosquitto_sub {server} -u {username} -P {secret} -v -t '{filter}'"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_to_paste_names_key_tenant_and_filter() {
        let target = Target {
            url: Some("http://localhost:8080".into()),
            tenant: Some("acme".into()),
            ..Target::default()
        };
        let key =
            json!({ "id": "board", "scopes": ["api:read", "mqtt:subscribe:it's/#"], "secret": "drv_x" });
        let line = example(&target, &key).unwrap();
        assert!(line.contains("-u app:board@acme -P drv_x -v -t 'it'\\''s/#'"), "{line}");
        assert_eq!(example(&target, &json!({ "id": "board", "scopes": ["api:read"] })), None);
    }
}
