//! `GET /v1/devices/{id}/telemetry`.

use std::time::Duration;

use axum::extract::State;
use drover_model::{DeviceId, TelemetryKey, Timestamp};
use drover_proto::devices::v1::GetDeviceRequest;
use drover_proto::stream::v1 as pb;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};

use super::Sample;
use crate::Shared;
use crate::auth::Caller;
use crate::error::{PROBLEM_JSON, Problem};
use crate::extract::{Json, Pairs, Path, Query, ReadQuery};

/// Most keys of one call.
const MAX_KEYS: usize = 256;
/// Most samples of one key.
const MAX_LIMIT: u32 = 100_000;
/// How far back a range goes that names no start.
const DEFAULT_RANGE: Duration = Duration::from_secs(3_600);
/// How far ahead a range goes that names no end: clocks of devices may be fast.
const AHEAD: Duration = Duration::from_secs(86_400);

/// Points of one device in a range of time.
#[derive(Debug, Serialize, ToSchema)]
pub struct Range {
    /// Samples by key, ascending by time.
    #[schema(value_type = HashMap<String, Vec<Sample>>, example = json!({"temp": [{"ts": 1_795_978_800_000_i64, "value": 21.5}]}))]
    pub series: Series,
    /// Names of the parts that could not be read; absent when the answer is whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub incomplete: Vec<String>,
    /// Give it as `page_token`, and the other parameters as before, to get what is left, which is older for each key; absent when
    /// nothing is.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required = false)]
    pub next_page_token: String,
}

/// Samples by key.
#[derive(Debug)]
pub struct Series(Vec<(String, Vec<Sample>)>);

impl Serialize for Series {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, samples) in &self.0 {
            map.serialize_entry(key, samples)?;
        }
        map.end()
    }
}

/// What becomes of the points of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Aggregation {
    Avg,
    Min,
    Max,
    Sum,
    Count,
    First,
    Last,
}

/// Which points are wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RangeQuery {
    /// Keys, separated by commas; all when absent.
    #[param(value_type = String, required = false, example = "temp,rpm")]
    pub keys: Vec<TelemetryKey>,
    /// Start, inclusive: RFC 3339; a date, which is its midnight in UTC; or milliseconds since 1970. The `+` of an offset is `%2B` in
    /// a query; one that became a space is understood. One hour before `to`, or before now, when absent.
    #[param(value_type = String, required = false, example = "2026-11-24T19:00:00Z")]
    pub from: Option<Timestamp>,
    /// End, exclusive, written as `from`. A day ahead of now when absent, for devices whose clock is fast.
    #[param(value_type = String, required = false)]
    pub to: Option<Timestamp>,
    /// Aggregate over intervals of this length: a number with `ms`, `s`, `m`, `h` or `d`.
    #[param(value_type = String, required = false, example = "5m")]
    pub interval: Option<Duration>,
    /// How to aggregate; `avg` when absent. Needs `interval`.
    #[param(inline, value_type = Aggregation, required = false)]
    pub agg: Option<Aggregation>,
    /// Most samples of each key: the newest ones. An answer has about 100,000 in all, or 4 MB.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 100_000, default = 10_000)]
    pub limit: Option<u32>,
    /// `next_page_token` of the answer before, whose range counts.
    #[param(required = false)]
    pub page_token: String,
}

impl ReadQuery for RangeQuery {
    fn read(pairs: &Pairs) -> Result<Self, Problem> {
        let query = Self {
            keys: pairs.separated("keys", MAX_KEYS)?,
            from: pairs.time("from")?,
            to: pairs.time("to")?,
            interval: pairs.one("interval")?.map(parse_interval).transpose()?,
            agg: pairs.one("agg")?.map(parse_aggregation).transpose()?,
            limit: pairs.number("limit", MAX_LIMIT)?,
            page_token: pairs.text("page_token")?,
        };
        if query.agg.is_some() && query.interval.is_none() {
            return Err(Problem::field("agg", "needs interval, for instance interval=5m"));
        }
        Ok(query)
    }
}

