//! Settings: defaults, documented ranges, and what is refused before anything is touched.

use drover_runtime::config::Range;
use drover_runtime::{LogSettings, ProcessSettings, Section, Sources, StopSettings};
use toml::{Table, Value};

use super::*;

/// The runtime's own defaults, as its source has them.
const RUNTIME_DEFAULTS: &str = include_str!("../../../runtime/default.toml");

fn layers(variables: &[(&str, &str)], problems: &mut Vec<String>) -> Layers {
    let variables = variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    Layers::load_or(Sources { sections: &SECTIONS, variables, ..Sources::default() }, problems).unwrap()
}

fn refused(variables: &[(&str, &str)]) -> String {
    let mut problems = Vec::new();
    let layers = layers(variables, &mut problems);
    Configs::read(&layers, problems).err().map(|error| error.to_string()).unwrap_or_default()
}

/// Dotted key and range of every number.
fn ranges() -> Vec<(String, i64, i64)> {
    let sections: [(&str, &[Range]); 8] = [
        ("log", LogSettings::RANGES),
        ("stop", StopSettings::RANGES),
        ("process", ProcessSettings::RANGES),
        ("provisioning", drover_provisioning::Config::RANGES),
        ("devices", drover_devices::Config::RANGES),
        ("stream", drover_stream::Config::RANGES),
        ("mqtt", drover_mqtt::Config::RANGES),
        ("api", drover_api::Config::RANGES),
    ];
    let keyed = |(section, ranges): (&str, &[Range])| {
        let keyed = ranges.iter().map(|(key, least, most)| (format!("{section}.{key}"), *least, *most));
        keyed.collect::<Vec<_>>()
    };
    sections.into_iter().flat_map(keyed).collect()
}

/// Dotted keys of the numbers in a table.
fn numbers(prefix: &str, table: &Table) -> Vec<String> {
    let keys = table.iter().flat_map(|(name, value)| match value {
        Value::Table(inner) => numbers(&format!("{prefix}{name}."), inner),
        Value::Integer(_) => vec![format!("{prefix}{name}")],
        _ => Vec::new(),
    });
    keys.collect()
}

/// The comment above each key of a file of defaults, by dotted key.
fn comments(prefix: &str, text: &str) -> Vec<(String, String)> {
    let (mut header, mut above, mut found) = (prefix.to_owned(), String::new(), Vec::new());
    for line in text.lines() {
        if line.starts_with('#') {
            above.push_str(line);
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            header = format!("{prefix}{}.", name.trim_end_matches(']'));
        } else if let Some((key, _)) = line.split_once(" = ") {
            found.push((format!("{header}{key}"), above.replace('_', "")));
        }
        above.clear();
    }
    found
}

#[test]
fn the_defaults_of_every_part_fit_its_configuration() {
    Configs::read(&layers(&[], &mut Vec::new()), Vec::new()).unwrap();
    assert!(layers(&[], &mut Vec::new()).value("mqtt.anonymous.deny").is_some());
}

#[test]
fn every_number_has_a_range_that_the_defaults_document() {
    let mut with_range: Vec<_> = ranges().into_iter().map(|(key, ..)| key).collect();
    let mut all = numbers("", &layers(&[], &mut Vec::new()).masked());
    with_range.sort();
    all.sort();
    assert_eq!(with_range, all);
    let parts = SECTIONS.iter().flat_map(|(name, text)| comments(&format!("{name}."), text));
    let comments: Vec<_> = comments("", RUNTIME_DEFAULTS).into_iter().chain(parts).collect();
    for (key, least, most) in ranges() {
        let comment = &comments.iter().find(|(commented, _)| *commented == key).unwrap().1;
        assert!(comment.contains(&format!(" {least} to {most}")), "{key}: {comment}");
    }
}

#[test]
fn a_number_outside_its_range_is_refused_and_its_ends_are_not() {
    for (key, least, most) in ranges() {
        let variable = format!("DROVER_{}", key.replace('.', "__").to_uppercase());
        for value in [least - 1, most + 1] {
            let expected = format!("{key} ({variable}): {value} is out of range; use {least} to {most}");
            assert_eq!(refused(&[(&variable, &value.to_string())]), expected);
        }
        for value in [least, most] {
            let said = refused(&[(&variable, &value.to_string())]);
            assert!(!said.contains("out of range"), "{said}");
            assert!(said.is_empty() || said.starts_with("log.max_bytes"), "{said}");
        }
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let said = refused(&[
        ("DROVER_LISTEN_MQTT", "foo"),
        ("DROVER_LOG__MAX_BYTES", "2_000_000"),
        ("DROVER_LOGGING__FILTER", "drover=loud"),
        ("DROVER_MQTT__ANONYMOUS__DENY", "[\"a/#/b\"]"),
        ("DROVER_TLS__CERTIFICATE_FILE", "own.crt"),
        ("DROVER_API__MAX_REQUESTS", "0"),
    ]);
    for key in [
        "listen.mqtt (DROVER_LISTEN_MQTT): \"foo\"",
        "log.max_bytes (",
        "logging.filter (",
        "mqtt.anonymous.deny (",
        "tls.certificate_file (",
        "api.max_requests (",
    ] {
        assert!(said.lines().any(|line| line.starts_with(key)), "{key} in\n{said}");
    }
    assert_eq!(said.lines().count(), 6, "{said}");
}

#[test]
fn anonymous_clients_are_for_loopback_only() {
    let allow = ("DROVER_MQTT__ANONYMOUS__ALLOW", "true");
    assert_eq!(refused(&[allow]), "");
    assert_eq!(refused(&[allow, ("DROVER_LISTEN_WS", ""), ("DROVER_LISTEN_MQTT", "localhost:1")]), "");
    let said = refused(&[allow, ("DROVER_LISTEN_WS", "0.0.0.0:8083")]);
    assert!(
        said.contains("ws listens on 0.0.0.0:8083") && said.contains("--listen-ws 127.0.0.1:8083"),
        "{said}"
    );
}

#[test]
fn what_is_wrong_in_every_section_is_told_at_once() {
    let told = refused(&[
        ("DROVER_LISTEN_MQTT", "nowhere"),
        ("DROVER_LOG", "=="),
        ("DROVER_LOGGING__FORMAT", "xml"),
        ("DROVER_MQTT__PROXY__FROM", "[\"foo\"]"),
        ("DROVER_MQTT__MAX_CONNECTIONS", "0"),
        ("DROVER_API__MAX_REQUESTS", "many"),
        ("DROVER_STREAM__COLOUR", "red"),
    ]);
    for key in [
        "api.max_requests",
        "stream.colour",
        "listen.mqtt",
        "logging.filter",
        "logging.format",
        "mqtt.max_connections",
        "mqtt.proxy.from",
    ] {
        assert!(told.contains(key), "{key} in {told}");
    }
    assert_eq!(told.lines().count(), 7, "{told}");
}
