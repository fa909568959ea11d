//! Certificates: first start, names, renewal while listeners run.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

use drover_model::{ManualClock, Timestamp};

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

struct Place {
    _folder: tempfile::TempDir,
    data_dir: Arc<DataDir>,
    time: ManualClock,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = Arc::new(DataDir::open(folder.path()).unwrap());
    let time = ManualClock::at(Timestamp::parse("2026-11-24T19:00:00Z").unwrap());
    Place { _folder: folder, data_dir, time }
}

impl Place {
    fn open(&self) -> Certificates {
        self.open_with(&TlsSettings::default(), || vec!["localhost".parse().unwrap()]).unwrap()
    }

    fn open_with(
        &self,
        settings: &TlsSettings,
        names: impl Fn() -> Vec<SubjectName> + Send + Sync + 'static,
    ) -> anyhow::Result<Certificates> {
        Certificates::open(&self.data_dir, settings, Clock::new(self.time.clone()), names)
    }
}

fn shown(certificates: &Certificates) -> Vec<u8> {
    certificates.resolver().current().cert[0].to_vec()
}

#[test]
fn the_first_start_writes_authority_and_certificate_and_the_next_uses_them() {
    let place = place();
    let first = shown(&place.open());
    for (name, mode) in [("ca.crt", 0o644), ("ca.key", 0o600), ("server.crt", 0o644), ("server.key", 0o600)] {
        let found = std::fs::metadata(place.data_dir.file(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{name}");
    }
    assert_eq!(shown(&place.open()), first);
}

#[test]
fn a_certificate_is_renewed_under_its_listeners_when_a_third_of_its_life_is_left() {
    let place = place();
    let certificates = place.open();
    let resolver = certificates.resolver();
    let before = resolver.current();
    place.time.advance(DAY * 59);
    assert!(!certificates.check().unwrap());
    place.time.advance(DAY * 2);
    assert!(certificates.check().unwrap());
    assert_ne!(before.cert[0], resolver.current().cert[0]);
    assert!(!certificates.check().unwrap());
    assert_eq!(shown(&place.open()), resolver.current().cert[0].to_vec());
}

#[test]
fn a_new_address_of_the_machine_gets_into_the_certificate() {
    let place = place();
    let moved = Arc::new(AtomicBool::new(false));
    let names = {
        let moved = moved.clone();
        move || {
            let text = if moved.load(Ordering::SeqCst) { "10.0.0.8" } else { "10.0.0.7" };
            vec![text.parse().unwrap()]
        }
    };
    let certificates = place.open_with(&TlsSettings::default(), names).unwrap();
    moved.store(true, Ordering::SeqCst);
    assert!(certificates.check().unwrap());
    assert_eq!(certificates.current.lock().unwrap().names, vec!["10.0.0.8".parse().unwrap()]);
}

#[test]
fn given_files_are_used_and_read_again_when_they_change() {
    let place = place();
    let now = Clock::new(place.time.clone()).now();
    let authority = Authority::generate("Own CA", now).unwrap();
    let settings = TlsSettings {
        certificate_file: place.data_dir.file("own.crt"),
        key_file: place.data_dir.file("own.key"),
        names: Vec::new(),
    };
    let write = || {
        let issued = authority.issue_server(&["own.example".parse().unwrap()], now, DAY * 30).unwrap();
        std::fs::write(&settings.certificate_file, issued.chain_pem).unwrap();
        std::fs::write(&settings.key_file, issued.key_pem).unwrap();
    };
    write();
    let certificates = place.open_with(&settings, Vec::new).unwrap();
    let first = shown(&certificates);
    assert!(!certificates.check().unwrap());
    write();
    assert!(certificates.check().unwrap());
    let second = shown(&certificates);
    assert_ne!(first, second);
    std::fs::write(&settings.key_file, "half written").unwrap();
    assert!(certificates.check().is_err());
    assert_eq!(shown(&certificates), second);
}

#[test]
fn half_a_pair_of_files_and_a_lost_key_are_refused() {
    let place = place();
    let settings = TlsSettings { key_file: PathBuf::from("own.key"), ..TlsSettings::default() };
    let problems = settings.problems();
    assert!(problems[0].1.contains("belong together"), "{problems:?}");
    drop(place.open());
    std::fs::remove_file(place.data_dir.file("ca.key")).unwrap();
    let error = place.open_with(&TlsSettings::default(), Vec::new).err().unwrap();
    assert!(error.to_string().contains("ca.key"), "{error}");
}

#[test]
fn files_that_are_no_pair_and_names_that_are_none_are_told_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name)
    };
    let mut settings = TlsSettings {
        names: vec!["no name".to_owned()],
        certificate_file: folder.path().join("absent.crt"),
        key_file: file("own.key", ""),
    };
    let problems = settings.problems();
    assert_eq!(problems.iter().map(|(key, _)| *key).collect::<Vec<_>>(), ["names", "certificate_file"]);
    assert!(problems[1].1.contains("absent.crt: No such file"), "{problems:?}");
    settings = TlsSettings { names: Vec::new(), certificate_file: file("own.crt", "nothing"), ..settings };
    assert!(settings.problems()[0].1.contains("own.crt and "), "{:?}", settings.problems());
}

#[test]
fn the_machine_is_named_by_loopback_and_configuration() {
    let names = server_names(&["gateway.example".to_owned()]).unwrap();
    for text in ["localhost", "127.0.0.1", "::1", "gateway.example"] {
        assert!(names.contains(&text.parse().unwrap()), "{text}");
    }
    assert!(server_names(&["no name".to_owned()]).is_err());
}
