//! Programs that a user would run against Drover: mosquitto's clients, Python with paho-mqtt or grpcio, node with npm's mqtt. Where one is
//! missing, a scenario says so and ends; in CI that is a failure.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use drover_testkit::Drover;
use tokio::process::Command;
use tokio::time::timeout;

/// How long such a program may run.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Who connects, and how.
pub struct Login<'a> {
    pub username: &'a str,
    pub password: &'a str,
    pub tls: bool,
}

/// Whether `mosquitto_pub` is installed.
pub fn mosquitto() -> bool {
    let installed =
        std::process::Command::new("mosquitto_pub").arg("--help").stdout(Stdio::null()).status().is_ok();
    available(installed, "mosquitto_pub is missing: install Debian's mosquitto-clients, or run `make test`")
}

/// The Python that has paho-mqtt.
pub fn python() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/python");
    available(python.exists(), ".venv with paho-mqtt is missing: run `make test`").then_some(python)
}

/// The Python that has grpcio and its tools.
pub fn python_with_grpc() -> Option<PathBuf> {
    let python = python()?;
    let mut import = std::process::Command::new(&python);
    let imported = import.args(["-c", "import grpc_tools.protoc"]).stderr(Stdio::null()).status();
    let is_there = imported.is_ok_and(|status| status.success());
    available(is_there, ".venv is without grpcio-tools: run `make test`").then_some(python)
}

/// An example of the client crate, which cargo builds with the tests.
pub fn example(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a program knows where it is");
    let beside = own.parent().into_iter().flat_map(Path::ancestors).take(2);
    let found = beside.map(|folder| folder.join("examples").join(name)).find(|path| path.is_file());
    found.expect("the example is built: run `make test`")
}

/// The node that has npm's mqtt.
pub fn node() -> Option<&'static str> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("node/node_modules/mqtt/package.json");
    let runs = std::process::Command::new("node").arg("--version").stdout(Stdio::null()).status().is_ok();
    available(runs && package.exists(), "node with npm's mqtt is missing: run `make test`").then_some("node")
}

#[expect(clippy::panic, clippy::print_stdout, reason = "libtest can't report a test as ignored at run time")]
#[expect(clippy::disallowed_methods, reason = "CI is no setting of Drover")]
fn available(is_there: bool, message: &str) -> bool {
    if !is_there {
        if std::env::var_os("CI").is_some() {
            panic!("{message}");
        }
        println!("ignored: {message}");
    }
    is_there
}

/// `mosquitto_pub` or `mosquitto_sub` with the options that reach this server.
pub fn mosquitto_command(program: &str, server: &Drover, login: &Login<'_>) -> Command {
    let mut command = Command::new(program);
    let port = server.port(if login.tls { "mqtts" } else { "mqtt" }).to_string();
    command.args(["-h", "localhost", "-p", &port, "-u", login.username, "-P", login.password]);
    // Another id than the device's own, so that a second program does not take the first one's session over.
    command.args(["-i", &format!("{program}-{}", login.username)]);
    if login.tls {
        command.arg("--cafile").arg(server.certificate_authority());
    }
    command.kill_on_drop(true);
    command
}

/// Publishes one message at QoS 1 and waits for its acknowledgement.
pub async fn publish(server: &Drover, login: &Login<'_>, topic: &str, payload: &str) -> Output {
    let mut command = mosquitto_command("mosquitto_pub", server, login);
    run(command.args(["-q", "1", "-t", topic, "-m", payload])).await
}

/// Runs a program to its end.
pub async fn run(command: &mut Command) -> Output {
    let output = timeout(TIMEOUT, command.kill_on_drop(true).output()).await;
    output.expect("the program ends within a minute").expect("the program can be started")
}
