//! A stream service that only notes what is to be erased, for services that a test builds without it.

use std::sync::{Arc, Mutex, PoisonError};

use drover_proto::stream::v1::erasures_server::{Erasures, ErasuresServer};
use drover_proto::stream::v1::{EraseTelemetryRequest, EraseTelemetryResponse};
use tonic::{Request, Response, Status};

/// What was asked for. A clone is the same service.
#[derive(Debug, Clone, Default)]
pub struct Erased(Arc<Mutex<Asked>>);

#[derive(Debug, Default)]
struct Asked {
    /// `device@tenant key,key`.
    erased: Vec<String>,
    is_away: bool,
}

impl Erased {
    /// Every erasure as `device@tenant key,key`.
    pub fn asked(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).erased.clone()
    }

    /// Refuses from now on, or no longer.
    pub fn set_away(&self, is_away: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_away = is_away;
    }

    /// The gRPC service.
    pub fn service(&self) -> ErasuresServer<Self> {
        ErasuresServer::new(self.clone())
    }
}

#[tonic::async_trait]
impl Erasures for Erased {
    async fn erase_telemetry(
        &self,
        request: Request<EraseTelemetryRequest>,
    ) -> Result<Response<EraseTelemetryResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        let EraseTelemetryRequest { device, keys } = request.into_inner();
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.is_away {
            return Err(Status::unavailable("the log is away"));
        }
        asked.erased.push(format!("{device}@{tenant} {}", keys.join(",")));
        Ok(Response::new(EraseTelemetryResponse {}))
    }
}
