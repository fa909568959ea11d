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
                let names =
                    names.iter().flat_map(RawPathParams::iter).map(|(name, _)| name).collect::<Vec<_>>();
                Err(problem(error, &names))
            }
            Err(error) => {
                tracing::error!("path parameters: {error}");
                Err(Problem::internal())
            }
        }
    }
}

/// Parameters that are read by their position come without their name: it is the one that the message begins with, as in
/// "credential id has …", or else the first.
fn problem(error: FailedToDeserializePathParams, names: &[&str]) -> Problem {
    match error.into_kind() {
        ErrorKind::DeserializeError { key, message, .. } => Problem::field(&key, message),
        ErrorKind::InvalidUtf8InPathParam { key } => Problem::field(&key, "is not UTF-8"),
        ErrorKind::Message(message) => {
            let name = names.iter().find(|name| message.starts_with(**name)).or(names.first());
            Problem::field(name.unwrap_or(&"path"), message)
        }
        other => {
            tracing::error!("path parameters: {other}");
            Problem::internal()
        }
    }
}
