//! Why a connection ends, and what the client is told of it.

use std::io;

use drover_gateway::AuthenticationError;
use drover_model::Kind;
use drover_mqtt_codec::{DecodeError, ReasonCode};

/// The end of a connection.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// The client said goodbye, perhaps with another expiry for its session; its will is dropped.
    #[error("disconnected by the client")]
    Disconnected { expiry_s: Option<u32> },
    /// The client said goodbye and asked for its will (MQTT 5, 3.14.2.1, code 0x04).
    #[error("disconnected by the client with its will")]
    DisconnectedWithWill { expiry_s: Option<u32> },
    /// The network connection closed.
    #[error("connection closed by the client")]
    Closed,
    /// The network connection failed.
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    /// Bytes that are no MQTT.
    #[error("{0}")]
    Malformed(#[from] DecodeError),
    /// The server ends it.
    #[error("{text}")]
    Refused { reason: ReasonCode, text: &'static str },
}

impl End {
    pub(crate) const fn refused(reason: ReasonCode, text: &'static str) -> Self {
        Self::Refused { reason, text }
    }

    /// What CONNACK or DISCONNECT says; `None` when nobody listens any more.
    pub(crate) const fn reason(&self) -> Option<ReasonCode> {
        match self {
            Self::Disconnected { .. } | Self::DisconnectedWithWill { .. } | Self::Closed | Self::Io(_) => {
                None
            }
            Self::Malformed(error) => Some(error.reason()),
            Self::Refused { reason, .. } => Some(*reason),
        }
    }

    /// Label of metrics, from a closed set.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Disconnected { .. } | Self::DisconnectedWithWill { .. } => "disconnected",
            Self::Closed | Self::Io(_) => "connection lost",
            Self::Malformed(error) => error.reason().name(),
            Self::Refused { reason, .. } => reason.name(),
        }
    }
}

impl From<AuthenticationError> for End {
    fn from(error: AuthenticationError) -> Self {
        let reason = reason_of(error.kind());
        match error {
            AuthenticationError::BadCredentials => Self::refused(reason, "unknown name or wrong token"),
            AuthenticationError::BackedOff => {
                Self::refused(reason, "too many failed attempts; try again later")
            }
            AuthenticationError::Unavailable => {
                Self::refused(reason, "credentials can't be checked at the moment; try again later")
            }
        }
    }
}

/// The reason code of CONNACK for a kind of failure: the one mapping of this protocol.
const fn reason_of(kind: Kind) -> ReasonCode {
    match kind {
        Kind::Invalid => ReasonCode::ProtocolError,
        Kind::Unauthenticated => ReasonCode::BadUserNameOrPassword,
        Kind::Denied => ReasonCode::NotAuthorized,
        Kind::Exhausted => ReasonCode::ConnectionRateExceeded,
        Kind::Timeout | Kind::Unavailable => ReasonCode::ServerUnavailable,
        Kind::NotFound | Kind::Exists | Kind::Conflict | Kind::Internal => ReasonCode::UnspecifiedError,
    }
}
