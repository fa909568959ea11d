//! The connection, and who is calling.

use std::time::Duration;

use drover_proto::devices::v1::devices_client::DevicesClient;
use drover_proto::provisioning::v1::credentials_client::CredentialsClient;
use drover_proto::stream::v1::publisher_client::PublisherClient;
use drover_proto::stream::v1::telemetry_client::TelemetryClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::Error;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the server is asked whether it is still there, while a call is open.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Longest answer that is taken: pages end at some MB, but one item may be as long as the longest message.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A connection whose calls carry the token.
pub type Connection = InterceptedService<Channel, Authorized>;

/// Puts the token, and the tenant, into the metadata of each call.
#[derive(Clone)]
pub struct Authorized {
    token: MetadataValue<Ascii>,
    tenant: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Authorized {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.token.clone());
        if let Some(tenant) = &self.tenant {
            request.metadata_mut().insert("x-drover-tenant", tenant.clone());
        }
        Ok(request)
    }
}

/// A client of a Drover; cheap to clone.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    authorized: Authorized,
}

impl Client {
    /// Connects to the listener `grpc`, with the secret of an API key that has the scopes `api:read` or `api:write`, or the administrator's token.
    ///
    /// # Errors
    /// [`Error::Connect`]; [`Error::Invalid`] for a token that can't be one. Whether it is right, the first call tells.
    pub async fn connect(address: &str, token: &str) -> Result<Self, Error> {
        let failed = |cause: String| Error::Connect { address: address.to_owned(), cause };
        let endpoint =
            Endpoint::from_shared(address.to_owned()).map_err(|error| failed(error.to_string()))?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .tcp_nodelay(true);
        let channel = endpoint.connect().await.map_err(|error| failed(causes(&error)))?;
        Self::over(channel, token)
    }

    /// Over a connection of one's own making, as for TLS to a proxy before the server.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a token that can't be one.
    pub fn over(channel: Channel, token: &str) -> Result<Self, Error> {
        let mut token: MetadataValue<Ascii> = format!("Bearer {token}")
            .parse()
            .map_err(|_| Error::Invalid("the token has characters that none has"))?;
        token.set_sensitive(true);
        Ok(Self { channel, authorized: Authorized { token, tenant: None } })
    }

    /// For another tenant than `default`; only with the administrator's token, since a key has its own.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an id that can't be one.
    pub fn for_tenant(mut self, tenant: &str) -> Result<Self, Error> {
        let tenant =
            tenant.parse().map_err(|_| Error::Invalid("the tenant's id has characters that none has"))?;
        self.authorized.tenant = Some(tenant);
        Ok(self)
    }

    fn connection(&self) -> Connection {
        InterceptedService::new(self.channel.clone(), self.authorized.clone())
    }

    /// `drover.devices.v1.Devices`.
    pub fn devices(&self) -> DevicesClient<Connection> {
        DevicesClient::new(self.connection())
    }

    /// `drover.provisioning.v1.Credentials`.
    pub fn credentials(&self) -> CredentialsClient<Connection> {
        CredentialsClient::new(self.connection())
    }

    /// `drover.stream.v1.Telemetry`.
    pub fn telemetry(&self) -> TelemetryClient<Connection> {
        TelemetryClient::new(self.connection()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// `drover.stream.v1.Publisher`.
    pub fn publisher(&self) -> PublisherClient<Connection> {
        PublisherClient::new(self.connection())
    }
}

/// An error with what is behind it: tonic's own says "transport error".
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
