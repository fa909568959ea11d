//! Any bytes as a segment file, or as damage done to a good one: opening and reading end without a panic, and what is read is a valid
//! frame in its order.
#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use drover_backbone::{Frame, Log, LogOptions, Offset, Producer, ProducerOptions, Shard, Stream};
use drover_proto::RecordRef;
use drover_proto::backbone::v1::Channel;
use libfuzzer_sys::fuzz_target;

/// Name and content of a good file.
static GOOD: LazyLock<(String, Vec<u8>)> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a directory for the good log");
    let log = open(directory.path());
    let producer = Producer::new(&log, ProducerOptions { frame_records: 2, ..ProducerOptions::new(1, 1) });
    for number in 0..20u8 {
        let record = RecordRef {
            tenant: "t",
            device: "d",
            channel: Channel::Telemetry,
            content_type: "",
            payload: &[number; 40],
            received_us: 1,
            topic: "",
            traceparent: "",
            session: 0,
            packet_id: 0,
        };
        producer.append(Stream::Events, &record).expect("an empty log takes records");
    }
    log.close();
    let file = segment(directory.path());
    let name = file.file_name().and_then(|name| name.to_str()).expect("the name is ASCII").to_owned();
    (name, fs::read(file).expect("the file was written"))
});

fn open(directory: &Path) -> Log {
    let options = LogOptions { segment_bytes: 8192, ..LogOptions::default() };
    Log::open(&format!("embedded:{}", directory.display()), options).expect("the log opens")
}

fn segment(directory: &Path) -> PathBuf {
    let mut files = fs::read_dir(directory.join("events-0")).expect("the shard has a directory");
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "log");
    files.find_map(|file| Some(file.ok()?.path()).filter(is_segment)).expect("the shard has a file")
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, bytes)) = input.split_first() else { return };
    let (name, good) = &*GOOD;
    let content = if mode % 2 == 0 {
        bytes.to_vec()
    } else {
        let damage = bytes.iter().chain(std::iter::repeat(&0));
        good.iter().zip(damage).map(|(byte, damage)| byte ^ damage).collect()
    };
    let directory = tempfile::tempdir().expect("a directory for the log");
    let shard = directory.path().join("events-0");
    fs::create_dir(&shard).expect("an empty directory takes another");
    fs::write(shard.join(name), content).expect("the file can be written");

    let log = open(directory.path());
    let end = log.end(Stream::Events, Shard(0));
    let mut reader = log.reader(Stream::Events, Shard(0), Offset(0)).expect("0 is never beyond the end");
    let mut last = None;
    while let Some((offset, frame)) = reader.try_next().expect("the file can be read") {
        assert!(last < Some(offset) && offset < end);
        last = Some(offset);
        assert_eq!(Frame::parse(frame.as_bytes().clone()).as_ref(), Ok(&frame));
        frame.records().for_each(|record| drop(record));
    }
});
