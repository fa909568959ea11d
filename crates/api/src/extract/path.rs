//! Path parameters.

use axum::extract::path::{ErrorKind, FailedToDeserializePathParams};
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path as AxumPath};
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
            Err(PathRejection::FailedToDeserializePathParams(error)) => Err(problem(error)),
            Err(error) => {
                tracing::error!("path parameters: {error}");
                Err(Problem::internal())
            }
        }
    }
}

fn problem(error: FailedToDeserializePathParams) -> Problem {
    match error.into_kind() {
        ErrorKind::DeserializeError { key, message, .. } => Problem::field(&key, message),
        ErrorKind::InvalidUtf8InPathParam { key } => Problem::field(&key, "is not UTF-8"),
        ErrorKind::Message(message) => Problem::field("path", message),
        other => {
            tracing::error!("path parameters: {other}");
            Problem::internal()
        }
    }
}
