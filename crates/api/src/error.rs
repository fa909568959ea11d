//! Problems as RFC 9457 writes them, and the one mapping of error kinds to HTTP.

use axum::response::{IntoResponse, Response};
use drover_model::Kind;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

/// Media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Why a request failed (RFC 9457).
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({
    "type": "/docs#problem-invalid", "title": "The request is not valid", "status": 400,
    "detail": "page_size: 5000 is out of range; use 1 to 1000",
    "errors": [{"field": "page_size", "detail": "5000 is out of range; use 1 to 1000"}]
}))]
pub struct Problem {
    /// What sort of problem this is: a place in the documentation, the same for every problem of the sort.
    #[serde(rename = "type")]
    #[schema(example = "/docs#problem-invalid")]
    pub kind: String,
    /// The sort in words.
    pub title: &'static str,
    /// The HTTP status code.
    pub status: u16,
    /// What went wrong this time, and what to do.
    pub detail: String,
    /// The fields of the request that are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
}

/// A field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Name of the query parameter, path parameter, header or JSON member.
    #[schema(example = "labels.site")]
    pub field: String,
    /// What is wrong with it, and what would be right.
    pub detail: String,
}

/// Every sort of problem: name in the type, title, status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    Invalid,
    Unauthenticated,
    Denied,
    NotFound,
    MethodNotAllowed,
    Exists,
    VersionMismatch,
    Stalled,
    TooLarge,
    UnsupportedMediaType,
    Exhausted,
    Internal,
    Unavailable,
    Timeout,
}

impl Sort {
    const fn parts(self) -> (&'static str, &'static str, StatusCode) {
        match self {
            Self::Invalid => ("invalid", "The request is not valid", StatusCode::BAD_REQUEST),
            Self::Unauthenticated => {
                ("unauthenticated", "Who is calling is not known", StatusCode::UNAUTHORIZED)
            }
            Self::Denied => ("denied", "The caller may not do this", StatusCode::FORBIDDEN),
            Self::NotFound => ("not-found", "There is no such thing", StatusCode::NOT_FOUND),
            Self::MethodNotAllowed => {
                ("method-not-allowed", "The path has no such method", StatusCode::METHOD_NOT_ALLOWED)
            }
            Self::Exists => ("exists", "It exists already", StatusCode::CONFLICT),
            Self::VersionMismatch => {
                ("version-mismatch", "It changed since it was read", StatusCode::PRECONDITION_FAILED)
            }
            Self::Stalled => ("stalled", "The request stopped in its middle", StatusCode::REQUEST_TIMEOUT),
            Self::TooLarge => ("too-large", "The request is too large", StatusCode::PAYLOAD_TOO_LARGE),
            Self::UnsupportedMediaType => {
                ("media-type", "The media type is not supported", StatusCode::UNSUPPORTED_MEDIA_TYPE)
            }
            Self::Exhausted => ("exhausted", "A bound is reached", StatusCode::TOO_MANY_REQUESTS),
            Self::Internal => ("internal", "A fault of the server", StatusCode::INTERNAL_SERVER_ERROR),
            Self::Unavailable => ("unavailable", "Not available now", StatusCode::SERVICE_UNAVAILABLE),
            Self::Timeout => ("timeout", "No answer in time", StatusCode::GATEWAY_TIMEOUT),
        }
    }

    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Invalid => Self::Invalid,
            Kind::Unauthenticated => Self::Unauthenticated,
            Kind::Denied => Self::Denied,
            Kind::NotFound => Self::NotFound,
            Kind::Exists => Self::Exists,
            Kind::Conflict => Self::VersionMismatch,
            Kind::Exhausted => Self::Exhausted,
            Kind::Timeout => Self::Timeout,
            Kind::Unavailable => Self::Unavailable,
            Kind::Internal => Self::Internal,
        }
    }
}

impl Problem {
    pub fn new(sort: Sort, detail: impl Into<String>) -> Self {
        let (name, title, status) = sort.parts();
        let kind = format!("/docs#problem-{name}");
        Self { kind, title, status: status.as_u16(), detail: detail.into(), errors: Vec::new() }
    }

    /// A field is wrong.
    pub fn field(field: &str, detail: impl std::fmt::Display) -> Self {
        let mut problem = Self::new(Sort::Invalid, format!("{field}: {detail}"));
        problem.errors.push(FieldError { field: field.to_owned(), detail: detail.to_string() });
        problem
    }

    /// A service's refusal; where it calls the request invalid, `field` is what it must mean, since the rest was checked here.
    pub fn of_field(field: &str, status: &tonic::Status) -> Self {
        match drover_rpc::kind_of(status) {
            Kind::Invalid => {
                let message = status.message();
                let rest = message.strip_prefix(field);
                let rest = rest.and_then(|rest| rest.strip_prefix(": ").or(rest.strip_prefix(' ')));
                Self::field(field, rest.unwrap_or(message))
            }
            _ => status.clone().into(),
        }
    }

    /// A fault whose detail is in the log.
    pub fn internal() -> Self {
        Self::new(Sort::Internal, "the server failed; its log has the detail")
    }
}

impl From<tonic::Status> for Problem {
    fn from(status: tonic::Status) -> Self {
        let kind = drover_rpc::kind_of(&status);
        if kind == Kind::Internal {
            tracing::error!("a service failed: {status}");
            return Self::internal();
        }
        Self::new(Sort::of(kind), status.message())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, [(CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        let extra = match status {
            StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            StatusCode::SERVICE_UNAVAILABLE => Some((RETRY_AFTER, HeaderValue::from_static("1"))),
            _ => None,
        };
        response.headers_mut().extend(extra);
        response
    }
}
