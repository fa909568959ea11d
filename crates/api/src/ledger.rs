//! `GET /v1/ledger`.

use std::collections::BTreeMap;

use axum::extract::State;
use drover_proto::stream::v1::GetLedgerRequest;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Shared;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::Json;

/// The tenant's balance in messages: `accepted` = `stored` + `dead_lettered` + `pending`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ledger {
    /// Acknowledged, or taken without acknowledgement, and durable.
    #[schema(example = 1200)]
    pub accepted: u64,
    /// Readable.
    #[schema(example = 1198)]
    pub stored: u64,
    /// Not understood; kept with the reason.
    #[schema(example = 1)]
    pub dead_lettered: u64,
    /// Accepted and still to be understood.
    #[schema(example = 1)]
    pub pending: u64,
    /// Never accepted, by reason.
    #[schema(example = json!({"too_large": 2}))]
    pub refused: BTreeMap<String, u64>,
}

/// Read the ledger
///
/// What became of every message of the tenant. 503 while the server starts: until it has read what lay in its log, it does not know how
/// much is pending.
#[utoipa::path(
    get, path = "/v1/ledger", tag = "Balance", operation_id = "getLedger",
    responses((status = 200, description = "The balance", body = Ledger)),
)]
pub async fn get(State(api): Shared, Caller(tenant): Caller) -> Result<Json<Ledger>, Problem> {
    let request = drover_rpc::request(&tenant, GetLedgerRequest {});
    let ledger = api.telemetry.clone().get_ledger(request).await?.into_inner();
    Ok(Json(Ledger {
        accepted: ledger.accepted,
        stored: ledger.stored,
        dead_lettered: ledger.dead_lettered,
        pending: ledger.pending,
        refused: ledger.refused.into_iter().collect(),
    }))
}
