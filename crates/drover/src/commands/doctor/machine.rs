//! What this machine offers: free ports, open files, a disk that syncs quickly and has room, a clock that runs forward.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use drover_runtime::ConfigError;
use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::client::address_in;
use crate::config::Configs;
use crate::listening_process;
use crate::period;

/// Syncs that are measured, after a few that are not.
const SYNCS: usize = 48;
const WARM_UP: usize = 4;
/// Longest that measuring takes, on the slowest of disks.
const MEASURING: Duration = Duration::from_secs(5);
/// What a sync writes: about a frame of the log.
const WRITTEN_BYTES: usize = 4 << 10;
/// Slower syncs mean that an acknowledgement takes noticeably long, and that few clients in line wait for one.
const SYNC_WARNS: Duration = Duration::from_millis(20);
const SYNC_FAILS: Duration = Duration::from_millis(200);
/// A sync that is faster than any disk reaches no disk.
const SYNC_UNLIKELY: Duration = Duration::from_micros(5);
/// Files that this many clients and the program need.
const FILES_WANTED: u64 = 16_384;
const FILES_NEEDED: u64 = 128;

pub fn look(directory: &Path, settings: &Result<Configs, ConfigError>) -> Vec<Finding> {
    let mut findings = Vec::new();
    match settings {
        Ok(configs) => findings.extend(ports(directory, configs)),
        Err(error) => {
            let found = error.problems.join("; ");
            findings.push(Finding::fail(
                "settings",
                found,
                "correct them; `drover config check` looks again",
            ));
        }
    }
    findings.push(open_files());
    findings.push(running_clock());
    let place = existing(directory);
    findings.push(match measure(&place) {
        Ok(took) => syncs(&took),
        Err(error) => Finding::fail(
            "fsync",
            format!("can't write to {}: {error}", place.display()),
            "ask as the user who runs drover, or name another --data-dir",
        ),
    });
    findings.extend(space(&place, settings.as_ref().ok()));
    findings
}

/// The directory, or the nearest one above that is there.
fn existing(directory: &Path) -> PathBuf {
    let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    absolute.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

fn ports<'a>(directory: &'a Path, configs: &'a Configs) -> impl Iterator<Item = Finding> + 'a {
    configs.runtime.listen.on().map(|(name, address)| {
        let check = format!("port {name}");
        // A server that was killed left its addresses behind.
        let is_used =
            |own: &String| own.parse::<SocketAddr>().is_ok_and(|own| TcpListener::bind(own).is_err());
        if let Some(own) = address_in(directory, name).filter(is_used) {
            return Finding::ok(check, format!("{own}, used by the server in this data directory"));
        }
        let resolved = address.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
        let Some(resolved) = resolved else {
            let remedy = format!("give an address of this machine with --listen-{name}");
            return Finding::fail(check, format!("{address} has no address"), remedy);
        };
        port(check, name, resolved)
    })
}

fn port(check: String, name: &str, address: SocketAddr) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(check, format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let by = listening_process::of_port(address.port());
            let by = by.map_or_else(
                || "another process".to_owned(),
                |by| format!("{} (process {})", by.name, by.id),
            );
            let remedy = format!("stop it, or take another address with --listen-{name}");
            Finding::fail(check, format!("{address} is used by {by}"), remedy)
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let remedy = format!("take a port from 1024 on with --listen-{name}, or allow the lower ones");
            Finding::fail(check, format!("{address} is not allowed"), remedy)
        }
        Err(error) => {
            let remedy = format!("give an address of this machine with --listen-{name}");
            Finding::fail(check, format!("{address}: {error}"), remedy)
        }
    }
}

fn open_files() -> Finding {
    let limit = getrlimit(Resource::Nofile).maximum;
    let remedy = "raise `ulimit -n`, or LimitNOFILE of the systemd unit";
    match limit {
        None => Finding::ok("open files", "unlimited"),
        Some(files) if files < FILES_NEEDED => Finding::fail(
            "open files",
            format!("{files} at most; {FILES_NEEDED} are needed to start"),
            remedy,
        ),
        Some(files) if files < FILES_WANTED => {
            Finding::warn("open files", format!("{files} at most; every connection is one"), remedy)
        }
        Some(files) => Finding::ok("open files", format!("{files} at most")),
    }
}

/// Whether the time of day runs as the monotonic clock does, and lies in a believable year.
fn running_clock() -> Finding {
    let remedy = "set the time, and let it come from the network (chrony, systemd-timesyncd)";
    let (from, begin) = (period::now(), Instant::now());
    std::thread::sleep(Duration::from_millis(20));
    let by_day = period::now().duration_since(from).as_secs_f64();
    let drift = (by_day - begin.elapsed().as_secs_f64()).abs();
    if drift > 0.01 {
        return Finding::warn("time of day", format!("it jumped by {:.0} ms", drift * 1_000.0), remedy);
    }
    // Certificates are valid from the time of their making on.
    if from.as_second() < 1_735_689_600 {
        return Finding::fail("time of day", format!("{from:.0} is long ago"), remedy);
    }
    Finding::ok("time of day", format!("{from:.0}"))
}

