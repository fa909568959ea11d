//! The simulator behind `drover sim`: a fleet of devices over MQTT that counts what it sends, and looks for it afterwards.
//! `models`, `payloads`, `schedule` and `faults` say what devices do, `device` does it with its `window`; `registry` makes them,
//! `store` or `subscriber` finds their messages, `tally` compares and `report` tells.

mod device;
pub mod faults;
mod fleet;
pub mod models;
mod noise;
pub mod payloads;
mod process;
mod progress;
mod registry;
pub mod report;
pub mod schedule;
mod sequences;
mod session;
mod store;
mod subscriber;
mod tally;
mod window;

use std::sync::Arc;
use std::time::Duration;

use drover_mqtt_codec::QoS;
use drover_runtime::{Rng, Stop, signals};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{Client, Target};
use crate::failure::{Code, Failure, Outcome};
use crate::mqtt_connection::{ANSWER_TIMEOUT, Server};
use crate::output::{Format, Output};

use faults::Fault;
use fleet::Shared;
use models::Profile;
use payloads::Size;
use process::Cpu;
use registry::Registry;
use report::{Measured, Report};
use schedule::Schedule;
use session::Refusal;
use subscriber::Subscribers;
use tally::{Found, Record, Tally};

/// Most devices: connections from one address to another have 28,000 ports.
pub const MOST_DEVICES: u64 = 20_000;
/// Most messages of a device; a query's answer has to have room for them.
pub const MOST_MESSAGES_PER_DEVICE: u64 = 5_000_000;
/// Most messages of a run; each takes two bits of memory.
pub const MOST_MESSAGES: u64 = 500_000_000;
/// Files that the simulator opens beside its devices' connections.
pub const OTHER_FILES: u64 = 64;

/// What a run does.
#[derive(Clone, Debug)]
pub struct Plan {
    pub schedule: Schedule,
    pub qos: QoS,
    pub size: Option<Size>,
    pub profile: Profile,
    pub faults: Vec<Fault>,
    pub seed: u64,
    /// Beginning of the names of its devices, new in each run.
    pub run: String,
    /// Devices stay registered afterwards.
    pub keep: bool,
}

/// Where devices connect, and where their messages are looked for.
pub struct Place {
    pub mqtt: Server,
    /// Address of MQTT, `host:port`.
    pub address: String,
    pub ground: Ground,
}

pub enum Ground {
    /// In the store of a Drover, whose API makes the devices.
    Drover { client: Client, target: Target },
    /// By subscribers of any broker, under a topic.
    Broker { username: Option<String>, password: Option<String>, topic: String },
}

/// A device's way in.
#[derive(Clone, Debug)]
pub struct Login {
    pub client_id: String,
    pub username: Option<String>,
    pub password: Option<String>,
    /// Where it publishes.
    pub topic: String,
}

/// A name that no other run has.
pub fn run_name(rng: &Rng) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let letter = |byte: u8| char::from(*LETTERS.get(usize::from(byte) % LETTERS.len()).unwrap_or(&b'x'));
    format!("sim-{}", rng.bytes::<6>().map(letter).iter().collect::<String>())
}

/// A device's id.
pub fn device_name(run: &str, number: u64) -> String {
    format!("{run}-{number:05}")
}

/// Runs the fleet and looks for its messages. A signal ends it early, with a report of what was until then.
pub async fn run(plan: Plan, place: &Place, output: Output) -> Outcome<Report> {
    let stop = Stop::default();
    signals::watch(stop.clone())?;
    let run = Run { plan: Arc::new(plan), place, stop, output };
    match &place.ground {
        Ground::Drover { client, target } => {
            run.reach().await?;
            let registry = Registry { client, target, plan: &run.plan, output };
            let made = registry.make(&run.stop).await;
            let report = match made.failure {
                None => run.in_drover(client, made.logins).await,
                Some(failure) => Err(failure),
            };
            if !run.plan.keep {
                registry.remove(made.tried).await;
            }
            report
        }
        Ground::Broker { username, password, topic } => {
            run.in_broker((username.as_deref(), password.as_deref()), topic).await
        }
    }
}

