//! SQL against a running server: by REST in its forms, by the command line, for each tenant its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use drover_testkit::{Drover, eventually};
use drover_tests::ordinary_clients::{Login, mosquitto, publish, run};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const MEANS: &str =
    "SELECT device, avg(value) AS mean FROM points WHERE key = 'temp' GROUP BY device ORDER BY device";

/// A server with some points of two devices.
async fn server() -> Option<Drover> {
    if !mosquitto() {
        return None;
    }
    let server = Drover::start().await;
    for (device, temps) in [("pump-1", [20.0, 22.0]), ("pump-2", [30.0, 30.0])] {
        let token = server.device(device).await;
        let login = Login { username: device, password: &token, tls: false };
        for temp in temps {
            let payload = json!({ "temp": temp, "mode": "auto", "on": true }).to_string();
            assert!(publish(&server, &login, "v1/telemetry", &payload).await.status.success());
        }
    }
    let path = "/v1/devices/pump-1";
    server.call(Method::PATCH, path, Some(json!({"labels": {"site": "north"}}))).await;
    // What is acknowledged can be read a moment later.
    eventually("four messages are stored", async || {
        (server.get("/v1/ledger").await["stored"] == json!(4)).then_some(())
    })
    .await;
    Some(server)
}

async fn ask(server: &Drover, sql: &str) -> (u16, Value) {
    server.call(Method::POST, "/v1/query", Some(json!({ "sql": sql }))).await
}

async fn rows(server: &Drover, sql: &str) -> Value {
    let (status, mut answer) = ask(server, sql).await;
    assert_eq!(status, 200, "{sql}: {answer}");
    answer["rows"].take()
}

/// One query with headers of its own.
async fn raw(server: &Drover, token: &str, accept: &str, sql: &str) -> (StatusCode, Vec<u8>) {
    let request = reqwest::Client::new().post(format!("{}/v1/query", server.url()));
    let request = request.bearer_auth(token).header("accept", accept).json(&json!({ "sql": sql }));
    let response = request.send().await.unwrap();
    (response.status(), response.bytes().await.unwrap().to_vec())
}

#[tokio::test]
async fn what_devices_sent_can_be_asked_for_in_sql_and_joined_with_the_registry() {
    let Some(server) = server().await else { return };
    assert_eq!(
        rows(&server, MEANS).await,
        json!([{"device": "pump-1", "mean": 21.0}, {"device": "pump-2", "mean": 30.0}])
    );
    let typed = "SELECT DISTINCT key, value, text FROM points WHERE key <> 'temp' ORDER BY key";
    assert_eq!(
        rows(&server, typed).await,
        json!([{"key": "mode", "value": null, "text": "auto"}, {"key": "on", "value": 1.0, "text": null}])
    );
    let by_site = "SELECT d.labels['site'] AS site, max(p.value) AS hottest FROM points p JOIN devices d ON d.id = p.device \
                   WHERE p.key = 'temp' GROUP BY 1 ORDER BY 1 NULLS LAST";
    assert_eq!(
        rows(&server, by_site).await,
        json!([{"site": "north", "hottest": 22.0}, {"site": null, "hottest": 30.0}])
    );
    assert_eq!(rows(&server, "SELECT id FROM devices WHERE id = 'pump-2'").await, json!([{"id": "pump-2"}]));
    assert_eq!(rows(&server, "SELECT count(*) AS n FROM alarms").await, json!([{"n": 0}]));
    // The same from the files.
    let server = Drover::start_in(server.stop().await, &[]).await;
    assert_eq!(rows(&server, MEANS).await[0], json!({"device": "pump-1", "mean": 21.0}));
    server.stop().await;
}

#[tokio::test]
async fn the_answer_comes_as_json_csv_or_arrow() {
    let Some(server) = server().await else { return };
    let (status, csv) = raw(&server, server.token(), "text/csv", MEANS).await;
    assert_eq!((status, csv.as_slice()), (StatusCode::OK, &b"device,mean\npump-1,21.0\npump-2,30.0\n"[..]));
    let (status, arrow) = raw(&server, server.token(), "application/vnd.apache.arrow.stream", MEANS).await;
    // A stream of Arrow begins with the continuation mark of its schema message.
    assert_eq!((status, arrow.get(..4)), (StatusCode::OK, Some(&[0xff; 4][..])));
    let (status, problem) = raw(&server, server.token(), "image/png", MEANS).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{}", String::from_utf8_lossy(&problem));
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_query_is_told_where_and_a_writing_one_is_refused() {
    let Some(server) = server().await else { return };
    let (status, problem) = ask(&server, "SELECT devise FROM points").await;
    assert_eq!(status, 400);
    assert_eq!(problem["errors"][0]["field"], json!("sql"));
    assert!(problem["detail"].as_str().unwrap().contains("line 1, column 8"), "{problem}");
    for sql in
        ["DROP TABLE points", "INSERT INTO points (device) VALUES ('x')", "COPY points TO '/tmp/x.csv'"]
    {
        assert_eq!(ask(&server, sql).await.0, 400, "{sql}");
    }
    assert_eq!(server.call(Method::POST, "/v1/query", Some(json!({"sql": "SELECT 1", "x": 1}))).await.0, 400);
    assert_eq!(
        server.call(Method::POST, "/v1/query", Some(json!({"sql": "SELECT 1", "timeout_s": 0}))).await.0,
        400
    );
    server.stop().await;
}

#[tokio::test]
async fn a_query_sees_its_own_tenant_and_a_key_that_reads_may_ask() {
    let Some(server) = server().await else { return };
    server.call(Method::POST, "/v1/tenants", Some(json!({"id": "acme"}))).await;
    let count = "SELECT (SELECT count(*) FROM points) AS points, (SELECT count(*) FROM devices) AS devices";
    let request =
        reqwest::Client::new().post(format!("{}/v1/query", server.url())).bearer_auth(server.token());
    let request = request.header("x-drover-tenant", "acme").json(&json!({ "sql": count }));
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["rows"], json!([{"points": 0, "devices": 0}]));
    for (scope, expected) in [("api:read", StatusCode::OK), ("api:write", StatusCode::FORBIDDEN)] {
        let key = json!({"id": scope.replace(':', "-"), "scopes": [scope]});
        let (_, key) = server.call(Method::POST, "/v1/api-keys", Some(key)).await;
        let secret = key["secret"].as_str().unwrap();
        assert_eq!(raw(&server, secret, "application/json", MEANS).await.0, expected, "{scope}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_command_line_prints_a_table_or_writes_a_file() {
    let Some(server) = server().await else { return };
    let table = run(&mut server.command_line(&["query", MEANS])).await;
    let table = String::from_utf8(table.stdout).unwrap();
    assert_eq!(table, "DEVICE  MEAN\npump-1  21.0\npump-2  30.0\n".replace("DEVICE  MEAN", "device  mean"));
    let json = run(&mut server.command_line(&["query", "-o", "json", MEANS])).await;
    let answer: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(answer["columns"][1], json!({"name": "mean", "type": "number"}));
    let file = server.directory().path().join("means.csv");
    let saved =
        run(&mut server.command_line(&["query", "--csv", "--out", file.to_str().unwrap(), MEANS])).await;
    assert!(saved.status.success(), "{}", String::from_utf8_lossy(&saved.stderr));
    assert_eq!(fs::read_to_string(&file).unwrap(), "device,mean\npump-1,21.0\npump-2,30.0\n");
    let wrong = run(&mut server.command_line(&["query", "SELEKT 1"])).await;
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("SELEKT"), "{wrong:?}");
    server.stop().await;
}
