//! `drover sim` against real servers: nothing is lost and nothing doubled whatever goes wrong with the devices, and what a peer loses or
//! doubles is told.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod meddler;

use std::process::{Output, Stdio};

use drover_testkit::{DataDirectory, Drover, command_line, eventually};
use drover_tests::load::peer::Mosquitto;
use drover_tests::ordinary_clients::run;
use serde_json::{Value, json};

use meddler::{Meddler, Wrong};

const ALL_FAULTS: &str = "reconnect,storm,gap,drift";

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// A run against a server, and its report.
async fn sim(server: &Drover, line: &str) -> (Option<i32>, Value, String) {
    let line = format!("sim -o json {line}");
    told(&run(&mut server.command_line(&words(&line))).await)
}

/// A run against a broker alone.
async fn sim_of_broker(line: &str) -> (Option<i32>, Value, String) {
    told(&run(&mut command_line(&words(&format!("sim -o json --broker-only {line}")))).await)
}

fn told(output: &Output) -> (Option<i32>, Value, String) {
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code(), report, String::from_utf8_lossy(&output.stderr).into_owned())
}

async fn nothing_is_lost_with_all_faults(qos: u8) {
    let server = Drover::start().await;
    let line =
        format!("--devices 8 --rate 200 --duration 3s --ramp 0s --faults {ALL_FAULTS} --qos {qos} --seed 5");
    let (code, report, said) = sim(&server, &line).await;
    assert_eq!((code, said.as_str()), (Some(0), ""), "{report}");
    assert_eq!((&report["lost"], &report["doubled"], &report["ok"]), (&json!(0), &json!(0), &json!(true)));
    for fault in ["reconnect", "storm", "gap"] {
        assert!(report["faults"][fault].as_u64().unwrap() > 0, "{fault}: {report}");
    }
    assert!(report["reconnects"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["gave_up"], json!(0), "{report}");
    let acknowledged = if qos == 0 { json!(0) } else { report["sent"].clone() };
    assert_eq!(report["acknowledged"], acknowledged, "{report}");
    assert_eq!(report["latency_ms"].is_object(), qos > 0, "{report}");
    assert!(report["sent"].as_u64().unwrap() > 300, "{report}");
    assert_eq!(server.get("/v1/devices").await["items"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn at_qos_0_nothing_is_doubled_and_nothing_that_was_promised_is_lost() {
    nothing_is_lost_with_all_faults(0).await;
}

#[tokio::test]
async fn at_qos_1_all_that_is_acknowledged_is_found_with_all_faults() {
    nothing_is_lost_with_all_faults(1).await;
}

#[tokio::test]
async fn at_qos_2_every_message_is_found_once_with_all_faults() {
    nothing_is_lost_with_all_faults(2).await;
}

#[tokio::test]
async fn without_faults_every_message_is_found_and_nothing_is_unusual() {
    let server = Drover::start().await;
    let (code, report, said) =
        sim(&server, "--devices 3 --rate 60 --duration 2s --profile mixed --payload medium").await;
    assert_eq!((code, said.as_str()), (Some(0), ""), "{report}");
    assert_eq!((&report["found"], &report["acknowledged"]), (&report["sent"], &report["sent"]), "{report}");
    for unusual in ["unacknowledged", "refused", "sent_again", "repeated", "reconnects", "lost_connections"] {
        assert_eq!(report[unusual], json!(0), "{unusual}: {report}");
    }
    if std::path::Path::new("/proc/net/tcp").exists() {
        assert!(report["server_cpu_us_per_message"].is_number(), "{report}");
    }
    let ledger = server.get("/v1/ledger").await;
    assert_eq!((&ledger["stored"], &ledger["dead_lettered"]), (&report["sent"], &json!(0)), "{ledger}");
    server.stop().await;
}

#[tokio::test]
async fn what_is_acknowledged_and_not_passed_on_is_lost() {
    let server = Drover::start().await;
    let meddler = Meddler::start(server.address("mqtt"), Wrong::AcknowledgesAndDrops).await;
    let line = format!("--devices 2 --rate 100 --duration 2s --ramp 0s --broker {}", meddler.address);
    let (code, report, said) = sim(&server, &line).await;
    assert_eq!(code, Some(1), "{said}");
    let dropped = meddler.count();
    assert!(dropped > 0 && said.contains(&format!("{dropped} messages are lost, 0 are doubled")), "{said}");
    assert_eq!((&report["lost"], &report["ok"]), (&json!(dropped), &json!(false)), "{report}");
    server.stop().await;
}

#[tokio::test]
async fn what_is_passed_on_twice_is_doubled() {
    let server = Drover::start().await;
    let meddler = Meddler::start(server.address("mqtt"), Wrong::PassesOnTwice).await;
    let line = format!("--devices 2 --rate 100 --duration 2s --ramp 0s --broker {}", meddler.address);
    let (code, report, said) = sim(&server, &line).await;
    assert_eq!(code, Some(1), "{said}");
    let doubled = meddler.count();
    assert!(doubled > 0 && said.contains(&format!("0 messages are lost, {doubled} are doubled")), "{said}");
    assert_eq!(report["doubled"], json!(doubled), "{report}");
    server.stop().await;
}

#[tokio::test]
async fn any_broker_is_tested_by_subscribing() {
    let server = Drover::start_in(DataDirectory::new(), &["--allow-anonymous"]).await;
    for qos in [1, 2] {
        let broker = server.address("mqtt");
        let line = format!(
            "--broker {broker} --devices 6 --rate 150 --duration 3s --ramp 0s --faults {ALL_FAULTS} --qos {qos}"
        );
        let (code, report, said) = sim_of_broker(&line).await;
        assert_eq!(code, Some(0), "{said}{report}");
        assert_eq!(
            (&report["found"], &report["acknowledged"]),
            (&report["sent"], &report["sent"]),
            "{report}"
        );
        assert!(report["reconnects"].as_u64().unwrap() > 0, "{report}");
    }
    server.stop().await;
}

#[tokio::test]
async fn mosquitto_loses_nothing_either() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mosquitto) = Mosquitto::start(folder.path()).await.unwrap() else { return };
    let address = &mosquitto.address;
    let line =
        format!("--broker {address} --devices 4 --rate 100 --duration 2s --ramp 0s --faults reconnect,storm");
    let (code, report, said) = sim_of_broker(&line).await;
    assert_eq!(code, Some(0), "{said}{report}");
    assert_eq!((&report["lost"], &report["found"]), (&json!(0), &report["sent"]), "{report}");
}

#[tokio::test]
async fn a_broker_that_acknowledges_and_drops_is_found_out() {
    let server = Drover::start_in(DataDirectory::new(), &["--allow-anonymous"]).await;
    let meddler = Meddler::start(server.address("mqtt"), Wrong::AcknowledgesAndDrops).await;
    let line = format!("--broker {} --devices 2 --rate 100 --duration 1s --ramp 0s", meddler.address);
    let (code, report, said) = sim_of_broker(&line).await;
    assert_eq!((code, &report["lost"]), (Some(1), &json!(meddler.count())), "{said}");
    server.stop().await;
}

#[tokio::test]
async fn a_signal_ends_it_early_with_the_report() {
    let server = Drover::start().await;
    let mut command =
        server.command_line(&words("sim -o json --devices 4 --rate 100 --duration 1h --ramp 0s"));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("messages are stored", async || {
        (server.get("/v1/ledger").await["stored"].as_u64()? > 10).then_some(())
    })
    .await;
    let process = child.id().unwrap().to_string();
    assert!(run(tokio::process::Command::new("kill").args(["-s", "INT", &process])).await.status.success());
    let (code, report, said) = told(&child.wait_with_output().await.unwrap());
    assert_eq!(
        (code, &report["ended_early"], &report["lost"]),
        (Some(0), &json!(true), &json!(0)),
        "{said}{report}"
    );
    assert!(report["acknowledged"].as_u64().unwrap() > 10, "{report}");
    assert_eq!(server.get("/v1/devices").await["items"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn devices_stay_when_they_are_to_be_kept() {
    let server = Drover::start().await;
    let (code, report, said) =
        sim(&server, "--devices 3 --rate 30 --duration 1s --profile pump --keep").await;
    assert_eq!(code, Some(0), "{said}");
    let devices = server.get("/v1/devices").await;
    let devices = devices["items"].as_array().unwrap();
    assert_eq!(devices.len(), 3);
    assert_eq!(devices[0]["id"], json!(format!("{}-00000", report["run"].as_str().unwrap())));
    assert_eq!((&devices[0]["profile"], &devices[0]["labels"]["run"]), (&json!("pump"), &report["run"]));
    server.stop().await;
}

#[tokio::test]
async fn without_the_right_to_make_devices_nothing_starts() {
    let server = Drover::start().await;
    let key =
        run(&mut server.command_line(&words("api-key create eye --scope api:read --only-secret"))).await;
    let secret = String::from_utf8(key.stdout).unwrap();
    let (code, _, said) = sim(&server, &format!("--token {}", secret.trim())).await;
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("can't make devices"), "{said}");
    assert_eq!(server.get("/v1/ledger").await["accepted"], json!(0));
    server.stop().await;
}

#[tokio::test]
async fn without_a_server_or_its_mqtt_nothing_starts() {
    let server = Drover::start().await;
    // Port 1 is bound by nobody without being root.
    let (code, _, said) = sim(&server, "--broker 127.0.0.1:1").await;
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("127.0.0.1:1") && said.contains("--broker"), "{said}");
    assert_eq!(server.get("/v1/devices").await["items"], json!([]));
    let nowhere = format!("sim --url http://127.0.0.1:1 --broker {}", server.address("mqtt"));
    let (code, _, said) = told(&run(&mut command_line(&words(&nowhere))).await);
    assert_eq!(code, Some(5), "{said}");
    let (code, _, said) = sim_of_broker("--broker 127.0.0.1:1").await;
    assert_eq!(code, Some(5), "{said}");
    server.stop().await;
}
