//! The embedded log against crashes: torn tails, flipped bits, half a roll, full and failing disks.

use std::fs::File;
use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::task::{Context, Waker};
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::disk::Space;
use super::segment::Identity;
use super::*;
use crate::contract::{self, drain, record, singles};
use crate::{Log, Producer, ProducerOptions, Refused};

const SHARD: (Stream, Shard) = (Stream::Events, Shard(0));

fn small() -> LogOptions {
    LogOptions { segment_bytes: 4096, recent_bytes: 1000, ..LogOptions::default() }
}

fn open(directory: &TempDir) -> Log {
    Log::of(Arc::new(EmbeddedLog::open(directory.path(), small()).unwrap()))
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Appends each payload in a frame of its own and waits until all are durable.
fn append(log: &Log, payloads: impl IntoIterator<Item = String>) {
    let producer = singles(log);
    for payload in payloads {
        producer.append(SHARD.0, &record("d", payload.as_bytes())).unwrap();
    }
    run(producer.flush()).unwrap();
}

fn read(log: &Log, from: u64) -> Vec<(u64, String)> {
    let mut reader = log.reader(SHARD.0, SHARD.1, Offset(from)).unwrap();
    drain(&mut reader).into_iter().map(|(offset, mut payloads)| (offset, payloads.pop().unwrap())).collect()
}

fn numbers(range: std::ops::Range<u64>) -> Vec<(u64, String)> {
    range.map(|number| (number, number.to_string())).collect()
}

/// The files of the shard that the tests write, oldest first.
fn files(directory: &TempDir) -> Vec<(Identity, PathBuf)> {
    let shard = directory.path().join("events-0");
    let mut files: Vec<_> = fs::read_dir(shard)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| Some((Identity::of_file_name(path.file_name()?.to_str()?)?, path)))
        .collect();
    files.sort();
    files
}

/// A log of one file with frames "0" to "4", and where they stand in it.
fn five(directory: &TempDir) -> (PathBuf, Vec<u8>, usize) {
    append(&open(directory), (0..5).map(|number| number.to_string()));
    let path = files(directory).remove(0).1;
    let bytes = fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let length = end.next_multiple_of(8) / 5;
    (path, bytes, length)
}

#[tokio::test]
async fn the_contract_holds() {
    let mut directories = Vec::new();
    contract::all(|| {
        directories.push(TempDir::new().unwrap());
        let options = LogOptions { shards: 2, ..small() };
        let path = format!("embedded:{}", directories.last().unwrap().path().display());
        Log::open(&path, options).unwrap()
    })
    .await;
}

#[test]
fn another_backbone_and_wrong_options_are_refused_by_name() {
    let error = Log::open("nats://x", small()).err().unwrap().to_string();
    assert_eq!(error, "unknown backbone \"nats://x\": this version has embedded:");
    let directory = TempDir::new().unwrap();
    drop(open(&directory));
    let other = EmbeddedLog::open(directory.path(), LogOptions { shards: 2, ..small() });
    assert!(
        other
            .err()
            .unwrap()
            .to_string()
            .ends_with("says 1 shards, but 2 are configured; their number is chosen once")
    );
    let none = EmbeddedLog::open(directory.path(), LogOptions { shards: 0, ..small() });
    assert!(none.err().unwrap().to_string().contains("shards must be"));
}

#[test]
fn a_file_that_ends_anywhere_in_the_last_frame_keeps_the_frames_before_it() {
    let directory = TempDir::new().unwrap();
    let (path, bytes, length) = five(&directory);
    for cut in 4 * length..5 * length {
        fs::write(&path, &bytes[..cut]).unwrap();
        let log = open(&directory);
        let whole = cut >= 5 * length - 7 && log.end(SHARD.0, SHARD.1) == Offset(5);
        let kept = if whole { 5 } else { 4 };
        assert_eq!(read(&log, 0), numbers(0..kept), "cut at {cut}");
        append(&log, [kept.to_string()]);
        assert_eq!(read(&log, 0), numbers(0..kept + 1), "cut at {cut}");
        assert_eq!(log.stats().corrupt_frames, 0);
        drop(log);
        files(&directory).into_iter().for_each(|(_, file)| fs::remove_file(file).unwrap());
    }
}

