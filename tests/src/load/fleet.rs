//! Many MQTT clients in one thread: each keeps a window of publishes in flight, or publishes at a pace, and remembers what was
//! acknowledged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::wire::{self, Answer};

/// Longest silence of a server before a client gives up.
const SILENCE: Duration = Duration::from_secs(30);

/// One client's name and secret.
#[derive(Debug, Clone)]
pub struct Login {
    /// Device id.
    pub device: String,
    /// Token; none for an anonymous client.
    pub token: Option<String>,
}

/// Appends the payload of a client's n-th message.
pub type Payload = Arc<dyn Fn(usize, u64, &mut Vec<u8>) + Send + Sync>;

/// What the clients do.
#[derive(Clone)]
pub struct Job {
    /// Address of the server.
    pub address: String,
    /// One client each.
    pub logins: Vec<Login>,
    /// Topic of every publish.
    pub topic: String,
    /// 0 or 1.
    pub qos: u8,
    /// Publishes in flight, a client, at QoS 1; publishes written at a time at QoS 0.
    pub window: usize,
    /// Messages a second of all clients together; none means as fast as it goes.
    pub rate: Option<f64>,
    /// How long to publish.
    pub duration: Duration,
    /// Makes the payload of a client's n-th message.
    pub payload: Payload,
    /// A lost connection ends the client without an error; for chaos.
    pub forgive: bool,
    /// Ends after so many messages a client, even when time is left.
    pub messages: Option<u64>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Messages written, by client: numbers 0 to n - 1.
    pub sent: Vec<u64>,
    /// Numbers of messages that were acknowledged, by client.
    pub acknowledged: Vec<Vec<u64>>,
    /// Times from write to acknowledgement, in microseconds, ascending.
    pub latencies_us: Vec<u32>,
    /// From the first write to the last acknowledgement.
    pub elapsed: Duration,
}

impl Outcome {
    /// Messages acknowledged by all clients.
    pub fn acknowledged_in_all(&self) -> u64 {
        self.acknowledged.iter().map(|numbers| numbers.len() as u64).sum()
    }

    /// Messages written by all clients.
    pub fn sent_in_all(&self) -> u64 {
        self.sent.iter().sum()
    }

    /// A quantile of the latency, in milliseconds.
    pub fn latency_ms(&self, share: f64) -> f64 {
        quantile(&self.latencies_us, share) / 1_000.0
    }
}

/// A quantile of ascending numbers; 0 when there are none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an index from a share"
)]
pub fn quantile(sorted: &[u32], share: f64) -> f64 {
    let index = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().map_or(0.0, f64::from)
}

/// Runs the clients on a thread of their own and waits for them.
///
/// # Errors
/// When a client cannot connect, or the server ends a connection that may not end.
pub async fn run(job: Job) -> anyhow::Result<Outcome> {
    start(job).await
}

/// Starts the clients on a thread of their own at once; the future waits for them.
pub fn start(job: Job) -> impl Future<Output = anyhow::Result<Outcome>> {
    let running = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(run_here(job))
    });
    async { running.await? }
}

async fn run_here(job: Job) -> anyhow::Result<Outcome> {
    let job = Arc::new(job);
    let mut connecting = JoinSet::new();
    for index in 0..job.logins.len() {
        let job = job.clone();
        connecting.spawn(async move { Client::connect(job, index).await });
    }
    let clients: Vec<Client> = connecting.join_all().await.into_iter().collect::<Result<_, _>>()?;
    let began = Instant::now();
    let mut publishing = JoinSet::new();
    for client in clients {
        publishing.spawn(client.publish(began));
    }
    let mut outcome = Outcome {
        sent: vec![0; job.logins.len()],
        acknowledged: vec![vec![]; job.logins.len()],
        ..Outcome::default()
    };
    for client in publishing.join_all().await {
        let client = client?;
        outcome.sent[client.index] = client.sent;
        outcome.acknowledged[client.index] = client.acknowledged;
        outcome.latencies_us.extend(client.latencies_us);
    }
    outcome.elapsed = began.elapsed();
    outcome.latencies_us.sort_unstable();
    Ok(outcome)
}

/// Opens a connection and logs in.
///
/// # Errors
/// When the server refuses.
pub async fn log_in(address: &str, login: &Login, keep_alive_s: u16) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
    stream.set_nodelay(true)?;
    let mut output = BytesMut::new();
    let secret = login.token.as_deref().map(|token| (login.device.as_str(), token));
    wire::connect(&mut output, &login.device, secret, keep_alive_s);
    stream.write_all(&output).await?;
    let mut input = BytesMut::new();
    loop {
        match wire::take(&mut input) {
            Some(Answer::Connected(0)) => return Ok(stream),
            Some(answer) => bail!("{} was not let in: {answer:?}", login.device),
            None if stream.read_buf(&mut input).await? == 0 => bail!("the server closed before its CONNACK"),
            None => {}
        }
    }
}

