//! `drover credential`: what devices prove their identity with.

use clap::Subcommand;
use drover_model::{CredentialId, DeviceId};
use reqwest::Method;
use serde_json::{Value, json};

use super::LIST_LIMIT;
use crate::client::{Client, Query, Target};
use crate::failure::Outcome;
use crate::output::{Column, Format, Output, field};

#[derive(Subcommand)]
pub enum CredentialCommand {
    /// Make a token for a device; it is shown now and never again
    Create {
        device: DeviceId,
        /// Print the secret and nothing else
        #[arg(long)]
        only_secret: bool,
    },
    /// A device's credentials, without their secrets
    List {
        device: DeviceId,
        /// The most to show
        #[arg(long, default_value_t = LIST_LIMIT, value_name = "N")]
        limit: usize,
    },
    /// Delete a credential; a session that used it ends
    Delete { device: DeviceId, credential: CredentialId },
}

const COLUMNS: &[Column] =
    &[("ID", |c| field(c, "/id")), ("TYPE", |c| field(c, "/type")), ("CREATED", |c| field(c, "/created"))];

const CREATED: &[Column] =
    &[("ID", |c| field(c, "/id")), ("TYPE", |c| field(c, "/type")), ("SECRET", |c| field(c, "/secret"))];

pub async fn run(command: CredentialCommand, target: &Target, output: Output) -> Outcome {
    let client = target.client()?;
    match command {
        CredentialCommand::Create { device, only_secret } => {
            let credential = create_token(&client, &device).await?;
            let secret = field(&credential, "/secret");
            if only_secret {
                return output.line(&secret);
            }
            output.object(CREATED, &credential)?;
            if output.format != Format::Table {
                return Ok(());
            }
            output.line(&format!("\n{}", first_message(target, &device, &secret)))
        }
        CredentialCommand::List { device, limit } => {
            let path = format!("/v1/devices/{device}/credentials");
            output.list(COLUMNS, client.list(&path, &Query::new(), limit).await?)
        }
        CredentialCommand::Delete { device, credential } => {
            client.delete(&format!("/v1/devices/{device}/credentials/{credential}")).await
        }
    }
}

/// Makes a token credential; the answer holds its secret.
pub async fn create_token(client: &Client, device: &DeviceId) -> Outcome<Value> {
    client
        .write(Method::POST, &format!("/v1/devices/{device}/credentials"), &json!({ "type": "token" }))
        .await
}

/// The line that sends a device's first message.
pub fn first_message(target: &Target, device: &DeviceId, secret: &str) -> String {
    let username = target.username(device.as_str());
    let server = server_of(target);
    format!(
        "Send its first message:\n  mosquitto_pub {server} -u {username} -P {secret} -q 1 \\\n    \
         -t v1/telemetry -m '{{\"temperature\": 21.5}}'"
    )
}

/// The options of `mosquitto_pub` and `mosquitto_sub` that reach the server: plain on this machine, else TLS at the host of the URL.
pub fn server_of(target: &Target) -> String {
    if let Some((host, port)) = target.address("mqtt").as_deref().and_then(|address| address.rsplit_once(':'))
    {
        return format!("-h {host} -p {port}");
    }
    let url = target.url.as_deref().and_then(|url| reqwest::Url::parse(url).ok());
    let host = url.as_ref().and_then(reqwest::Url::host_str).unwrap_or("127.0.0.1");
    let local = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    if local { format!("-h {host} -p 1883") } else { format!("-h {host} -p 8883 --cafile ca.crt") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_to_paste_names_tenant_and_server() {
        let target = Target {
            url: Some("https://drover.example:8080".into()),
            tenant: Some("acme".into()),
            ..Target::default()
        };
        let line = first_message(&target, &DeviceId::parse("pump").unwrap(), "drv_x");
        assert!(
            line.contains("-h drover.example -p 8883 --cafile ca.crt -u pump@acme -P drv_x -q 1"),
            "{line}"
        );
    }

    #[test]
    fn on_this_machine_the_plain_port_is_enough() {
        let target = Target { url: Some("http://localhost:8080".into()), ..Target::default() };
        assert_eq!(server_of(&target), "-h localhost -p 1883");
    }
}
