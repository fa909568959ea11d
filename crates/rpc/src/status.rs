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

/// The status of a failure of the database, or of the files beside it, of a kind. What it said stays in the log.
pub fn storage_status(kind: Kind, cause: impl std::fmt::Display) -> Status {
    match kind {
        Kind::Unavailable | Kind::Exhausted => {
            tracing::warn!("the storage refused: {cause}");
            let problem = if kind == Kind::Exhausted { "has no room" } else { "is not available" };
            status(Kind::Unavailable, format!("the storage {problem}; the server's log has the detail"))
        }
        _ => status(Kind::Internal, cause),
    }
}

/// The kind of a status.
pub fn kind_of(status: &Status) -> Kind {
    match status.code() {
        Code::InvalidArgument | Code::FailedPrecondition => Kind::Invalid,
        Code::Unauthenticated => Kind::Unauthenticated,
        Code::PermissionDenied => Kind::Denied,
        Code::NotFound => Kind::NotFound,
        Code::AlreadyExists => Kind::Exists,
        Code::Aborted => Kind::Conflict,
        Code::ResourceExhausted => Kind::Exhausted,
        Code::DeadlineExceeded => Kind::Timeout,
        Code::Unavailable | Code::Cancelled => Kind::Unavailable,
        // Out of range is what the library says of an answer that is larger than its caller takes: a fault of ours.
        Code::Ok
        | Code::Unknown
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::OutOfRange => Kind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_database_said_stays_in_the_log() {
        for (kind, code) in [
            (Kind::Unavailable, Code::Unavailable),
            (Kind::Exhausted, Code::Unavailable),
            (Kind::Exists, Code::Internal),
            (Kind::Internal, Code::Internal),
        ] {
            let status = storage_status(kind, "/var/lib/drover is full");
            assert_eq!(status.code(), code, "{kind:?}");
            assert!(!status.message().contains("/var/lib"), "{status}");
            assert!(status.message().contains("log has the detail"), "{status}");
        }
    }
}
