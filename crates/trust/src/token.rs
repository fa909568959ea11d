//! Bearer secrets: how one is printed and what is kept of it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What is kept of a secret: its SHA-256. Secrets have 256 random bits, so a slow hash would add nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Hashes a secret.
    pub fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// A hash that was kept.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash, to be kept.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether the presented secret is the hashed one, in time that does not depend on where they differ.
    pub fn matches(&self, presented: &[u8]) -> bool {
        self.0.ct_eq(&Self::of(presented).0).into()
    }
}

impl std::fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

/// The printable form of 32 random bytes: `drv_` and unpadded base64url, 47 characters.
pub fn token_from(bytes: [u8; 32]) -> String {
    format!("drv_{}", URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_matches_its_secret_and_no_other() {
        let hash = TokenHash::of(b"drv_secret");
        assert!(hash.matches(b"drv_secret"));
        assert!(!hash.matches(b"drv_secreT"));
        assert!(!hash.matches(b""));
        assert!(TokenHash::from_bytes(*hash.as_bytes()).matches(b"drv_secret"));
    }

    #[test]
    fn a_token_is_printable_and_distinct_per_input() {
        let token = token_from([0xff; 32]);
        assert_eq!(token.len(), 47);
        assert!(token.starts_with("drv_") && token.bytes().all(|b| b.is_ascii_graphic()));
        assert_ne!(token, token_from([0xfe; 32]));
    }

    #[test]
    fn a_hash_does_not_show_itself_in_logs() {
        assert_eq!(format!("{:?}", TokenHash::of(b"x")), "TokenHash(..)");
    }
}
