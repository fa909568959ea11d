//! Manifests of members: versions and features of outside crates stand in the workspace's Cargo.toml, lints too.

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::Violation;

const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Checks one member's Cargo.toml.
pub fn check(file: &str, text: &str) -> Result<Vec<Violation>> {
    let manifest: Table = text.parse().with_context(|| format!("{file} is not TOML"))?;
    // The fuzz targets are a workspace of their own, as cargo-fuzz wants it.
    if manifest.contains_key("workspace") {
        return Ok(Vec::new());
    }
    let mut violations = Vec::new();
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    for table in std::iter::once(&manifest).chain(targets.filter_map(Value::as_table)) {
        for kind in KINDS {
            let dependencies = table.get(kind).and_then(Value::as_table).into_iter().flatten();
            for (name, _) in dependencies.filter(|(_, value)| !is_inherited(value)) {
                let message = format!(
                    "{name} has a version here: put it in [workspace.dependencies] and say `{name}.workspace = true`"
                );
                violations.push(Violation::new(file, line_of(text, name), message));
            }
        }
    }
    if !manifest.get("lints").is_some_and(is_inherited) {
        violations.push(Violation::new(file, 1, "has no `[lints] workspace = true`: add it"));
    }
    Ok(violations)
}

fn is_inherited(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

fn line_of(text: &str, name: &str) -> usize {
    text.lines().position(|line| line.starts_with(name)).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_outside_the_workspace_manifest_is_told_with_its_line() {
        let text = "[lints]\nworkspace = true\n[dependencies]\nbytes.workspace = true\nserde = \"1\"\n";
        let violations = check("crates/a/Cargo.toml", text).unwrap();
        assert_eq!(violations.len(), 1);
        assert!(violations[0].to_string().starts_with("crates/a/Cargo.toml:5: serde has a version"));
    }

    #[test]
    fn dependencies_of_targets_and_of_tests_count_too() {
        let text = "[lints]\nworkspace = true\n[target.'cfg(unix)'.dependencies]\na = \"1\"\n[dev-dependencies]\nb = { version = \"1\" }\n";
        assert_eq!(check("x/Cargo.toml", text).unwrap().len(), 2);
    }

    #[test]
    fn a_member_without_the_lints_is_told() {
        assert!(check("x/Cargo.toml", "[package]\n").unwrap()[0].message.contains("lints"));
    }

    #[test]
    fn inherited_dependencies_with_features_are_fine() {
        let text = "[lints]\nworkspace = true\n[dependencies]\ntokio = { workspace = true, features = [\"process\"] }\n";
        assert_eq!(check("x/Cargo.toml", text).unwrap(), Vec::new());
    }
}
