//! `drover session`: MQTT clients as the server knows them, connected or not.

use clap::Subcommand;
use drover_model::{ApiKeyId, DeviceId};
use serde_json::Value;

use super::LIST_LIMIT;
use crate::client::{Client, Query, Target};
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Column, Output, field};

#[derive(Subcommand)]
pub enum SessionCommand {
    /// Sessions, older ones first
    List {
        /// Only those with this client id
        #[arg(long, value_name = "CLIENT_ID")]
        client_id: Option<String>,
        /// Only those of this device
        #[arg(long, value_name = "ID")]
        device: Option<DeviceId>,
        /// Only those of the applications with this API key
        #[arg(long, value_name = "ID", conflicts_with = "device")]
        api_key: Option<ApiKeyId>,
        /// The most to show
        #[arg(long, default_value_t = LIST_LIMIT, value_name = "N")]
        limit: usize,
    },
    /// One session with its subscriptions
    Show {
        /// Its id, or a client id that only one session has
        session: String,
    },
    /// End a session, with everything that waits in it; a connected client is disconnected
    End {
        /// Its id, or a client id that only one session has
        session: String,
    },
}

const COLUMNS: &[Column] = &[
    ("ID", |s| field(s, "/id")),
    ("CLIENT ID", |s| field(s, "/client_id")),
    ("OWNER", |s| field(s, "/owner")),
    ("CONNECTED", |s| field(s, "/connected")),
    ("OFFLINE SINCE", |s| field(s, "/offline_since")),
    ("EXPIRY (S)", |s| expiry(s)),
    ("SUBSCRIPTIONS", |s| subscriptions(s)),
    ("WILL", |s| if field(s, "/has_will") == "true" { "yes".to_owned() } else { String::new() }),
    ("QUEUED", |s| field(s, "/queued")),
    ("BYTES", |s| field(s, "/queued_bytes")),
];

pub async fn run(command: SessionCommand, target: &Target, output: Output) -> Outcome {
    let client = target.client()?;
    match command {
        SessionCommand::List { client_id, device, api_key, limit } => {
            let device = device.map(|device| format!("device:{device}"));
            let owner = device.or_else(|| api_key.map(|key| format!("app:{key}")));
            let filters = [("client_id", client_id), ("owner", owner)];
            let query: Query = filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
            output.list(COLUMNS, client.list("/v1/sessions", &query, limit).await?)
        }
        SessionCommand::Show { session } => output.object(COLUMNS, &find(&client, &session).await?),
        SessionCommand::End { session } => {
            let session = find(&client, &session).await?;
            client.delete(&format!("/v1/sessions/{}", field(&session, "/id"))).await
        }
    }
}

/// A session by its own id, or else by client id. A number is an id first: any client may call itself so.
async fn find(client: &Client, name: &str) -> Outcome<Value> {
    if name.parse::<u64>().is_ok() {
        match client.get(&format!("/v1/sessions/{name}"), &Query::new()).await {
            Err(failure) if failure.code == Code::NotFound => {}
            found => return found,
        }
    }
    let query: Query = [("client_id", name.to_owned())].into_iter().collect();
    let mut found = client.list("/v1/sessions", &query, 2).await?;
    match found.len() {
        0 => Err(Failure::new(
            Code::NotFound,
            format!("there is no session with the id or client id {name:?}"),
        )),
        1 => Ok(found.remove(0)),
        _ => Err(Failure::failed(format!(
            "several sessions have the client id {name:?}; see `drover session list --client-id {name}` and give an id"
        ))),
    }
}

/// A session that the server gives no expiry for lasts for ever.
fn expiry(session: &Value) -> String {
    let expiry_s = field(session, "/expiry_s");
    if expiry_s.is_empty() { "never".to_owned() } else { expiry_s }
}

fn subscriptions(session: &Value) -> String {
    let subscriptions = session.get("subscriptions").and_then(Value::as_array).map(Vec::as_slice);
    let one = |subscription: &Value| {
        format!("{} ({})", field(subscription, "/filter"), field(subscription, "/qos"))
    };
    subscriptions.unwrap_or_default().iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn subscriptions_stand_side_by_side_with_their_qos() {
        let session = json!({"subscriptions": [{"filter": "a/#", "qos": 1}, {"filter": "b", "qos": 0}]});
        assert_eq!(subscriptions(&session), "a/# (1), b (0)");
        assert_eq!(subscriptions(&json!({})), "");
        assert_eq!((expiry(&json!({"expiry_s": 0})), expiry(&json!({}))), ("0".into(), "never".into()));
    }
}
