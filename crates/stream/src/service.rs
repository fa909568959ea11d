//! The gRPC service: each method decodes, calls, encodes.

use std::time::Duration;

use drover_backbone::{partition_of, shard_of};
use drover_model::{DeviceId, TelemetryKey, Tenant, Timestamp, Value};
use drover_proto::stream::v1::telemetry_server::Telemetry;
use drover_proto::stream::v1::{self as proto, keyed_sample::Kind as ProtoKeyed, value::Kind as ProtoValue};
use drover_rpc::{Page, PageError};
use drover_timeseries::{
    Aggregation, Cursor, Engine, Format, MAX_LATEST_DEVICES, Query, QueryError, RangeQuery, Sample,
};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use tonic::{Request, Response, Status};

use crate::batch::DeadLetter;
use crate::error::Error;
use crate::ledger::Ledger;
use crate::store::Store;

/// How long a question waits for the end of a replay.
const REPLAY: Duration = Duration::from_secs(20);
/// Samples a key when the caller does not say, and at the most.
const DEFAULT_LIMIT: usize = 10_000;
const MAX_LIMIT: usize = 1_000_000;

pub(crate) struct Service {
    pub(crate) store: Store,
    pub(crate) points: drover_timeseries::Store,
    pub(crate) queries: Engine,
    pub(crate) ledger: Ledger,
    pub(crate) shards: u16,
}

impl Service {
    fn shard(&self, tenant: &Tenant, device: &DeviceId) -> u16 {
        shard_of(partition_of(tenant.as_str(), device.as_str()), self.shards).0
    }

    /// Waits until everything that lay in the log at the start is applied, not for ever.
    async fn caught_up(&self) -> Result<(), Error> {
        tokio::time::timeout(REPLAY, self.ledger.caught_up()).await.map_err(|_| Error::Starting)
    }
}

#[tonic::async_trait]
impl Telemetry for Service {
    type QueryStream = BoxStream<'static, Result<proto::QueryResponse, Status>>;

