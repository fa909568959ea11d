//! The gRPC service: each method decodes, calls, encodes.

use drover_model::FeedGroupId;
use drover_proto::stream::v1 as proto;
use drover_rpc::Page;
use futures_util::stream::BoxStream;
use tonic::{Request, Response, Status};

use super::Feed;
use super::follower::Answer;
use crate::error::Error;

#[tonic::async_trait]
impl proto::feed_server::Feed for Feed {
    type SubscribeStream = BoxStream<'static, Answer>;

    async fn subscribe(
        &self,
        request: Request<proto::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        Ok(Response::new(Self::subscribe(self, tenant, request.into_inner()).await?))
    }

    async fn acknowledge(
        &self,
        request: Request<proto::AcknowledgeRequest>,
    ) -> Result<Response<proto::AcknowledgeResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        Self::acknowledge(self, &tenant, request.into_inner()).await?;
        Ok(Response::new(proto::AcknowledgeResponse {}))
    }

    async fn list_groups(
        &self,
        request: Request<proto::ListGroupsRequest>,
    ) -> Result<Response<proto::ListGroupsResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        let proto::ListGroupsRequest { page_size, page_token } = request.into_inner();
        let page = Page::parse(page_size, &page_token).map_err(Error::from)?;
        let mut rows = self.store.groups(&tenant, &page).await?;
        let next_page_token = page.cut(&mut rows, |row| row.name.clone());
        let group = |row: crate::store::GroupRow| {
            let is_followed =
                FeedGroupId::parse(&row.name).is_ok_and(|group| self.members.is_followed(&tenant, &group));
            proto::FeedGroup { name: row.name, cursor: row.cursor, moved_us: row.moved_us, is_followed }
        };
        let groups = rows.into_iter().map(group).collect();
        Ok(Response::new(proto::ListGroupsResponse { groups, next_page_token }))
    }

    async fn delete_group(
        &self,
        request: Request<proto::DeleteGroupRequest>,
    ) -> Result<Response<proto::DeleteGroupResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        let group = FeedGroupId::parse(&request.get_ref().group).map_err(Error::from)?;
        self.store.delete_group(&tenant, &group).await?;
        self.members.end(&tenant, &group);
        Ok(Response::new(proto::DeleteGroupResponse {}))
    }
}