#[test]
fn a_damaged_last_frame_is_cut_off_and_overwritten() {
    let directory = TempDir::new().unwrap();
    let (path, bytes, length) = five(&directory);
    for at in 4 * length..5 * length {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x21;
        fs::write(&path, &damaged).unwrap();
        let log = open(&directory);
        let kept = log.end(SHARD.0, SHARD.1).0;
        assert!(kept == 4 || at >= 5 * length - 7, "byte {at}");
        append(&log, [kept.to_string()]);
        drop(log);
        let log = open(&directory);
        assert_eq!((read(&log, 0), log.stats().corrupt_frames), (numbers(0..kept + 1), 0), "byte {at}");
    }
}

#[test]
fn a_damaged_frame_in_the_middle_is_reported_and_the_later_ones_stay() {
    let directory = TempDir::new().unwrap();
    let (path, bytes, length) = five(&directory);
    for at in 2 * length..3 * length {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x21;
        fs::write(&path, &damaged).unwrap();
        let log = open(&directory);
        let mut expected = numbers(0..5);
        let read = read(&log, 0);
        if at >= 3 * length - 7 && read.len() == 5 {
            continue; // Padding.
        }
        expected.remove(2);
        assert_eq!(read, expected, "byte {at}");
        assert_eq!(log.stats().corrupt_frames, 1);
        assert!(log.stats().corruption.unwrap().contains("events-0"));
        assert_eq!(log.end(SHARD.0, SHARD.1), Offset(5));
    }
}

#[test]
fn damage_in_an_older_file_is_reported_once_and_reading_goes_on() {
    let directory = TempDir::new().unwrap();
    append(&open(&directory), (0..100).map(|number| number.to_string()));
    let path = files(&directory).remove(0).1;
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    let length = bytes.len();
    bytes[length - 200..].fill(7);
    fs::write(&path, &bytes).unwrap();
    let log = open(&directory);
    assert_eq!(log.stats().corrupt_frames, 0);
    let found = read(&log, 0);
    let lost = 100 - found.len() as u64;
    assert!((2..8).contains(&lost), "{lost}");
    assert_eq!(read(&log, 0), found);
    assert_eq!(log.stats().corrupt_frames, lost);
}

#[test]
fn a_roll_that_was_interrupted_loses_nothing() {
    let directory = TempDir::new().unwrap();
    append(&open(&directory), (0..5).map(|number| number.to_string()));
    let (first, path) = files(&directory).remove(0);
    let next = Identity { base: 5, generation: first.generation + (1 << 32) };
    let empty = path.with_file_name(next.file_name());

    // The next file is there, with zeros, or with what an earlier use left in it.
    for content in [vec![0; 4096], fs::read(&path).unwrap(), vec![]] {
        fs::write(&empty, content).unwrap();
        fs::write(path.with_file_name(recovery::UNFINISHED), b"half").unwrap();
        let log = open(&directory);
        assert_eq!((read(&log, 0), log.stats().corrupt_frames), (numbers(0..5), 0));
        append(&log, ["5".into(), "6".into()]);
        assert_eq!(read(&log, 0), numbers(0..7));
        drop(log);
        assert_eq!(read(&open(&directory), 0), numbers(0..7));
        files(&directory).into_iter().skip(1).for_each(|(_, file)| fs::remove_file(file).unwrap());
    }
}

#[test]
fn of_overlapping_files_the_newer_counts() {
    let directory = TempDir::new().unwrap();
    append(&open(&directory), (0..5).map(|number| number.to_string()));
    let (first, path) = files(&directory).remove(0);
    let newer = Identity { base: 3, generation: first.generation + (1 << 32) };
    fs::write(path.with_file_name(newer.file_name()), vec![0; 4096]).unwrap();
    let log = open(&directory);
    assert_eq!(log.end(SHARD.0, SHARD.1), Offset(3));
    append(&log, ["three".into()]);
    drop(log);
    let mut expected = numbers(0..3);
    expected.push((3, "three".into()));
    assert_eq!(read(&open(&directory), 0), expected);
}

#[test]
fn what_is_held_survives_a_truncation() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    append(&log, (0..200).map(|number| number.to_string()));
    log.hold(SHARD.0, SHARD.1, Offset(100));
    log.truncate(SHARD.0, SHARD.1, Offset(190));
    append(&log, (200..210).map(|number| number.to_string()));
    assert_eq!(read(&log, 100).first(), Some(&(100, "100".to_owned())));
    assert!(files(&directory).first().unwrap().0.base > 0, "what is not held may go");
}

