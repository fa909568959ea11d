//! The Parquet files as other programs read them: pyarrow and DuckDB, without a word about Drover.

use std::path::Path;

use drover_testkit::Drover;
use drover_tests::ordinary_clients::{Login, mosquitto, publish, python, run};
use serde_json::{Value, json};
use tokio::process::Command;

#[tokio::test]
async fn pyarrow_and_duckdb_read_the_point_files_as_they_are() {
    let (true, Some(python)) = (mosquitto(), python()) else { return };
    let server = Drover::start().await;
    for device in ["pump-1", "pump-2"] {
        let token = server.device(device).await;
        let login = Login { username: device, password: &token, tls: false };
        for (second, mode) in [(0, "auto"), (1, "manual")] {
            let ts = 1_767_225_600_000_i64 + second * 1_000;
            let payload = json!({ "ts": ts, "values": { "temp": 20 + second, "mode": mode, "on": true } });
            assert!(publish(&server, &login, "v1/telemetry", &payload.to_string()).await.status.success());
        }
    }
    // A stop writes what is in memory to files.
    let directory = server.stop().await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/read_files.py");
    let output = run(Command::new(python).arg(script).arg(directory.path())).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected =
        json!({ "points": 12, "mean": 20.5, "texts": ["auto", "manual"], "latest": 1_767_225_601.0 });
    assert_eq!(seen, json!({ "pyarrow": expected, "duckdb": expected }));
}
