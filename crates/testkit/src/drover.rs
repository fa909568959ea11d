//! A running `drover up`: started on free ports, reached by its own REST API, stopped or killed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Child;

use crate::eventually;

/// The listeners of `drover up`.
const LISTENERS: [&str; 5] = ["mqtt", "mqtts", "ws", "api", "grpc"];
/// Names the program when it is not beside the test. Not one of `DROVER_…`, which are settings.
const PROGRAM_VARIABLE: &str = "TEST_DROVER_PROGRAM";

/// A data directory that outlives the processes which use it, and goes with the last owner.
#[derive(Clone)]
pub struct DataDirectory(Arc<TempDir>);

impl DataDirectory {
    /// An empty one.
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        Self(Arc::new(tempfile::tempdir().expect("a temporary directory can be made")))
    }

    /// The directory that Drover is given.
    pub fn path(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.0.path().join("drover.log")
    }
}

/// A running server. Dropping it kills it.
pub struct Drover {
    child: Child,
    directory: DataDirectory,
    addresses: BTreeMap<String, String>,
    token: String,
    http: reqwest::Client,
}

impl Drover {
    /// Starts one with an empty data directory and waits until it is ready.
    pub async fn start() -> Self {
        Self::start_in(DataDirectory::new(), &[]).await
    }

    /// Starts one in a directory, with more arguments for `drover up`.
    ///
    /// # Panics
    /// With the end of the log, when it does not become ready.
    pub async fn start_in(directory: DataDirectory, arguments: &[&str]) -> Self {
        Self::start_by(&[], directory, arguments).await
    }

    /// The same through another program, such as `nice` with its arguments, which must become this one by `exec`.
    ///
    /// # Panics
    /// With the end of the log, when it does not become ready.
    pub async fn start_by(starter: &[&str], directory: DataDirectory, arguments: &[&str]) -> Self {
        let mut child = spawn(starter, &directory, arguments);
        let (http, path) = (reqwest::Client::new(), directory.path());
        let process = child.id();
        let addresses: BTreeMap<String, String> = eventually("Drover is ready", async || {
            assert!(child.try_wait().ok()?.is_none(), "drover {process:?} ended:\n{}", log_tail(&directory));
            let text = fs::read_to_string(path.join("addresses.json")).ok()?;
            let addresses: BTreeMap<String, String> = serde_json::from_str(&text).ok()?;
            let health = http.get(format!("http://{}/v1/health", addresses.get("api")?)).send().await.ok()?;
            health.status().is_success().then_some(addresses)
        })
        .await;
        let token =
            fs::read_to_string(path.join("admin.token")).expect("a ready server has written its token");
        Self { child, directory, addresses, token: token.trim().to_owned(), http }
    }

    /// The address of a listener, `host:port`.
    ///
    /// # Panics
    /// When there is no such listener.
    pub fn address(&self, name: &str) -> &str {
        self.addresses.get(name).map(String::as_str).expect("the listener is in addresses.json")
    }

    /// The port of a listener.
    pub fn port(&self, name: &str) -> u16 {
        let port = self.address(name).rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.expect("an address ends with a port")
    }

    /// The address of the REST API.
    pub fn url(&self) -> String {
        format!("http://{}", self.address("api"))
    }

    /// The administrator's token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The certificate that clients trust.
    pub fn certificate_authority(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    /// The data directory.
    pub fn directory(&self) -> &DataDirectory {
        &self.directory
    }

    /// The process, for its statistics.
    pub fn process(&self) -> Option<u32> {
        self.child.id()
    }

    /// One call of the REST API as administrator: status and body, null when it is empty.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.url())).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("the API answers");
        let status = response.status().as_u16();
        let bytes = response.bytes().await.expect("the API's answer is whole");
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// A GET that succeeds.
    ///
    /// # Panics
    /// When it does not.
    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, None).await;
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    /// Registers a device; its token.
    ///
    /// # Panics
    /// When the API refuses.
    pub async fn device(&self, id: &str) -> String {
        let (status, body) = self.call(Method::POST, "/v1/devices", Some(json!({ "id": id }))).await;
        assert_eq!(status, 201, "{body}");
        let path = format!("/v1/devices/{id}/credentials");
        let (status, body) = self.call(Method::POST, &path, Some(json!({ "type": "token" }))).await;
        assert_eq!(status, 201, "{body}");
        body["secret"].as_str().expect("a new credential has its secret").to_owned()
    }

