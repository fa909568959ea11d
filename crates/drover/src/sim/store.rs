//! What a Drover has of the messages: read back by SQL when its ledger says that all is stored.

use std::ops::Range;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::payloads::SEQUENCE_KEY;
use super::tally::{Found, Record};
use super::{Plan, device_name};
use crate::client::{Client, Query};
use crate::failure::{Failure, Outcome};
use crate::output::{Output, note};

/// How long the server may take to store what it acknowledged.
const STORE_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// Messages that a query is about, but for a device that has more.
const ROWS_A_QUERY: u64 = 500_000;
const CSV: &str = "text/csv";

/// Waits until all that was accepted by now is stored; others may go on sending.
pub async fn settled(client: &Client) -> Outcome {
    let deadline = Instant::now() + STORE_TIMEOUT;
    let count = |ledger: &Value, key: &str| ledger.get(key).and_then(Value::as_u64).unwrap_or(0);
    let mut accepted = None;
    loop {
        let ledger = client.get("/v1/ledger", &Query::new()).await?;
        let goal = *accepted.get_or_insert(count(&ledger, "accepted"));
        let applied = count(&ledger, "stored") + count(&ledger, "dead_lettered");
        if applied >= goal {
            return Ok(());
        }
        if Instant::now() > deadline {
            let (left, seconds) = (goal - applied, STORE_TIMEOUT.as_secs());
            note(&format!(
                "drover: after {seconds} s the server has not stored {left} messages that it accepted"
            ));
            return Ok(());
        }
        sleep(POLL).await;
    }
}

/// What is there of each device.
pub async fn read(client: &Client, plan: &Plan, records: &[Record], output: Output) -> Outcome<Vec<Found>> {
    let mut found = vec![Found::default(); records.len()];
    let sent: Vec<u64> = records.iter().map(|record| record.sent).collect();
    let bar = output.count_bar(sent.iter().sum(), "looking for messages");
    for devices in pieces(&sent) {
        let sql = query(&plan.run, &devices);
        let response = client.ask("/v1/query", &json!({ "sql": sql }), CSV).await?;
        let mut lines = Lines::default();
        let mut bytes = response.bytes_stream();
        while let Some(piece) = bytes.next().await {
            let piece =
                piece.map_err(|error| Failure::failed(format!("the store's answer broke off: {error}")))?;
            let rows = lines.feed(&piece, |line| take(&plan.run, line, &mut found));
            bar.inc(rows);
        }
    }
    bar.finish_and_clear();
    Ok(found)
}

/// Devices in pieces of so many messages that a query's answer is not too long.
fn pieces(sent: &[u64]) -> Vec<Range<usize>> {
    let mut pieces: Vec<Range<usize>> = Vec::new();
    let mut rows = 0;
    for (device, sent) in sent.iter().enumerate() {
        match pieces.last_mut() {
            Some(last) if rows + sent <= ROWS_A_QUERY => last.end = device + 1,
            _ => {
                pieces.push(device..device + 1);
                rows = 0;
            }
        }
        rows += sent;
    }
    pieces
}

fn query(run: &str, devices: &Range<usize>) -> String {
    let name = |device: usize| device_name(run, device as u64);
    format!(
        "SELECT device, value FROM points WHERE key = '{SEQUENCE_KEY}' AND device >= '{}' AND device < '{}'",
        name(devices.start),
        name(devices.end)
    )
}

/// Takes in `sim-abcdef-00042,17.0`; the header and what is no such row are left.
fn take(run: &str, line: &str, found: &mut [Found]) {
    let row = line.split_once(',').and_then(|(device, value)| {
        let number: usize = device.strip_prefix(run)?.strip_prefix('-')?.parse().ok()?;
        Some((number, whole(value.parse().ok()?)?))
    });
    if let Some((number, sequence)) = row
        && let Some(found) = found.get_mut(number)
    {
        found.insert(sequence);
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and not negative")]
fn whole(value: f64) -> Option<u64> {
    (value >= 0.0 && value.fract() == 0.0).then_some(value as u64)
}

/// Lines of text that comes in pieces.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Hands every line that is whole now to `take`; how many.
    fn feed(&mut self, piece: &[u8], mut take: impl FnMut(&str)) -> u64 {
        self.rest.extend_from_slice(piece);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return 0 };
        let after = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, after);
        let mut lines = 0;
        for line in whole.split(|byte| *byte == b'\n') {
            if let Ok(line) = std::str::from_utf8(line) {
                take(line.trim_end());
                lines += u64::from(!line.is_empty());
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_taken_across_pieces_and_others_are_left() {
        let mut found = vec![Found::default(); 2];
        let mut lines = Lines::default();
        for piece in
            ["device,value\nsim-a-000", "00,0.0\nsim-a-00001,7\nsim-b-00001,1.0\nsim-a-00009,1", ".0\n"]
        {
            lines.feed(piece.as_bytes(), |line| take("sim-a", line, &mut found));
        }
        assert!(!found[0].insert(0) && found[0].insert(1));
        assert!(!found[1].insert(7) && found[1].insert(1));
    }

    #[test]
    fn only_whole_numbers_name_a_message() {
        assert_eq!(whole(3.0), Some(3));
        for value in [-1.0, 0.5, f64::NAN, f64::INFINITY] {
            assert_eq!(whole(value), None, "{value}");
        }
    }

    #[test]
    fn a_query_is_about_a_bounded_number_of_messages() {
        assert_eq!(pieces(&[ROWS_A_QUERY - 1, 1, 1, 2 * ROWS_A_QUERY, 5]), [0..2, 2..3, 3..4, 4..5]);
        assert_eq!(pieces(&[1; 10]).len(), 1);
        assert!(query("sim-a", &(0..2)).ends_with("device >= 'sim-a-00000' AND device < 'sim-a-00002'"));
    }
}
