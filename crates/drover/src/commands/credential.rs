//! `drover credential`: what devices prove their identity with.

use clap::Subcommand;
use drover_model::{CredentialId, DeviceId};
use reqwest::Method;
use serde_json::{Value, json};

use super::LIST_LIMIT;
use crate::client::{Client, Query, Target};
use crate::failure::Outcome;
use crate::mqtt_address::{self, Security};
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
            first_message(target, &device, &secret)
                .map_or(Ok(()), |example| output.line(&format!("\n{example}")))
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

/// The line that sends a device's first message, where something listens.
pub fn first_message(target: &Target, device: &DeviceId, secret: &str) -> Option<String> {
    let username = target.username(device.as_str());
    let server = server_of(target)?;
    Some(format!(
        "Send its first message:\n  mosquitto_pub {server} -u {username} -P {secret} -q 1 \\\n    \
         -t v1/telemetry -m '{{\"temperature\": 21.5}}'"
    ))
}

/// The options of `mosquitto_pub` and `mosquitto_sub` that reach the server: what the local one listens on, for a URL its usual
/// port; none where nothing listens.
pub fn server_of(target: &Target) -> Option<String> {
    let address = mqtt_address::of(target)?;
    let authority = match address.security {
        Security::Plain => String::new(),
        Security::Tls(file) => format!(" --cafile {}", file.display()),
        Security::TlsOfSomebody => " --cafile ca.crt".to_owned(),
    };
    Some(format!("-h {} -p {}{authority}", address.host, address.port))
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
        let line = first_message(&target, &DeviceId::parse("pump").unwrap(), "drv_x").unwrap();
        assert!(
            line.contains("-h drover.example -p 8883 --cafile ca.crt -u pump@acme -P drv_x -q 1"),
            "{line}"
        );
    }

    #[test]
    fn on_this_machine_the_plain_port_is_enough() {
        let target = Target { url: Some("http://localhost:8080".into()), ..Target::default() };
        assert_eq!(server_of(&target).unwrap(), "-h localhost -p 1883");
    }

    #[test]
    fn the_line_to_paste_uses_what_listens_and_is_left_out_where_nothing_does() {
        let directory = tempfile::tempdir().unwrap();
        let target = Target { data_dir: Some(directory.path().to_owned()), ..Target::default() };
        let server = |addresses: &str| {
            std::fs::write(directory.path().join("addresses.json"), addresses).unwrap();
            server_of(&target)
        };
        let authority = directory.path().join("ca.crt").display().to_string();
        assert_eq!(server(r#"{"mqtt":"0.0.0.0:5","mqtts":"0.0.0.0:7"}"#).unwrap(), "-h 127.0.0.1 -p 5");
        let tls = server(r#"{"api":"127.0.0.1:6","mqtts":"0.0.0.0:7"}"#).unwrap();
        assert_eq!(tls, format!("-h 127.0.0.1 -p 7 --cafile {authority}"));
        assert_eq!(server(r#"{"api":"127.0.0.1:6"}"#), None);
    }
}
