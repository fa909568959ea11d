//! Erasing what a device measured. The wish goes through the log as a record, so that its place among the device's records is
//! exact, and the same in every replay. Whoever asks is answered when it is applied.

use std::sync::Arc;
use std::time::Duration;

use drover_backbone::{Log, Offset, Producer, Refused, Shard, Stream, partition_of, shard_of};
use drover_model::{Clock, DeviceId, TelemetryKey, Tenant};
use drover_proto::RecordRef;
use drover_proto::backbone::v1::{Channel, Erase};
use drover_proto::stream::v1::erasures_server::Erasures;
use drover_proto::stream::v1::{EraseTelemetryRequest, EraseTelemetryResponse};
use prost::Message;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::error::Error;

/// How long somebody waits who erases.
const WAIT: Duration = Duration::from_secs(20);
/// Keys of one erasure.
const MAX_KEYS: usize = 1_000;

/// How far each shard's records are applied; cheap to clone.
#[derive(Clone)]
pub(crate) struct Applied(Arc<[watch::Sender<Offset>]>);

impl Applied {
    pub(crate) fn new(shards: u16) -> Self {
        Self((0..shards).map(|_| watch::Sender::new(Offset(0))).collect())
    }

    /// Says that what lies before an offset is applied.
    pub(crate) fn reached(&self, shard: Shard, next: Offset) {
        if let Some(of_shard) = self.0.get(usize::from(shard.0)) {
            of_shard.send_replace(next);
        }
    }

    async fn wait(&self, shard: Shard, end: Offset) -> Result<(), Error> {
        let of_shard = self.0.get(usize::from(shard.0)).ok_or(Error::Stopping)?;
        of_shard.subscribe().wait_for(|next| *next >= end).await.map_err(|_| Error::Stopping)?;
        Ok(())
    }
}

/// The gRPC service.
pub(crate) struct Eraser {
    pub(crate) log: Log,
    pub(crate) producer: Producer,
    pub(crate) clock: Clock,
    pub(crate) applied: Applied,
}

impl Eraser {
    async fn erase(&self, tenant: &Tenant, device: &DeviceId, payload: &[u8]) -> Result<(), Error> {
        let (tenant, device, stream) = (tenant.as_str(), device.as_str(), Stream::Telemetry);
        let record = RecordRef {
            tenant,
            device,
            channel: Channel::Erase,
            content_type: "",
            payload,
            received_us: self.clock.now().as_micros(),
            topic: "",
            traceparent: "",
            session: 0,
            packet_id: 0,
        };
        let mut ticket = loop {
            match self.producer.append(stream, &record) {
                Ok(ticket) => break ticket,
                Err(Refused::Busy | Refused::Full) => self.producer.ready(stream, tenant, device).await,
                Err(Refused::TooLarge) => return Err(Error::Field { field: "keys", reason: "are too many" }),
                Err(Refused::Stopped) => return Err(Error::Stopping),
            }
        };
        ticket.durable().await.map_err(|_| Error::Stopping)?;
        let shard = shard_of(partition_of(tenant, device), self.log.shards());
        self.applied.wait(shard, self.log.end(stream, shard)).await
    }
}

#[tonic::async_trait]
impl Erasures for Eraser {
    async fn erase_telemetry(
        &self,
        request: Request<EraseTelemetryRequest>,
    ) -> Result<Response<EraseTelemetryResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        let EraseTelemetryRequest { device, keys } = request.into_inner();
        let device = DeviceId::parse(&device).map_err(Error::from)?;
        if keys.len() > MAX_KEYS {
            return Err(Error::Field { field: "keys", reason: "are too many; name at most 1000" }.into());
        }
        for key in &keys {
            TelemetryKey::parse(key).map_err(Error::from)?;
        }
        let payload = Erase { keys }.encode_to_vec();
        let erased = tokio::time::timeout(WAIT, self.erase(&tenant, &device, &payload)).await;
        erased.unwrap_or(Err(Error::EraseLate))?;
        Ok(Response::new(EraseTelemetryResponse {}))
    }
}
