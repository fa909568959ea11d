//! `drover.stream.v1.Publisher`: messages on behalf of devices, by the same way into the log that the gateways take.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use drover_backbone::{Refused, Ticket};
use drover_gateway::{Ingress, RefusedReason, Sender};
use drover_model::{Channel, DeviceId, Kind, Tenant};
use drover_proto::devices::v1::FilterDevicesRequest;
use drover_proto::devices::v1::devices_client::DevicesClient;
use drover_proto::stream::v1::publisher_server::Publisher as Service;
use drover_proto::stream::v1::{
    Publication, PublicationChannel, PublishRequest, PublishResponse, Refusal, RefusalReason,
};
use drover_rpc::Link;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::error::Error;
use crate::metrics::StreamMetrics;

/// Messages of one call.
const MAX_PUBLICATIONS: usize = 1_000;
/// How long a call waits for the log, all in all, before it refuses what is left.
const LOG_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Publisher {
    pub(crate) ingress: Arc<Ingress>,
    pub(crate) devices: DevicesClient<Link>,
    pub(crate) metrics: StreamMetrics,
}

/// Why a message is not taken, for the ledger and for the caller.
struct NotTaken {
    counted: RefusedReason,
    reason: RefusalReason,
    detail: String,
}

impl NotTaken {
    fn new(counted: RefusedReason, reason: RefusalReason, detail: impl Into<String>) -> Self {
        Self { counted, reason, detail: detail.into() }
    }

    fn invalid(detail: impl Into<String>) -> Self {
        Self::new(RefusedReason::Invalid, RefusalReason::Invalid, detail)
    }
}

#[tonic::async_trait]
impl Service for Publisher {
    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        let publications = request.into_inner().publications;
        if !(1..=MAX_PUBLICATIONS).contains(&publications.len()) {
            return Err(Error::Field { field: "publications", reason: "are to be 1 to 1000" }.into());
        }
        let known = self.known_devices(&tenant, &publications).await?;
        let deadline = Instant::now() + LOG_TIMEOUT;
        let (mut answer, mut tickets) = (PublishResponse::default(), Vec::<Ticket>::new());
        for (index, publication) in (0..).zip(&publications) {
            match self.take(&tenant, publication, &known, deadline).await {
                Ok(ticket) => {
                    answer.accepted += 1;
                    // Tickets of one frame resolve together.
                    if tickets.last().is_none_or(|last| !last.same_frame(&ticket)) {
                        tickets.push(ticket);
                    }
                }
                Err(NotTaken { counted, reason, detail }) => {
                    self.ingress.refused(&tenant, counted);
                    self.metrics.publish_refused(counted);
                    answer.refusals.push(Refusal { index, reason: reason.into(), detail });
                }
            }
        }
        durable(tickets).await?;
        self.metrics.published.inc_by(answer.accepted.into());
        Ok(Response::new(answer))
    }
}

impl Publisher {
    /// Those of the named devices that there are.
    async fn known_devices(
        &self,
        tenant: &Tenant,
        publications: &[Publication],
    ) -> Result<HashSet<String>, Status> {
        let named: BTreeSet<&str> = publications.iter().map(|publication| &*publication.device).collect();
        let ids = named.into_iter().filter(|id| DeviceId::check(id).is_ok()).map(str::to_owned).collect();
        let request = drover_rpc::request(tenant, FilterDevicesRequest { ids });
        Ok(self.devices.clone().filter_devices(request).await?.into_inner().ids.into_iter().collect())
    }

    async fn take(
        &self,
        tenant: &Tenant,
        publication: &Publication,
        known: &HashSet<String>,
        deadline: Instant,
    ) -> Result<Ticket, NotTaken> {
        let device = DeviceId::parse(&publication.device)
            .map_err(|error| NotTaken::invalid(format!("device: {error}")))?;
        let channel = match PublicationChannel::try_from(publication.channel) {
            Ok(PublicationChannel::Unspecified | PublicationChannel::Telemetry) => Channel::Telemetry,
            Ok(PublicationChannel::Event) => Channel::Event,
            Err(_) => return Err(NotTaken::invalid("channel: is none that this version knows")),
        };
        if !known.contains(device.as_str()) {
            let detail = format!("there is no device {device}; make it first");
            return Err(NotTaken::new(RefusedReason::UnknownDevice, RefusalReason::UnknownDevice, detail));
        }
        let sender = Sender { tenant, device: &device, publish: None, traceparent: "" };
        loop {
            let Publication { content_type, payload, .. } = publication;
            match self.ingress.accept(&sender, channel, content_type, payload) {
                Ok(ticket) => return Ok(ticket),
                Err(Refused::TooLarge) => {
                    let detail = format!("{} bytes are more than the log takes", payload.len());
                    return Err(NotTaken::new(RefusedReason::TooLarge, RefusalReason::TooLarge, detail));
                }
                Err(refused @ (Refused::Busy | Refused::Full | Refused::Stopped)) => {
                    let ready = self.ingress.ready(tenant, &device);
                    if refused == Refused::Stopped || tokio::time::timeout_at(deadline, ready).await.is_err()
                    {
                        let detail = format!("{refused}; try again later");
                        return Err(NotTaken::new(RefusedReason::LogBusy, RefusalReason::LogBusy, detail));
                    }
                }
            }
        }
    }
}

async fn durable(tickets: Vec<Ticket>) -> Result<(), Status> {
    for mut ticket in tickets {
        ticket.durable().await.map_err(|_| {
            let text = "the server stopped before everything was on the disk; send it again";
            drover_rpc::status(Kind::Unavailable, text)
        })?;
    }
    Ok(())
}
