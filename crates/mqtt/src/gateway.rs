//! What all connections of the gateway share, and its work in the background.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context;
use drover_backbone::Live;
use drover_gateway::{Authenticator, AuthenticatorOptions, Change, Downlink, Ingress};
use drover_model::{Clock, DeviceId};
use drover_mqtt_codec::{QoS, ReasonCode};
use drover_runtime::{Env, PartHealth, Rng, Status, Stop, Tasks};
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior};

use crate::config::Config;
use crate::loops::Loops;
use crate::message::{Message, TICKS_PER_SECOND};
use crate::metrics::Metrics;
use crate::session::{Client, Ending, Session};
use crate::space::{Space, Spaces};

/// Handles and state of the gateway.
pub(crate) struct Gateway {
    pub(crate) config: Config,
    pub(crate) deny_code: ReasonCode,
    pub(crate) ingress: Ingress,
    pub(crate) authenticator: Authenticator,
    pub(crate) spaces: Spaces,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
    pub(crate) rng: Rng,
    pub(crate) tasks: Tasks,
    pub(crate) loops: Loops,
    pub(crate) stop: Stop,
    /// One permit for each client.
    pub(crate) connections: Arc<Semaphore>,
    /// One permit for each client that has not had its CONNACK yet.
    pub(crate) handshakes: Arc<Semaphore>,
    live: Live,
    health: PartHealth,
    ticks: AtomicU32,
    draining: AtomicBool,
}

impl Gateway {
    pub(crate) fn new(config: Config, env: &Env) -> anyhow::Result<Self> {
        let options = AuthenticatorOptions {
            max_cached_devices: config.max_cached_devices,
            ttl: Duration::from_secs(config.credentials_ttl_s.into()),
        };
        Ok(Self {
            deny_code: config.anonymous.code().context("mqtt.anonymous.deny_code")?,
            ingress: Ingress::open(&env.log, env.producer.clone(), env.clock.clone())?,
            authenticator: Authenticator::new(env.peers.link("provisioning"), env.clock.clone(), options),
            spaces: Spaces::default(),
            metrics: env.metrics.register("mqtt", Metrics::register),
            clock: env.clock.clone(),
            rng: env.rng.clone(),
            tasks: env.tasks.clone(),
            loops: Loops::start()?,
            stop: env.stop.clone(),
            connections: Arc::new(Semaphore::new(usize::try_from(config.max_connections.get())?)),
            handshakes: Arc::new(Semaphore::new(usize::try_from(config.max_handshakes.get())?)),
            live: env.live.clone(),
            health: env.health.part("mqtt"),
            ticks: AtomicU32::new(0),
            draining: AtomicBool::new(false),
            config,
        })
    }

    pub(crate) fn accept_failed(&self, error: &io::Error) {
        self.metrics.accept_errors.inc();
        tracing::warn!("a connection could not be accepted: {error}");
    }

    /// The gateway's coarse clock.
    pub(crate) fn now(&self) -> u32 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// Whether connections are to end.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Sends a message of the platform to a device, on one of its own topics.
    pub(crate) fn tell_device(&self, space: &Space, device: &DeviceId, topic: &str, payload: &[u8]) {
        let message = Arc::new(Message::new(topic, payload, QoS::AtLeastOnce, self.now()));
        space.publish_to_device(device, &message, &self.metrics);
    }

    /// Moves the coarse clock and wakes the sessions whose time has come; at the drain, all of them.
    pub(crate) async fn keep_time(self: Arc<Self>) -> anyhow::Result<()> {
        // Listeners are bound before any task starts.
        self.health.set(Status::Ok);
        let start = Instant::now();
        let mut interval = tokio::time::interval(Duration::from_secs(1) / TICKS_PER_SECOND);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Cancel-safe: none of them holds anything.
            tokio::select! {
                () = self.stop.finish() => return Ok(()),
                () = self.stop.drain(), if !self.is_draining() => {
                    self.draining.store(true, Ordering::Release);
                    self.wake_overdue(u32::MAX);
                }
                _ = interval.tick() => {
                    let ticks = start.elapsed().as_millis() * u128::from(TICKS_PER_SECOND) / 1_000;
                    let now = u32::try_from(ticks).unwrap_or(u32::MAX - 1);
                    self.ticks.store(now, Ordering::Relaxed);
                    self.wake_overdue(now);
                }
            }
        }
    }

    fn wake_overdue(&self, now: u32) {
        for space in self.spaces.all() {
            space.wake_overdue(now);
        }
    }

    /// Passes messages of other parts on to the devices that are connected here.
    pub(crate) async fn pass_downlink(self: Arc<Self>) -> anyhow::Result<()> {
        let mut downlink = Downlink::new(&self.live);
        loop {
            // Cancel-safe: a message is taken whole or not at all.
            let message = tokio::select! {
                () = self.stop.finish() => return Ok(()),
                message = downlink.next() => message,
            };
            let Some(message) = message else { return Ok(()) };
            if let Some(space) = self.spaces.find(&message.tenant) {
                self.tell_device(&space, &message.device, &message.topic, &message.payload);
            }
        }
    }

    /// Ends the sessions whose credential is gone.
    pub(crate) async fn follow_credentials(self: Arc<Self>) -> anyhow::Result<()> {
        let mut changes = self.authenticator.changes(&self.live);
        loop {
            // Cancel-safe: a change is taken whole or not at all.
            let change = tokio::select! {
                () = self.stop.finish() => return Ok(()),
                change = changes.next() => change,
            };
            let sessions = match change {
                None => return Ok(()),
                Some(Change::Device(tenant, device)) => {
                    self.spaces.find(&tenant).map(|space| space.of_device(&device)).unwrap_or_default()
                }
                Some(Change::Any) => self.spaces.all().iter().flat_map(|space| space.of_devices()).collect(),
            };
            for session in sessions {
                self.check_credential(&session).await;
            }
        }
    }

    /// A session whose credential can't be checked ends too: it may connect again when that works.
    async fn check_credential(&self, session: &Session) {
        if let Client::Device(identity) = &session.client
            && !self.authenticator.is_valid(identity).await.unwrap_or(false)
        {
            session.end(Ending::CredentialGone);
        }
    }
}
