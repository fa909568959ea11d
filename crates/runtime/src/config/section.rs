//! What a section's values must be beyond their types: each number in a range, and what the section itself says.

use serde::de::DeserializeOwned;
use toml::Value;

use super::Layers;

/// A number's key within its section, its smallest and its largest value.
pub type Range = (&'static str, i64, i64);

/// The type of a section. Reading one from [`Layers`] checks it, so what is read makes sense.
pub trait Section: DeserializeOwned {
    /// Every number; `default.toml` documents each as "1 to 256".
    const RANGES: &'static [Range];

    /// What else makes no sense: key within the section, and why.
    fn problems(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// Key and reason of every number that is out of its range.
pub(super) fn out_of_range(layers: &Layers, section: &str, ranges: &[Range]) -> Vec<(&'static str, String)> {
    let number = |key: &str| layers.value(&format!("{section}.{key}")).and_then(Value::as_integer);
    let outside = ranges.iter().filter_map(|(key, least, most)| {
        let value = number(key).filter(|value| !(least..=most).contains(&value))?;
        Some((*key, format!("{value} is out of range; use {least} to {most}")))
    });
    outside.collect()
}