/// Writes the files as they are held.
fn copy_of(held: &[LogFile]) -> TempDir {
    let copy = TempDir::new().unwrap();
    for file in held {
        let path = copy.path().join(&file.name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let (mut bytes, mut piece) = (Vec::new(), [0; 1_000]);
        loop {
            match file.read_at(&mut piece, bytes.len() as u64).unwrap() {
                0 => break,
                read => bytes.extend_from_slice(&piece[..read]),
            }
        }
        assert_eq!(bytes.len() as u64, file.size_bytes);
        fs::write(path, bytes).unwrap();
    }
    copy
}

#[test]
fn held_files_are_the_log_of_their_moment_whatever_is_truncated_and_written_behind() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    append(&log, (0..200).map(|number| number.to_string()));
    let held = log.files();
    log.truncate(SHARD.0, SHARD.1, Offset(190));
    append(&log, (200..900).map(|number| number.to_string()));
    assert!(files(&directory).first().unwrap().0.base > 0, "files went away meanwhile");
    let copied = copy_of(&held);
    let copy = open(&copied);
    assert_eq!(read(&copy, 0), numbers(0..200));
    append(&copy, ["200".into()]);
    assert_eq!(read(&copy, 0), numbers(0..201), "the copy goes on by itself");
}

#[test]
fn a_log_that_ends_at_the_beginning_of_a_file_ends_there_in_a_copy_too() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    append(&log, (0..200).map(|number| number.to_string()));
    log.truncate(SHARD.0, SHARD.1, log.end(SHARD.0, SHARD.1));
    let last: Vec<_> = log.files().into_iter().rev().take(1).collect();
    let end = log.end(SHARD.0, SHARD.1);
    let copy = copy_of(&last);
    fs::write(copy.path().join("shards"), "1\n").unwrap();
    assert_eq!(open(&copy).end(SHARD.0, SHARD.1), end);
}

#[test]
fn readers_that_come_and_go_at_the_end_of_a_quiet_shard_leave_nothing_behind() {
    let directory = TempDir::new().unwrap();
    let log = EmbeddedLog::open(directory.path(), small()).unwrap();
    let shard = log.shard(SHARD.0, SHARD.1).unwrap().clone();
    let mut stays = log.reader(SHARD.0, SHARD.1, Offset(0)).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..3 {
        let mut goes = log.reader(SHARD.0, SHARD.1, Offset(0)).unwrap();
        assert!(goes.poll_next(&mut context).is_pending() && stays.poll_next(&mut context).is_pending());
        assert_eq!(shard.waiting(), 2);
        drop(goes);
        assert_eq!(shard.waiting(), 1);
    }
}

#[test]
fn nothing_goes_away_while_somebody_keeps_it() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    append(&log, (0..200).map(|number| number.to_string()));
    let kept = log.keep();
    log.truncate(SHARD.0, SHARD.1, Offset(190));
    append(&log, (200..210).map(|number| number.to_string()));
    assert_eq!(files(&directory).first().unwrap().0.base, 0);
    drop(kept);
    log.truncate(SHARD.0, SHARD.1, Offset(190));
    append(&log, (210..220).map(|number| number.to_string()));
    assert!(files(&directory).first().unwrap().0.base > 0);
}

#[test]
fn the_bound_of_the_size_refuses_until_the_log_is_truncated() {
    let directory = TempDir::new().unwrap();
    let options = LogOptions { max_bytes: 20_000, ..small() };
    let log = Log::of(Arc::new(EmbeddedLog::open(directory.path(), options).unwrap()));
    let producer = singles(&log);
    let refused = run(async {
        loop {
            match producer.append(SHARD.0, &record("d", &[b'x'; 500])) {
                Ok(mut ticket) => ticket.durable().await.unwrap(),
                Err(refused) => break refused,
            }
        }
    });
    assert_eq!(refused, Refused::Full);
    assert!(matches!(log.health(), LogHealth::Full { .. }));
    assert!(log.stats().size_bytes >= 18_000);
    log.truncate(SHARD.0, SHARD.1, log.end(SHARD.0, SHARD.1));
    run(producer.ready(SHARD.0, "t", "d"));
    assert!(producer.append(SHARD.0, &record("d", b"x")).is_ok());
    assert_eq!(log.health(), LogHealth::Ready);
}

