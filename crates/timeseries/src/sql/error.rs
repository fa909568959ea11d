//! Why a query has no answer, in words for who wrote it: what is wrong, where, and what to do.

use drover_model::Kind;

use datafusion::common::Diagnostic;
use datafusion::error::DataFusionError;

use crate::StoreError;

/// A query that could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The text is no query, or asks for what is not there or not allowed.
    #[error("{0}")]
    Wrong(String),
    /// It needs more memory than a query may have.
    #[error(
        "the query needs more than its {megabytes} MB of memory; narrow it by device, key or ts, or group by less"
    )]
    Memory {
        /// The bound.
        megabytes: usize,
    },
    /// It took longer than it may.
    #[error("the query took longer than {seconds} s; narrow it by device, key or ts")]
    Timeout {
        /// The bound.
        seconds: u64,
    },
    /// The answer has too many rows.
    #[error("the answer has more than {rows} rows; add LIMIT, or aggregate")]
    Rows {
        /// The bound.
        rows: u64,
    },
    /// As many queries run as may, and none ended in time.
    #[error("too many queries are running; try again in a moment")]
    Busy,
    /// Files could not be read, and the form of the answer has no place to say so.
    #[error(
        "these files can't be read, and the answer would lack their points: {0}; ask for JSON to get the rest"
    )]
    Incomplete(String),
    /// A table could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A table of another service could not be read.
    #[error("{0}")]
    Unavailable(String),
    /// A fault of ours.
    #[error("the query failed: {0}")]
    Internal(String),
}

impl QueryError {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Wrong(_) => Kind::Invalid,
            Self::Memory { .. } | Self::Rows { .. } | Self::Busy => Kind::Exhausted,
            Self::Timeout { .. } => Kind::Timeout,
            Self::Incomplete(_) | Self::Unavailable(_) => Kind::Unavailable,
            Self::Store(error) => error.kind(),
            Self::Internal(_) => Kind::Internal,
        }
    }

    /// What DataFusion says, in our words; `megabytes` is what the query may have.
    pub(crate) fn of(error: &DataFusionError, megabytes: usize) -> Self {
        let root = error.find_root();
        match root {
            DataFusionError::ResourcesExhausted(_) => Self::Memory { megabytes },
            DataFusionError::External(source) => match source.downcast_ref::<QueryError>() {
                Some(Self::Unavailable(reason)) => Self::Unavailable(reason.clone()),
                _ => Self::Internal(source.to_string()),
            },
            DataFusionError::Internal(_)
            | DataFusionError::IoError(_)
            | DataFusionError::ExecutionJoin(_) => Self::Internal(root.strip_backtrace()),
            _ => Self::Wrong(sentence(error)),
        }
    }
}

/// The message with its place, where one is known.
fn sentence(error: &DataFusionError) -> String {
    let Some(Diagnostic { message, span, notes, helps, .. }) = error.diagnostic() else {
        return plain(&error.find_root().message());
    };
    let mut text = span
        .map_or_else(String::new, |span| format!("line {}, column {}: ", span.start.line, span.start.column));
    text += message;
    for more in notes.iter().map(|note| &note.message).chain(helps.iter().map(|help| &help.message)) {
        text += "; ";
        text += more;
    }
    plain(&text)
}

/// Without what only its authors understand.
fn plain(text: &str) -> String {
    let text = text.split("\n\nbacktrace:").next().unwrap_or_default();
    let text = text.strip_prefix("ParserError(\"").and_then(|text| text.strip_suffix("\")")).unwrap_or(text);
    let text = text.replace("\\\"", "\"").replace("drover.tenant.", "");
    match text.split_once(" at Line: ") {
        Some((what, place)) => format!("line {}: {what}", place.replace("Column: ", "column ")),
        None => text,
    }
}
