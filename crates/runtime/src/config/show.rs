//! The settings in force as TOML that can be read back, save for masked secrets.

use std::collections::BTreeMap;
use std::fmt::Write;

use toml::{Table, Value};

use super::Origin;

/// What stands for a secret.
const MASK: &str = "***";

pub(super) fn show(sections: &[String], values: &Table, origins: &BTreeMap<String, Origin>) -> String {
    let mut text = String::new();
    for name in sections {
        if let Some(Value::Table(table)) = values.get(name) {
            section(name, table, origins, &mut text);
        }
    }
    text
}

/// Plain keys first: TOML would count those after an inner table to it.
fn section(path: &str, table: &Table, origins: &BTreeMap<String, Origin>, text: &mut String) {
    let inner = |value: &Value| value.as_table().is_some_and(|table| !table.is_empty());
    let separator = if text.is_empty() { "" } else { "\n" };
    writeln!(text, "{separator}[{path}]").expect("writing to a string cannot fail");
    for (name, value) in table.iter().filter(|(_, value)| !inner(value)) {
        let key = format!("{path}.{name}");
        let shown = mask(name, value).to_string();
        let origin = origins.get(&key).map(|origin| format!("  # from {origin}")).unwrap_or_default();
        writeln!(text, "{name} = {shown}{origin}").expect("writing to a string cannot fail");
    }
    for (name, value) in table {
        if let Value::Table(table) = value
            && inner(value)
        {
            section(&format!("{path}.{name}"), table, origins, text);
        }
    }
}

/// The values with masked secrets.
pub(super) fn masked(values: &Table) -> Table {
    let shown = values.iter().map(|(name, value)| {
        let shown = match value {
            Value::Table(inner) => Value::Table(masked(inner)),
            value => mask(name, value),
        };
        (name.clone(), shown)
    });
    shown.collect()
}

fn mask(name: &str, value: &Value) -> Value {
    if is_secret(name, value) { Value::String(MASK.to_owned()) } else { value.clone() }
}

/// A text whose key says that it is secret. Paths of files are not.
fn is_secret(name: &str, value: &Value) -> bool {
    let named = ["secret", "password", "token"].iter().any(|word| name.contains(word));
    named && !name.ends_with("_file") && value.as_str().is_some_and(|text| !text.is_empty())
}