/// A run and what it needs.
struct Run<'a> {
    plan: Arc<Plan>,
    place: &'a Place,
    stop: Stop,
    output: Output,
}

impl Run<'_> {
    async fn in_drover(&self, client: &Client, logins: Vec<Login>) -> Outcome<Report> {
        self.knock(&logins).await?;
        let usage = Usage::begin(client.base());
        let (records, shared) = self.send(logins).await?;
        store::settled(client).await?;
        let measured = usage.end(&shared);
        let found = store::read(client, &self.plan, &records, self.output).await?;
        Ok(self.close(records, found, measured))
    }

    async fn in_broker(
        &self,
        (username, password): (Option<&str>, Option<&str>),
        topic: &str,
    ) -> Outcome<Report> {
        let logins = (0..self.plan.schedule.devices).map(|number| Login {
            client_id: device_name(&self.plan.run, number),
            username: username.map(str::to_owned),
            password: password.map(str::to_owned),
            topic: subscriber::topic(topic, &self.plan.run, number),
        });
        let logins: Vec<Login> = logins.collect();
        self.knock(&logins).await?;
        let subscribers = Subscribers::start(&self.plan, &self.place.mqtt, &logins, topic).await?;
        let usage = Usage::begin(&self.place.address);
        let (records, shared) = self.send(logins).await?;
        let measured = usage.end(&shared);
        let acknowledged = records.iter().map(|record| record.acknowledged.count()).sum();
        let found = subscribers.finish(acknowledged).await;
        Ok(self.close(records, found, measured))
    }

    /// Tries whether anything listens for MQTT, before devices are made.
    async fn reach(&self) -> Outcome {
        let address = &self.place.address;
        let reason = match timeout(ANSWER_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        let message = format!("no MQTT at {address} ({reason}): give its address with --broker");
        Err(Failure::new(Code::Unreachable, message))
    }

    /// Tries whether the server lets the first device in, before anything starts.
    async fn knock(&self, logins: &[Login]) -> Outcome {
        let Some(login) = logins.first() else { return Ok(()) };
        match session::open(&self.place.mqtt, login, true).await {
            Ok(opened) => {
                session::leave(opened.connection).await;
                Ok(())
            }
            Err(Refusal::Final(error)) => Err(Failure::new(Code::Denied, error.0)),
            Err(Refusal::ForNow(error)) => {
                let message = format!("{error}: give the address of MQTT with --broker");
                Err(Failure::new(Code::Unreachable, message))
            }
        }
    }

    async fn send(&self, logins: Vec<Login>) -> Outcome<(Vec<Record>, Arc<Shared>)> {
        let is_live = !self.output.is_quiet() && self.output.format == Format::Table;
        fleet::run(&self.plan, &self.place.mqtt, logins, &self.stop, is_live).await
    }

    fn close(&self, records: Vec<Record>, found: Vec<Found>, measured: Measured) -> Report {
        let devices: Vec<(Record, Found)> = records.into_iter().zip(found).collect();
        let tally = Tally::of(self.plan.qos, &devices);
        Report { plan: self.plan.clone(), tally, measured, ended_early: self.stop.is_draining() }
    }
}

/// The server's use of the processor from the start of a run.
struct Usage(Option<(Cpu, Duration)>);

impl Usage {
    fn begin(address: &str) -> Self {
        Self(
            Cpu::of_listener(address).and_then(|cpu| Some((cpu.used()?, cpu))).map(|(used, cpu)| (cpu, used)),
        )
    }

    fn end(self, shared: &Shared) -> Measured {
        let server_cpu = self.0.and_then(|(cpu, before)| cpu.used()?.checked_sub(before));
        Measured { elapsed: shared.sending_for(), server_cpu, latency: shared.latency() }
    }
}
