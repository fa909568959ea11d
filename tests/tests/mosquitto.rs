//! Drover as a user of Debian's mosquitto_pub and mosquitto_sub meets it.

use std::process::{Output, Stdio};

use drover_testkit::{DataDirectory, Drover, eventually};
use drover_tests::ordinary_clients::{Login, mosquitto, mosquitto_command, publish, run};
use serde_json::{Value, json};

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn latest(server: &Drover, device: &str, key: &str) -> Value {
    let path = format!("/v1/devices/{device}/telemetry/latest");
    eventually("the value is readable", async || server.get(&path).await.get(key).cloned()).await
}

#[tokio::test]
async fn an_acknowledged_message_is_read_back_by_rest_and_command_line() {
    if !mosquitto() {
        return;
    }
    let server = Drover::start().await;
    let token = server.device("pump-1").await;
    let login = Login { username: "pump-1", password: &token, tls: false };
    let sent =
        publish(&server, &login, "v1/telemetry", r#"{"temperature": 21.5, "motor": {"on": true}}"#).await;
    assert!(sent.status.success(), "{}", text(&sent));

    assert_eq!(latest(&server, "pump-1", "temperature").await["value"], json!(21.5));
    assert_eq!(latest(&server, "pump-1", "motor.on").await["value"], json!(true));
    let range = server.get("/v1/devices/pump-1/telemetry?keys=temperature").await;
    assert_eq!(range["series"]["temperature"][0]["value"], json!(21.5), "{range}");
    let shown =
        run(&mut server.command_line(&["telemetry", "pump-1", "--keys", "temperature", "--from", "-1h"]))
            .await;
    assert!(text(&shown).contains("21.5"), "{}", text(&shown));
    server.stop().await;
}

#[tokio::test]
async fn the_live_stream_shows_a_message_as_it_arrives() {
    if !mosquitto() {
        return;
    }
    let server = Drover::start().await;
    let token = server.device("pump-1").await;
    let login = Login { username: "pump-1", password: &token, tls: false };
    let mut tail = server.command_line(&["tail", "--devices", "pump-1", "--count", "1", "-o", "json"]);
    let mut tail = tail.stdout(Stdio::piped()).spawn().unwrap();
    // The stream shows nothing from before it began, so the device goes on until it is seen.
    eventually("the stream shows a message", async || {
        let sent = publish(&server, &login, "v1/telemetry", r#"{"level": 7}"#).await;
        assert!(sent.status.success(), "{}", text(&sent));
        tail.try_wait().unwrap()
    })
    .await;
    let shown = tail.wait_with_output().await.unwrap();
    let message: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(
        (&message["device"], message["values"]["level"].as_f64()),
        (&json!("pump-1"), Some(7.0)),
        "{message}"
    );
    server.stop().await;
}

#[tokio::test]
async fn an_application_sees_what_a_device_publishes_in_its_space() {
    if !mosquitto() {
        return;
    }
    let server = Drover::start().await;
    let token = server.device("pump-1").await;
    let key = run(&mut server.command_line(&["api-key", "create", "board", "--only-secret"])).await;
    let key = String::from_utf8(key.stdout).unwrap();
    let login = Login { username: "app:board", password: key.trim(), tls: true };
    let mut board = mosquitto_command("mosquitto_sub", &server, &login);
    let mut board =
        board.args(["-t", "dev/+/state", "-v", "-C", "1"]).stdout(Stdio::piped()).spawn().unwrap();
    let login = Login { username: "pump-1", password: &token, tls: false };
    // Nothing is kept for a subscription that is not there yet, so the device goes on until it is seen.
    eventually("the application has the message", async || {
        let sent = publish(&server, &login, "dev/pump-1/state", "running").await;
        assert!(sent.status.success(), "{}", text(&sent));
        board.try_wait().unwrap()
    })
    .await;
    let seen = board.wait_with_output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&seen.stdout).trim(), "dev/pump-1/state running");
    server.stop().await;
}

