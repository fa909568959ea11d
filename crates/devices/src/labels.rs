//! What a label may be. A name has no `:`, so that `name:value` in a filter reads in one way.

/// Most labels of a device.
pub const MAX_LABELS: usize = 64;
/// Longest name.
const MAX_NAME_BYTES: usize = 128;
/// Longest value.
const MAX_VALUE_BYTES: usize = 512;

/// Why a pair is not a label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLabel {
    #[error(
        "label name {name:?} is not allowed; use 1 to {MAX_NAME_BYTES} bytes without control characters and without ':'"
    )]
    Name { name: String },
    #[error(
        "the value of label {name:?} is not allowed; use at most {MAX_VALUE_BYTES} bytes without control characters"
    )]
    Value { name: String },
    #[error("{0} labels are too many; at most {MAX_LABELS} are allowed")]
    TooMany(usize),
}

/// Checks names and values, and their number.
pub fn check<'a>(
    labels: impl ExactSizeIterator<Item = (&'a String, &'a String)>,
) -> Result<(), InvalidLabel> {
    check_number(labels.len())?;
    for (name, value) in labels {
        if name.is_empty()
            || name.len() > MAX_NAME_BYTES
            || name.contains(|c: char| c.is_control() || c == ':')
        {
            return Err(InvalidLabel::Name { name: name.chars().take(MAX_NAME_BYTES).collect() });
        }
        if value.len() > MAX_VALUE_BYTES || value.contains(char::is_control) {
            return Err(InvalidLabel::Value { name: name.clone() });
        }
    }
    Ok(())
}

/// Checks only the number.
pub fn check_number(labels: usize) -> Result<(), InvalidLabel> {
    if labels > MAX_LABELS { Err(InvalidLabel::TooMany(labels)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &str, value: &str) -> Result<(), InvalidLabel> {
        check([(&name.to_owned(), &value.to_owned())].into_iter())
    }

    #[test]
    fn a_label_is_any_printable_text_but_its_name_has_no_colon() {
        assert!(checked("Standort", "Halle 7: links").is_ok());
        assert!(checked("empty", "").is_ok());
        for (name, value) in [("", "v"), ("a:b", "v"), ("a\n", "v"), ("a", "\0")] {
            assert!(checked(name, value).is_err(), "{name:?} {value:?}");
        }
        assert!(checked("a", &"v".repeat(513)).unwrap_err().to_string().contains("\"a\""));
    }

    #[test]
    fn the_number_of_labels_is_bounded() {
        let pairs: Vec<_> = (0..=MAX_LABELS).map(|n| (n.to_string(), String::new())).collect();
        assert_eq!(check(pairs.iter().map(|(n, v)| (n, v))), Err(InvalidLabel::TooMany(65)));
    }
}
