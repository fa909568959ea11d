//! What deploy/ offers to Prometheus and Grafana fits what a server says of itself.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use drover_testkit::Drover;
use drover_tests::ordinary_clients::{Login, mosquitto, publish};
use serde_json::Value;

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy");

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(DEPLOY).join(path)).unwrap()
}

/// The names of metrics in a text, without what a form of a metric adds to its name.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("drover_") || word.starts_with("process_"));
    let bare = |name: &str| {
        let mut name = name;
        for ending in ["_total", "_bucket", "_sum", "_count"] {
            name = name.strip_suffix(ending).unwrap_or(name);
        }
        name.to_owned()
    };
    ours.map(bare).collect()
}

#[tokio::test]
async fn every_metric_of_the_dashboard_and_the_alerts_is_one_that_a_server_has() {
    if !mosquitto() {
        return;
    }
    let server = Drover::start().await;
    // What is counted by a label is there once something was counted.
    let token = server.device("pump").await;
    let login = Login { username: "pump", password: &token, tls: false };
    assert!(publish(&server, &login, "v1/telemetry", "{}").await.status.success());
    let text = reqwest::get(format!("{}/metrics", server.url())).await.unwrap().text().await.unwrap();
    let described = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next());
    let known: BTreeSet<String> = described.map(str::to_owned).collect();
    let dashboard: Value = serde_json::from_str(&read("grafana/drover.json")).unwrap();
    let expressions = dashboard["panels"].as_array().unwrap().iter();
    let expressions = expressions.flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    let expressions: Vec<String> =
        expressions.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    assert!(expressions.len() > 20, "{expressions:?}");
    for text in [expressions.join(" "), read("prometheus/alerts.yaml")] {
        let unknown: Vec<String> = names(&text).difference(&known).cloned().collect();
        assert!(unknown.is_empty(), "{unknown:?} are none of {known:?}");
    }
    server.stop().await;
}

#[test]
fn the_alert_rules_are_valid() {
    let rules = Path::new(DEPLOY).join("prometheus/alerts.yaml");
    match Command::new("promtool").args(["check", "rules"]).arg(rules).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => println!("ignored: promtool is missing: install Debian's prometheus"),
    }
}
