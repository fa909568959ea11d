//! `drover demo`: Drover with a small fleet of weather stations that replay a recorded day. The story from start to Ctrl-C;
//! the process is in `local_server`, the devices in `fleet`, the recording in `recording`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use drover_model::DeviceId;
use drover_runtime::{Stop, signals};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{credential, device};
use crate::client::{Client, Query, Target, address_in};
use crate::failure::{Code, Failure, Outcome};
use crate::fleet::{self, Station};
use crate::local_server::LocalServer;
use crate::mqtt_address::reachable;
use crate::mqtt_connection::Server;
use crate::output::{Output, field};
use crate::period;
use crate::recording;

const DEFAULT_DIRECTORY: &str = "drover-demo";
const STORE_TIMEOUT: Duration = Duration::from_secs(60);
const CHILD_CHECK: Duration = Duration::from_secs(1);

#[derive(Args)]
#[command(
    after_help = "The measurements are one day of a real weather station (NOAA SURFRAD, Alamosa, Colorado), a row \
                        a minute.\nEvery station of the fleet sees that day 7 minutes after the one before it; no value is made up.\n\nThe data directory (./drover-demo, or --data-dir) \
                        is removed at the end if this command made it, unless --keep is given."
)]
pub struct DemoArgs {
    /// Stations in the fleet
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=500), value_name = "N")]
    devices: u16,
    /// Rows a second and station after the history
    #[arg(long, default_value_t = 1.0, value_parser = speed, value_name = "ROWS")]
    speed: f64,
    /// Keep the data directory
    #[arg(long)]
    keep: bool,
    /// Stop after the history
    #[arg(long)]
    no_live: bool,
    /// More arguments for `drover up`, such as `-- --listen-api 127.0.0.1:0`
    #[arg(last = true, value_name = "UP ARGUMENTS")]
    up_arguments: Vec<String>,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rows) if (0.001..=1_000.0).contains(&rows) => Ok(rows),
        _ => Err("give a number from 0.001 to 1000".to_owned()),
    }
}

pub async fn run(args: DemoArgs, target: &Target, output: Output) -> Outcome {
    let directory = target.data_dir.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_DIRECTORY));
    let is_new = !directory.exists();
    let mut server = LocalServer::start(&directory, &args.up_arguments)?;
    let stop = Stop::default();
    signals::watch(stop.clone())?;
    let outcome = tokio::select! {
        // Cancel-safe: all that is lost at a signal are connections of a demonstration that ends.
        outcome = story(&args, &directory, &mut server, output) => outcome,
        () = stop.drain() => Ok(()),
    };
    output.note("Stopping Drover …");
    let stopped = if outcome.is_ok() { server.stop().await } else { server.stop().await.or(Ok(())) };
    if is_new && !args.keep && outcome.is_ok() {
        _ = std::fs::remove_file(directory.with_extension("log"));
        std::fs::remove_dir_all(&directory)?;
    } else {
        output.note(&format!("What was stored stays in {}: `drover up --data-dir {0}`", directory.display()));
    }
    outcome.and(stopped)
}

async fn story(args: &DemoArgs, directory: &Path, server: &mut LocalServer, output: Output) -> Outcome {
    let client = server.ready().await?;
    let mqtts =
        address_in(directory, "mqtts").ok_or_else(|| Failure::failed("`drover up` serves no mqtts"))?;
    let (host, port) = mqtts.rsplit_once(':').unwrap_or((&mqtts, "8883"));
    let address = format!("{}:{port}", reachable(host));
    let broker = Server::tls(address, "localhost", &directory.join("ca.crt"))?;
    let rows = Arc::new(recording::rows()?);
    let stations = register(&client, args.devices).await?;
    let (messages, points) = fleet::history_size(&rows, stations.len());
    let progress = if output.is_quiet() { ProgressBar::hidden() } else { bar(messages) };
    let started = Instant::now();
    let stations = fleet::replay_history(&broker, stations, &rows, period::now(), &progress).await?;
    let sent_in = started.elapsed();
    let ledger = stored(&client).await?;
    progress.finish_and_clear();
    let counts = [
        ("stations", stations.len().to_string()),
        ("messages sent and acknowledged", messages.to_string()),
        ("points in them", points.to_string()),
        ("messages stored, by the ledger", field(&ledger, "/stored")),
        ("seconds", format!("{:.1}", sent_in.as_secs_f64())),
    ];
    output.rows(&[], counts.map(|(what, count)| vec![what.to_owned(), count]).to_vec())?;
    if args.no_live {
        return Ok(());
    }
    output.line(&what_to_try(directory, client.base()))?;
    tokio::select! {
        // Cancel-safe: whichever ends first ends the demonstration.
        outcome = fleet::replay_live(stations, &rows, args.speed) => outcome,
        outcome = watch(server) => outcome,
    }
}

/// Registers the fleet. Devices that are there from an earlier run get another token.
async fn register(client: &Client, count: u16) -> Outcome<Vec<Station>> {
    let mut stations = Vec::new();
    for number in 0..usize::from(count) {
        let name = format!("station-{:02}", number + 1);
        let id = DeviceId::parse(&name).map_err(|error| Failure::failed(error.to_string()))?;
        match client.get(&format!("/v1/devices/{id}"), &Query::new()).await {
            Err(failure) if failure.code == Code::NotFound => {
                device::register(client, &id, None, labels(number)).await?;
            }
            other => drop(other?),
        }
        let secret = field(&credential::create_token(client, &id).await?, "/secret");
        stations.push(Station { id, secret, number });
    }
    Ok(stations)
}

fn labels(number: usize) -> Vec<(String, String)> {
    let region = ["north", "east", "south", "west"].get(number % 4).copied().unwrap_or("north");
    [("kind", "weather"), ("region", region)].map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
}

/// Waits until the ledger has nothing pending.
async fn stored(client: &Client) -> Outcome<Value> {
    let deadline = Instant::now() + STORE_TIMEOUT;
    loop {
        let ledger = client.get("/v1/ledger", &Query::new()).await?;
        if ledger.get("pending").and_then(Value::as_u64) == Some(0) || Instant::now() > deadline {
            return Ok(ledger);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn watch(server: &mut LocalServer) -> Outcome {
    loop {
        server.check_alive()?;
        sleep(CHILD_CHECK).await;
    }
}

fn bar(messages: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {per_sec}");
    ProgressBar::new(messages as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message("Replaying a day")
}

fn what_to_try(directory: &Path, api: &str) -> String {
    let directory = directory.display();
    format!(
        "
The stations now send on. Try, in another terminal:

  export DROVER_DATA_DIR={directory}
  drover device list
  drover telemetry station-01 --latest
  drover telemetry station-01 --keys temperature_c,humidity_percent --from -6h --interval 1h --agg avg
  drover tail --devices station-01
  drover ledger
  curl -H \"Authorization: Bearer $(cat {directory}/admin.token)\" \\
    '{api}/v1/devices/station-01/telemetry/latest'

API documentation: {api}/docs        Ctrl-C stops everything."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_a_sane_number() {
        assert_eq!(speed("2.5"), Ok(2.5));
        for text in ["0", "-1", "NaN", "inf", "1e9", "fast"] {
            assert!(speed(text).is_err(), "{text}");
        }
    }
}
