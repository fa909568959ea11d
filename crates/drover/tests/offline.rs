//! What the program does without a server: help, completions, and the message that there is none.

use std::process::{Command, Output};

fn drover(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drover"));
    for variable in ["DROVER_URL", "DROVER_TOKEN", "DROVER_TENANT", "DROVER_DATA_DIR"] {
        command.env_remove(variable);
    }
    command.args(arguments).output().unwrap()
}

#[test]
fn without_a_server_the_next_step_is_told() {
    let output = drover(&["device", "list", "--url", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(5));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("no Drover answers at http://127.0.0.1:1"), "{message}");
    assert!(message.contains("start one with `drover up`"), "{message}");
}

#[test]
fn wrong_usage_is_code_2_and_shows_the_usage() {
    let output = drover(&["device", "frobnicate"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Usage:"));
}

#[test]
fn help_names_the_exit_codes() {
    let output = drover(&["help"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("5  no server reached"));
}

#[test]
fn there_are_completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = drover(&["completions", shell]);
        assert!(output.status.success() && output.stdout.len() > 1_000, "{shell}");
    }
}

#[test]
fn the_default_settings_are_right_and_shown() {
    let empty = std::env::temp_dir().join(format!("drover-offline-{}", std::process::id()));
    let directory = empty.to_str().unwrap();
    let output = drover(&["config", "check", "--data-dir", directory]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = drover(&["config", "show", "--data-dir", directory]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("[mqtt]"));
    assert!(!empty.exists(), "asking for the settings makes no data directory");
}
