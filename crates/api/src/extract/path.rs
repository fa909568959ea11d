//! Path parameters.

use axum::extract::path::{ErrorKind, FailedToDeserializePathParams};
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path as AxumPath, RawPathParams};
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::error::Problem;

/// Path parameters, already checked.
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match AxumPath::<T>::from_request_parts(parts, state).await {
            Ok(AxumPath(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => {
                let names = RawPathParams::from_request_parts(parts, state).await;
                let first = names.as_ref().ok().and_then(|names| names.iter().next()).map(|(name, _)| name);
                Err(problem(error, first.unwrap_or("path")))
            }
            Err(error) => {
                tracing::error!("path parameters: {error}");
                Err(Problem::internal())
            }
        }
    }
}

/// A lone parameter is read without its name, so `first` stands in for it.
fn problem(error: FailedToDeserializePathParams, first: &str) -> Problem {
    match error.into_kind() {
        ErrorKind::DeserializeError { key, message, .. } => Problem::field(&key, message),
        ErrorKind::InvalidUtf8InPathParam { key } => Problem::field(&key, "is not UTF-8"),
        ErrorKind::Message(message) => Problem::field(first, message),
        other => {
            tracing::error!("path parameters: {other}");
            Problem::internal()
        }
    }
}
