//! `drover watch` against a running server that a simulated fleet sends to.

use drover_testkit::Drover;
use drover_tests::ordinary_clients::run;
use serde_json::{Value, json};

#[tokio::test]
async fn the_devices_that_sent_are_shown_with_their_values_and_the_ledger() {
    let server = Drover::start().await;
    let sent = run(&mut server.command_line(
        &"sim --devices 2 --rate 20 --duration 1s --ramp 0s --payload large --keep -o json"
            .split_whitespace()
            .collect::<Vec<_>>(),
    ))
    .await;
    let sent: Value = serde_json::from_slice(&sent.stdout).unwrap();
    let picture = run(&mut server.command_line(&["watch", "--count", "1", "-o", "json"])).await;
    let picture: Value = serde_json::from_slice(&picture.stdout).unwrap();
    assert_eq!(picture["ledger"]["stored"], sent["sent"], "{picture}");
    assert_eq!(picture["health"]["status"], json!("ok"), "{picture}");
    let devices = picture["devices"].as_array().unwrap();
    assert_eq!(devices.len(), 2, "{picture}");
    let name = devices[0]["device"].as_str().unwrap();
    assert!(name.starts_with(sent["run"].as_str().unwrap()), "{picture}");
    assert!(devices.iter().all(|device| device["values"]["seq"].as_f64() == Some(9.0)), "{picture}");
    let table = run(&mut server.command_line(&["watch", "--count", "1", "--limit", "1"])).await;
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.starts_with("health ok") && table.lines().count() == 3, "{table}");
    server.stop().await;
}
