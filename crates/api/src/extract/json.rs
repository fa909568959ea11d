//! JSON bodies in, JSON answers out.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::error::Category;

use crate::error::{FieldError, Problem, Sort};

/// Largest body of a request.
pub const MAX_BODY_BYTES: usize = 1 << 20;

/// A body whose end did not come; one that is too long is refused before it gets here.
pub fn unreadable() -> Problem {
    Problem::new(Sort::Invalid, "the body could not be read to its end")
}

/// A JSON body.
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        check_media_type(&request)?;
        let bytes = Bytes::from_request(request, state).await.map_err(|_| unreadable())?;
        parse(&bytes).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => {
                tracing::error!("an answer could not be written as JSON: {error}");
                Problem::internal().into_response()
            }
        }
    }
}

/// A member that may be absent but not null.
#[derive(Debug, Default)]
pub struct Replace;

impl Replace {
    pub fn with<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        T::deserialize(deserializer).map(Some)
    }
}

fn check_media_type(request: &Request) -> Result<(), Problem> {
    let header =
        request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media_type == "application/json" || media_type == "application/merge-patch+json" {
        return Ok(());
    }
    let found = if header.is_empty() { "no Content-Type" } else { "another Content-Type" };
    let detail = format!("the request has {found}; send JSON with Content-Type: application/json");
    Err(Problem::new(Sort::UnsupportedMediaType, detail))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // The derived readers would take the members in a list, too.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::new(Sort::Invalid, "the body is not a JSON object, which begins with {"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        problem(&path, error.inner())
    })?;
    reader.end().map_err(|error| problem(".", &error))?;
    Ok(value)
}

fn problem(path: &str, error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or_default();
    let place = format!("line {}, column {}", error.line(), error.column());
    if error.classify() != Category::Data {
        return Problem::new(Sort::Invalid, format!("the body is not JSON: {message} ({place})"));
    }
    let mut problem =
        Problem::new(Sort::Invalid, format!("the body is not what this call takes: {message} ({place})"));
    let field = field_of(path, message);
    problem.errors.push(FieldError { field, detail: message.to_owned() });
    problem
}

/// The member that a message is about: where the reader stood, or the one that it found missing or unknown there.
fn field_of(path: &str, message: &str) -> String {
    let path = if path == "." { "" } else { path };
    let named = ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start))
        .and_then(|rest| rest.split('`').next());
    match named {
        None if path.is_empty() => "body".to_owned(),
        None => path.to_owned(),
        Some(name) if path.is_empty() || path == name => name.to_owned(),
        Some(name) if path.ends_with(&format!(".{name}")) => path.to_owned(),
        Some(name) => format!("{path}.{name}"),
    }
}
