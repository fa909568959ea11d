//! A backup while devices send, and what becomes of it: restored, damaged, of another version, cut off.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use drover_testkit::{DataDirectory, Drover, command_line, eventually};
use drover_tests::ordinary_clients::run;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

/// Acknowledged before the backup begins.
const BEFORE: u64 = 2_000;
/// What a range query gives at once.
const MOST: u64 = 90_000;

/// Small files of the log and frequent flushes, so that files come and go while a backup is made.
const RESTLESS: &str = "[log]\nsegment_bytes = 65536\n[stream]\nflush_interval_s = 1\n";

async fn backup(server: &Drover, folder: &Path) -> Output {
    run(&mut server.command_line(&["backup", folder.to_str().unwrap(), "-o", "json"])).await
}

async fn restore(folder: &Path, into: &Path) -> Output {
    let line = ["restore", folder.to_str().unwrap(), "--data-dir", into.to_str().unwrap()];
    run(&mut command_line(&line)).await
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A device that sends numbers on and on; how many of the first are acknowledged.
#[expect(clippy::disallowed_methods, reason = "tasks of a client, not of Drover")]
fn send_numbers(server: &Drover, token: &str) -> Arc<AtomicU64> {
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut options = MqttOptions::new("pump", "127.0.0.1", server.port("mqtt"));
    options.set_credentials("pump", token.to_owned());
    let (client, mut events) = AsyncClient::new(options, 100);
    tokio::spawn(async move {
        for number in 0..MOST {
            let payload = format!("{{\"n\":{number}}}");
            if client.publish("v1/telemetry", QoS::AtLeastOnce, false, payload).await.is_err() {
                return;
            }
        }
    });
    let counted = acknowledged.clone();
    tokio::spawn(async move {
        while let Ok(event) = events.poll().await {
            if let Event::Incoming(Packet::PubAck(_)) = event {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    acknowledged
}

/// A restored server has all numbers below `least`, each once, and its ledger balances.
async fn check_numbers(server: &Drover, least: u64) {
    let ledger = eventually("nothing is pending", async || {
        let ledger = server.get("/v1/ledger").await;
        (ledger["pending"] == json!(0)).then_some(ledger)
    })
    .await;
    let range = server.get("/v1/devices/pump/telemetry?keys=n&from=2020-01-01&limit=100000").await;
    let samples = range["series"]["n"].as_array().unwrap();
    let numbers: Vec<u64> = samples.iter().map(|sample| sample["value"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "neither lost nor doubled");
    assert!(numbers.len() as u64 >= least, "{} of {least}", numbers.len());
    let stored = json!(numbers.len());
    assert_eq!((&ledger["accepted"], &ledger["stored"]), (&stored, &stored), "{ledger}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_before_a_backup_began_is_in_it_while_a_device_goes_on_sending() {
    let directory = DataDirectory::new();
    fs::create_dir(directory.path()).unwrap();
    fs::write(directory.path().join("drover.toml"), RESTLESS).unwrap();
    let server = Drover::start_in(directory, &[]).await;
    let token = server.device("pump").await;
    let acknowledged = send_numbers(&server, &token);
    let points = server.directory().path().join("points");
    eventually("messages are acknowledged and there are files", async || {
        let files = fs::read_dir(&points).is_ok_and(|mut files| files.next().is_some());
        (files && acknowledged.load(Ordering::SeqCst) > BEFORE).then_some(())
    })
    .await;

    let folder = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let before = acknowledged.load(Ordering::SeqCst);
        let place = folder.path().join(format!("backup-{round}"));
        let made = backup(&server, &place).await;
        assert!(made.status.success(), "{}", said(&made));
        let summary: Value = serde_json::from_slice(&made.stdout).unwrap();
        assert_eq!(summary["missing"], json!([]), "{summary}");
        assert!(!server.directory().path().join("backup.staging").exists());

        let restored = DataDirectory::new();
        let outcome = restore(&place, &restored.path()).await;
        assert!(outcome.status.success(), "{}", said(&outcome));
        let restored = Drover::start_in(restored, &[]).await;
        check_numbers(&restored, before).await;
        assert_eq!(restored.token(), server.token(), "it is the same installation");
        restored.stop().await;
    }
    server.kill().await;
}

/// A backup of a server with one device, and the folder that it is in.
async fn small_backup() -> (tempfile::TempDir, PathBuf) {
    let server = Drover::start().await;
    server.device("pump").await;
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("backup");
    let made = backup(&server, &place).await;
    assert!(made.status.success(), "{}", said(&made));
    server.stop().await;
    (folder, place)
}

#[tokio::test]
async fn a_backup_that_is_damaged_or_newer_restores_nothing_and_names_what_is_wrong() {
    let (folder, place) = small_backup().await;
    let into = folder.path().join("data");
    let secret = fs::metadata(place.join("ca.key")).unwrap().permissions().mode() & 0o777;
    assert_eq!(secret, 0o600);

    let manifest = fs::read_to_string(place.join("manifest.json")).unwrap();
    fs::write(place.join("manifest.json"), manifest.replace("\"data_format\": 1", "\"data_format\": 9"))
        .unwrap();
    let newer = said(&restore(&place, &into).await);
    assert!(newer.contains("data format is 9") && newer.contains("up to format 1"), "{newer}");
    fs::remove_file(place.join("manifest.json")).unwrap();
    assert!(said(&restore(&place, &into).await).contains("no manifest.json"));
    fs::write(place.join("manifest.json"), manifest).unwrap();

    let database = fs::read(place.join("drover.db")).unwrap();
    let mut flipped = database.clone();
    flipped[5_000] ^= 1;
    fs::write(place.join("drover.db"), flipped).unwrap();
    let damaged = restore(&place, &into).await;
    assert_eq!(damaged.status.code(), Some(1));
    assert!(said(&damaged).contains("drover.db is damaged: its SHA-256"), "{}", said(&damaged));
    fs::remove_file(place.join("drover.db")).unwrap();
    assert!(said(&restore(&place, &into).await).contains("drover.db is damaged: it is not there"));
    assert!(!into.exists(), "everything is checked before anything is written");

    fs::write(place.join("drover.db"), database).unwrap();
    fs::create_dir(&into).unwrap();
    fs::write(into.join("mine"), "").unwrap();
    assert!(said(&restore(&place, &into).await).contains("is not empty"));
}

#[tokio::test]
async fn a_restore_that_was_cut_off_is_refused_by_up_and_completed_by_the_next() {
    let (_folder, place) = small_backup().await;
    let directory = DataDirectory::new();
    assert!(restore(&place, &directory.path()).await.status.success());
    // As a kill between two files leaves it.
    fs::write(directory.path().join("restore.unfinished"), "").unwrap();
    fs::remove_file(directory.path().join("drover.db")).unwrap();
    let up = run(&mut command_line(&["up", "--data-dir", directory.path().to_str().unwrap()])).await;
    assert_eq!(up.status.code(), Some(1));
    assert!(said(&up).contains("run `drover restore` again"), "{}", said(&up));
    let again = restore(&place, &directory.path()).await;
    assert!(again.status.success(), "{}", said(&again));
    // What a server leaves that is killed while it makes a backup.
    fs::create_dir(directory.path().join("backup.staging")).unwrap();
    let server = Drover::start_in(directory, &[]).await;
    assert_eq!(server.get("/v1/devices/pump").await["id"], json!("pump"));
    assert!(!server.directory().path().join("backup.staging").exists());
    server.stop().await;
}

/// Starts a command and kills it when so many entries are in `folder`, its marker among them; whether it was cut off.
async fn killed_at(command: &mut Command, folder: &Path, entries: usize) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Without a pause: what is waited for takes milliseconds.
    let there = |child: &mut Child| {
        fs::read_dir(folder).is_ok_and(|found| found.count() >= entries)
            || child.try_wait().unwrap().is_some()
    };
    while !there(&mut child) {
        tokio::task::yield_now().await;
    }
    child.start_kill().unwrap();
    !child.wait().await.unwrap().success()
}

#[tokio::test]
async fn a_backup_that_is_killed_is_no_backup_and_is_replaced_by_the_next() {
    let server = Drover::start().await;
    server.device("pump").await;
    let folder = tempfile::tempdir().unwrap();
    let mut cut_off = 0;
    for entries in 1..6 {
        let place = folder.path().join(format!("backup-{entries}"));
        let line = ["backup", place.to_str().unwrap()];
        let was_cut_off = killed_at(&mut server.command_line(&line), &place, entries).await;
        let into = folder.path().join(format!("data-{entries}"));
        let restored = restore(&place, &into).await;
        if was_cut_off && !place.join("manifest.json").exists() {
            cut_off += 1;
            assert_eq!(restored.status.code(), Some(1));
            assert!(said(&restored).contains("did not come to its end: run it again"), "{}", said(&restored));
            assert!(!into.exists());
            let again = backup(&server, &place).await;
            assert!(again.status.success(), "{}", said(&again));
            assert!(restore(&place, &into).await.status.success());
        } else {
            assert!(restored.status.success(), "{}", said(&restored));
        }
    }
    assert!(cut_off > 0, "no kill came in time");
    server.stop().await;
}

#[tokio::test]
async fn a_backup_whose_server_is_killed_is_no_backup() {
    let server = Drover::start().await;
    server.device("pump").await;
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("backup");
    let mut client = server.command_line(&["backup", place.to_str().unwrap()]);
    let client = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The server has begun: it says so in its directory, or has sent already.
    let staging = server.directory().path().join("backup.staging");
    while !staging.exists() && !place.exists() {
        tokio::task::yield_now().await;
    }
    let directory = server.kill().await;
    let made = client.wait_with_output().await.unwrap();
    if made.status.success() {
        // All had been sent when the kill came.
        assert!(restore(&place, &folder.path().join("data")).await.status.success());
    } else {
        assert!(!place.join("manifest.json").exists());
        assert_eq!(restore(&place, &folder.path().join("data")).await.status.code(), Some(1));
    }
    let server = Drover::start_in(directory, &[]).await;
    assert!(!server.directory().path().join("backup.staging").exists());
    assert_eq!(server.get("/v1/devices/pump").await["id"], json!("pump"));
    server.stop().await;
}

#[tokio::test]
async fn a_restore_that_is_killed_is_refused_by_up_and_completed_by_the_next() {
    let (folder, place) = small_backup().await;
    let mut cut_off = 0;
    for entries in 1..8 {
        let into = folder.path().join(format!("data-{entries}"));
        let line = ["restore", place.to_str().unwrap(), "--data-dir", into.to_str().unwrap()];
        if !killed_at(&mut command_line(&line), &into, entries).await {
            continue;
        }
        if into.join("restore.unfinished").exists() {
            cut_off += 1;
            let up = run(&mut command_line(&["up", "--data-dir", into.to_str().unwrap()])).await;
            assert_eq!(up.status.code(), Some(1));
            assert!(said(&up).contains("run `drover restore` again"), "{}", said(&up));
            let again = restore(&place, &into).await;
            assert!(again.status.success(), "{}", said(&again));
        }
        assert!(!into.join("restore.unfinished").exists());
        for file in ["VERSION", "drover.db", "admin.token"] {
            assert_eq!(fs::read(into.join(file)).unwrap(), fs::read(place.join(file)).unwrap(), "{file}");
        }
    }
    assert!(cut_off > 0, "no kill came in time");
}

#[tokio::test]
async fn only_the_administrator_makes_backups_and_only_into_an_empty_folder() {
    let server = Drover::start().await;
    let created = run(&mut server.command_line(&[
        "api-key",
        "create",
        "board",
        "--scope",
        "api:read",
        "--scope",
        "api:write",
        "--only-secret",
    ]))
    .await;
    let secret = String::from_utf8(created.stdout).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("backup");
    let place_text = place.to_str().unwrap();
    let refused = run(&mut server.command_line(&["backup", place_text, "--token", secret.trim()])).await;
    assert_eq!(refused.status.code(), Some(4), "{}", said(&refused));
    assert!(!place.exists());
    assert!(backup(&server, &place).await.status.success());
    let twice = backup(&server, &place).await;
    assert!(said(&twice).contains("is not empty"), "{}", said(&twice));
    assert!(place.join("manifest.json").exists());
    server.stop().await;
}

#[tokio::test]
async fn the_archive_of_rest_is_one_that_tar_opens() {
    let server = Drover::start().await;
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("backup.tar");
    let http = reqwest::Client::new();
    let answer =
        http.post(format!("{}/v1/backups", server.url())).bearer_auth(server.token()).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/x-tar");
    fs::write(&archive, answer.bytes().await.unwrap()).unwrap();
    let listed = std::process::Command::new("tar").arg("tf").arg(&archive).output().unwrap();
    let names = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.status.success() && listed.stderr.is_empty());
    assert!(names.starts_with("contents.json\n") && names.ends_with("\nmanifest.json\n"), "{names}");
    server.stop().await;
}