    /// The command line, pointed at this server.
    pub fn command_line(&self, arguments: &[&str]) -> tokio::process::Command {
        let mut command = command_line(arguments);
        command.arg("--data-dir").arg(self.directory.path());
        command
    }

    /// Asks it to drain, and waits until it has ended.
    ///
    /// # Panics
    /// When it ends with other than success.
    pub async fn stop(mut self) -> DataDirectory {
        let status = self.signal_and_wait("TERM").await;
        assert!(status.success(), "{status}\n{}", log_tail(&self.directory));
        self.directory.clone()
    }

    /// Ends it at once, as a power cut would end the process.
    pub async fn kill(mut self) -> DataDirectory {
        self.signal_and_wait("KILL").await;
        self.directory.clone()
    }

    /// Sends it a signal, like `TERM`.
    ///
    /// # Panics
    /// When it has ended.
    pub fn signal(&self, signal: &str) {
        let process = self.child.id().expect("the process has not been waited for").to_string();
        let sent =
            Command::new("kill").args(["-s", signal, &process]).status().expect("`kill` can be started");
        assert!(sent.success(), "kill -s {signal} {process}: {sent}");
    }

    /// Waits until it has ended by itself or by a signal.
    ///
    /// # Panics
    /// When the system does not let it be waited for.
    pub async fn ended(mut self) -> ExitStatus {
        self.child.wait().await.expect("a child can be waited for")
    }

    /// What it wrote to standard output and error so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.log()).unwrap_or_default()
    }

    async fn signal_and_wait(&mut self, signal: &str) -> ExitStatus {
        self.signal(signal);
        self.child.wait().await.expect("a child can be waited for")
    }
}

/// The command line without a server.
pub fn command_line(arguments: &[&str]) -> tokio::process::Command {
    started_by(&[], arguments)
}

fn started_by(starter: &[&str], arguments: &[&str]) -> tokio::process::Command {
    let mut command = match starter {
        [] => tokio::process::Command::new(program()),
        [first, rest @ ..] => {
            let mut command = tokio::process::Command::new(first);
            command.args(rest).arg(program());
            command
        }
    };
    command.args(arguments).kill_on_drop(true);
    for variable in ["DROVER_URL", "DROVER_TOKEN", "DROVER_TENANT", "DROVER_DATA_DIR", "DROVER_OUTPUT"] {
        command.env_remove(variable);
    }
    // Nor what the person who runs the tests saved.
    command.env_remove("DROVER_CONTEXT").env("DROVER_CONFIG_DIR", "/nonexistent");
    command
}

fn spawn(starter: &[&str], directory: &DataDirectory, arguments: &[&str]) -> Child {
    let log = File::options().create(true).append(true).open(directory.log()).expect("the log can be opened");
    // What an earlier process wrote there says nothing about this one.
    _ = fs::remove_file(directory.path().join("addresses.json"));
    let mut command = started_by(starter, &["up", "--data-dir"]);
    command.arg(directory.path());
    for name in LISTENERS {
        command.arg(format!("--listen-{name}")).arg("127.0.0.1:0");
    }
    command.args(arguments).stdin(Stdio::null());
    command.stdout(log.try_clone().expect("a file handle can be cloned")).stderr(log);
    command.spawn().expect("the program can be started")
}

/// The program of this build: beside the folder of the test's own program.
#[expect(clippy::disallowed_methods, reason = "no setting of Drover, only of its tests")]
fn program() -> PathBuf {
    if let Some(program) = std::env::var_os(PROGRAM_VARIABLE) {
        return program.into();
    }
    let own = std::env::current_exe().expect("a program knows where it is");
    let beside =
        own.parent().into_iter().flat_map(Path::ancestors).take(2).map(|folder| folder.join("drover"));
    let found = beside.into_iter().find(|program| program.is_file());
    found.expect("`drover` is built: run `cargo build -p drover` (or `make test`) first")
}

/// The last lines that the server wrote.
fn log_tail(directory: &DataDirectory) -> String {
    let text = fs::read_to_string(directory.log()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(30)).map(|line| format!("{line}\n")).collect()
}