    async fn query(
        &self,
        request: Request<proto::QueryRequest>,
    ) -> Result<Response<Self::QueryStream>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        self.caught_up().await?;
        let request = request.into_inner();
        let format = match request.format() {
            proto::QueryFormat::Unspecified | proto::QueryFormat::Json => Format::Json,
            proto::QueryFormat::Csv => Format::Csv,
            proto::QueryFormat::Arrow => Format::Arrow,
        };
        let timeout = (request.timeout_ms > 0).then(|| Duration::from_millis(request.timeout_ms.into()));
        let query = Query { sql: request.sql, format, timeout };
        let engine = self.queries.clone();
        let answer = async move {
            let (first, rest) = engine.query(&tenant, query).await?;
            Ok::<_, QueryError>(stream::iter([Ok(first)]).chain(rest.into_stream()))
        };
        let pieces = stream::once(answer).try_flatten();
        let pieces = pieces.map_ok(|piece| proto::QueryResponse { piece });
        Ok(Response::new(pieces.map_err(|error| Error::from(error).into()).boxed()))
    }

    async fn range(
        &self,
        request: Request<proto::RangeRequest>,
    ) -> Result<Response<proto::RangeResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        self.caught_up().await?;
        let request = request.into_inner();
        let device = DeviceId::parse(&request.device).map_err(Error::from)?;
        let query = range_query(&request)?;
        let answer = self
            .points
            .range(self.shard(&tenant, &device), &tenant, &device, &query)
            .await
            .map_err(Error::from)?;
        let series = answer.series.into_iter().map(|(key, samples)| proto::Series {
            key: key.to_string(),
            samples: samples.into_iter().map(sample).collect(),
        });
        let next_page_token = answer.next.map(|next| drover_rpc::token(next.encode())).unwrap_or_default();
        let (series, incomplete) = (series.collect(), answer.incomplete);
        Ok(Response::new(proto::RangeResponse { series, incomplete, next_page_token }))
    }

    async fn latest(
        &self,
        request: Request<proto::LatestRequest>,
    ) -> Result<Response<proto::LatestResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        self.caught_up().await?;
        let device = DeviceId::parse(&request.get_ref().device).map_err(Error::from)?;
        let mut latest =
            self.points.latest(self.shard(&tenant, &device), &tenant, &device).await.map_err(Error::from)?;
        if let Some(last) = last_key(&request.get_ref().page_token)? {
            latest.retain(|key, _| *key > last);
        }
        let count = drover_rpc::fitting(latest.iter().map(|(key, sample)| size_of_latest(key, sample)));
        let last = latest.keys().take(count).next_back().filter(|_| count < latest.len());
        let next_page_token = last.map(|key| drover_rpc::token(key.as_str())).unwrap_or_default();
        let values = latest_values(latest.into_iter().take(count));
        Ok(Response::new(proto::LatestResponse { values, next_page_token }))
    }

    async fn list_latest(
        &self,
        request: Request<proto::ListLatestRequest>,
    ) -> Result<Response<proto::ListLatestResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        self.caught_up().await?;
        let proto::ListLatestRequest { page_size, page_token } = request.into_inner();
        let asked = Page::parse_up_to(MAX_LATEST_DEVICES, page_size, &page_token).map_err(Error::from)?;
        let after = (!asked.after.is_empty()).then_some(asked.after.as_str());
        let mut page =
            self.points.list_latest(&tenant, after, asked.rows_usize()).await.map_err(Error::from)?;
        let next_page_token =
            asked.cut_or_end(&mut page.devices, page.has_more, |(device, _)| device.to_string());
        let devices = page.devices.into_iter().map(|(device, samples)| proto::DeviceLatest {
            device: device.to_string(),
            samples: samples.into_iter().map(keyed_sample).collect(),
        });
        Ok(Response::new(proto::ListLatestResponse {
            devices: devices.collect(),
            next_page_token,
            keys: page.keys.iter().map(ToString::to_string).collect(),
        }))
    }

    async fn list_events(
        &self,
        request: Request<proto::ListEventsRequest>,
    ) -> Result<Response<proto::ListEventsResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        self.caught_up().await?;
        let request = request.into_inner();
        let device = DeviceId::parse(&request.device).map_err(Error::from)?;
        let page = Page::parse(request.page_size, &request.page_token).map_err(Error::from)?;
        let before = page.position(i64::MAX, |text| text.parse().ok()).map_err(Error::from)?;
        let (mut rows, has_more) = self.store.events(&tenant, &device, before, &page).await?;
        let next_page_token = page.cut_or_end(&mut rows, has_more, |row| row.seq.to_string());
        Ok(Response::new(proto::ListEventsResponse {
            events: rows
                .into_iter()
                .map(|row| proto::Event { ts_us: row.received_us, json: row.json })
                .collect(),
            next_page_token,
        }))
    }

    async fn list_dead_letters(
        &self,
        request: Request<proto::ListDeadLettersRequest>,
    ) -> Result<Response<proto::ListDeadLettersResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        let proto::ListDeadLettersRequest { page_size, page_token } = request.into_inner();
        let page = Page::parse(page_size, &page_token).map_err(Error::from)?;
        let before = page.position((i64::MAX, i64::MAX), dead_letter_position).map_err(Error::from)?;
        let (mut rows, has_more) = self.store.dead_letters(&tenant, before, &page).await?;
        let position = |last: &DeadLetter| format!("{}.{}", last.received_us, last.seq);
        let next_page_token = page.cut_or_end(&mut rows, has_more, position);
        let letters = rows.into_iter().map(|row| proto::DeadLetter {
            device: row.device,
            topic: row.topic,
            received_us: row.received_us,
            reason: row.reason,
            payload: row.payload.into(),
        });
        Ok(Response::new(proto::ListDeadLettersResponse { dead_letters: letters.collect(), next_page_token }))
    }

    async fn get_ledger(
        &self,
        request: Request<proto::GetLedgerRequest>,
    ) -> Result<Response<proto::GetLedgerResponse>, Status> {
        let tenant = drover_rpc::tenant(&request)?;
        let balance = self.ledger.balance(tenant.as_str()).ok_or(Error::Starting)?;
        Ok(Response::new(proto::GetLedgerResponse {
            accepted: balance.accepted,
            stored: balance.counts.stored,
            dead_lettered: balance.counts.dead_lettered,
            pending: balance.pending,
            refused: balance.counts.refused.into_iter().collect(),
        }))
    }
}

