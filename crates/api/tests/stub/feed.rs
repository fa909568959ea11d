//! A feed with canned answers: what it was asked, an event, a gap, and then nothing more.

use drover_proto::stream::v1::feed_server::Feed;
use drover_proto::stream::v1::subscribe_response::Kind;
use drover_proto::stream::v1::*;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tonic::{Request, Response, Status};

use super::Stub;

#[tonic::async_trait]
impl Feed for Stub {
    type SubscribeStream = BoxStream<'static, Result<SubscribeResponse, Status>>;

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let tenant = drover_rpc::tenant(&request)?.to_string();
        let request = request.into_inner();
        if request.cursor == "wrong" {
            return Err(Status::invalid_argument("cursor is not one that this server gave out"));
        }
        let breaks_off = request.devices.iter().any(|device| device == "broken");
        let answers = answers(&tenant, &request).map(Ok);
        let last = Status::unavailable("the log is stopped");
        let end = if breaks_off { stream::iter([Err(last)]).boxed() } else { stream::pending().boxed() };
        Ok(Response::new(stream::iter(answers).chain(end).boxed()))
    }

    async fn acknowledge(
        &self,
        _: Request<AcknowledgeRequest>,
    ) -> Result<Response<AcknowledgeResponse>, Status> {
        Err(Status::unimplemented("REST has no groups"))
    }

    async fn list_groups(
        &self,
        _: Request<ListGroupsRequest>,
    ) -> Result<Response<ListGroupsResponse>, Status> {
        Err(Status::unimplemented("REST has no groups"))
    }

    async fn delete_group(
        &self,
        _: Request<DeleteGroupRequest>,
    ) -> Result<Response<DeleteGroupResponse>, Status> {
        Err(Status::unimplemented("REST has no groups"))
    }
}

fn answers(tenant: &str, request: &SubscribeRequest) -> impl Iterator<Item = SubscribeResponse> + use<> {
    let SubscribeRequest { cursor, devices, streams, keys, .. } = request;
    let asked = format!("{tenant} {cursor:?} {devices:?} {streams:?} {keys:?}");
    let values = [
        ("temp", value::Kind::Number(21.0)),
        ("on", value::Kind::Truth(true)),
        ("asked", value::Kind::Text(asked)),
    ];
    let measurement = Measurement {
        device: "pump.7".into(),
        ts_us: 1_500_999,
        flags: 1,
        values: values.map(|(key, kind)| (key.to_owned(), Value { kind: Some(kind) })).into(),
    };
    let event =
        DeviceEvent { device: "pump.7".into(), ts_us: 2_000_000, json: "{\n\"door\": \"open\"}".into() };
    let kinds = [
        Kind::Position(Position {}),
        Kind::Measurement(measurement),
        Kind::Event(event),
        Kind::Gap(Gap { frames: 7, until_us: 3_000_000 }),
    ];
    kinds
        .into_iter()
        .enumerate()
        .map(|(number, kind)| SubscribeResponse { cursor: number.to_string(), kind: Some(kind) })
}
