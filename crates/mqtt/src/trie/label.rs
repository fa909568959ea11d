//! The text of a node. Most are short, and stand where a pointer to a longer one would be.

use std::ops::Deref;

/// Bytes that fit beside their length.
const SHORT: usize = 14;

pub(super) enum Label {
    Short {
        length: u8,
        /// UTF-8 up to `length`.
        bytes: [u8; SHORT],
    },
    Long(Box<Box<str>>),
}

impl From<&str> for Label {
    fn from(text: &str) -> Self {
        let mut bytes = [0; SHORT];
        match (u8::try_from(text.len()), bytes.get_mut(..text.len())) {
            (Ok(length), Some(short)) => {
                short.copy_from_slice(text.as_bytes());
                Self::Short { length, bytes }
            }
            _ => Self::Long(Box::new(text.into())),
        }
    }
}

impl Deref for Label {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Short { length, bytes } => {
                let text = bytes.get(..usize::from(*length)).unwrap_or_default();
                str::from_utf8(text).unwrap_or_default()
            }
            Self::Long(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_any_length_is_kept() {
        for text in [
            "",
            "+",
            "site/12345/lin",
            "site/12345/line",
            &"ä".repeat(7),
            &"ä".repeat(8),
            &"a".repeat(70_000),
        ] {
            assert_eq!(&*Label::from(text), text);
        }
    }

    #[test]
    fn a_label_takes_two_words() {
        assert_eq!(size_of::<Label>(), 16);
    }
}