fn range_query(request: &proto::RangeRequest) -> Result<RangeQuery, Error> {
    let keys = request.keys.iter().map(|key| TelemetryKey::parse(key)).collect::<Result<_, _>>()?;
    let interval = match u64::try_from(request.interval_us) {
        Ok(0) => None,
        Ok(micros) => Some(Duration::from_micros(micros)),
        Err(_) => return Err(field("interval", "is negative")),
    };
    let limit = match request.limit as usize {
        0 => DEFAULT_LIMIT,
        limit if limit <= MAX_LIMIT => limit,
        _ => return Err(field("limit", "is above 1000000; ask for less, or for an interval")),
    };
    let aggregation = match request.aggregation() {
        proto::Aggregation::Unspecified => None,
        proto::Aggregation::Avg => Some(Aggregation::Avg),
        proto::Aggregation::Min => Some(Aggregation::Min),
        proto::Aggregation::Max => Some(Aggregation::Max),
        proto::Aggregation::Sum => Some(Aggregation::Sum),
        proto::Aggregation::Count => Some(Aggregation::Count),
        proto::Aggregation::Last => Some(Aggregation::Last),
        proto::Aggregation::First => Some(Aggregation::First),
    };
    if aggregation.is_some() && interval.is_none() {
        return Err(field("interval", "is needed with agg, for instance 5m"));
    }
    Ok(RangeQuery {
        keys,
        from: Timestamp::from_micros(request.from_us),
        to: Timestamp::from_micros(request.to_us),
        interval,
        aggregation,
        limit,
        resume: cursor(&request.page_token)?,
    })
}

fn cursor(token: &str) -> Result<Option<Cursor>, Error> {
    place(token, |bytes| Cursor::decode(&bytes))
}

/// The key after which a page of latest values begins.
fn last_key(token: &str) -> Result<Option<TelemetryKey>, Error> {
    place(token, |bytes| TelemetryKey::parse(&String::from_utf8(bytes).ok()?).ok())
}

/// The place that a token names, as `read` understands it; none for the first page.
fn place<T>(token: &str, read: impl FnOnce(Vec<u8>) -> Option<T>) -> Result<Option<T>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    Ok(Some(read(drover_rpc::position_of(token)?).ok_or(PageError::Token)?))
}

/// What a key's newest value takes in an answer, about.
fn size_of_latest(key: &TelemetryKey, sample: &Sample) -> usize {
    64 + key.as_str().len() + sample.value.borrowed().text_bytes()
}

fn field(field: &'static str, reason: &'static str) -> Error {
    Error::Field { field, reason }
}

fn dead_letter_position(token: &str) -> Option<(i64, i64)> {
    let (received, seq) = token.split_once('.')?;
    Some((received.parse().ok()?, seq.parse().ok()?))
}

fn latest_values(latest: impl IntoIterator<Item = (TelemetryKey, Sample)>) -> Vec<proto::LatestValue> {
    let value = |(key, value): (TelemetryKey, Sample)| proto::LatestValue {
        key: key.to_string(),
        sample: Some(sample(value)),
    };
    latest.into_iter().map(value).collect()
}

fn keyed_sample((key, sample): (u32, Sample)) -> proto::KeyedSample {
    let kind = match sample.value {
        Value::Number(number) => ProtoKeyed::Number(number),
        Value::Bool(truth) => ProtoKeyed::Truth(truth),
        Value::Text(text) => ProtoKeyed::Text(text.into()),
    };
    proto::KeyedSample {
        key,
        ts_us: sample.ts.as_micros(),
        flags: u32::from(sample.flags.0),
        kind: Some(kind),
    }
}

fn sample(sample: Sample) -> proto::Sample {
    let kind = match sample.value {
        Value::Number(number) => ProtoValue::Number(number),
        Value::Bool(truth) => ProtoValue::Truth(truth),
        Value::Text(text) => ProtoValue::Text(text.into()),
    };
    proto::Sample {
        ts_us: sample.ts.as_micros(),
        value: Some(proto::Value { kind: Some(kind) }),
        flags: u32::from(sample.flags.0),
    }
}
