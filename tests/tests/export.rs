//! History into files and what becomes of an export that can't be finished.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::path::Path;
use std::process::Output;

use drover_testkit::{Drover, eventually};
use drover_tests::ordinary_clients::run;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::{Value, json};

/// 2026-11-24T00:00:00Z.
const DAY_MS: i64 = 1_795_478_400_000;
const HOUR_MS: i64 = 3_600_000;

/// Publishes as a device and waits until it is stored.
async fn send(server: &Drover, device: &str, messages: Vec<Value>) {
    let token = server.device(device).await;
    let mut options = MqttOptions::new(device, "127.0.0.1", server.port("mqtt"));
    options.set_credentials(device, token);
    let (client, mut events) = AsyncClient::new(options, messages.len() + 1);
    let (before, mut left) = (server.get("/v1/ledger").await["stored"].as_u64().unwrap(), messages.len());
    let after = before + left as u64;
    for message in messages {
        client.publish("v1/telemetry", QoS::AtLeastOnce, false, message.to_string()).await.unwrap();
    }
    while left > 0 {
        if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.unwrap() {
            left -= 1;
        }
    }
    eventually("all is stored", async || {
        (server.get("/v1/ledger").await["stored"] == json!(after)).then_some(())
    })
    .await;
}

async fn server() -> Drover {
    let server = Drover::start().await;
    let hour = |hour: i64, values: Value| json!({ "ts": DAY_MS + hour * HOUR_MS, "values": values });
    let first = vec![
        hour(0, json!({"temp": 20.5, "mode": "a \"quoted\", text\nof two lines"})),
        hour(1, json!({"temp": -1e300, "on": true})),
        hour(30, json!({"temp": 0.1, "mode": ""})),
    ];
    send(&server, "pump-1", first).await;
    send(&server, "pump-2", vec![hour(2, json!({"temp": 7}))]).await;
    server
}

/// All points as SQL sees them.
async fn points(server: &Drover) -> Value {
    let sql = "SELECT device, key, ts, value, text FROM points ORDER BY device, key, ts";
    let (status, mut answer) =
        server.call(reqwest::Method::POST, "/v1/query", Some(json!({ "sql": sql }))).await;
    assert_eq!(status, 200, "{answer}");
    answer["rows"].take()
}

async fn export(server: &Drover, out: &Path, more: &[&str]) -> Output {
    let line = [&["export", "-o", "json", "--out", out.to_str().unwrap()][..], more].concat();
    run(&mut server.command_line(&line)).await
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn history_becomes_a_csv_file_sorted_by_day_device_key_and_time() {
    let server = server().await;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("history.csv");
    let exported = export(&server, &out, &[]).await;
    assert!(exported.status.success(), "{}", said(&exported));
    let text = fs::read_to_string(&out).unwrap();
    let expected = "device,key,ts,value,text\n\
        pump-1,mode,2026-11-24T00:00:00Z,,\"a \"\"quoted\"\", text\nof two lines\"\n\
        pump-1,mode,2026-11-25T06:00:00Z,,\n\
        pump-1,on,2026-11-24T01:00:00Z,1.0,\n\
        pump-1,temp,2026-11-24T00:00:00Z,20.5,\n\
        pump-1,temp,2026-11-24T01:00:00Z,-1e300,\n\
        pump-1,temp,2026-11-25T06:00:00Z,0.1,\n\
        pump-2,temp,2026-11-24T02:00:00Z,7.0,\n";
    assert_eq!(text, expected);
    let summary: Value = serde_json::from_slice(&exported.stdout).unwrap();
    assert_eq!((&summary["points"], &summary["size_bytes"]), (&json!(7), &json!(text.len())), "{summary}");
    server.stop().await;
}

#[tokio::test]
async fn devices_keys_and_times_narrow_an_export_also_to_nothing() {
    let server = server().await;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("some.csv");
    for (narrow, rows) in [
        (&["--devices", "pump-1", "--keys", "temp,on"][..], 4),
        (&["--from", "2026-11-24T01:00:00Z", "--to", "2026-11-25"], 3),
        (&["--devices", "nobody"], 0),
    ] {
        let exported = export(&server, &out, narrow).await;
        assert!(exported.status.success(), "{}", said(&exported));
        let text = fs::read_to_string(&out).unwrap();
        assert!(text.starts_with("device,key,ts,value,text\n"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("pump-")).count(), rows, "{narrow:?}: {text}");
    }
    let empty = export(&server, &out, &["--from", "2026-11-25", "--to", "2026-11-25"]).await;
    assert_eq!(empty.status.code(), Some(2), "{}", said(&empty));
    let form = export(&server, &folder.path().join("history.json"), &[]).await;
    assert_eq!(form.status.code(), Some(2), "{}", said(&form));
    assert!(said(&form).contains(".parquet or .csv"), "{}", said(&form));
    server.stop().await;
}

#[tokio::test]
async fn history_becomes_a_parquet_file_with_the_points_that_sql_sees() {
    let server = server().await;
    let folder = tempfile::tempdir().unwrap();
    for (name, narrow, rows) in [("all.parquet", &[][..], 7), ("none.parquet", &["--keys", "nothing"], 0)] {
        let out = folder.path().join(name);
        let exported = export(&server, &out, narrow).await;
        assert!(exported.status.success(), "{}", said(&exported));
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&out).unwrap()).unwrap();
        let names: Vec<String> = reader.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["device", "key", "ts", "value", "text"]);
        let batches = reader.build().unwrap().map(Result::unwrap);
        assert_eq!(batches.map(|batch| batch.num_rows()).sum::<usize>(), rows);
    }
    assert_eq!(points(&server).await.as_array().unwrap().len(), 7);
    server.stop().await;
}

#[tokio::test]
async fn an_export_that_fails_leaves_no_file_and_says_why() {
    let server = server().await;
    let folder = tempfile::tempdir().unwrap();
    let entries = || fs::read_dir(folder.path()).unwrap().count();
    let absent = export(&server, &folder.path().join("no/history.csv"), &[]).await;
    assert_eq!(absent.status.code(), Some(1));
    assert!(said(&absent).contains("no/history.csv.part: No such file"), "{}", said(&absent));

    for name in ["full.csv", "full.parquet"] {
        // As a disk that takes nothing more; a signal would end the program, were it not ignored.
        let export = server.command_line(&["export", "--out", folder.path().join(name).to_str().unwrap()]);
        let export = export.as_std();
        let mut shell = tokio::process::Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\""]);
        shell.arg(export.get_program()).args(export.get_args());
        let full = run(&mut shell).await;
        assert_eq!(full.status.code(), Some(1), "{}", said(&full));
        assert!(
            said(&full).contains(&format!("can't write {}/{name}.part", folder.path().display())),
            "{}",
            said(&full)
        );
        assert!(said(&full).contains("File too large"), "{}", said(&full));
    }
    let out = folder.path().join("history.csv");
    let denied = export(&server, &out, &["--token", "drv_wrong"]).await;
    assert_eq!(denied.status.code(), Some(4));
    assert_eq!(entries(), 0);
    server.stop().await;
}
