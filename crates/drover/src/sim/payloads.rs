//! A message as bytes: its number under the key `seq`, what was measured at which time, and blanks up to the size that was asked for.
//! The number has no time of its own, so that it is stored at its arrival: a message that is stored twice is two points, not one.

use std::io::Write;
use std::str::FromStr;

/// The number of a message under which it is looked for afterwards.
pub const SEQUENCE_KEY: &str = "seq";
/// The shortest message that holds its number, whatever it is.
pub const LEAST_BYTES: usize = 32;
/// The longest.
pub const MOST_BYTES: usize = 60_000;
const NAMED: [(&str, usize); 3] = [("small", 128), ("medium", 512), ("large", 4_096)];

/// The exact size of every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub usize);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, bytes)) = NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(Self(*bytes));
        }
        match text.parse() {
            Ok(bytes) if (LEAST_BYTES..=MOST_BYTES).contains(&bytes) => Ok(Self(bytes)),
            Ok(bytes) if bytes < LEAST_BYTES => {
                Err(format!("the number of a message takes {LEAST_BYTES} bytes: give that or more"))
            }
            _ => Err(format!("give {LEAST_BYTES} to {MOST_BYTES} bytes, or small, medium or large")),
        }
    }
}

/// Writes a message into `out` in the place of what was there. With a size, values that have no room are left out.
pub fn write(
    out: &mut Vec<u8>,
    (micros, sequence): (i64, u64),
    values: &[(&'static str, f64)],
    size: Option<Size>,
) {
    out.clear();
    put(out, format_args!("[{{\"{SEQUENCE_KEY}\":{sequence}}}"));
    // What ends the message: the bracket, and with values two braces before it.
    let room = size.map_or(usize::MAX, |Size(bytes)| bytes.saturating_sub(1));
    let number_only = out.len();
    let (millis, rest) = (micros.div_euclid(1_000), micros.rem_euclid(1_000));
    put(out, format_args!(",{{\"ts\":{millis}"));
    if rest > 0 {
        put(out, format_args!(".{rest:03}"));
    }
    put(out, format_args!(",\"values\":"));
    let mut separator = '{';
    for (key, value) in values {
        let length = out.len();
        put(out, format_args!("{separator}\"{key}\":{value}"));
        if out.len() + 2 > room {
            out.truncate(length);
            break;
        }
        separator = ',';
    }
    if separator == '{' {
        out.truncate(number_only);
    } else {
        out.extend_from_slice(b"}}");
    }
    if size.is_some() {
        out.resize(room.max(out.len()), b' ');
    }
    out.push(b']');
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("memory takes what is written");
}

/// The number of a message that was received; none in one that no device of the simulation sent.
pub fn sequence(payload: &[u8]) -> Option<u64> {
    let message: serde_json::Value = serde_json::from_slice(payload).ok()?;
    message.get(0)?.get(SEQUENCE_KEY)?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_780_315_200_000_000;

    fn message(micros: i64, size: Option<Size>) -> String {
        let mut out = b"old".to_vec();
        write(&mut out, (micros, 17), &[("a", 21.5), ("b", -3.0)], size);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_message_has_number_time_and_values() {
        assert_eq!(message(NOON, None), r#"[{"seq":17},{"ts":1780315200000,"values":{"a":21.5,"b":-3}}]"#);
        assert!(message(NOON + 7, None).contains(r#"{"ts":1780315200000.007,"#));
    }

    #[test]
    fn values_without_room_are_left_out_and_without_any_there_is_no_time() {
        let with_one = message(NOON, Some(Size(56)));
        assert_eq!(with_one.replace(' ', ""), r#"[{"seq":17},{"ts":1780315200000,"values":{"a":21.5}}]"#);
        assert_eq!(message(NOON, Some(Size(LEAST_BYTES))).replace(' ', ""), r#"[{"seq":17}]"#);
    }

    #[test]
    fn the_size_is_exact_from_the_least_to_the_most() {
        let mut out = Vec::new();
        for bytes in [LEAST_BYTES, 33, 65, 71, 80, 90, 128, 512, MOST_BYTES] {
            write(&mut out, (i64::MAX / 4, u64::MAX), &[("a", 1.25), ("b", 2.0)], Some(Size(bytes)));
            assert_eq!(out.len(), bytes);
            assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
            assert_eq!(sequence(&out), Some(u64::MAX));
        }
    }

    #[test]
    fn a_size_is_a_number_of_bytes_or_a_name() {
        assert_eq!("small".parse(), Ok(Size(128)));
        assert_eq!("32".parse(), Ok(Size(32)));
        assert!("31".parse::<Size>().unwrap_err().contains("32 bytes"));
        for text in ["60001", "huge", "-1", ""] {
            assert!(text.parse::<Size>().unwrap_err().contains("small, medium or large"), "{text}");
        }
    }

    #[test]
    fn what_others_sent_has_no_number() {
        assert_eq!(sequence(b"[{\"seq\":-1}]"), None);
        assert_eq!(sequence(b"hello"), None);
        assert_eq!(sequence(b"[1]"), None);
    }
}
