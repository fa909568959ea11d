//! `drover login` and saved contexts: which server a command goes to, and where a token may go.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};

use drover_testkit::{Drover, command_line};
use drover_tests::ordinary_clients::run;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// A command in a folder without data, with the contexts of `home`.
fn command(home: &Path, line: &[&str]) -> Command {
    let mut command = command_line(line);
    command.current_dir(home).env_remove("DROVER_CONFIG_DIR").env("XDG_CONFIG_HOME", home.join("config"));
    command
}

async fn drover(home: &Path, line: &str) -> Output {
    run(&mut command(home, &line.split_whitespace().collect::<Vec<_>>())).await
}

async fn succeeds(home: &Path, line: &str) -> String {
    let output = drover(home, line).await;
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn what_login_saved_is_where_commands_go() {
    let (first, second) = (Drover::start().await, Drover::start().await);
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let line = format!("login {} --name first", first.url());
    let mut login = command(home, &[&line.split(' ').collect::<Vec<_>>()[..], &["--token-stdin"]].concat());
    let mut login =
        login.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    login.stdin.take().unwrap().write_all(format!("{}\n", first.token()).as_bytes()).await.unwrap();
    let login = login.wait_with_output().await.unwrap();
    assert!(login.status.success() && said(&login).contains("saved as context first"), "{}", said(&login));
    succeeds(home, &format!("login --data-dir {} --name second -q", second.directory().path().display()))
        .await;

    let file = home.join("config/drover/contexts.toml");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    succeeds(home, "device create here").await;
    assert!(succeeds(home, "device list").await.contains("here"));
    assert_eq!(succeeds(home, "--context first device list -o json").await.trim(), "[]");
    succeeds(home, "context use first").await;
    assert_eq!(succeeds(home, "device list -o json").await.trim(), "[]");
    // A directory that is named comes before what is saved.
    let named = format!("device list --data-dir {}", second.directory().path().display());
    assert!(succeeds(home, &named).await.contains("here"));

    let list = succeeds(home, "context list -o json").await;
    assert!(!list.contains(first.token()), "tokens are not shown");
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!((&list[0]["name"], &list[0]["current"]), (&json!("first"), &json!(true)), "{list}");
    succeeds(home, "context forget first").await;
    assert!(!std::fs::read_to_string(&file).unwrap().contains(first.token()));
    assert_eq!(drover(home, "context use first").await.status.code(), Some(3));
    assert_eq!(drover(home, "device list --context first").await.status.code(), Some(3));
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_token_that_the_server_does_not_know_is_not_saved() {
    let server = Drover::start().await;
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let wrong = drover(home, &format!("login {} --token drv_wrong", server.url())).await;
    assert_eq!(wrong.status.code(), Some(4), "{}", said(&wrong));
    assert_eq!(drover(home, "login http://127.0.0.1:1 --token x").await.status.code(), Some(5));
    let mut without = command(home, &["login", &server.url()]);
    assert_eq!(run(without.stdin(Stdio::null())).await.status.code(), Some(2));
    let no_tenant = format!("login {} --token {} --tenant nope", server.url(), server.token());
    assert_eq!(drover(home, &no_tenant).await.status.code(), Some(3));
    assert!(!home.join("config").exists());
    server.stop().await;
}

#[tokio::test]
async fn a_saved_token_goes_to_its_own_server_only() {
    let server = Drover::start().await;
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    succeeds(home, &format!("login {} --token {}", server.url(), server.token())).await;
    for variable in [None, Some("DROVER_DATA_DIR")] {
        let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = stranger.local_addr().unwrap();
        let heard = std::thread::spawn(move || {
            let (mut stream, _) = stranger.accept().unwrap();
            let mut request = vec![0; 4_096];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").unwrap();
            String::from_utf8_lossy(&request[..length]).to_lowercase()
        });
        let mut asked = command(home, &["device", "list"]);
        asked.env("DROVER_URL", format!("http://{address}"));
        asked.envs(variable.map(|name| (name, server.directory().path())));
        assert_eq!(run(&mut asked).await.status.code(), Some(4));
        let request = heard.join().unwrap();
        assert!(request.contains("get /v1/devices") && !request.contains("authorization"), "{request}");
    }
    let both = format!("device list --context x --url {}", server.url());
    assert_eq!(drover(home, &both).await.status.code(), Some(2));
    server.stop().await;
}

#[tokio::test]
async fn doctor_looks_at_a_running_server_and_its_directory() {
    let server = Drover::start().await;
    let output = run(&mut server.command_line(&["doctor", "-o", "json"])).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let status = |name: &str| {
        let check = checks.iter().find(|check| check["check"] == json!(name));
        check.map(|check| check["status"].as_str().unwrap().to_owned())
    };
    for check in [
        "data format",
        "lock",
        "certificate",
        "port mqtt",
        "port api",
        "server",
        "clock",
        "version",
        "ledger",
    ] {
        assert_eq!(status(check).as_deref(), Some("ok"), "{check}: {report}");
    }
    for check in ["data directory", "fsync", "open files", "disk space", "time of day"] {
        assert!(status(check).is_some(), "{check}: {report}");
    }
    let failed = checks.iter().any(|check| check["status"] == json!("fail"));
    assert_eq!(output.status.code(), Some(i32::from(failed)), "{report}");
    let directory = server.stop().await;

    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let path = directory.path();
    let line = ["doctor", "--listen-mqtt", &address, "--data-dir", path.to_str().unwrap()];
    let taken = run(&mut command_line(&line)).await;
    assert_eq!(taken.status.code(), Some(1));
    let table = String::from_utf8_lossy(&taken.stdout).into_owned();
    assert!(table.contains(&format!("{address} is used by")) && table.contains("--listen-mqtt"), "{table}");
}
