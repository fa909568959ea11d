//! The way into the log: a device's message becomes a record, and its ticket says when it may be acknowledged.

use std::future::Future;
use std::time::Duration;

use drover_backbone::{LogError, Producer, Refused, Stream, Ticket};
use drover_model::{Channel, Clock, DeviceId, Tenant};
use drover_proto::RecordRef;
use drover_proto::backbone::v1;
use prost::Message;

use crate::refusals::{Refusals, RefusedReason};

/// How often refused messages are written to the log, as sums.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// A QoS 2 publish, or the will, of an MQTT session that outlives its connection: the log tells after a restart that it has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionPublish {
    /// Number of the session.
    pub session: u64,
    /// Packet id, or [`Self::WILL`].
    pub packet_id: u32,
}

impl SessionPublish {
    /// Stands for the session's will; no packet id is as large.
    pub const WILL: u32 = 1 << 16;
}

/// Who sends a message.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    /// Its tenant.
    pub tenant: &'a Tenant,
    /// The device.
    pub device: &'a DeviceId,
    /// When the message must be known again.
    pub publish: Option<SessionPublish>,
    /// W3C trace context of the append, for whoever stores the message; empty when it is not traced.
    pub traceparent: &'a str,
}

/// Takes messages of authenticated devices into the log. All of a device's channels go into one stream, so that its measurements and
/// its events keep their order.
pub struct Ingress {
    producer: Producer,
    clock: Clock,
    refusals: Refusals,
}

impl Ingress {
    /// Reads the newest times of arrival from the log, so that new ones lie above them even after the clock was set back.
    ///
    /// # Errors
    /// [`LogError`] when the log can't be read.
    pub fn open(producer: Producer, clock: Clock) -> Result<Self, LogError> {
        producer.learn_arrivals()?;
        Ok(Self { producer, clock, refusals: Refusals::default() })
    }

    /// Appends a message. It may be acknowledged when the ticket has resolved, and not before.
    ///
    /// # Errors
    /// [`Refused`]: nothing was taken. After `Busy` and `Full` wait for [`Self::ready`] and offer it again.
    pub fn accept(
        &self,
        sender: &Sender<'_>,
        channel: Channel,
        content_type: &str,
        payload: &[u8],
    ) -> Result<Ticket, Refused> {
        let record = RecordRef {
            tenant: sender.tenant.as_str(),
            device: sender.device.as_str(),
            channel: match channel {
                Channel::Telemetry => v1::Channel::Telemetry,
                Channel::Event => v1::Channel::Event,
            },
            content_type,
            payload,
            received_us: self.next_us(),
            topic: "",
            traceparent: sender.traceparent,
            session: sender.publish.map_or(0, |publish| publish.session),
            packet_id: sender.publish.map_or(0, |publish| publish.packet_id),
        };
        self.producer.append(Stream::Telemetry, &record)
    }

    /// Resolves when [`Self::accept`] may take messages of this device again.
    pub async fn ready(&self, tenant: &Tenant, device: &DeviceId) {
        self.producer.ready(Stream::Telemetry, tenant.as_str(), device.as_str()).await;
    }

    /// Counts a refused message for the tenant's ledger.
    pub fn refused(&self, tenant: &Tenant, reason: RefusedReason) {
        self.refusals.add(tenant, reason);
    }

    /// Writes the counts of refused messages to the telemetry stream once a second, and a last time when `stop` resolves.
    pub async fn report(&self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut interval = tokio::time::interval(REPORT_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // Cancel-safe: neither holds anything.
            let stopping = tokio::select! {
                _ = interval.tick() => false,
                () = &mut stop => true,
            };
            self.report_once();
            if stopping {
                return;
            }
        }
    }

    fn report_once(&self) {
        for (tenant, counts) in self.refusals.take() {
            let payload = counts.encode_to_vec();
            let record = RecordRef {
                tenant: tenant.as_str(),
                device: "",
                channel: v1::Channel::Refused,
                content_type: "",
                payload: &payload,
                received_us: self.next_us(),
                topic: "",
                traceparent: "",
                session: 0,
                packet_id: 0,
            };
            if self.producer.append(Stream::Telemetry, &record).is_err() {
                self.refusals.put_back(&tenant, &counts);
            }
        }
    }

    /// The time of day in microseconds, but always later than before.
    pub fn next_us(&self) -> i64 {
        self.producer.arrival_us(self.clock.now().as_micros())
    }
}

#[cfg(test)]
mod tests {
    use drover_backbone::{Log, LogOptions, ProducerOptions};
    use drover_model::{ManualClock, TenantId, Timestamp};

    use super::*;

    fn open(directory: &std::path::Path, clock: &ManualClock) -> Ingress {
        let log = Log::open(&format!("embedded:{}", directory.display()), LogOptions::default()).unwrap();
        let producer = Producer::new(&log, ProducerOptions::new(1, 1));
        Ingress::open(producer, Clock::new(clock.clone())).unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "a test vouches for its tenant")]
    fn tenant() -> Tenant {
        Tenant::authenticated(TenantId::parse("acme").unwrap())
    }

    #[tokio::test]
    async fn times_of_arrival_grow_even_when_the_clock_stands_or_goes_back_over_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::from_millis(1_000));
        let device = DeviceId::parse("pump").unwrap();
        let ingress = open(directory.path(), &clock);
        for _ in 0..3 {
            let tenant = tenant();
            let sender = Sender { tenant: &tenant, device: &device, publish: None, traceparent: "" };
            let accepted = ingress.accept(&sender, Channel::Telemetry, "", b"{}");
            accepted.unwrap().durable().await.unwrap();
        }
        drop(ingress);
        clock.set(Timestamp::from_millis(10));
        let ingress = open(directory.path(), &clock);
        assert_eq!(ingress.next_us(), 1_000_003);
    }

    #[tokio::test]
    async fn no_two_ways_into_one_log_give_the_same_time_of_arrival() {
        let directory = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::from_millis(1_000));
        let one = open(directory.path(), &clock);
        let other = Ingress::open(one.producer.clone(), Clock::new(clock)).unwrap();
        let times = [one.next_us(), other.next_us(), one.next_us(), other.next_us()];
        assert_eq!(times, [1_000_000, 1_000_001, 1_000_002, 1_000_003]);
    }

    #[tokio::test]
    async fn refused_messages_reach_the_log_as_sums() {
        let directory = tempfile::tempdir().unwrap();
        let ingress = open(directory.path(), &ManualClock::default());
        for _ in 0..3 {
            ingress.refused(&tenant(), RefusedReason::NotAllowed);
        }
        ingress.report(std::future::ready(())).await;
        ingress.producer.flush().await.unwrap();
        assert!(ingress.refusals.take().is_empty());
    }
}
