//! `drover config`: what is refused, in which words, and how the settings are shown.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use program::{command, drover, said};
use serde_json::{Value, json};

/// A setting that `drover up` refuses, and the start of what is said.
const WRONG: [(&str, &str, &str); 16] = [
    ("DROVER_LOG__SEGMENT_BYTES", "1", "log.segment_bytes (DROVER_LOG__SEGMENT_BYTES): 1 is out of range"),
    ("DROVER_LOG__SHARDS", "0", "log.shards (DROVER_LOG__SHARDS): 0 is out of range; use 1 to 256"),
    ("DROVER_LOG__LINGER_US", "99999999", "log.linger_us (DROVER_LOG__LINGER_US): 99999999 is out of range"),
    (
        "DROVER_LOG__MAX_BYTES",
        "2000000",
        "log.max_bytes (DROVER_LOG__MAX_BYTES): 2000000 is less than one file",
    ),
    (
        "DROVER_STREAM__FLUSH_POINTS",
        "0",
        "stream.flush_points (DROVER_STREAM__FLUSH_POINTS): 0 is out of range",
    ),
    (
        "DROVER_STREAM__FLUSH_INTERVAL_S",
        "0",
        "stream.flush_interval_s (DROVER_STREAM__FLUSH_INTERVAL_S): 0 is",
    ),
    (
        "DROVER_MQTT__ANONYMOUS__DENY",
        "[\"a/#/b\"]",
        "mqtt.anonymous.deny (DROVER_MQTT__ANONYMOUS__DENY): \"a/#/b\"",
    ),
    (
        "DROVER_MQTT__ANONYMOUS__DENY_CODE",
        "5",
        "mqtt.anonymous.deny_code (DROVER_MQTT__ANONYMOUS__DENY_CODE): 5 is",
    ),
    (
        "DROVER_MQTT__MAX_CONNECTIONS",
        "-1",
        "mqtt.max_connections (DROVER_MQTT__MAX_CONNECTIONS): -1 is out of range",
    ),
    ("DROVER_API__MAX_REQUESTS", "0", "api.max_requests (DROVER_API__MAX_REQUESTS): 0 is out of range"),
    ("DROVER_LOG", "drover=loud", "logging.filter (DROVER_LOG): \"drover=loud\" is not a filter like"),
    ("DROVER_LISTEN_WS", "foo", "listen.ws (DROVER_LISTEN_WS): \"foo\" is no address and port"),
    ("DROVER_LISTEN__API", "foo", "listen.api (DROVER_LISTEN__API): \"foo\" is no address and port"),
    (
        "DROVER_TLS__CERTIFICATE_FILE",
        "own.crt",
        "tls.certificate_file (DROVER_TLS__CERTIFICATE_FILE): it and tls.key",
    ),
    ("DROVER_TLS__NAMES", "[\"no name\"]", "tls.names (DROVER_TLS__NAMES): "),
    ("DROVER_MQTT__MAX_CONECTIONS", "1", "unknown setting mqtt.max_conections"),
];

#[test]
fn check_refuses_what_up_refuses_in_the_same_words_and_neither_makes_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let run = |arguments: &[&str], variable: (&str, &str)| {
        let mut command = command(arguments);
        command.arg("--data-dir").arg(&directory).env(variable.0, variable.1);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{variable:?}");
        said(&output)
    };
    for (name, text, expected) in WRONG {
        let checked = run(&["config", "check"], (name, text));
        assert!(checked.starts_with(&format!("drover: {expected}")), "{checked}");
        assert_eq!(run(&["up"], (name, text)), checked);
    }
    let flags = ["--listen-mqtts", "foo", "--listen-ws", "0.0.0.0:1", "--allow-anonymous"];
    let checked = run(&[&["config", "check"], &flags[..]].concat(), ("DROVER_LISTEN_API", ""));
    assert!(checked.starts_with("drover: listen.mqtts (--listen-mqtts): \"foo\""), "{checked}");
    assert_eq!(run(&[&["up"], &flags[..]].concat(), ("DROVER_LISTEN_API", "")), checked);
    let checked = run(&[&["config", "check"], &flags[2..]].concat(), ("DROVER_LISTEN_API", ""));
    assert!(checked.contains("ws listens on 0.0.0.0:1"), "{checked}");
    assert!(!directory.exists());
}

#[test]
fn a_certificate_file_that_is_missing_is_named_by_check_and_up() {
    let folder = tempfile::tempdir().unwrap();
    let (missing, key) = (folder.path().join("own.crt"), folder.path().join("own.key"));
    let run = |arguments: &[&str]| {
        let mut command = command(arguments);
        command.arg("--data-dir").arg(folder.path().join("data"));
        command.env("DROVER_TLS__CERTIFICATE_FILE", &missing).env("DROVER_TLS__KEY_FILE", &key);
        said(&command.output().unwrap())
    };
    let checked = run(&["config", "check"]);
    assert!(checked.contains(&format!("{}: No such file", missing.display())), "{checked}");
    assert_eq!(run(&["up"]), checked);
}

#[test]
fn the_default_settings_are_right_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let directory = directory.to_str().unwrap();
    let output = drover(&["config", "check", "--data-dir", directory]);
    assert!(output.status.success(), "{}", said(&output));
    let output = drover(&["config", "show", "--data-dir", directory]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("[mqtt]"));
    assert!(!std::path::Path::new(directory).exists(), "asking for the settings makes no data directory");
}

#[test]
fn settings_are_shown_as_toml_json_or_yaml_with_where_they_were_given() {
    let folder = tempfile::tempdir().unwrap();
    let show = |form: &str| {
        let mut command =
            command(&["config", "show", "-o", form, "--listen-ws", "127.0.0.1:2", "--data-dir"]);
        command.arg(folder.path()).env("DROVER_LISTEN_MQTT", "127.0.0.1:1");
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let text = show("table");
    assert!(text.contains("mqtt = \"127.0.0.1:1\"  # from DROVER_LISTEN_MQTT\n"), "{text}");
    assert!(text.contains("ws = \"127.0.0.1:2\"  # from --listen-ws\n"), "{text}");
    let expected = json!({"listen.mqtt": "DROVER_LISTEN_MQTT", "listen.ws": "--listen-ws"});
    let shown: Value = serde_json::from_str(&show("json")).unwrap();
    assert_eq!(shown["settings"]["listen"]["mqtt"], json!("127.0.0.1:1"));
    assert_eq!(shown["given"], expected);
    assert_eq!(serde_yaml_ng::from_str::<Value>(&show("yaml")).unwrap(), shown);
}

#[test]
fn check_answers_programs_with_the_list_of_problems() {
    let folder = tempfile::tempdir().unwrap();
    let check = |address: &str| {
        let mut command = command(&["-o", "json", "config", "check", "--listen-mqtt", address, "--data-dir"]);
        let output = command.arg(folder.path()).output().unwrap();
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap())
    };
    assert_eq!(check("127.0.0.1:1"), (Some(0), json!({"valid": true, "problems": []})));
    let (code, answer) = check("foo");
    assert_eq!((code, &answer["valid"]), (Some(1), &json!(false)));
    assert!(answer["problems"][0].as_str().unwrap().starts_with("listen.mqtt (--listen-mqtt)"), "{answer}");
}
