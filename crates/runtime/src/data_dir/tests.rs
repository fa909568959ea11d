//! The data directory: first start, lock, versions, what is refused.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn fixed() -> Rng {
    Rng::new(|bytes| bytes.fill(7))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_first_start_makes_the_directory_and_its_files_with_safe_modes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b");
    let data_dir = DataDir::open(&path).unwrap();
    let hash = data_dir.administrator(&fixed()).unwrap();
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&data_dir.file("admin.token")), 0o600);
    assert_eq!(fs::read_to_string(data_dir.file("VERSION")).unwrap(), "1\n");
    let token = fs::read_to_string(data_dir.file("admin.token")).unwrap();
    assert!(token.starts_with("drv_") && hash.matches(token.trim().as_bytes()));
}

#[test]
fn the_next_start_keeps_the_token_and_counts_the_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let first = DataDir::open(folder.path()).unwrap();
    let token = first.administrator(&fixed()).unwrap();
    assert_eq!(first.next_epoch().unwrap(), 1);
    drop(first);
    let second = DataDir::open(folder.path()).unwrap();
    assert_eq!(second.administrator(&Rng::system()).unwrap(), token);
    assert_eq!(second.next_epoch().unwrap(), 2);
}

#[test]
fn a_directory_in_use_is_refused_with_the_process_that_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let _first = DataDir::open(folder.path()).unwrap();
    let error = DataDir::open(folder.path()).unwrap_err();
    let process = std::process::id();
    assert!(error.to_string().contains(&format!("is used by process {process}")), "{error}");
}

#[test]
fn a_newer_directory_is_refused_with_both_versions() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("VERSION"), "7\n").unwrap();
    let error = DataDir::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("format version 7") && error.contains("up to version 1"), "{error}");
    fs::write(folder.path().join("VERSION"), "seven").unwrap();
    assert!(matches!(DataDir::open(folder.path()).unwrap_err(), DataDirError::Damaged { .. }));
}

#[test]
fn a_foreign_directory_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.txt"), "").unwrap();
    let error = DataDir::open(folder.path()).unwrap_err().to_string();
    let named = format!("{} holds other things than Drover's data (thesis.txt)", folder.path().display());
    assert!(error.starts_with(&named) && error.contains("--data-dir"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_may_precede_the_first_start_is_not_foreign() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("lost+found")).unwrap();
    fs::write(folder.path().join("drover.toml"), "").unwrap();
    // As a start leaves it that was killed early.
    fs::write(folder.path().join("lock"), "1\n").unwrap();
    drop(DataDir::open(folder.path()).unwrap());
    // Once it is Drover's, everything in it is.
    fs::write(folder.path().join("notes.txt"), "").unwrap();
    DataDir::open(folder.path()).unwrap();
}

#[test]
fn a_place_that_cannot_be_written_is_refused_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below"), PathBuf::from("/proc/drover")] {
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(error.contains("choose another --data-dir"), "{error}");
    }
}

#[test]
fn addresses_are_written_whole_and_stale_ones_removed() {
    let folder = tempfile::tempdir().unwrap();
    let first = DataDir::open(folder.path()).unwrap();
    first.write_addresses(&BTreeMap::from([("mqtt", "127.0.0.1:1883".parse().unwrap())])).unwrap();
    let text = fs::read_to_string(first.file("addresses.json")).unwrap();
    assert_eq!(serde_json::from_str::<BTreeMap<String, String>>(&text).unwrap()["mqtt"], "127.0.0.1:1883");
    drop(first);
    let second = DataDir::open(folder.path()).unwrap();
    assert!(!second.file("addresses.json").exists());
    second.remove_addresses().unwrap();
}

#[test]
fn damaged_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = DataDir::open(folder.path()).unwrap();
    fs::write(data_dir.file("admin.token"), "\n").unwrap();
    fs::write(data_dir.file("epoch"), "{").unwrap();
    assert!(data_dir.administrator(&fixed()).unwrap_err().to_string().contains("admin.token"));
    assert!(data_dir.next_epoch().unwrap_err().to_string().contains("epoch"));
}

#[test]
fn a_file_in_the_place_of_the_directory_is_called_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("afile");
    fs::write(&file, "x").unwrap();
    for path in [file.clone(), file.join("inner")] {
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("{}: this is a file, or lies in one; choose another --data-dir", path.display())
        );
    }
}
