//! The demonstration's devices: each an ordinary MQTT client that replays the recorded day, all of them at the same time.

use std::sync::Arc;
use std::time::Duration;

use drover_model::DeviceId;
use indicatif::ProgressBar;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::failure::{Failure, Outcome};
use crate::mqtt_client::MqttClient;
use crate::mqtt_connection::{MqttError, Server};
use crate::recording::Row;

/// Every station sees the day this much later than the one before it. All values are as they were measured; none is made up.
pub const MINUTES_BETWEEN_STATIONS: usize = 7;
/// Pings keep a session alive that publishes more seldom.
const PING_EVERY: Duration = Duration::from_secs(20);
const TOPIC: &str = "v1/telemetry";

/// A device of the fleet and its token.
pub struct Station {
    pub id: DeviceId,
    pub secret: String,
    /// Its place in the fleet, from 0.
    pub number: usize,
}

impl Station {
    /// The row that this station measures when the first one measures row `index`.
    fn row<'a>(&self, rows: &'a [Row], index: usize) -> Option<&'a Row> {
        let back = self.number * MINUTES_BETWEEN_STATIONS % rows.len().max(1);
        rows.get((index + rows.len() - back) % rows.len().max(1))
    }
}

/// A station that is connected.
type Connected = (Arc<Station>, MqttClient);

/// Connects every station and sends the whole day as history that ends at `end`. Returns when all is acknowledged.
pub async fn replay_history(
    server: &Server,
    stations: Vec<Station>,
    rows: &Arc<Vec<Row>>,
    end: Timestamp,
    progress: &ProgressBar,
) -> Outcome<Vec<Connected>> {
    let mut tasks: JoinSet<Result<Connected, MqttError>> = JoinSet::new();
    for station in stations {
        let (server, rows, progress) = (server.clone(), rows.clone(), progress.clone());
        tasks.spawn(async move {
            let mut client = MqttClient::connect(&server, station.id.as_str(), &station.secret).await?;
            for (index, time) in history_times(&rows, end) {
                let Some(row) = station.row(&rows, index) else { continue };
                let message = json!({ "ts": time, "values": values(row) });
                client.publish(TOPIC, message.to_string().as_bytes()).await?;
                progress.inc(1);
            }
            client.settle().await?;
            Ok((Arc::new(station), client))
        });
    }
    let mut connected = Vec::new();
    while let Some(done) = tasks.join_next().await {
        connected.push(done.map_err(|error| Failure::failed(format!("a station failed: {error}")))??);
    }
    connected.sort_by_key(|(station, _)| station.number);
    Ok(connected)
}

/// Goes on from the first row at `rows_per_second` until the future that holds it is dropped or a station fails.
pub async fn replay_live(stations: Vec<Connected>, rows: &Arc<Vec<Row>>, rows_per_second: f64) -> Outcome {
    let pause = Duration::from_secs_f64(1.0 / rows_per_second);
    let mut tasks: JoinSet<Result<(), MqttError>> = JoinSet::new();
    for (station, mut client) in stations {
        let rows = rows.clone();
        tasks.spawn(async move {
            let mut due = Instant::now();
            for index in (0..rows.len()).cycle() {
                due += pause;
                wait(&mut client, due).await?;
                let Some(row) = station.row(&rows, index) else { continue };
                client.publish(TOPIC, Value::Object(values(row)).to_string().as_bytes()).await?;
                client.settle().await?;
            }
            client.disconnect().await
        });
    }
    match tasks.join_next().await {
        Some(Ok(Ok(()))) | None => Ok(()),
        Some(Ok(Err(error))) => Err(error.into()),
        Some(Err(error)) => Err(Failure::failed(format!("a station failed: {error}"))),
    }
}

async fn wait(client: &mut MqttClient, due: Instant) -> Result<(), MqttError> {
    loop {
        let next_ping = Instant::now() + PING_EVERY;
        if due <= next_ping {
            sleep_until(due).await;
            return Ok(());
        }
        sleep_until(next_ping).await;
        client.ping().await?;
    }
}

/// The time of each row in milliseconds: the last is `end`, the others as far before it as they were measured.
fn history_times(rows: &[Row], end: Timestamp) -> impl Iterator<Item = (usize, i64)> {
    let shift = end.as_millisecond() - rows.last().map_or(0, |row| row.millis);
    rows.iter().enumerate().map(move |(index, row)| (index, row.millis + shift))
}

fn values(row: &Row) -> Map<String, Value> {
    row.values.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect()
}

/// Messages and points of the history of so many stations.
pub fn history_size(rows: &[Row], stations: usize) -> (usize, usize) {
    (rows.len() * stations, rows.iter().map(|row| row.values.len()).sum::<usize>() * stations)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        (0..100)
            .map(|minute| Row { millis: minute * 60_000, values: vec![("temperature_c", -7.5)] })
            .collect()
    }

    fn station(number: usize) -> Station {
        Station { id: DeviceId::parse("station").unwrap(), secret: String::new(), number }
    }

    #[test]
    fn the_last_row_is_now_and_the_others_keep_their_distance() {
        let times: Vec<_> = history_times(&rows(), Timestamp::UNIX_EPOCH).collect();
        assert_eq!(times[99], (99, 0));
        assert_eq!(times[98], (98, -60_000));
        assert_eq!(times[0], (0, -99 * 60_000));
    }

    #[test]
    fn stations_measure_the_same_day_some_minutes_apart() {
        let rows = rows();
        assert_eq!(station(0).row(&rows, 50).unwrap().millis, 50 * 60_000);
        assert_eq!(station(1).row(&rows, 50).unwrap().millis, 43 * 60_000);
        assert_eq!(station(1).row(&rows, 0).unwrap().millis, 93 * 60_000);
        assert_eq!(station(15).row(&rows, 5).unwrap().millis, 0);
        assert!(station(3).row(&[], 0).is_none());
    }

    #[test]
    fn the_size_counts_every_station() {
        assert_eq!(history_size(&rows(), 12), (1200, 1200));
    }
}
