//! What a connected session costs that says nothing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use drover_tests::load::fleet::{self, Login};
use drover_tests::load::peer::{MOSQUITTO, Mosquitto};
use drover_tests::load::process;
use drover_tests::load::server::Plan;
use drover_tests::load::tls;

use crate::Bench;
use crate::load::as_f64;
use crate::table::Report;

const SESSIONS: usize = 10_000;
/// Connects under way at a time.
const AT_ONCE: usize = 64;

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let server = Plan::new(&bench.program, &bench.folder.join("idle")).start().await?;
    let address = server.address("mqtt")?;
    let kilobytes = cost(server.pid(), async |index| {
        let stream = fleet::log_in(&address, &login(index), 3_600).await?;
        Ok(Box::new(stream) as Session)
    });
    report.at_most("idle TCP session", "KB", kilobytes.await?, 4.0);
    server.stop()?;
    let server = Plan::new(&bench.program, &bench.folder.join("idle-tls")).start().await?;
    let connector = Arc::new(tls::Connector::trusting(&server.data_dir().join("ca.crt"))?);
    let address = server.address("mqtts")?;
    let rest = server.rest()?;
    let token = rest.register("idle").await?;
    let kilobytes = cost(server.pid(), async |index| {
        let stream = connector.log_in(&address, &format!("idle-{index}"), "idle", &token).await?;
        Ok(Box::new(stream) as Session)
    });
    report.at_most("idle TLS session", "KB", kilobytes.await?, 14.0);
    server.stop()?;
    if let Some(peer) = Mosquitto::start(&bench.folder).await? {
        let kilobytes = cost(peer.pid(), async |index| {
            let stream = fleet::log_in(&peer.address, &login(index), 3_600).await?;
            Ok(Box::new(stream) as Session)
        });
        report.beside("idle TCP session", MOSQUITTO, kilobytes.await?);
    }
    Ok(())
}

type Session = Box<dyn Send>;

fn login(index: usize) -> Login {
    Login { device: format!("idle-{index}"), token: None }
}

/// Resident kilobytes a session, with all of them open.
async fn cost(pid: u32, open: impl AsyncFn(usize) -> anyhow::Result<Session>) -> anyhow::Result<f64> {
    let mut sessions = Vec::with_capacity(SESSIONS);
    // A hundred first, so that what the first session costs once is not counted.
    for index in 0..100 {
        sessions.push(open(index).await?);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = process::resident(pid)?;
    let mut index = 100;
    while index < SESSIONS {
        let batch: Vec<_> = (index..(index + AT_ONCE).min(SESSIONS)).map(|index| open(index)).collect();
        index += batch.len();
        for session in futures_util::future::join_all(batch).await {
            sessions.push(session.context("opening a session")?);
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let grown = process::resident(pid)?.saturating_sub(before);
    Ok(as_f64(grown) / as_f64(SESSIONS as u64 - 100) / 1_000.0)
}
