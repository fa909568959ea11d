//! The data directory: whose it is, who uses it, its format, what certificates are in it.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use drover_model::Timestamp;
use drover_runtime::FORMAT_VERSION;
use drover_runtime::certificates::server_names;
use drover_runtime::data_dir::RESTORING;
use drover_trust::ServerCertificate;
use rustix::fs::{FlockOperation, flock};

use super::Finding;
use crate::config::Configs;
use crate::period;

/// A certificate that ends sooner is worth a word.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 86_400);
const MAX_TEXT_BYTES: u64 = 1 << 20;

pub fn look(directory: &Path, configs: Option<&Configs>) -> Vec<Finding> {
    let shown = directory.display();
    let check = "data directory";
    let found = match fs::metadata(directory) {
        Ok(found) if found.is_dir() => found,
        Ok(_) => {
            return vec![Finding::fail(check, format!("{shown} is a file"), "name another --data-dir")];
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return vec![Finding::ok(check, format!("{shown} is not there yet; the first start makes it"))];
        }
        Err(error) => {
            let remedy = "ask as the user who runs drover, or name another --data-dir";
            return vec![Finding::fail(check, format!("{shown}: {error}"), remedy)];
        }
    };
    let mut findings = vec![owner(directory, &found)];
    findings.extend(format(directory));
    findings.extend(lock(directory));
    findings.extend(certificate(directory, configs));
    findings
}

fn owner(directory: &Path, found: &fs::Metadata) -> Finding {
    let (check, shown) = ("data directory", directory.display());
    let own = rustix::process::geteuid().as_raw();
    if found.uid() != own && own != 0 {
        let found = format!("{shown} is user {}'s, this is user {own}", found.uid());
        return Finding::fail(check, found, "run drover as the directory's user");
    }
    if found.mode() & 0o077 != 0 {
        let mode = found.mode() & 0o777;
        let remedy = format!("chmod 700 {shown}");
        return Finding::warn(check, format!("{shown} is open to other users (mode {mode:o})"), remedy);
    }
    let secrets = ["admin.token", "ca.key", "server.key"];
    let open = secrets
        .into_iter()
        .find(|name| fs::metadata(directory.join(name)).is_ok_and(|file| file.mode() & 0o077 != 0));
    match open {
        Some(name) => {
            let remedy = format!("chmod 600 {shown}/{name}");
            Finding::fail(check, format!("{name} can be read by other users"), remedy)
        }
        None => Finding::ok(check, shown.to_string()),
    }
}

/// None where nothing was started yet.
fn format(directory: &Path) -> Option<Finding> {
    let check = "data format";
    if directory.join(RESTORING).exists() {
        let remedy = "run `drover restore` again, or choose another --data-dir";
        return Some(Finding::fail(check, "a restore did not come to its end", remedy));
    }
    let text = text(&directory.join("VERSION"))?;
    Some(match text.trim().parse::<u32>() {
        Ok(found) if found <= FORMAT_VERSION => Finding::ok(check, format!("version {found}")),
        Ok(found) => Finding::fail(
            check,
            format!("version {found}; this program reads up to version {FORMAT_VERSION}"),
            "use the newer drover that wrote it",
        ),
        Err(_) => Finding::fail(check, "VERSION holds no number", "restore the directory from a backup"),
    })
}

/// Whether a server has the directory.
pub fn is_locked(directory: &Path) -> bool {
    lock_state(directory) == Some(true)
}

/// Taken for the moment only, shared, so that two doctors do not see each other. None where there is no lock.
fn lock_state(directory: &Path) -> Option<bool> {
    let file = File::open(directory.join("lock")).ok()?;
    Some(flock(&file, FlockOperation::NonBlockingLockShared).is_err())
}

fn lock(directory: &Path) -> Option<Finding> {
    let process = text(&directory.join("lock")).unwrap_or_default();
    Some(match lock_state(directory)? {
        false => Finding::ok("lock", "no server runs in the data directory"),
        true => Finding::ok("lock", format!("a server runs, process {}", process.trim())),
    })
}

fn certificate(directory: &Path, configs: Option<&Configs>) -> Option<Finding> {
    let check = "certificate";
    let tls = configs.map(|configs| &configs.runtime.tls);
    let given = tls.filter(|tls| !tls.certificate_file.as_os_str().is_empty());
    let is_issued = given.is_none();
    let (chain, key) = match given {
        Some(tls) => (tls.certificate_file.clone(), tls.key_file.clone()),
        None => (directory.join("server.crt"), directory.join("server.key")),
    };
    let (chain_text, key_text) = (text(&chain)?, text(&key)?);
    let remedy =
        if is_issued { "a start of the server issues another" } else { "put a new one in its place" };
    let read = match ServerCertificate::from_pem(chain_text, key_text) {
        Ok(read) => read,
        Err(error) => return Some(Finding::fail(check, format!("{}: {error}", chain.display()), remedy)),
    };
    let wanted = tls.and_then(|tls| server_names(&tls.names).ok()).unwrap_or_default();
    let lacking: Vec<String> = wanted
        .iter()
        .filter(|name| is_issued && !read.names.contains(name))
        .map(ToString::to_string)
        .collect();
    Some(judged(&read, &lacking, (time_now(), remedy)))
}

fn judged(read: &ServerCertificate, lacking: &[String], (now, remedy): (Timestamp, &str)) -> Finding {
    let check = "certificate";
    let names: Vec<String> = read.names.iter().map(ToString::to_string).collect();
    let days = read.not_after.since(now).as_secs() / 86_400;
    if read.not_after <= now {
        return Finding::fail(check, format!("it ended on {}", read.not_after), remedy);
    }
    if read.not_before > now {
        return Finding::fail(
            check,
            format!("it begins on {}", read.not_before),
            "check this machine's clock",
        );
    }
    if !lacking.is_empty() {
        let found = format!("it lacks the names {}", lacking.join(", "));
        return Finding::warn(check, found, remedy);
    }
    if read.not_after.since(now) < EXPIRES_SOON {
        return Finding::warn(check, format!("it ends in {days} days"), remedy);
    }
    Finding::ok(check, format!("{days} days left, for {}", names.join(", ")))
}

fn time_now() -> Timestamp {
    Timestamp::from_millis(period::now().as_millisecond())
}

fn text(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(MAX_TEXT_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::Verdict;
    use super::*;

    fn verdicts(directory: &Path) -> Vec<(String, Verdict)> {
        look(directory, None).into_iter().map(|finding| (finding.check, finding.verdict)).collect()
    }

    #[test]
    fn a_directory_that_is_not_there_yet_is_fine_and_a_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        assert_eq!(verdicts(&path), [("data directory".to_owned(), Verdict::Ok)]);
        fs::write(&path, "").unwrap();
        assert_eq!(verdicts(&path), [("data directory".to_owned(), Verdict::Fail)]);
    }

    #[test]
    fn open_secrets_newer_formats_and_unfinished_restores_fail() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(path.join("VERSION"), "99\n").unwrap();
        fs::write(path.join("admin.token"), "x").unwrap();
        fs::set_permissions(path.join("admin.token"), fs::Permissions::from_mode(0o644)).unwrap();
        let found = look(path, None);
        assert!(found[0].verdict == Verdict::Fail && found[0].found.contains("admin.token"), "{found:?}");
        assert!(found[1].verdict == Verdict::Fail && found[1].found.contains("version 99"), "{found:?}");
        fs::write(path.join(RESTORING), "").unwrap();
        assert!(look(path, None)[1].remedy.as_ref().unwrap().contains("drover restore"));
    }
}
