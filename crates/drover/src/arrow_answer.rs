//! The answer to a query in Arrow's streaming form, a batch at a time.

use std::pin::Pin;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamDecoder;
use arrow_schema::{ArrowError, SchemaRef};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde_json::json;

use crate::client::Client;
use crate::failure::{Failure, Outcome};

const FORM: &str = "application/vnd.apache.arrow.stream";

/// An answer as it comes; only a piece of it is in memory.
pub struct ArrowAnswer {
    pieces: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>>>>,
    rest: arrow_buffer::Buffer,
    decoder: StreamDecoder,
}

impl ArrowAnswer {
    pub async fn ask(client: &Client, sql: &str) -> Outcome<Self> {
        let response = client.ask("/v1/query", &json!({ "sql": sql }), FORM).await?;
        let pieces = Box::pin(response.bytes_stream());
        Ok(Self { pieces, rest: Bytes::new().into(), decoder: StreamDecoder::new() })
    }

    /// The next rows; none when the answer has ended and is whole.
    pub async fn next(&mut self) -> Outcome<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.decoder.decode(&mut self.rest).map_err(|error| unreadable(&error))? {
                return Ok(Some(batch));
            }
            match self.pieces.next().await {
                Some(Ok(piece)) => self.rest = piece.into(),
                Some(Err(error)) => return Err(broken(&error)),
                None => {
                    self.decoder.finish().map_err(|error| unreadable(&error))?;
                    return Ok(None);
                }
            }
        }
    }

    /// The columns, once anything has come.
    pub fn schema(&self) -> Outcome<SchemaRef> {
        self.decoder.schema().ok_or_else(|| Failure::failed("the server's answer has no columns"))
    }
}

/// An answer that ended in its middle.
pub fn broken(error: &reqwest::Error) -> Failure {
    Failure::failed(format!("the answer broke off and is not whole; the server's log says why ({error})"))
}

fn unreadable(error: &ArrowError) -> Failure {
    Failure::failed(format!("the server's answer is not what a query has: {error}"))
}
