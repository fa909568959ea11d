//! What an API key may be used for.

use std::fmt;

const PUBLISH: &str = "mqtt:publish:";
const SUBSCRIBE: &str = "mqtt:subscribe:";
const READ: &str = "api:read";
const WRITE: &str = "api:write";

/// One thing that an application may do. A key has a list of them; what none of them allows is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Publish to topics that the filter matches: `mqtt:publish:<filter>`.
    Publish(Box<str>),
    /// Subscribe to filters that lie within this one: `mqtt:subscribe:<filter>`.
    Subscribe(Box<str>),
    /// Read by REST: `api:read`.
    Read,
    /// Change by REST: `api:write`.
    Write,
}

/// Not a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no scope; use {PUBLISH}<topic filter>, {SUBSCRIBE}<topic filter>, {READ} or {WRITE}, for instance {SUBSCRIBE}dev/+/#"
)]
pub struct InvalidScope(pub String);

impl Scope {
    /// Reads what [`fmt::Display`] writes. The syntax of topic filters is MQTT's, and is not looked at here.
    ///
    /// # Errors
    /// [`InvalidScope`] says what there is.
    pub fn parse(text: &str) -> Result<Self, InvalidScope> {
        let filter = |prefix| text.strip_prefix(prefix).filter(|filter: &&str| !filter.is_empty());
        match text {
            READ => Ok(Self::Read),
            WRITE => Ok(Self::Write),
            _ => filter(PUBLISH)
                .map(|filter| Self::Publish(filter.into()))
                .or_else(|| filter(SUBSCRIBE).map(|filter| Self::Subscribe(filter.into())))
                .ok_or_else(|| InvalidScope(text.to_owned())),
        }
    }

    /// The topic filter of a scope of MQTT.
    pub fn filter(&self) -> Option<&str> {
        match self {
            Self::Publish(filter) | Self::Subscribe(filter) => Some(filter),
            Self::Read | Self::Write => None,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish(filter) => write!(f, "{PUBLISH}{filter}"),
            Self::Subscribe(filter) => write!(f, "{SUBSCRIBE}{filter}"),
            Self::Read => f.write_str(READ),
            Self::Write => f.write_str(WRITE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_written_as_it_is_read() {
        for text in ["mqtt:publish:#", "mqtt:subscribe:dev/+/a:b", "api:read", "api:write"] {
            assert_eq!(Scope::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_scope_is_told_what_there_is() {
        for text in ["", "mqtt", "mqtt:publish", "mqtt:publish:", "api:reads", "API:READ", "mqtt:read:#"] {
            let error = Scope::parse(text).unwrap_err().to_string();
            assert!(error.contains("mqtt:subscribe:dev/+/#"), "{error}");
        }
    }
}
