//! Drover as a user of Debian's mosquitto_pub and mosquitto_sub meets it.

use std::collections::BTreeSet;
use std::process::{Output, Stdio};

use drover_testkit::{DataDirectory, Drover, eventually};
use drover_tests::ordinary_clients::{Login, mosquitto, mosquitto_command, publish, run};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

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

/// Subscribes, and leaves a session that keeps what comes.
async fn subscribed(server: &Drover, login: &Login<'_>, id: &str, filter: &str) {
    let mut command = mosquitto_command("mosquitto_sub", server, login);
    let output = run(command.args(["-c", "-q", "2", "-i", id, "-t", filter, "-E"])).await;
    assert!(output.status.success(), "{}", text(&output));
}

/// The next messages of that session.
async fn heard(server: &Drover, login: &Login<'_>, [id, filter, count]: [&str; 3]) -> String {
    let mut command = mosquitto_command("mosquitto_sub", server, login);
    let output = run(command.args(["-c", "-q", "2", "-i", id, "-t", filter, "-C", count])).await;
    text(&output)
}

/// Publishes with these options and waits until that is done.
async fn publish_with(server: &Drover, login: &Login<'_>, arguments: &[&str]) {
    let mut command = mosquitto_command("mosquitto_pub", server, login);
    let sent = run(command.args(arguments)).await;
    assert!(sent.status.success(), "{}", text(&sent));
}

#[tokio::test]
async fn a_session_keeps_messages_of_each_qos_above_0_for_its_client() {
    if !mosquitto() {
        return;
    }
    let server = Drover::start().await;
    let token = server.device("pump-1").await;
    let login = Login { username: "pump-1", password: &token, tls: false };
    for version in [&["-V", "mqttv311"][..], &["-V", "mqttv5", "-x", "600"]] {
        let topic = "dev/pump-1/away";
        let session = [&["-c", "-i", version[1], "-q", "2", "-t", topic], version].concat();
        let mut subscribing = mosquitto_command("mosquitto_sub", &server, &login);
        let subscribed = run(subscribing.args(&session).arg("-E")).await;
        assert!(subscribed.status.success(), "{}", text(&subscribed));
        for (number, qos) in ["1", "1", "2", "2"].into_iter().enumerate() {
            publish_with(&server, &login, &["-q", qos, "-t", topic, "-m", &number.to_string()]).await;
        }
        let mut back = mosquitto_command("mosquitto_sub", &server, &login);
        let back = run(back.args(&session).args(["-C", "4", "-F", "%p at %q"])).await;
        assert_eq!(text(&back), "0 at 1\n1 at 1\n2 at 2\n3 at 2\n");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_retained_message_is_shown_to_who_comes_later_until_it_is_cleared() {
    if !mosquitto() {
        return;
    }
    let server = Drover::start().await;
    let token = server.device("pump-1").await;
    let login = Login { username: "pump-1", password: &token, tls: false };
    publish_with(&server, &login, &["-q", "2", "-r", "-t", "dev/pump-1/state", "-m", "on"]).await;
    let mut later = mosquitto_command("mosquitto_sub", &server, &login);
    let later = run(later.args(["-q", "2", "-t", "dev/pump-1/+", "-C", "1", "-F", "%t %p %r %q"])).await;
    assert_eq!(text(&later), "dev/pump-1/state on 1 2\n");
    publish_with(&server, &login, &["-q", "1", "-r", "-n", "-t", "dev/pump-1/state"]).await;
    subscribed(&server, &login, "later", "dev/pump-1/+").await;
    publish_with(&server, &login, &["-q", "1", "-t", "dev/pump-1/next", "-m", "next"]).await;
    assert_eq!(heard(&server, &login, ["later", "dev/pump-1/+", "1"]).await, "next\n");
    server.stop().await;
}

#[tokio::test]
async fn the_will_of_a_killed_client_is_sent_and_that_of_a_polite_one_is_not() {
    if !mosquitto() {
        return;
    }
    let server = Drover::start().await;
    let token = server.device("pump-1").await;
    let login = Login { username: "pump-1", password: &token, tls: false };
    subscribed(&server, &login, "listener", "dev/pump-1/will").await;
    subscribed(&server, &login, "connected", "dev/pump-1/x").await;
    let will = ["--will-topic", "dev/pump-1/will", "--will-qos", "1", "--will-payload"];
    let polite = [&["-q", "1", "-t", "dev/pump-1/x", "-m", "polite"], &will[..], &["polite"]].concat();
    publish_with(&server, &login, &polite).await;
    let mut killed = mosquitto_command("mosquitto_pub", &server, &login);
    killed.args(["-i", "killed", "-q", "1", "-t", "dev/pump-1/x", "-l"]).args(will).arg("killed");
    let mut killed = killed.stdin(Stdio::piped()).spawn().unwrap();
    killed.stdin.as_mut().unwrap().write_all(b"connected\n").await.unwrap();
    let connected = heard(&server, &login, ["connected", "dev/pump-1/x", "2"]).await;
    assert_eq!(connected, "polite\nconnected\n");
    killed.kill().await.unwrap();
    assert_eq!(heard(&server, &login, ["listener", "dev/pump-1/will", "1"]).await, "killed\n");
    server.stop().await;
}

#[tokio::test]
async fn subscribers_of_a_group_share_the_messages() {
    if !mosquitto() {
        return;
    }
    let server = Drover::start().await;
    let token = server.device("pump-1").await;
    let login = Login { username: "pump-1", password: &token, tls: false };
    let member = |id| {
        let mut command = mosquitto_command("mosquitto_sub", &server, &login);
        command.args(["-i", id, "-q", "2", "-t", "$share/group/dev/pump-1/work", "-C", "3"]);
        command.stdout(Stdio::piped()).spawn().unwrap()
    };
    let (mut a, mut b) = (member("a"), member("b"));
    let mut sent = 0;
    eventually("both have heard their part", async || {
        publish_with(&server, &login, &["-q", "2", "-t", "dev/pump-1/work", "-m", &sent.to_string()]).await;
        sent += 1;
        Some((a.try_wait().unwrap()?, b.try_wait().unwrap()?))
    })
    .await;
    let work = [a.wait_with_output().await.unwrap(), b.wait_with_output().await.unwrap()];
    let work: BTreeSet<String> =
        work.iter().flat_map(|heard| text(heard).lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    assert_eq!(work.len(), 6, "each message is heard once: {work:?}");
    server.stop().await;
}
