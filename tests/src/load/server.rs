//! `drover up` as a child process on free ports, started, killed and started again on the same data.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::rest::Rest;

/// Longest wait until the server says that it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for a clean stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// How to start a server.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The `drover` binary.
    pub program: PathBuf,
    /// Where it keeps its data.
    pub data_dir: PathBuf,
    /// Settings, as environment variables.
    pub environment: Vec<(String, String)>,
}

/// A running server.
pub struct Server {
    child: Child,
    data_dir: PathBuf,
    /// How long it took from the start of the process to ready.
    pub ready_after: Duration,
}

impl Plan {
    /// A server of this program on this data.
    pub fn new(program: &Path, data_dir: &Path) -> Self {
        Self { program: program.into(), data_dir: data_dir.into(), environment: vec![] }
    }

    /// Adds a setting.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// Starts the process and returns at once.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub fn spawn(&self) -> anyhow::Result<Child> {
        fs::create_dir_all(&self.data_dir)?;
        let log = File::options().create(true).append(true).open(self.data_dir.with_extension("log"))?;
        let mut command = Command::new(&self.program);
        command.arg("up").arg("--data-dir").arg(&self.data_dir).arg("--allow-anonymous");
        for name in ["mqtt", "mqtts", "ws", "api", "grpc"] {
            command.arg(format!("--listen-{name}")).arg("127.0.0.1:0");
        }
        command.envs(self.environment.iter().cloned()).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        command.spawn().with_context(|| format!("starting {}", self.program.display()))
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.data_dir.with_extension("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(12)).copied().collect::<Vec<_>>().join("\n")
    }

    /// Starts the process and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in a minute; its log lies beside the data directory.
    pub async fn start(&self) -> anyhow::Result<Server> {
        let _ = fs::remove_file(self.data_dir.join("addresses.json"));
        let began = Instant::now();
        let mut server =
            Server { child: self.spawn()?, data_dir: self.data_dir.clone(), ready_after: Duration::ZERO };
        loop {
            if let Some(status) = server.child.try_wait()? {
                bail!("drover ended with {status}; it said at last:\n{}", self.last_words());
            }
            if let Ok(rest) = server.rest()
                && rest.is_healthy().await
            {
                server.ready_after = began.elapsed();
                return Ok(server);
            }
            if began.elapsed() > READY_TIMEOUT {
                bail!("drover is not ready after a minute; it said at last:\n{}", self.last_words());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Server {
    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it keeps its data.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Address of a listener.
    ///
    /// # Errors
    /// When the server has not written its addresses yet.
    pub fn address(&self, listener: &str) -> anyhow::Result<String> {
        let text = fs::read_to_string(self.data_dir.join("addresses.json"))?;
        let addresses: BTreeMap<String, String> = serde_json::from_str(&text)?;
        addresses.get(listener).cloned().with_context(|| format!("no {listener} in addresses.json"))
    }

    /// A client of its REST interface, as administrator.
    ///
    /// # Errors
    /// When the server has not written its addresses yet.
    pub fn rest(&self) -> anyhow::Result<Rest> {
        let token = fs::read_to_string(self.data_dir.join("admin.token"))?;
        Ok(Rest::new(&format!("http://{}", self.address("api")?), token.trim()))
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When the process cannot be awaited.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for exit 0.
    ///
    /// # Errors
    /// When it does not stop cleanly.
    pub fn stop(mut self) -> anyhow::Result<()> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        let began = Instant::now();
        while began.elapsed() < STOP_TIMEOUT {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("drover stopped with {status}"),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        bail!("drover did not stop in a minute")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
