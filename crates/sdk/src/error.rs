//! Why a call failed.

use drover_model::Kind;
use tonic::{Code, Status};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none, or nobody answers there.
    #[error("can't connect to {address}: {cause}")]
    Connect {
        /// As it was given.
        address: String,
        /// What is wrong.
        cause: String,
    },
    /// Something that was given can't be sent, such as a token that is not ASCII.
    #[error("{0}")]
    Invalid(&'static str),
    /// The server refused, or could not answer.
    #[error("{}", .0.message())]
    Refused(#[from] Box<Status>),
    /// The answer is not what this version understands.
    #[error("the server's answer is not understood: {0}")]
    Answer(&'static str),
}

impl Error {
    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Connect { .. } => Kind::Unavailable,
            Self::Invalid(_) => Kind::Invalid,
            Self::Answer(_) => Kind::Internal,
            Self::Refused(status) => kind_of(status.code()),
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

fn kind_of(code: Code) -> Kind {
    match code {
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => Kind::Invalid,
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
