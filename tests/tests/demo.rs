//! The demonstration from start to end, on free ports.

use drover_testkit::{DataDirectory, command_line};
use drover_tests::ordinary_clients::run;

#[tokio::test]
async fn the_recorded_day_is_stored_whole_and_the_directory_goes_at_the_end() {
    let directory = DataDirectory::new();
    let mut command = command_line(&["demo", "--devices", "2", "--no-live", "--data-dir"]);
    command.arg(directory.path()).arg("--");
    for name in ["mqtt", "mqtts", "ws", "api", "grpc"] {
        command.arg(format!("--listen-{name}")).arg("127.0.0.1:0");
    }
    let output = run(&mut command).await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    // 1440 rows of 19 values for each of two stations.
    assert!(said.contains("messages stored, by the ledger  2880"), "{said}");
    assert!(said.contains("points in them                  54720"), "{said}");
    assert!(!directory.path().exists());
}
