//! Lists in pages: an opaque token says after which id the next page begins.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Items of a page when the caller doesn't say.
const DEFAULT_SIZE: u32 = 100;
/// Most items of a page, unless the list says otherwise.
const MAX_SIZE: u32 = 1_000;

/// What the items of a page may take, about; a single one may take more.
pub const PAGE_BYTES: usize = 4_000_000;

/// A page that can't be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// Above what the list allows.
    #[error("page_size is {size}; use 1 to {max}")]
    Size { size: u32, max: u32 },
    /// Not one of ours.
    #[error("page_token is not one that this list gave out; leave it out to begin anew")]
    Token,
}

/// What part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    size: usize,
    /// The last position of the page before: an id, or what else orders the list. Empty for the first page.
    pub after: String,
}

impl Page {
    /// Reads size and token as they stand in a request; 0 and the empty text mean the default.
    ///
    /// # Errors
    /// [`PageError`] names the field.
    pub fn parse(size: u32, token: &str) -> Result<Self, PageError> {
        Self::parse_up_to(MAX_SIZE, size, token)
    }

    /// As [`Self::parse`], with another bound of the size.
    ///
    /// # Errors
    /// [`PageError`] names the field.
    pub fn parse_up_to(max: u32, size: u32, token: &str) -> Result<Self, PageError> {
        let refused = PageError::Size { size, max };
        let size = match size {
            0 => DEFAULT_SIZE.min(max),
            _ if size <= max => size,
            _ => return Err(refused),
        };
        let after = String::from_utf8(position_of(token)?).map_err(|_| PageError::Token)?;
        if !after.is_empty() && drover_model::DeviceId::check(&after).is_err() {
            return Err(PageError::Token);
        }
        Ok(Self { size: usize::try_from(size).map_err(|_| refused)?, after })
    }

    /// The position after which the page begins, for lists that are not ordered by an id; `first` for the first page.
    ///
    /// # Errors
    /// [`PageError::Token`] when it is none.
    pub fn position<P>(&self, first: P, read: impl FnOnce(&str) -> Option<P>) -> Result<P, PageError> {
        if self.after.is_empty() { Ok(first) } else { read(&self.after).ok_or(PageError::Token) }
    }

    /// How many rows to read: one more than the page holds, to learn whether there is a next one.
    pub fn rows(&self) -> i64 {
        i64::try_from(self.size).unwrap_or(i64::MAX).saturating_add(1)
    }

    /// [`Self::rows`] for what does not come from a database.
    pub fn rows_usize(&self) -> usize {
        self.size.saturating_add(1)
    }

    /// How many of the first rows the page holds, given what each takes: at least one.
    pub fn fitting(&self, sizes: impl IntoIterator<Item = usize>) -> usize {
        fitting(sizes.into_iter().take(self.size))
    }

    /// Cuts off the row too many; the token of the next page, empty on the last one.
    pub fn cut<T>(&self, rows: &mut Vec<T>, position: impl Fn(&T) -> String) -> String {
        self.cut_or_end(rows, false, position)
    }

    /// As [`Self::cut`], where rows may be left that were not read.
    pub fn cut_or_end<T>(
        &self,
        rows: &mut Vec<T>,
        has_more: bool,
        position: impl Fn(&T) -> String,
    ) -> String {
        if rows.len() <= self.size && !has_more {
            return String::new();
        }
        rows.truncate(self.size);
        rows.last().map(|row| token(position(row))).unwrap_or_default()
    }
}

/// How many of the first items take no more than [`PAGE_BYTES`]: at least one, if there is one.
pub fn fitting(sizes: impl IntoIterator<Item = usize>) -> usize {
    let mut bytes: usize = 0;
    let mut count = 0;
    for size in sizes {
        bytes = bytes.saturating_add(size);
        if bytes > PAGE_BYTES && count > 0 {
            break;
        }
        count += 1;
    }
    count
}

/// A position as a token.
pub fn token(position: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(position)
}

/// The position that a token names.
///
/// # Errors
/// [`PageError::Token`] when it is none.
pub fn position_of(token: &str) -> Result<Vec<u8>, PageError> {
    URL_SAFE_NO_PAD.decode(token).map_err(|_| PageError::Token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_the_last_id_of_the_page_before() {
        let page = Page::parse(2, "").unwrap();
        let mut rows = vec!["a", "b", "c"];
        let token = page.cut(&mut rows, ToString::to_string);
        assert_eq!(rows, ["a", "b"]);
        assert_eq!(Page::parse(2, &token).unwrap().after, "b");
        assert_eq!(page.cut(&mut vec!["c"], ToString::to_string), "");
    }

    #[test]
    fn a_position_that_is_none_is_a_wrong_token() {
        let number = |text: &str| text.parse::<i64>().ok();
        assert_eq!(Page::parse(0, "").unwrap().position(i64::MAX, number), Ok(i64::MAX));
        let token = Page::parse(1, "").unwrap().cut(&mut vec![7, 8], ToString::to_string);
        assert_eq!(Page::parse(0, &token).unwrap().position(i64::MAX, number), Ok(7));
        let token = URL_SAFE_NO_PAD.encode("pump");
        assert_eq!(Page::parse(0, &token).unwrap().position(i64::MAX, number), Err(PageError::Token));
    }

    #[test]
    fn a_page_ends_by_bytes_too_and_has_at_least_one_item() {
        let page = Page::parse(3, "").unwrap();
        let third = PAGE_BYTES / 3;
        assert_eq!(page.fitting([third; 9]), 3);
        assert_eq!(page.fitting([PAGE_BYTES / 2; 9]), 2);
        assert_eq!(page.fitting([9 * PAGE_BYTES, 1]), 1);
        assert_eq!(page.fitting([]), 0);
        assert_eq!(page.cut_or_end(&mut vec!["a"], true, ToString::to_string), token("a"));
    }

    #[test]
    fn a_wrong_size_or_token_is_named() {
        assert_eq!(Page::parse(1_001, "").unwrap_err().to_string(), "page_size is 1001; use 1 to 1000");
        assert!(Page::parse_up_to(10_000, 1_001, "").is_ok());
        for token in ["%", "AA", "ICA"] {
            assert!(Page::parse(0, token).unwrap_err().to_string().contains("page_token"), "{token}");
        }
    }
}
