//! Floors: a crate imports only from floors below its own. Development dependencies are exempt, the whole-system package has none.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::Violation;

/// The services' floor.
const SERVICES: u64 = 4;
/// The package that has no floor because nothing may import it.
const WITHOUT_FLOOR: &str = "drover-tests";

/// Checks the answer of `cargo metadata`.
pub fn check(metadata: &Value) -> Result<Vec<Violation>> {
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let floors: BTreeMap<&str, u64> =
        packages.iter().filter_map(|package| Some((name(package), floor(package)?))).collect();
    let mut violations = Vec::new();
    for package in packages {
        let Some(own) = floor(package) else {
            if name(package) != WITHOUT_FLOOR {
                violations
                    .push(violation(package, "has no floor: add [package.metadata.drover] floor".to_owned()));
            }
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            if dependency["kind"] != "dev" {
                violations.extend(broken(package, own, name(dependency), &floors));
            }
        }
    }
    Ok(violations)
}

fn broken(package: &Value, own: u64, dependency: &str, floors: &BTreeMap<&str, u64>) -> Option<Violation> {
    if dependency == WITHOUT_FLOOR {
        return Some(violation(package, format!("imports {WITHOUT_FLOOR}, which nothing may import")));
    }
    let theirs = *floors.get(dependency)?;
    if theirs < own {
        return None;
    }
    let message = if (own, theirs) == (SERVICES, SERVICES) {
        format!("is a service and imports the service {dependency}: call it through a Link")
    } else {
        format!(
            "is on floor {own} and imports {dependency} from floor {theirs}: move the code down, or the call up"
        )
    };
    Some(violation(package, message))
}

fn violation(package: &Value, message: String) -> Violation {
    let manifest = package["manifest_path"].as_str().unwrap_or_default();
    // From the right, since the path before the workspace is this machine's.
    let folders: Vec<&str> = manifest.rsplit('/').take(3).collect();
    let file: Vec<&str> = folders.into_iter().rev().skip_while(|folder| *folder != "crates").collect();
    let file = if file.is_empty() { "Cargo.toml".to_owned() } else { file.join("/") };
    Violation::new(&file, 1, format!("{} {message}", name(package)))
}

fn name(value: &Value) -> &str {
    value["name"].as_str().unwrap_or_default()
}

fn floor(package: &Value) -> Option<u64> {
    package["metadata"]["drover"]["floor"].as_u64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, floor: Option<u64>, dependencies: &[(&str, Option<&str>)]) -> Value {
        let dependencies: Vec<_> =
            dependencies.iter().map(|(name, kind)| json!({"name": name, "kind": kind})).collect();
        let metadata = floor.map_or(Value::Null, |floor| json!({"drover": {"floor": floor}}));
        json!({"name": name, "manifest_path": format!("/x/crates/{name}/Cargo.toml"), "metadata": metadata, "dependencies": dependencies})
    }

    fn messages(packages: &[Value]) -> Vec<String> {
        check(&json!({ "packages": packages })).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn imports_from_below_are_fine() {
        let packages =
            [package("model", Some(0), &[("serde", None)]), package("codec", Some(1), &[("model", None)])];
        assert_eq!(messages(&packages), Vec::<String>::new());
    }

    #[test]
    fn an_import_from_the_same_floor_or_above_is_told() {
        let packages = [
            package("a", Some(1), &[("b", None)]),
            package("b", Some(1), &[("c", Some("build"))]),
            package("c", Some(2), &[]),
        ];
        assert_eq!(
            messages(&packages),
            [
                "crates/a/Cargo.toml:1: a is on floor 1 and imports b from floor 1: move the code down, or the call up",
                "crates/b/Cargo.toml:1: b is on floor 1 and imports c from floor 2: move the code down, or the call up",
            ]
        );
    }

    #[test]
    fn a_service_does_not_import_a_service() {
        let packages = [package("mqtt", Some(4), &[("api", None)]), package("api", Some(4), &[])];
        assert!(messages(&packages)[0].contains("call it through a Link"));
    }

    #[test]
    fn development_dependencies_are_exempt() {
        let packages = [package("a", Some(1), &[("b", Some("dev"))]), package("b", Some(5), &[])];
        assert_eq!(messages(&packages), Vec::<String>::new());
    }

    #[test]
    fn a_crate_without_floor_is_told() {
        let packages = [package("a", None, &[]), package(WITHOUT_FLOOR, None, &[])];
        assert_eq!(
            messages(&packages),
            ["crates/a/Cargo.toml:1: a has no floor: add [package.metadata.drover] floor"]
        );
    }
}
