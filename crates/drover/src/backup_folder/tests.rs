//! Manifests that are refused, and folders that are filled.

use serde_json::json;

use super::*;

fn manifest(change: impl FnOnce(&mut Value)) -> Result<Manifest, String> {
    let mut value = json!({
        "format": 1, "data_format": 1, "drover": "0.1.0", "created": "2026-01-01T00:00:00Z", "size_bytes": 2,
        "missing": [],
        "files": [{"path": "log/shards", "size_bytes": 2, "sha256": "00", "secret": false}],
    });
    change(&mut value);
    Manifest::parse(&value.to_string())
}

#[test]
fn a_newer_backup_is_refused_and_both_versions_are_named() {
    assert_eq!(manifest(|_| {}).unwrap().files[0].path, "log/shards");
    for key in ["format", "data_format"] {
        let error = manifest(|value| {
            value[key] = json!(7);
            value["drover"] = json!("9.9.9");
        });
        let error = error.unwrap_err();
        assert!(error.contains("format is 7, made by drover 9.9.9"), "{error}");
        assert!(error.contains(&format!("this is drover {}", env!("CARGO_PKG_VERSION"))), "{error}");
    }
}

#[test]
fn a_manifest_never_reaches_outside_of_its_folder() {
    for path in ["../x", "/etc/passwd", "a/../../x", "", ".", "a/"] {
        assert!(manifest(|value| value["files"][0]["path"] = json!(path)).is_err(), "{path}");
    }
    assert!(manifest(|value| value["files"] = Value::Null).is_err());
    assert!(Manifest::parse("{").is_err());
}

#[test]
fn a_folder_with_other_things_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine"), "x").unwrap();
    let refused = Filling::begin(folder.path(), UNFINISHED).err().unwrap();
    assert!(refused.message.contains("is not empty"), "{refused}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_a_killed_try_left_is_taken_away_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backup");
    let first = Filling::begin(&path, UNFINISHED).unwrap();
    first.create("log/a", 0o600).unwrap();
    assert!(Filling::begin(&path, UNFINISHED).err().unwrap().message.contains("another process"));
    assert!(first.create("../a", 0o600).is_err());
    drop(first);
    assert!(Manifest::read(&path).unwrap_err().message.contains("did not come to its end"));
    let second = Filling::begin(&path, UNFINISHED).unwrap();
    second.finish(Some((MANIFEST, b"{}"))).unwrap();
    let names: Vec<_> = entries(&path).unwrap();
    assert_eq!(names, [MANIFEST]);
}
