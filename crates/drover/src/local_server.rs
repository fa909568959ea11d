//! A Drover of one's own: the same program started as `drover up` in a process beside this one, for the demonstration.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use crate::client::{Client, Target};
use crate::failure::{Failure, Outcome};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// Lines of the log that a failed start shows.
const SHOWN_LINES: usize = 15;

/// What `drover up` says of a port that another process has.
const PORT_IN_USE: &str = "is in use (try --listen-";
/// Its remedy, in the words of this command.
const FREE_PORTS: &str = "Beside another Drover, take free ports: drover demo -- --listen-mqtt 127.0.0.1:0 \
                          --listen-mqtts 127.0.0.1:0 --listen-ws 127.0.0.1:0 --listen-api 127.0.0.1:0 \
                          --listen-grpc 127.0.0.1:0";

/// The running process. Dropping it kills it; `stop` lets it drain.
pub struct LocalServer {
    child: Child,
    directory: PathBuf,
    log: PathBuf,
    started: SystemTime,
}

impl LocalServer {
    /// Starts `drover up` in a directory, with more of its arguments. Its output goes to `<directory>.log`.
    pub fn start(directory: &Path, arguments: &[String]) -> Outcome<Self> {
        let log = directory.with_extension("log");
        let output = File::create(&log)
            .map_err(|error| Failure::failed(format!("can't write {}: {error}", log.display())))?;
        let started = fs::metadata(&log)?.modified()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("up").arg("--end-with-parent").arg("--data-dir").arg(directory).args(arguments);
        // In a group of its own, Ctrl-C on the terminal reaches only this process, which then stops the other.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.env_remove("DROVER_URL").env_remove("DROVER_TOKEN");
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child =
            command.spawn().map_err(|error| Failure::failed(format!("can't start `drover up`: {error}")))?;
        Ok(Self { child, directory: directory.to_owned(), log, started })
    }

    /// Waits until every part is ready, and gives a client with the administrator's token.
    pub async fn ready(&mut self) -> Outcome<Client> {
        let target = Target { data_dir: Some(self.directory.clone()), ..Target::default() };
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            self.check_alive()?;
            if self.has_announced() {
                let client = target.client()?;
                if client.probe("/v1/health").await.is_ok_and(|(status, _)| status.is_success()) {
                    return Ok(client);
                }
            }
            sleep(POLL).await;
        }
        Err(Failure::failed(format!(
            "Drover is not ready after {} s\n{}",
            START_TIMEOUT.as_secs(),
            self.log_tail()
        )))
    }

    /// An error with the end of the log when the process has ended.
    pub fn check_alive(&mut self) -> Outcome {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let log = self.log_tail();
                let hint = if log.contains(PORT_IN_USE) { FREE_PORTS } else { "" };
                Err(Failure::failed(format!("`drover up` ended ({status})\n{log}{hint}")))
            }
        }
    }

    /// Lets the process drain and waits for it.
    pub async fn stop(mut self) -> Outcome {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                if status.success() {
                    return Ok(());
                }
                return Err(Failure::failed(format!("`drover up` ended with {status}\n{}", self.log_tail())));
            }
            sleep(POLL).await;
        }
        Err(Failure::failed("`drover up` did not stop in time and is killed"))
    }

    /// Whether the addresses in the directory are of this process, not of one before it.
    fn has_announced(&self) -> bool {
        let written = fs::metadata(self.directory.join("addresses.json")).and_then(|file| file.modified());
        written.is_ok_and(|written| written >= self.started)
    }

    fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(SHOWN_LINES)).map(|line| format!("  {line}\n")).collect()
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            _ = self.child.kill();
            _ = self.child.wait();
        }
    }
}
