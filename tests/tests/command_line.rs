//! The command line against a running server: forms of output, exit codes, messages.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Output;

use drover_testkit::Drover;
use drover_tests::ordinary_clients::run;
use serde_json::{Value, json};

async fn drover(server: &Drover, line: &str) -> Output {
    run(&mut server.command_line(&line.split_whitespace().collect::<Vec<_>>())).await
}

async fn succeeds(server: &Drover, line: &str) -> String {
    let output = drover(server, line).await;
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn fails(server: &Drover, line: &str) -> (Option<i32>, String) {
    let output = drover(server, line).await;
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn a_device_lives_from_create_to_delete() {
    let server = Drover::start().await;
    let created = succeeds(&server, "device create pump-1 --label site=north --credential").await;
    assert!(created.contains("mosquitto_pub -h 127.0.0.1 -p "), "{created}");
    let updated = succeeds(&server, "device update pump-1 --label floor=2 --remove-label site -o json").await;
    let updated: Value = serde_json::from_str(&updated).unwrap();
    assert_eq!(updated["labels"], json!({"floor": "2"}));
    let credentials: Value =
        serde_json::from_str(&succeeds(&server, "credential list pump-1 -o json").await).unwrap();
    let credential = credentials[0]["id"].as_str().unwrap().to_owned();
    assert!(credentials[0].get("secret").is_none(), "{credentials}");
    succeeds(&server, &format!("credential delete pump-1 {credential}")).await;
    assert_eq!(succeeds(&server, "credential list pump-1 -o json").await.trim(), "[]");
    let (code, problem) = fails(&server, "device erase pump-1 --keys a,b").await;
    assert!(code == Some(2) && problem.contains("erases a and b that pump-1 measured"), "{code:?} {problem}");
    succeeds(&server, "device erase pump-1 --keys a,b --yes").await;
    succeeds(&server, "device erase pump-1 --yes").await;
    succeeds(&server, "device delete pump-1").await;
    assert_eq!(fails(&server, "device get pump-1").await.0, Some(3));
    assert_eq!(fails(&server, "device erase pump-1 --yes").await.0, Some(3));
    server.stop().await;
}

#[tokio::test]
async fn rules_of_retention_are_set_shown_and_cleared() {
    let server = Drover::start().await;
    assert!(succeeds(&server, "retention get").await.contains("for ever"));
    let set = succeeds(&server, "retention set 90 debug.*=7").await;
    let lines: Vec<Vec<&str>> = set.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines, [vec!["KEYS", "DAYS"], vec!["debug.*", "7"], vec!["all", "others", "90"]]);
    let (code, problem) = fails(&server, "retention set debug+=7").await;
    assert!(code == Some(1) && problem.contains("keys"), "{code:?} {problem}");
    succeeds(&server, "retention clear").await;
    assert_eq!(succeeds(&server, "retention get -o json").await.matches("items").count(), 1);
    server.stop().await;
}

#[tokio::test]
async fn an_api_key_lives_from_create_to_delete() {
    let server = Drover::start().await;
    let created =
        succeeds(&server, "api-key create board --scope mqtt:subscribe:dev/# --scope api:read").await;
    assert!(created.contains("-u app:board -P drv_") && created.contains("-t 'dev/#'"), "{created}");
    let table = succeeds(&server, "api-key list").await;
    assert!(table.lines().nth(1).unwrap().contains("mqtt:subscribe:dev/# api:read"), "{table}");
    let key: Value = serde_json::from_str(&succeeds(&server, "api-key get board -o json").await).unwrap();
    assert_eq!(key["scopes"], json!(["mqtt:subscribe:dev/#", "api:read"]));
    assert!(key.get("secret").is_none(), "{key}");
    let secret = succeeds(&server, "api-key create other --scope api:read --only-secret").await;
    let secret = secret.trim();
    assert_eq!(succeeds(&server, &format!("device list -o json --token {secret}")).await.trim(), "[]");
    assert_eq!(fails(&server, &format!("device create pump --token {secret}")).await.0, Some(4));
    assert_eq!(fails(&server, "api-key create board").await.0, Some(1));
    assert_eq!(fails(&server, "api-key create b --scope everything").await.0, Some(2));
    succeeds(&server, "api-key delete board").await;
    assert_eq!(fails(&server, "api-key get board").await.0, Some(3));
    server.stop().await;
}

#[tokio::test]
async fn a_list_comes_as_table_json_or_yaml_over_all_its_pages() {
    let server = Drover::start().await;
    for number in 0..3 {
        succeeds(&server, &format!("device create pump-{number} --label n={number}")).await;
    }
    let table = succeeds(&server, "device list").await;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("ID      PROFILE  LABELS  CREATED"), "{table}");
    assert!(lines[1].starts_with("pump-0  default  n=0     20"), "{table}");
    let list: Value =
        serde_json::from_str(&succeeds(&server, "device list -o json --limit 2").await).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 2);
    let list: Value = serde_yaml_ng::from_str(&succeeds(&server, "-o yaml device list").await).unwrap();
    assert_eq!(list[2]["id"], json!("pump-2"));
    server.stop().await;
}

#[tokio::test]
async fn tenants_do_not_see_one_another() {
    let server = Drover::start().await;
    succeeds(&server, "tenant create acme --name Acme").await;
    succeeds(&server, "device create pump-1 --tenant acme").await;
    assert_eq!(succeeds(&server, "device list -o json").await.trim(), "[]");
    assert!(succeeds(&server, "device list --tenant acme").await.contains("pump-1"));
    server.stop().await;
}

#[tokio::test]
async fn a_failure_says_what_and_gives_its_code() {
    let server = Drover::start().await;
    succeeds(&server, "device create pump-1").await;
    let (code, message) = fails(&server, "device create pump-1").await;
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("pump-1"), "{message}");
    let (code, message) = fails(&server, "device list --token drv_wrong").await;
    assert_eq!(code, Some(4), "{message}");
    assert_eq!(fails(&server, "telemetry nobody").await.0, Some(3));
    assert_eq!(fails(&server, "device get a/b").await.0, Some(2));
    server.stop().await;
}

#[tokio::test]
async fn health_and_ledger_are_fine_on_a_fresh_server() {
    let server = Drover::start().await;
    let health: Value = serde_json::from_str(&succeeds(&server, "health -o json").await).unwrap();
    assert_eq!(health["status"], json!("ok"), "{health}");
    let ledger: Value = serde_json::from_str(&succeeds(&server, "ledger -o json").await).unwrap();
    assert_eq!((&ledger["accepted"], &ledger["pending"]), (&json!(0), &json!(0)), "{ledger}");
    assert!(succeeds(&server, "deadletters").await.starts_with("RECEIVED"));
    server.stop().await;
}
