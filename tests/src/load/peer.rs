//! mosquitto as the reference peer, in memory, without durability.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

/// Its name in the report.
pub const MOSQUITTO: &str = "mosquitto";

/// A running mosquitto.
pub struct Mosquitto {
    child: Child,
    /// Where it listens.
    pub address: String,
}

impl Mosquitto {
    /// None when it is not installed.
    ///
    /// # Errors
    /// When it does not come to listen.
    pub async fn start(folder: &Path) -> anyhow::Result<Option<Self>> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = folder.join("mosquitto.conf");
        fs::write(
            &config,
            format!(
                "listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\nlog_type none\nset_tcp_nodelay true\n"
            ),
        )?;
        let program = ["mosquitto", "/usr/sbin/mosquitto"].into_iter().find(|program| {
            Command::new(program).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
        });
        let Some(program) = program else { return Ok(None) };
        let child = Command::new(program)
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting mosquitto")?;
        let peer = Self { child, address: format!("127.0.0.1:{port}") };
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(&peer.address).await.is_ok() {
                return Ok(Some(peer));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::bail!("mosquitto does not listen")
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
