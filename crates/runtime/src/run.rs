//! A process from its start to its end, as a straight story: open, bind, build, serve, announce, wait, drain, finish.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use drover_model::Clock;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::Range;
use crate::{DataDir, Env, Part, Rng, Section, Settings, Stop, SystemClock, Tasks, foundation, listeners};

/// Least time for closing files, whatever went before.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What a process is started from.
pub struct Program {
    /// The runtime's own settings.
    pub settings: Settings,
    /// Its directory.
    pub data_dir: PathBuf,
    /// Time of day.
    pub clock: Clock,
    /// Randomness.
    pub rng: Rng,
}

impl Program {
    /// With the system's time and randomness.
    pub fn new(settings: Settings, data_dir: PathBuf) -> Self {
        Self { settings, data_dir, clock: SystemClock::clock(), rng: Rng::system() }
    }
}

/// Section `[stop]`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopSettings {
    /// Longest wait for listeners.
    pub drain_timeout_s: u64,
    /// Longest wait for tasks.
    pub finish_timeout_s: u64,
}

impl Section for StopSettings {
    const RANGES: &'static [Range] = &[("drain_timeout_s", 0, 3_600), ("finish_timeout_s", 1, 3_600)];
}

/// What is said once everything serves.
#[derive(Debug, Clone)]
pub struct Announcement {
    /// Bound addresses by listener.
    pub addresses: BTreeMap<&'static str, SocketAddr>,
    /// Absolute path of the data directory.
    pub data_dir: PathBuf,
}

/// Runs parts until `stop` begins to drain (see [`crate::signals::watch`]) or one of them fails.
///
/// # Errors
/// What kept the process from starting, the first task that failed, or what did not finish within the deadline.
pub async fn run<F>(
    program: Program,
    stop: Stop,
    build: impl FnOnce(Env) -> F,
    announce: impl FnOnce(&Announcement),
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<Vec<Part>>>,
{
    let (tasks, failure) = Tasks::new(stop.clone());

    let data_dir = Arc::new(DataDir::open(&program.data_dir)?);
    let bound = listeners::bind(&program.settings.listen).await?;
    let env = foundation::open(&program, &data_dir, &tasks, &stop).await?;
    let parts = build(env.clone()).await?;

    let serving = tasks.group();
    let addresses = start(parts, bound, &env, &serving)?;
    data_dir.write_addresses(&addresses)?;
    announce(&Announcement { addresses, data_dir: data_dir.path().to_owned() });

    let outcome = wait(&stop, failure).await;
    data_dir.remove_addresses()?;
    let finished = shut_down(&env, &serving, program.settings.stop).await;
    outcome.and(finished)
}

/// Makes every part reachable, then starts their tasks, then lets clients in.
fn start(
    parts: Vec<Part>,
    mut bound: BTreeMap<&'static str, TcpListener>,
    env: &Env,
    serving: &Tasks,
) -> anyhow::Result<BTreeMap<&'static str, SocketAddr>> {
    let mut addresses = BTreeMap::new();
    let mut tasks = Vec::new();
    let mut servers = Vec::new();
    for part in parts {
        if let Some(routes) = part.routes {
            env.peers.serve(part.name, routes.routes());
        }
        tasks.extend(part.tasks.into_iter().map(|(name, work)| (part.name, name, work)));
        servers.extend(part.listeners);
    }
    for (part, name, work) in tasks {
        env.tasks.spawn(name, async move { work.await.with_context(|| format!("part {part}")) });
    }
    for (name, serve) in servers {
        // A listener that is switched off was never bound.
        if let Some(listener) = bound.remove(name) {
            addresses.insert(name, listener.local_addr().with_context(|| format!("listener {name}"))?);
            serving.spawn(name, serve(listener));
        }
    }
    for name in bound.keys() {
        tracing::warn!("no part of this process serves {name}");
    }
    Ok(addresses)
}

/// Resolves when the process is to stop: with an error when a task failed.
async fn wait(stop: &Stop, mut failure: mpsc::Receiver<anyhow::Error>) -> anyhow::Result<()> {
    // Cancel-safe: neither future loses anything.
    tokio::select! {
        Some(error) = failure.recv() => Err(error),
        () = stop.drain() => Ok(()),
    }
}

/// Lets clients go, then finishes what they left, each within its deadline; what is past it is named.
async fn shut_down(env: &Env, serving: &Tasks, deadlines: StopSettings) -> anyhow::Result<()> {
    let drain_timeout = Duration::from_secs(deadlines.drain_timeout_s);
    let finish_timeout = Duration::from_secs(deadlines.finish_timeout_s);
    env.stop.begin_drain();
    if timeout(drain_timeout, serving.ended()).await.is_err() {
        tracing::warn!("clients did not leave in {} s: {}", deadlines.drain_timeout_s, serving.running());
    }
    let deadline = Instant::now() + finish_timeout;
    // A disk that takes nothing must not take the time of the rest, too.
    let flushed = timeout(finish_timeout / 2, env.producer.flush()).await;
    let lost = match flushed {
        Ok(flushed) => flushed.err().map(|error| error.to_string()),
        Err(_) => Some("the disk does not take them".to_owned()),
    };
    env.stop.begin_finish();
    if let Some(reason) = lost {
        tracing::error!("records that nobody was acknowledged are lost: {reason}");
        // Whoever waits for them learns it.
        close_log(env, deadline).await;
    }
    let unfinished = timeout_at(deadline, env.tasks.ended()).await.is_err();
    // Closing is not what took the time: it gets its own.
    let deadline = deadline.max(Instant::now() + CLOSE_TIMEOUT);
    close_log(env, deadline).await;
    if timeout_at(deadline, env.db.close()).await.is_err() {
        tracing::error!("the database did not close; the next start repairs it");
    }
    if unfinished {
        bail!("not finished in {} s: {}", deadlines.finish_timeout_s, env.tasks.running());
    }
    Ok(())
}

async fn close_log(env: &Env, deadline: Instant) {
    let log = env.log.clone();
    if timeout_at(deadline, tokio::task::spawn_blocking(move || log.close())).await.is_err() {
        tracing::error!("the log did not close; the next start repairs its end");
    }
}