impl RangeQuery {
    fn into_request(self, device: &DeviceId, now: Timestamp) -> Result<pb::RangeRequest, Problem> {
        let from = self.from.unwrap_or_else(|| self.to.unwrap_or(now).minus(DEFAULT_RANGE));
        let to = self.to.unwrap_or_else(|| now.max(from).plus(AHEAD));
        if from >= to {
            return Err(Problem::field("from", "is not before to"));
        }
        let micros = |interval: Duration| i64::try_from(interval.as_micros()).unwrap_or(i64::MAX);
        Ok(pb::RangeRequest {
            device: device.to_string(),
            keys: self.keys.iter().map(TelemetryKey::to_string).collect(),
            from_us: from.as_micros(),
            to_us: to.as_micros(),
            interval_us: self.interval.map(micros).unwrap_or_default(),
            aggregation: self.interval.map_or(pb::Aggregation::Unspecified, |_| encode(self.agg)).into(),
            limit: self.limit.unwrap_or_default(),
            page_token: self.page_token,
        })
    }
}

/// Read a device's points
///
/// As they are, or aggregated over intervals of time. The newest come first, by pages; within a page times ascend.
#[utoipa::path(
    get, path = "/v1/devices/{id}/telemetry", tag = "Telemetry", operation_id = "getTelemetry",
    params(("id" = String, Path, description = "The device", example = "pump-7"), RangeQuery),
    responses(
        (status = 200, description = "Its points", body = Range),
        (status = 404, description = "There is no such device", body = Problem, content_type = PROBLEM_JSON),
    ),
)]
pub async fn range(
    State(api): Shared,
    Caller(tenant): Caller,
    Path(id): Path<DeviceId>,
    Query(query): Query<RangeQuery>,
) -> Result<Json<Range>, Problem> {
    let message = query.into_request(&id, api.clock.now())?;
    let known = drover_rpc::request(&tenant, GetDeviceRequest { id: id.to_string() });
    api.devices.clone().get_device(known).await?;
    let answer = api.telemetry.clone().range(drover_rpc::request(&tenant, message)).await;
    let answer = answer.map_err(|status| problem(&status))?.into_inner();
    let series = answer
        .series
        .into_iter()
        .map(|series| (series.key, series.samples.into_iter().map(Sample::from).collect()))
        .collect();
    let (incomplete, next_page_token) = (answer.incomplete, answer.next_page_token);
    Ok(Json(Range { series: Series(series), incomplete, next_page_token }))
}

fn problem(status: &tonic::Status) -> Problem {
    if status.message().starts_with("page_token") {
        return Problem::of_field("page_token", status);
    }
    status.clone().into()
}

fn parse_interval(text: &str) -> Result<Duration, Problem> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or_default();
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => 0,
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms)) {
        Some(ms) if ms > 0 => Ok(Duration::from_millis(ms)),
        _ => Err(Problem::field(
            "interval",
            "is not a length of time; use a number with ms, s, m, h or d, like 5m",
        )),
    }
}

fn parse_aggregation(text: &str) -> Result<Aggregation, Problem> {
    Ok(match text {
        "avg" => Aggregation::Avg,
        "min" => Aggregation::Min,
        "max" => Aggregation::Max,
        "sum" => Aggregation::Sum,
        "count" => Aggregation::Count,
        "first" => Aggregation::First,
        "last" => Aggregation::Last,
        _ => return Err(Problem::field("agg", "is not known; use avg, min, max, sum, count, first or last")),
    })
}

fn encode(aggregation: Option<Aggregation>) -> pb::Aggregation {
    match aggregation.unwrap_or(Aggregation::Avg) {
        Aggregation::Avg => pb::Aggregation::Avg,
        Aggregation::Min => pb::Aggregation::Min,
        Aggregation::Max => pb::Aggregation::Max,
        Aggregation::Sum => pb::Aggregation::Sum,
        Aggregation::Count => pb::Aggregation::Count,
        Aggregation::First => pb::Aggregation::First,
        Aggregation::Last => pb::Aggregation::Last,
    }
}
