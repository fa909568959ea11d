//! `drover device`: the registry of devices.

use clap::{ArgGroup, Args, Subcommand};
use drover_model::{DeviceId, ProfileId, TelemetryKey};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{LIST_LIMIT, credential};
use crate::client::{Client, Query, Target};
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Column, Format, Output, field};

#[derive(Subcommand)]
pub enum DeviceCommand {
    /// Register a device
    Create(CreateArgs),
    /// Devices by id
    List {
        /// Only those with this label; may be repeated
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
        /// The most to show
        #[arg(long, default_value_t = LIST_LIMIT, value_name = "N")]
        limit: usize,
    },
    /// One device
    Get { id: DeviceId },
    /// Change a device's profile or labels
    Update(UpdateArgs),
    /// Delete a device, its credentials and what it measured
    Delete { id: DeviceId },
    /// Erase what a device measured up to now, and its events; the device stays
    Erase(EraseArgs),
}

#[derive(Args)]
pub struct CreateArgs {
    id: DeviceId,
    /// Profile: the name of a kind of device, freely chosen [default: default]
    #[arg(long)]
    profile: Option<ProfileId>,
    /// A label; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Make a token too, and show how to send with it
    #[arg(long)]
    credential: bool,
}

#[derive(Args)]
#[command(group = ArgGroup::new("change").args(["profile", "labels", "remove_labels"]).required(true).multiple(true))]
pub struct UpdateArgs {
    id: DeviceId,
    /// The new profile
    #[arg(long)]
    profile: Option<ProfileId>,
    /// A label to set; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// A label to remove; may be repeated
    #[arg(long = "remove-label", value_name = "KEY")]
    remove_labels: Vec<String>,
}

#[derive(Args)]
pub struct EraseArgs {
    id: DeviceId,
    /// Only these keys, separated by commas; then its events stay
    #[arg(long, value_delimiter = ',', value_name = "KEYS")]
    keys: Vec<TelemetryKey>,
    /// Do it: nothing brings it back
    #[arg(long)]
    yes: bool,
}

const COLUMNS: &[Column] = &[
    ("ID", |d| field(d, "/id")),
    ("PROFILE", |d| field(d, "/profile")),
    ("LABELS", |d| field(d, "/labels")),
    ("CREATED", |d| field(d, "/created")),
];

pub async fn run(command: DeviceCommand, target: &Target, output: Output) -> Outcome {
    let client = target.client()?;
    match command {
        DeviceCommand::Create(args) => create(args, &client, target, output).await,
        DeviceCommand::List { labels, limit } => {
            let query: Query =
                labels.iter().map(|(key, value)| ("label", format!("{key}:{value}"))).collect();
            output.list(COLUMNS, client.list("/v1/devices", &query, limit).await?)
        }
        DeviceCommand::Get { id } => {
            output.object(COLUMNS, &client.get(&format!("/v1/devices/{id}"), &Query::new()).await?)
        }
        DeviceCommand::Update(args) => {
            let path = format!("/v1/devices/{}", args.id);
            output.object(COLUMNS, &client.write(Method::PATCH, &path, &patch(args)).await?)
        }
        DeviceCommand::Delete { id } => client.delete(&format!("/v1/devices/{id}")).await,
        DeviceCommand::Erase(args) => erase(args, &client).await,
    }
}

async fn erase(args: EraseArgs, client: &Client) -> Outcome {
    let EraseArgs { id, keys, yes } = args;
    let keys: Vec<&str> = keys.iter().map(TelemetryKey::as_str).collect();
    if !yes {
        let what = if keys.is_empty() { "everything".to_owned() } else { keys.join(" and ") };
        let problem = format!("this erases {what} that {id} measured, for good; add --yes to do it");
        return Err(Failure::new(Code::Usage, problem));
    }
    let only = if keys.is_empty() { String::new() } else { format!("?keys={}", keys.join(",")) };
    client.delete(&format!("/v1/devices/{id}/telemetry{only}")).await
}

async fn create(args: CreateArgs, client: &Client, target: &Target, output: Output) -> Outcome {
    let device = register(client, &args.id, args.profile, args.labels).await?;
    if !args.credential {
        return output.object(COLUMNS, &device);
    }
    let credential = credential::create_token(client, &args.id).await?;
    if output.format != Format::Table {
        return output.value(&json!({ "device": device, "credential": credential }));
    }
    output.object(COLUMNS, &device)?;
    let secret = field(&credential, "/secret");
    output.line(&format!("\nToken, shown only now: {secret}"))?;
    credential::first_message(target, &args.id, &secret).map_or(Ok(()), |example| output.line(&example))
}

/// Creates a device by the API.
pub async fn register(
    client: &Client,
    id: &DeviceId,
    profile: Option<ProfileId>,
    labels: Vec<(String, String)>,
) -> Outcome<Value> {
    let mut body = json!({ "id": id.as_str() });
    if let Some(profile) = profile {
        body["profile"] = json!(profile.as_str());
    }
    if !labels.is_empty() {
        body["labels"] = labels.into_iter().map(|(key, value)| (key, Value::String(value))).collect();
    }
    client.write(Method::POST, "/v1/devices", &body).await
}

/// The merge patch (RFC 7396) of an update.
fn patch(args: UpdateArgs) -> Value {
    let mut body = Map::new();
    if let Some(profile) = args.profile {
        body.insert("profile".into(), Value::String(profile.to_string()));
    }
    let set = args.labels.into_iter().map(|(key, value)| (key, Value::String(value)));
    let labels: Map<_, _> = set.chain(args.remove_labels.into_iter().map(|key| (key, Value::Null))).collect();
    if !labels.is_empty() {
        body.insert("labels".into(), Value::Object(labels));
    }
    Value::Object(body)
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("give it as KEY=VALUE")?;
    if key.is_empty() { Err("the key is empty".into()) } else { Ok((key.to_owned(), value.to_owned())) }
}