struct Client {
    job: Arc<Job>,
    index: usize,
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
    payload: Vec<u8>,
    /// Number and time of what is in flight, oldest first.
    in_flight: std::collections::VecDeque<(u64, Instant)>,
    sent: u64,
    acknowledged: Vec<u64>,
    latencies_us: Vec<u32>,
}

impl Client {
    async fn connect(job: Arc<Job>, index: usize) -> anyhow::Result<Self> {
        let stream = log_in(&job.address, &job.logins[index], 0).await?;
        Ok(Self {
            job,
            index,
            stream,
            input: BytesMut::with_capacity(4_096),
            output: BytesMut::with_capacity(16_384),
            payload: Vec::with_capacity(256),
            in_flight: std::collections::VecDeque::new(),
            sent: 0,
            acknowledged: Vec::new(),
            latencies_us: Vec::new(),
        })
    }

    async fn publish(mut self, began: Instant) -> anyhow::Result<Self> {
        let outcome = match self.job.rate {
            Some(rate) => self.publish_paced(began, rate).await,
            None => self.publish_flat_out(began).await,
        };
        match outcome {
            Err(_) if self.job.forgive => Ok(self),
            Err(error) => Err(error.context(format!("client {}", self.job.logins[self.index].device))),
            Ok(()) => Ok(self),
        }
    }

    async fn publish_flat_out(&mut self, began: Instant) -> anyhow::Result<()> {
        let most = self.job.messages.unwrap_or(u64::MAX);
        while self.sent < most && began.elapsed() < self.job.duration {
            while self.in_flight.len() < self.job.window && self.sent < most {
                self.add_one();
                if self.job.qos == 0 && self.output.len() > 8_192 {
                    break;
                }
            }
            self.write().await?;
            if self.job.qos > 0 {
                self.read_some().await?;
            } else {
                self.in_flight.clear();
                tokio::task::yield_now().await;
            }
        }
        self.read_rest().await
    }

    async fn publish_paced(&mut self, began: Instant, rate: f64) -> anyhow::Result<()> {
        let clients = f64::from(u32::try_from(self.job.logins.len())?);
        let period = Duration::from_secs_f64(clients / rate);
        let mut due = began + period.mul_f64(f64::from(u32::try_from(self.index)?) / clients);
        let end = began + self.job.duration;
        while due < end {
            let timer = tokio::time::sleep_until(due.into());
            tokio::pin!(timer);
            loop {
                tokio::select! {
                    () = &mut timer => break,
                    read = self.stream.read_buf(&mut self.input) => {
                        if read? == 0 {
                            bail!("the server closed the connection");
                        }
                        self.take_answers()?;
                    }
                }
            }
            self.add_one();
            self.write().await?;
            due += period;
        }
        self.read_rest().await
    }

    fn add_one(&mut self) {
        let number = self.sent;
        self.payload.clear();
        (self.job.payload)(self.index, number, &mut self.payload);
        let packet_id = (self.job.qos > 0).then(|| u16::try_from(number % 65_000).expect("below 65000") + 1);
        wire::publish(&mut self.output, &self.job.topic, packet_id, &self.payload);
        self.sent += 1;
        self.in_flight.push_back((number, Instant::now()));
    }

    async fn write(&mut self) -> anyhow::Result<()> {
        tokio::time::timeout(SILENCE, self.stream.write_all(&self.output))
            .await
            .context("the server reads nothing")??;
        self.output.clear();
        Ok(())
    }

    async fn read_some(&mut self) -> anyhow::Result<()> {
        let read = tokio::time::timeout(SILENCE, self.stream.read_buf(&mut self.input)).await;
        if read.context("no acknowledgement in 30 s")?? == 0 {
            bail!("the server closed the connection");
        }
        self.take_answers()
    }

    async fn read_rest(&mut self) -> anyhow::Result<()> {
        while self.job.qos > 0 && !self.in_flight.is_empty() {
            self.read_some().await?;
        }
        Ok(())
    }

    fn take_answers(&mut self) -> anyhow::Result<()> {
        while let Some(answer) = wire::take(&mut self.input) {
            let Answer::Acknowledged(id) = answer else { continue };
            let (number, at) = self.in_flight.pop_front().context("an acknowledgement too many")?;
            if number % 65_000 + 1 != u64::from(id) {
                bail!("acknowledged packet {id}, expected {}", number % 65_000 + 1);
            }
            self.acknowledged.push(number);
            self.latencies_us.push(u32::try_from(at.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
        Ok(())
    }
}
