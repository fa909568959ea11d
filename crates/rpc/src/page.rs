//! Lists in pages: an opaque token says after which id the next page begins.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Items of a page when the caller doesn't say.
const DEFAULT_SIZE: u32 = 100;
/// Most items of a page.
const MAX_SIZE: u32 = 1_000;

/// A page that can't be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// Above 1000.
    #[error("page_size is {0}; use 1 to {MAX_SIZE}")]
    Size(u32),
    /// Not one of ours.
    #[error("page_token is not one that this list gave out; leave it out to begin anew")]
    Token,
}

/// What part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    size: usize,
    /// The last id of the page before; empty for the first page.
    pub after: String,
}

impl Page {
    /// Reads size and token as they stand in a request; 0 and the empty text mean the default.
    ///
    /// # Errors
    /// [`PageError`] names the field.
    pub fn parse(size: u32, token: &str) -> Result<Self, PageError> {
        let size = match size {
            0 => DEFAULT_SIZE,
            1..=MAX_SIZE => size,
            _ => return Err(PageError::Size(size)),
        };
        let after = URL_SAFE_NO_PAD.decode(token).map_err(|_| PageError::Token)?;
        let after = String::from_utf8(after).map_err(|_| PageError::Token)?;
        if !after.is_empty() && drover_model::DeviceId::check(&after).is_err() {
            return Err(PageError::Token);
        }
        Ok(Self { size: usize::try_from(size).map_err(|_| PageError::Size(size))?, after })
    }

    /// How many rows to read: one more than the page holds, to learn whether there is a next one.
    pub fn rows(&self) -> i64 {
        i64::try_from(self.size).unwrap_or(i64::MAX).saturating_add(1)
    }

    /// Cuts off the row too many; the token of the next page, empty on the last one.
    pub fn cut<T>(&self, rows: &mut Vec<T>, id: impl Fn(&T) -> &str) -> String {
        if rows.len() <= self.size {
            return String::new();
        }
        rows.truncate(self.size);
        rows.last().map(|row| URL_SAFE_NO_PAD.encode(id(row))).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_the_last_id_of_the_page_before() {
        let page = Page::parse(2, "").unwrap();
        let mut rows = vec!["a", "b", "c"];
        let token = page.cut(&mut rows, |row| row);
        assert_eq!(rows, ["a", "b"]);
        assert_eq!(Page::parse(2, &token).unwrap().after, "b");
        assert_eq!(page.cut(&mut vec!["c"], |row| row), "");
    }

    #[test]
    fn a_wrong_size_or_token_is_named() {
        assert!(Page::parse(1_001, "").unwrap_err().to_string().contains("page_size"));
        for token in ["%", "AA", "ICA"] {
            assert!(Page::parse(0, token).unwrap_err().to_string().contains("page_token"), "{token}");
        }
    }
}
