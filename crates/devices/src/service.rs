//! The gRPC service `drover.devices.v1.Devices`: each method decodes, calls, encodes; nothing else.

use drover_model::{Device, DeviceId};
use drover_proto::devices::v1 as pb;
use tonic::{Request, Response, Status};

use crate::error::Error;
use crate::registry::{Change, Registry};
use drover_rpc::Page;

/// The registry as its peers see it.
pub struct Service(pub Registry);

#[tonic::async_trait]
impl pb::devices_server::Devices for Service {
    async fn create_device(
        &self,
        request: Request<pb::CreateDeviceRequest>,
    ) -> Result<Response<pb::CreateDeviceResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        let pb::CreateDeviceRequest { id, profile, labels } = request.into_inner();
        let labels = labels.into_iter().collect();
        let device = self.0.create(&tenant, device_id(&id)?, &profile, labels).await?;
        Ok(Response::new(pb::CreateDeviceResponse { device: Some(encode(device)) }))
    }

    async fn get_device(
        &self,
        request: Request<pb::GetDeviceRequest>,
    ) -> Result<Response<pb::GetDeviceResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        let device = self.0.get(&tenant, device_id(&request.into_inner().id)?).await?;
        Ok(Response::new(pb::GetDeviceResponse { device: Some(encode(device)) }))
    }

    async fn list_devices(
        &self,
        request: Request<pb::ListDevicesRequest>,
    ) -> Result<Response<pb::ListDevicesResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        let pb::ListDevicesRequest { page_size, page_token, labels } = request.into_inner();
        let page = Page::parse(page_size, &page_token).map_err(Error::from)?;
        let labels = labels.into_iter().collect();
        let (devices, next_page_token) = self.0.list(&tenant, &labels, &page).await?;
        let devices = devices.into_iter().map(encode).collect();
        Ok(Response::new(pb::ListDevicesResponse { devices, next_page_token }))
    }

    async fn filter_devices(
        &self,
        request: Request<pb::FilterDevicesRequest>,
    ) -> Result<Response<pb::FilterDevicesResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        let ids = self.0.filter(&tenant, &request.into_inner().ids).await?;
        Ok(Response::new(pb::FilterDevicesResponse { ids }))
    }

    async fn update_device(
        &self,
        request: Request<pb::UpdateDeviceRequest>,
    ) -> Result<Response<pb::UpdateDeviceResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        let pb::UpdateDeviceRequest { id, profile, set_labels, remove_labels, version } =
            request.into_inner();
        let change = Change { profile, set_labels: set_labels.into_iter().collect(), remove_labels, version };
        let device = self.0.update(&tenant, device_id(&id)?, &change).await?;
        Ok(Response::new(pb::UpdateDeviceResponse { device: Some(encode(device)) }))
    }

    async fn delete_device(
        &self,
        request: Request<pb::DeleteDeviceRequest>,
    ) -> Result<Response<pb::DeleteDeviceResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        self.0.delete(&tenant, device_id(&request.into_inner().id)?).await?;
        Ok(Response::new(pb::DeleteDeviceResponse {}))
    }
}

fn device_id(text: &str) -> Result<DeviceId, Error> {
    Ok(DeviceId::parse(text)?)
}

fn encode(device: Device) -> pb::Device {
    pb::Device {
        id: device.id.to_string(),
        profile: device.profile,
        labels: device.labels.into_iter().collect(),
        created_us: device.created.as_micros(),
        version: device.version,
    }
}
