//! What the program does without a server: help, completions, and the message that there is none.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use program::{command, drover, said};

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
fn there_is_a_manual_page_for_every_command() {
    let page = drover(&["man"]);
    assert!(String::from_utf8_lossy(&page.stdout).contains(".TH drover 1"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("man1");
    let written = drover(&["man", "--out", path.to_str().unwrap(), "--quiet"]);
    assert!(written.status.success() && written.stderr.is_empty(), "{}", said(&written));
    for name in ["drover", "drover-up", "drover-device", "drover-device-create", "drover-backup"] {
        let page = std::fs::read_to_string(path.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(&format!(".TH {name} 1")) && page.contains(".SH SYNOPSIS"), "{name}");
    }
}

#[test]
fn a_backup_goes_into_folders_only_and_says_so() {
    let output = drover(&["restore", "s3://bucket/prefix", "--check"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("folders only"), "{}", said(&output));
}

#[test]
fn a_variable_that_is_empty_is_one_that_is_not_set() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let variables = ["DROVER_DATA_DIR", "DROVER_URL", "DROVER_TOKEN", "DROVER_OUTPUT", "DROVER_CONFIG"];
    for arguments in [["device", "list", "--data-dir", path], ["--data-dir", path, "device", "list"]] {
        let output = command(&arguments).envs(variables.map(|name| (name, ""))).output().unwrap();
        assert!(said(&output).contains(&format!("{path} holds no data of Drover")), "{}", said(&output));
    }
    let mut shown = command(&["config", "show", "-o", "json"]);
    let output = shown.envs(variables.map(|name| (name, ""))).current_dir(path).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn a_directory_that_is_none_of_drovers_is_named_with_the_next_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let asked = |directory: &str| {
        let output = drover(&["device", "list", "--data-dir", directory]);
        assert_eq!(output.status.code(), Some(5));
        said(&output)
    };
    let message = asked(&format!("{path}/typo"));
    assert!(message.contains(&format!("there is no directory {path}/typo")), "{message}");
    let message = asked(path);
    assert!(message.contains(&format!("{path} holds no data of Drover")), "{message}");
    std::fs::write(folder.path().join("VERSION"), "1\n").unwrap();
    let message = asked(path);
    assert!(
        message.contains(&format!("no server runs in {path}: start it with `drover up --data-dir")),
        "{message}"
    );
    std::fs::write(folder.path().join("addresses.json"), "{}").unwrap();
    assert!(asked(path).contains("serves no api"));
}

#[test]
fn a_file_where_a_directory_or_settings_should_be_is_named_with_the_next_step() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("afile");
    std::fs::write(&file, "x").unwrap();
    let output = drover(&["up", "--data-dir", file.to_str().unwrap()]);
    assert!(said(&output).contains("this is a file, or lies in one; choose another --data-dir"));
    let output = drover(&["device", "list", "--data-dir", file.to_str().unwrap()]);
    assert!(said(&output).contains("is a file: name the directory"), "{}", said(&output));
    let missing = folder.path().join("missing.toml");
    let output = drover(&["config", "check", "--config", missing.to_str().unwrap()]);
    assert!(said(&output).contains("there is no such file; name another with --config"), "{}", said(&output));
}