/// A disk that fails when it is told to.
#[derive(Default)]
struct Broken {
    sync: AtomicBool,
    create: AtomicBool,
    /// Longest file that there is room for; 0 for any.
    room: AtomicU64,
    /// Writes end after so many bytes and then fail; 0 for never.
    short: AtomicUsize,
}

impl Disk for Broken {
    fn create(&self, path: &Path, bytes: u64, space: Space) -> io::Result<File> {
        let room = self.room.load(Ordering::SeqCst);
        if self.create.load(Ordering::SeqCst) || (room > 0 && bytes > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        RealDisk.create(path, bytes, space)
    }

    fn write(&self, file: &File, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        match self.short.load(Ordering::SeqCst) {
            0 => RealDisk.write(file, parts, at),
            short if at.is_multiple_of(8) => {
                let first = parts.iter().find(|part| !part.is_empty()).unwrap();
                RealDisk.write(file, &[IoSlice::new(&first[..short.min(first.len())])], at)
            }
            _ => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        if self.sync.load(Ordering::SeqCst) {
            Err(io::Error::from_raw_os_error(5))
        } else {
            RealDisk.sync(file)
        }
    }
}

#[test]
fn on_a_disk_with_little_room_files_are_shorter() {
    let directory = TempDir::new().unwrap();
    let disk = Arc::new(Broken::default());
    disk.room.store(3 << 20, Ordering::SeqCst);
    let options = LogOptions { segment_bytes: 16 << 20, ..LogOptions::default() };
    let log = Log::of(Arc::new(EmbeddedLog::open_on(directory.path(), options, disk.clone()).unwrap()));
    append(&log, ["a".to_owned()]);
    assert_eq!(log.health(), LogHealth::Ready);
    assert_eq!(log.end(SHARD.0, SHARD.1), Offset(1));
}

#[test]
fn a_full_disk_takes_frames_again_when_old_files_go() {
    let directory = TempDir::new().unwrap();
    let disk = Arc::new(Broken::default());
    let log = EmbeddedLog::open_on(directory.path(), small(), disk.clone()).unwrap();
    let log = Log::of(Arc::new(log));
    append(&log, (0..100).map(|number| number.to_string()));
    let (end, producer) = (log.end(SHARD.0, SHARD.1), singles(&log));
    disk.create.store(true, Ordering::SeqCst);
    disk.sync.store(true, Ordering::SeqCst);
    let mut ticket = producer.append(SHARD.0, &record("d", b"100")).unwrap();
    run(async {
        let mut health = log.watch_health();
        health.wait_for(|health| *health != LogHealth::Ready).await.unwrap();
        // From now on the disk has room for nothing but what takes the place of something old.
        disk.sync.store(false, Ordering::SeqCst);
        log.truncate(SHARD.0, SHARD.1, end);
        ticket.durable().await.unwrap();
    });
    assert_eq!(log.health(), LogHealth::Ready);
}

/// Breaks the disk, appends, sees it fail, mends it, and sees everything arrive in order.
fn survives(break_it: impl Fn(&Broken), mend: impl Fn(&Broken), detail: &str) {
    let directory = TempDir::new().unwrap();
    let disk = Arc::new(Broken::default());
    let log = EmbeddedLog::open_on(directory.path(), small(), disk.clone()).unwrap();
    let log = Log::of(Arc::new(log));
    append(&log, (0..100).map(|number| number.to_string()));
    let producer = singles(&log);
    break_it(&disk);
    let mut tickets: Vec<_> = (100..200)
        .map(|number: u64| producer.append(SHARD.0, &record("d", number.to_string().as_bytes())).unwrap())
        .collect();
    run(async {
        let mut health = log.watch_health();
        let failing = health.wait_for(|health| *health != LogHealth::Ready).await.unwrap().clone();
        let LogHealth::Failing { detail: found, .. } = failing else { panic!("{failing:?}") };
        assert!(found.contains(detail) && found.contains("events-0"), "{found}");
        assert!(!tickets.last().unwrap().is_durable());
        let visible = log.end(SHARD.0, SHARD.1).0;
        assert_eq!(read(&log, 0), numbers(0..visible));
        mend(&disk);
        for ticket in &mut tickets {
            ticket.durable().await.unwrap();
        }
        health.wait_for(|health| *health == LogHealth::Ready).await.unwrap();
    });
    assert_eq!(read(&log, 0), numbers(0..200));
    assert_eq!((log.appended("t"), log.stats().corrupt_frames), (200, 0));
    drop((producer, log));
    let log = open(&directory);
    assert_eq!((read(&log, 0), log.stats().corrupt_frames), (numbers(0..200), 0));
}

#[test]
fn after_a_failed_sync_the_frames_go_into_a_new_file() {
    let set = |to| move |disk: &Broken| disk.sync.store(to, Ordering::SeqCst);
    survives(set(true), set(false), "os error 5");
}

#[test]
fn after_a_short_write_the_frames_go_into_a_new_file() {
    let set = |to| move |disk: &Broken| disk.short.store(to, Ordering::SeqCst);
    survives(set(33), set(0), "no storage space");
}

#[test]
fn without_space_for_the_next_file_frames_wait() {
    let set = |to| move |disk: &Broken| disk.create.store(to, Ordering::SeqCst);
    survives(set(true), set(false), "no storage space");
}

#[test]
fn what_waits_is_bounded_and_a_log_that_stops_says_so() {
    let directory = TempDir::new().unwrap();
    let disk = Arc::new(Broken::default());
    disk.sync.store(true, Ordering::SeqCst);
    let log = EmbeddedLog::open_on(directory.path(), small(), disk.clone()).unwrap();
    let log = Log::of(Arc::new(log));
    let options = ProducerOptions { max_pending_bytes: 1000, ..ProducerOptions::new(1, 1) };
    let producer = Producer::new(&log, options);
    let mut tickets = Vec::new();
    let refused = loop {
        match producer.append(SHARD.0, &record("d", b"x")) {
            Ok(ticket) => tickets.push(ticket),
            Err(refused) => break refused,
        }
    };
    assert_eq!((refused, tickets.len() > 10), (Refused::Busy, true));
    disk.sync.store(false, Ordering::SeqCst);
    run(producer.ready(SHARD.0, "t", "d"));
    let mut last = producer.append(SHARD.0, &record("d", b"x")).unwrap();
    run(last.durable()).unwrap();

    disk.sync.store(true, Ordering::SeqCst);
    let mut ticket = producer.append(SHARD.0, &record("d", b"x")).unwrap();
    log.close();
    assert!(matches!(run(ticket.durable()), Err(LogError::Stopped)));
    assert!(matches!(producer.append(SHARD.0, &record("d", b"x")), Err(Refused::Stopped)));
    let mut reader = log.reader(SHARD.0, SHARD.1, log.end(SHARD.0, SHARD.1)).unwrap();
    assert!(matches!(run(reader.next()), Err(LogError::Stopped)));
}

#[test]
fn a_record_longer_than_a_frame_is_refused_and_a_long_one_is_kept() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let producer = Producer::new(&log, ProducerOptions::new(1, 1));
    let long = vec![b'x'; 4 << 20];
    assert!(matches!(producer.append(SHARD.0, &record("d", &long)), Err(Refused::TooLarge)));
    let fits = "y".repeat(3 << 20);
    append(&log, ["a".into(), fits.clone(), "b".into()]);
    drop((producer, log));
    let expected = ["a", &fits, "b"].map(String::from);
    let found: Vec<_> = read(&open(&directory), 0).into_iter().map(|(_, payload)| payload).collect();
    assert!(found == expected);
}

#[test]
#[ignore = "needs root, to mount a file system of 128 KiB"]
fn a_full_file_system_holds_frames_back_until_there_is_space() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let mount = |arguments: &[&str]| {
        std::process::Command::new(arguments[0]).args(&arguments[1..]).arg(path).status()
    };
    assert!(mount(&["mount", "-t", "tmpfs", "-o", "size=128k", "none"]).unwrap().success());
    let log = open(&directory);
    append(&log, (0..50).map(|number| number.to_string()));
    let filler = path.join("filler");
    // As much as there is room for.
    let _ = fs::write(&filler, vec![1; 200_000]);
    let producer = singles(&log);
    let payloads: Vec<_> = (50..400).map(|number: u64| number.to_string()).collect();
    let tickets: Vec<_> = payloads
        .iter()
        .map(|payload| producer.append(SHARD.0, &record("d", payload.as_bytes())).unwrap())
        .collect();
    run(async {
        let mut health = log.watch_health();
        let failing = health.wait_for(|health| *health != LogHealth::Ready).await.unwrap().clone();
        assert!(format!("{failing:?}").contains("os error 28"), "{failing:?}");
        fs::remove_file(&filler).unwrap();
        for mut ticket in tickets {
            ticket.durable().await.unwrap();
        }
    });
    assert_eq!(read(&log, 0), numbers(0..400));
    drop((producer, log));
    assert_eq!(read(&open(&directory), 0), numbers(0..400));
    assert!(mount(&["umount"]).unwrap().success());
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<usize>),
    Truncate(u64),
    Reopen,
    Read(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(0..900usize, 1..20).prop_map(Step::Append),
        1 => (0..=100u64).prop_map(Step::Truncate),
        1 => Just(Step::Reopen),
        2 => (0..=100u64).prop_map(Step::Read),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_sequence_of_steps_reads_as_a_list_does(steps in prop::collection::vec(step(), 1..40)) {
        let directory = TempDir::new().unwrap();
        let mut log = Some(open(&directory));
        let mut model: Vec<String> = Vec::new();
        let mut truncated = 0;
        for step in steps.into_iter().chain([Step::Reopen, Step::Read(0)]) {
            let end = model.len() as u64;
            match step {
                Step::Append(lengths) => {
                    let payloads: Vec<_> = lengths.iter().zip(end..).map(|(length, number)| format!("{number}{}", "x".repeat(*length))).collect();
                    append(log.as_ref().unwrap(), payloads.clone());
                    model.extend(payloads);
                }
                Step::Truncate(percent) => {
                    truncated = truncated.max(end * percent / 100);
                    log.as_ref().unwrap().truncate(SHARD.0, SHARD.1, Offset(truncated));
                }
                Step::Reopen => {
                    log = None;
                    log = Some(open(&directory)).or(log);
                }
                Step::Read(percent) => {
                    let from = end * percent / 100;
                    let log = log.as_ref().unwrap();
                    prop_assert_eq!(log.end(SHARD.0, SHARD.1), Offset(end));
                    let found = read(log, from);
                    // What lies below a truncation may go away at any time, also between two frames.
                    let from = usize::try_from(from).unwrap();
                    let needed = from.max(usize::try_from(truncated).unwrap());
                    let listed = |at: &u64| model.get(usize::try_from(*at).unwrap()).cloned();
                    prop_assert!(found.iter().all(|(at, payload)| listed(at).as_ref() == Some(payload)));
                    let offsets: Vec<_> = found.iter().map(|(at, _)| usize::try_from(*at).unwrap()).collect();
                    prop_assert!(offsets.is_sorted() && offsets.first().is_none_or(|first| *first >= from));
                    let kept: Vec<_> = offsets.into_iter().filter(|at| *at >= needed).collect();
                    prop_assert_eq!(kept, (needed..model.len()).collect::<Vec<_>>());
                    prop_assert_eq!(log.stats().corrupt_frames, 0);
                }
            }
        }
    }
}

#[test]
fn a_reader_beyond_the_end_is_told_that_frames_are_missing() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    append(&log, ["0".into()]);
    assert!(log.reader(SHARD.0, SHARD.1, Offset(1)).is_ok());
    let error = log.reader(SHARD.0, SHARD.1, Offset(2)).err().unwrap();
    assert!(matches!(error, LogError::Beyond { from: Offset(2), end: Offset(1), .. }), "{error}");
}

#[test]
fn a_sync_is_shared_by_all_who_wait() {
    let directory = TempDir::new().unwrap();
    let log = open(&directory);
    let options = ProducerOptions { linger: Duration::from_secs(3600), ..ProducerOptions::new(1, 1) };
    let producer = Producer::new(&log, options);
    let mut tickets: Vec<_> =
        (0..100).map(|_| producer.append(SHARD.0, &record("d", b"x")).unwrap()).collect();
    assert!(tickets.iter().all(|ticket| ticket.same_frame(&tickets[0]) && !ticket.is_durable()));
    run(async {
        producer.flush().await.unwrap();
        for ticket in &mut tickets {
            ticket.durable().await.unwrap();
        }
    });
    let stats = log.stats();
    assert_eq!((stats.frames, stats.records, stats.syncs), (1, 100, 1));
}
