//! An integrator: makes a device, publishes a day of measurements for it, and reads them in three ways.
//!
//! `DROVER_TOKEN=$(cat drover-data/admin.token) cargo run -p drover-sdk --example integrator -- http://127.0.0.1:8081`

#![expect(clippy::print_stdout, reason = "it is for the terminal")]

use anyhow::{Context, ensure};
use drover_sdk::proto::devices::v1::CreateDeviceRequest;
use drover_sdk::{Aggregation, Client, Publication, Range};
use serde_json::json;
use tonic::Code;

/// 2024-06-01T00:00:00Z.
const DAY_MS: i64 = 1_717_200_000_000;
const MINUTE_MS: i64 = 60_000;
const HOUR_US: i64 = 3_600_000_000;
const MINUTES: i64 = 24 * 60;
const DEVICE: &str = "roof-1";

#[tokio::main]
#[expect(clippy::disallowed_methods, reason = "an application reads its environment as it likes")]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:8081".to_owned());
    let token = std::env::var("DROVER_TOKEN").context("DROVER_TOKEN")?;
    let client = Client::connect(&address, &token).await?;

    // What has no method of its own is called as it stands in the proto files.
    let device = CreateDeviceRequest { id: DEVICE.to_owned(), ..CreateDeviceRequest::default() };
    match client.devices().create_device(device).await {
        Err(status) if status.code() != Code::AlreadyExists => return Err(status.into()),
        _ => {}
    }

    let minutes = (0..MINUTES).map(|minute| {
        let measured = json!({ "ts": DAY_MS + minute * MINUTE_MS, "values": { "temp": minute % 60 } });
        Publication::json(DEVICE, &measured)
    });
    let published = client.publish(minutes).await?;
    ensure!(published.refusals.is_empty(), "{:?}", published.refusals);
    println!("published {}", published.accepted);

    let latest = latest(&client).await?;
    println!("latest {latest:?}");
    let range = Range {
        keys: vec!["temp".to_owned()],
        aggregate: Some((HOUR_US, Aggregation::Avg)),
        ..Range::default()
    };
    let hours = client.range(DEVICE, &range).await?;
    println!("hours {}", hours.get("temp").map_or(0, Vec::len));
    let sql = format!("SELECT count(*) AS n, max(value) AS hottest FROM points WHERE device = '{DEVICE}'");
    for row in client.rows(&sql).await? {
        println!("row {row}");
    }
    Ok(())
}

/// The last value of the day. It is readable a moment after it was acknowledged.
async fn latest(client: &Client) -> anyhow::Result<drover_sdk::model::Value> {
    let last = DAY_MS + (MINUTES - 1) * MINUTE_MS;
    for _ in 0..100 {
        let mut values = client.latest(DEVICE).await?;
        if let Some(sample) = values.remove("temp").filter(|sample| sample.time.as_millis() == last) {
            return Ok(sample.value);
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    anyhow::bail!("what was published does not become readable")
}
