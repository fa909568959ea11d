//! What keeps `drover up` from starting: ports in use, directories that it must not or can't have. Each message says what to do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use program::{command, said};

const LISTENERS: [&str; 5] = ["mqtt", "mqtts", "ws", "api", "grpc"];
/// The user `nobody`, who owns nothing.
const NOBODY: u32 = 65_534;

/// `drover up` on free ports.
fn up(directory: &Path) -> Command {
    let mut command = command(&["up", "--data-dir"]);
    command.arg(directory);
    for name in LISTENERS {
        command.env(format!("DROVER_LISTEN_{}", name.to_uppercase()), "127.0.0.1:0");
    }
    command
}

/// What it says when it does not start.
fn refusal(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    said(&output)
}

#[test]
fn a_port_in_use_is_named_with_its_listener_and_flag() {
    for name in LISTENERS {
        let folder = tempfile::tempdir().unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap().to_string();
        let message = refusal(up(&folder.path().join("data")).args([&format!("--listen-{name}"), &address]));
        let expected = format!(
            "drover: {name}: {address} is in use (try --listen-{name} 127.0.0.1:0 for any free port)"
        );
        assert!(message.contains(&expected), "{message}");
    }
}

#[test]
fn a_foreign_directory_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.txt"), "").unwrap();
    let message = refusal(&mut up(folder.path()));
    assert!(message.contains(folder.path().to_str().unwrap()) && message.contains("thesis.txt"), "{message}");
    assert!(message.contains("--data-dir"), "{message}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_directory_that_may_not_be_written_is_named_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o555)).unwrap();
    for directory in [directory.clone(), directory.join("below")] {
        let mut command = up(&directory);
        // Root may write everywhere.
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let message = refusal(&mut command);
        assert!(message.contains(directory.to_str().unwrap()), "{message}");
        assert!(message.contains("Permission denied") && message.contains("another --data-dir"), "{message}");
    }
}