/// How long syncs take, sorted.
fn measure(place: &Path) -> io::Result<Vec<Duration>> {
    struct Remove(PathBuf);
    impl Drop for Remove {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }
    let path = place.join(format!(".drover-doctor-{}", std::process::id()));
    let mut file: File = OpenOptions::new().write(true).create_new(true).open(&path)?;
    let _remove = Remove(path);
    let begin = Instant::now();
    let mut took = Vec::with_capacity(SYNCS);
    for round in 0..WARM_UP + SYNCS {
        file.write_all(&[1; WRITTEN_BYTES])?;
        let before = Instant::now();
        file.sync_data()?;
        if round >= WARM_UP {
            took.push(before.elapsed());
        }
        if begin.elapsed() > MEASURING && !took.is_empty() {
            break;
        }
    }
    took.sort_unstable();
    Ok(took)
}

fn syncs(took: &[Duration]) -> Finding {
    let at = |per_cent: usize| {
        let place = (took.len() * per_cent / 100).min(took.len().saturating_sub(1));
        took.get(place).copied().unwrap_or_default()
    };
    let (median, worst) = (at(50), at(99));
    let shown = format!("p50 {}, p99 {}", millis(median), millis(worst));
    let disk = "use a disk with a power-safe write cache; an acknowledgement waits for one sync";
    if median < SYNC_UNLIKELY {
        let found = format!("{shown}: no disk is that fast, so nothing is safe from a power cut");
        return Finding::warn(
            "fsync",
            found,
            "check that this is no file system in memory, and that write barriers are on",
        );
    }
    match median {
        _ if median > SYNC_FAILS => Finding::fail("fsync", format!("{shown}: too slow"), disk),
        _ if median > SYNC_WARNS || worst > SYNC_FAILS => {
            Finding::warn("fsync", format!("{shown}: slow"), disk)
        }
        _ => Finding::ok("fsync", shown),
    }
}

fn millis(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1_000.0)
}

/// Room for the log to reach its bound; two of its files at the least.
fn space(place: &Path, configs: Option<&Configs>) -> Option<Finding> {
    let disk = rustix::fs::statvfs(place).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let shown = format!("{} free at {}", size(free), place.display());
    let Some(log) = configs.map(|configs| &configs.runtime.log) else {
        return Some(Finding::ok("disk space", shown));
    };
    let streams = u64::from(log.shards) * 2;
    let least = log.segment_bytes.saturating_mul(2 * streams);
    if free < least {
        let found = format!("{shown}; files of the log alone take {}", size(least));
        return Some(Finding::fail("disk space", found, "make room, or lower log.segment_bytes"));
    }
    if free < log.max_bytes {
        let found = format!("{shown}; the log may grow to {}", size(log.max_bytes));
        return Some(Finding::warn("disk space", found, "make room, or lower log.max_bytes"));
    }
    Some(Finding::ok("disk space", shown))
}

fn size(bytes: u64) -> String {
    let mib = bytes >> 20;
    if mib < 10 * 1_024 { format!("{mib} MiB") } else { format!("{} GiB", mib >> 10) }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn syncs_are_judged_by_their_median_and_worst() {
        let many = |micros| vec![Duration::from_micros(micros); SYNCS];
        assert_eq!(syncs(&many(800)).verdict, Verdict::Ok);
        assert_eq!(syncs(&many(800)).found, "p50 0.80 ms, p99 0.80 ms");
        assert_eq!(syncs(&many(30_000)).verdict, Verdict::Warn);
        assert_eq!(syncs(&many(300_000)).verdict, Verdict::Fail);
        assert!(syncs(&many(1)).found.contains("no disk is that fast"));
        let mut one_slow = many(800);
        *one_slow.last_mut().unwrap() = Duration::from_millis(300);
        assert_eq!(syncs(&one_slow).verdict, Verdict::Warn);
    }

    #[test]
    fn a_port_in_use_is_told_with_its_user() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap();
        let finding = port("port api".into(), "api", address);
        assert_eq!(finding.verdict, Verdict::Fail);
        if Path::new("/proc/net/tcp").exists() {
            assert!(
                finding.found.contains(&format!("(process {})", std::process::id())),
                "{}",
                finding.found
            );
        }
        drop(other);
        assert!(finding.remedy.unwrap().contains("--listen-api"));
    }

    #[test]
    fn measuring_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(measure(folder.path()).unwrap().len(), SYNCS);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(existing(&folder.path().join("not/there")), folder.path());
    }
}
