//! What a section's values must be beyond their types: each number in a range, and what the section itself says.

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{Layers, at, place_in};

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

/// Key within the section, and what is wrong with its value; without a key, with the section.
type Problem = (String, String);

/// Reads a section. What is wrong is left at its default, so that the rest is still checked.
pub(super) fn read<T: Section>(layers: &Layers, name: &str) -> Result<T, Vec<Problem>> {
    let section = |table: &Table| table.get(name).and_then(Value::as_table).cloned().unwrap_or_default();
    let (defaults, mut values) = (section(&layers.defaults), section(&layers.values));
    let mut problems = out_of_range(&values, T::RANGES);
    for (key, _) in &problems {
        reset(&mut values, &defaults, key);
    }
    let mut read = T::deserialize(values.clone());
    if read.is_err() {
        let given = layers.origins.keys().filter_map(|key| key.strip_prefix(name)?.strip_prefix('.'));
        for key in given.filter(|key| problems.iter().all(|(known, _)| known != key)).collect::<Vec<_>>() {
            if let Err(error) = T::deserialize(only(&defaults, &values, key)) {
                reset(&mut values, &defaults, key);
                problems.push((key.to_owned(), one_line(&error)));
            }
        }
        read = T::deserialize(values);
    }
    match read {
        Ok(section) => {
            let said = section.problems().into_iter();
            problems.extend(said.map(|(key, problem)| (key.to_owned(), problem)));
            if problems.is_empty() { Ok(section) } else { Err(problems) }
        }
        Err(error) => {
            problems.push((String::new(), one_line(&error)));
            Err(problems)
        }
    }
}

/// Key and reason of every number that is out of its range.
fn out_of_range(values: &Table, ranges: &[Range]) -> Vec<Problem> {
    let outside = ranges.iter().filter_map(|(key, least, most)| {
        let value = at(values, key).and_then(Value::as_integer);
        let value = value.filter(|value| !(least..=most).contains(&value))?;
        Some(((*key).to_owned(), format!("{value} is out of range; use {least} to {most}")))
    });
    outside.collect()
}

fn reset(values: &mut Table, defaults: &Table, key: &str) {
    if let (Some(place), Some(default)) = (place_in(values, key), at(defaults, key)) {
        *place = default.clone();
    }
}

/// The defaults with one of the values.
fn only(defaults: &Table, values: &Table, key: &str) -> Table {
    let mut table = defaults.clone();
    reset(&mut table, values, key);
    table
}

fn one_line(error: &toml::de::Error) -> String {
    error.message().trim().replace('\n', " ")
}