#[tokio::test]
async fn tls_works_with_the_certificate_authority_of_the_data_directory() {
    if !mosquitto() {
        return;
    }
    let server = Drover::start().await;
    let token = server.device("pump-1").await;
    let login = Login { username: "pump-1", password: &token, tls: true };
    let sent = publish(&server, &login, "v1/telemetry", r#"{"level": 1}"#).await;
    assert!(sent.status.success(), "{}", text(&sent));
    assert_eq!(latest(&server, "pump-1", "level").await["value"], json!(1));
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_nothing_is_stored() {
    if !mosquitto() {
        return;
    }
    let server = Drover::start().await;
    server.device("pump-1").await;
    let login = Login { username: "pump-1", password: "drv_wrong", tls: false };
    let sent = publish(&server, &login, "v1/telemetry", r#"{"level": 1}"#).await;
    assert!(!sent.status.success(), "{}", text(&sent));
    assert_eq!(server.get("/v1/devices/pump-1/telemetry/latest").await, json!({}));
    assert_eq!(server.get("/v1/ledger").await["accepted"], json!(0));
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_understood_is_a_dead_letter_and_the_device_is_told() {
    if !mosquitto() {
        return;
    }
    let server = Drover::start().await;
    let token = server.device("pump-1").await;
    let login = Login { username: "pump-1", password: &token, tls: false };
    let mut errors = mosquitto_command("mosquitto_sub", &server, &login);
    let mut errors = errors.args(["-t", "v1/errors", "-C", "1"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut sent_count = 0;
    eventually("the device is told", async || {
        let sent = publish(&server, &login, "v1/telemetry", "{not json").await;
        assert!(sent.status.success(), "{}", text(&sent));
        sent_count += 1;
        errors.try_wait().unwrap()
    })
    .await;
    let told: Value = serde_json::from_slice(&errors.wait_with_output().await.unwrap().stdout).unwrap();
    assert_eq!(told["topic"], json!("v1/telemetry"), "{told}");
    let ledger = eventually("nothing is pending", async || {
        let ledger = server.get("/v1/ledger").await;
        (ledger["pending"] == json!(0)).then_some(ledger)
    })
    .await;
    assert_eq!(ledger["dead_lettered"], json!(sent_count), "{ledger}");
    let letters = server.get("/v1/deadletters").await;
    let letter = &letters["items"][0];
    assert_eq!((&letter["device"], &letter["topic"]), (&json!("pump-1"), &json!("v1/telemetry")), "{letter}");
    assert_eq!(letter["payload_base64"], json!("e25vdCBqc29u"), "{letter}");
    server.stop().await;
}

#[tokio::test]
async fn a_device_hears_its_own_topics_and_no_others() {
    if !mosquitto() {
        return;
    }
    let server = Drover::start().await;
    let token = server.device("pump-1").await;
    let login = Login { username: "pump-1", password: &token, tls: false };
    let mut own = mosquitto_command("mosquitto_sub", &server, &login);
    let mut own = own.args(["-t", "dev/pump-1/#", "-C", "1", "-v"]).stdout(Stdio::piped()).spawn().unwrap();
    eventually("the message comes back", async || {
        let sent = publish(&server, &login, "dev/pump-1/note", "hello").await;
        assert!(sent.status.success(), "{}", text(&sent));
        own.try_wait().unwrap()
    })
    .await;
    let heard = own.wait_with_output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&heard.stdout).trim(), "dev/pump-1/note hello");

    let mut foreign = mosquitto_command("mosquitto_sub", &server, &login);
    let refused = run(foreign.args(["-t", "dev/pump-2/#", "-E"])).await;
    assert!(text(&refused).contains("denied"), "{}", text(&refused));
    server.stop().await;
}

#[tokio::test]
async fn anonymous_clients_use_it_as_a_plain_broker_when_allowed() {
    if !mosquitto() {
        return;
    }
    let server = Drover::start_in(DataDirectory::new(), &["--allow-anonymous"]).await;
    let port = server.port("mqtt").to_string();
    let mut listener = tokio::process::Command::new("mosquitto_sub");
    listener.args(["-h", "127.0.0.1", "-p", &port, "-t", "any/+", "-C", "1"]).kill_on_drop(true);
    let mut listener = listener.stdout(Stdio::piped()).spawn().unwrap();
    eventually("the message is heard", async || {
        let mut sender = tokio::process::Command::new("mosquitto_pub");
        let sent =
            run(sender.args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", "any/topic", "-m", "hi"]))
                .await;
        assert!(sent.status.success(), "{}", text(&sent));
        listener.try_wait().unwrap()
    })
    .await;
    assert_eq!(listener.wait_with_output().await.unwrap().stdout, b"hi\n");
    server.stop().await;
}
