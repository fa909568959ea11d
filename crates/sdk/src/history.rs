//! Reading: newest values, ranges, SQL.

use std::collections::BTreeMap;

use bytes::Bytes;
use drover_model::{Timestamp, Value};
use drover_proto::stream::v1 as proto;
use drover_proto::stream::v1::value::Kind;
use futures_util::{Stream, TryStreamExt};

use crate::{Client, Error};

pub use proto::Aggregation;

/// One measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// When; of an aggregate, the start of its interval.
    pub time: Timestamp,
    /// What.
    pub value: Value,
}

/// Which points of a device; the default is all of them, as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Empty means all.
    pub keys: Vec<String>,
    /// Inclusive.
    pub from: Timestamp,
    /// Exclusive.
    pub to: Timestamp,
    /// Length of the intervals over which to aggregate, in microseconds, and how; none means points as they are.
    pub aggregate: Option<(i64, Aggregation)>,
}

impl Default for Range {
    fn default() -> Self {
        Self { keys: Vec::new(), from: Timestamp::MIN, to: Timestamp::MAX, aggregate: None }
    }
}

impl Client {
    /// The newest value of each key of a device.
    ///
    /// # Errors
    /// [`Error::Refused`], as when the server does not answer.
    pub async fn latest(&self, device: &str) -> Result<BTreeMap<String, Sample>, Error> {
        let mut latest = BTreeMap::new();
        let mut page_token = String::new();
        loop {
            let request = proto::LatestRequest { device: device.to_owned(), page_token };
            let answer = self.telemetry().latest(request).await?.into_inner();
            for proto::LatestValue { key, sample } in answer.values {
                latest.insert(key, read(sample.unwrap_or_default())?);
            }
            if answer.next_page_token.is_empty() {
                return Ok(latest);
            }
            page_token = answer.next_page_token;
        }
    }

    /// A device's points in a range of time, by key, ascending by time. All of them are kept in memory.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::Answer`] when the server could read only a part.
    pub async fn range(&self, device: &str, range: &Range) -> Result<BTreeMap<String, Vec<Sample>>, Error> {
        let (interval_us, aggregation) = range.aggregate.unwrap_or((0, Aggregation::Unspecified));
        let mut request = proto::RangeRequest {
            device: device.to_owned(),
            keys: range.keys.clone(),
            from_us: range.from.as_micros(),
            to_us: range.to.as_micros(),
            interval_us,
            aggregation: aggregation.into(),
            limit: 0,
            page_token: String::new(),
        };
        let mut series: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        loop {
            let answer = self.telemetry().range(request.clone()).await?.into_inner();
            if !answer.incomplete.is_empty() {
                return Err(Error::Answer("a part of the history can't be read; the server's log names it"));
            }
            for proto::Series { key, samples } in answer.series {
                let mut samples = samples.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
                // Each page is older than the one before.
                let newer = series.entry(key).or_default();
                samples.append(newer);
                *newer = samples;
            }
            if answer.next_page_token.is_empty() {
                return Ok(series);
            }
            request.page_token = answer.next_page_token;
        }
    }

    /// The answer to a question in SQL as JSON, `{"columns":[{"name","type"}],"rows":[{column:value}]}`, in pieces as they come.
    ///
    /// # Errors
    /// [`Error::Refused`] when the question is wrong; later in the stream, when the answer breaks off.
    pub async fn query(&self, sql: &str) -> Result<impl Stream<Item = Result<Bytes, Error>>, Error> {
        let request = proto::QueryRequest {
            sql: sql.to_owned(),
            format: proto::QueryFormat::Json.into(),
            timeout_ms: 0,
        };
        let pieces = self.telemetry().query(request).await?.into_inner();
        Ok(pieces.map_ok(|answer| answer.piece).map_err(Error::from))
    }

    /// The rows of the answer to a question in SQL, each an object of its columns. All of them are kept in memory.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn rows(&self, sql: &str) -> Result<Vec<serde_json::Value>, Error> {
        let pieces = self.query(sql).await?;
        let text = pieces.try_fold(Vec::new(), async |mut text, piece: Bytes| {
            text.extend_from_slice(&piece);
            Ok(text)
        });
        let mut answer: serde_json::Value =
            serde_json::from_slice(&text.await?).map_err(|_| Error::Answer("it is not JSON"))?;
        match answer.get_mut("rows").map(serde_json::Value::take) {
            Some(serde_json::Value::Array(rows)) => Ok(rows),
            _ => Err(Error::Answer("it has no rows")),
        }
    }
}

fn read(sample: proto::Sample) -> Result<Sample, Error> {
    let kind = sample.value.and_then(|value| value.kind);
    let value = match kind.ok_or(Error::Answer("a sample has no value"))? {
        Kind::Number(number) => Value::Number(number),
        Kind::Truth(truth) => Value::Bool(truth),
        Kind::Text(text) => Value::Text(text.into()),
    };
    Ok(Sample { time: Timestamp::from_micros(sample.ts_us), value })
}
