//! `Kind` to gRPC status and back: the one mapping of this protocol.

use drover_model::Kind;
use tonic::{Code, Status};

/// The status of a failure. The message of an internal failure stays in the log.
pub fn status(kind: Kind, message: impl std::fmt::Display) -> Status {
    let code = match kind {
        Kind::Invalid => Code::InvalidArgument,
        Kind::Unauthenticated => Code::Unauthenticated,
        Kind::Denied => Code::PermissionDenied,
        Kind::NotFound => Code::NotFound,
        Kind::Exists => Code::AlreadyExists,
        Kind::Conflict => Code::Aborted,
        Kind::Exhausted => Code::ResourceExhausted,
        Kind::Timeout => Code::DeadlineExceeded,
        Kind::Unavailable => Code::Unavailable,
        Kind::Internal => {
            tracing::error!("internal failure: {message}");
            return Status::internal("internal failure; the server's log has the detail");
        }
    };
    Status::new(code, message.to_string())
}

/// The kind of a status.
pub fn kind_of(status: &Status) -> Kind {
    match status.code() {
        Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition => Kind::Invalid,
        Code::Unauthenticated => Kind::Unauthenticated,
        Code::PermissionDenied => Kind::Denied,
        Code::NotFound => Kind::NotFound,
        Code::AlreadyExists => Kind::Exists,
        Code::Aborted => Kind::Conflict,
        Code::ResourceExhausted => Kind::Exhausted,
        Code::DeadlineExceeded => Kind::Timeout,
        Code::Unavailable | Code::Cancelled => Kind::Unavailable,
        Code::Ok | Code::Unknown | Code::Unimplemented | Code::Internal | Code::DataLoss => Kind::Internal,
    }
}
