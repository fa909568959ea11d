//! Sessions of which little is looked at: they stay as they were saved until something happens to them, or they are wanted.

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message as _;

use super::{RecoveredSession, Session};

/// A live session. Nothing happens to most of them, so they wait as they were saved, in a fifth of the room.
pub(super) enum Known {
    Saved { tenant: Arc<str>, state: Box<[u8]> },
    Open(Box<Session>),
}

impl Known {
    pub(super) fn of(session: Session) -> Self {
        match session {
            Session { saved: true, tenant, state, .. } => {
                Self::Saved { tenant, state: state.encode_to_vec().into() }
            }
            session => Self::Open(Box::new(session)),
        }
    }

    pub(super) fn open(&mut self) -> &mut Session {
        if let Self::Saved { tenant, state } = self {
            *self = Self::Open(Box::new(Session::of(tenant.clone(), state)));
        }
        match self {
            Self::Open(session) => session,
            Self::Saved { .. } => unreachable!("it was opened above"),
        }
    }

    pub(super) fn into_session(self) -> Session {
        match self {
            Self::Saved { tenant, state } => Session::of(tenant, &state),
            Self::Open(session) => *session,
        }
    }

    pub(super) fn is_of_client_of(&self, other: &Session) -> bool {
        match self {
            Self::Saved { tenant, state } => Session::of(tenant.clone(), state).client() == other.client(),
            Self::Open(session) => session.client() == other.client(),
        }
    }
}

/// Sessions in the order of their numbers, each made when it is asked for.
pub(crate) struct RecoveredSessions {
    pub(super) numbers: std::vec::IntoIter<u64>,
    pub(super) known: HashMap<u64, Known>,
    pub(super) now_ms: i64,
}

impl Iterator for RecoveredSessions {
    type Item = RecoveredSession;

    fn next(&mut self) -> Option<RecoveredSession> {
        let number = self.numbers.next()?;
        let known = self.known.remove(&number)?;
        Some(known.into_session().finish(number, self.now_ms))
    }
}
