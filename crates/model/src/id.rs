//! Names of tenants, devices, credentials, API keys, profiles and telemetry keys: checked once, at the edge, then cheap to clone.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest id or key, in bytes.
const MAX_ID_BYTES: usize = 128;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Nothing was given.
    #[error("{what} is empty; use 1 to 128 of A-Z a-z 0-9 _ - . :")]
    Empty { what: &'static str },
    /// More than 128 bytes.
    #[error("{what} has {length} bytes; at most 128 are allowed")]
    TooLong { what: &'static str, length: usize },
    /// A character outside the alphabet, or `.` or `:` in first place.
    #[error(
        "{what} has the character {found:?} at position {position}; use A-Z a-z 0-9 _ - first, then also . :{more}"
    )]
    Character { what: &'static str, found: char, position: usize, more: &'static str },
}

fn check(text: &str, what: &'static str, slash: bool) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty { what });
    }
    if text.len() > MAX_ID_BYTES {
        return Err(InvalidId::TooLong { what, length: text.len() });
    }
    let legal = |position: usize, byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'_' | b'-')
            || (position > 0 && (matches!(byte, b'.' | b':') || (slash && byte == b'/')))
    };
    match text.bytes().enumerate().find(|&(position, byte)| !legal(position, byte)) {
        None => Ok(()),
        Some((position, _)) => {
            let found = text.get(position..).and_then(|rest| rest.chars().next()).unwrap_or('?');
            Err(InvalidId::Character { what, found, position, more: if slash { " /" } else { "" } })
        }
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $slash:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks a text and keeps it.
            ///
            /// # Errors
            /// [`InvalidId`] names the first character that is not allowed.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                Self::check(text)?;
                Ok(Self(text.into()))
            }

            /// Checks a text without keeping it.
            ///
            /// # Errors
            /// As [`Self::parse`].
            pub fn check(text: &str) -> Result<(), InvalidId> {
                check(text, $what, $slash)
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(de::Error::custom)
            }
        }
    };
}

id!(
    /// Name of a tenant. Only a name: [`crate::Tenant`] is the proof that a caller belongs to it.
    TenantId, "tenant id", false
);
id!(
    /// Name of a device within its tenant.
    DeviceId, "device id", false
);
id!(
    /// Name of a credential within its device.
    CredentialId, "credential id", false
);
id!(
    /// Name of an API key within its tenant.
    ApiKeyId, "API key id", false
);
id!(
    /// Name of a group of readers that follow a tenant's feed, within the tenant.
    FeedGroupId, "group", false
);
id!(
    /// Name of a profile: so far only a name that devices of a kind have in common.
    ProfileId, "profile", false
);
id!(
    /// Name of a measured quantity; nested JSON objects become keys joined by `.`.
    TelemetryKey, "telemetry key", true
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_letters_digits_and_inner_punctuation() {
        for good in ["a", "_x", "-1", "plant:7.b-c_d", "A0"] {
            assert_eq!(DeviceId::parse(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn an_id_names_the_character_that_is_not_allowed() {
        let error = DeviceId::parse("pump/7").unwrap_err().to_string();
        assert!(error.contains("'/'") && error.contains("position 4"), "{error}");
        assert!(DeviceId::parse(".a").is_err());
        assert!(DeviceId::parse("ä").unwrap_err().to_string().contains('ä'));
        assert!(DeviceId::parse("").is_err());
        assert!(DeviceId::parse(&"a".repeat(129)).is_err());
        assert!(DeviceId::parse(&"a".repeat(128)).is_ok());
    }

    #[test]
    fn a_key_may_have_slashes_but_not_first() {
        assert!(TelemetryKey::parse("room/1.temp").is_ok());
        assert!(TelemetryKey::parse("/room").is_err());
    }
}
