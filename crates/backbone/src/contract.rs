//! What every backbone's log must do, as functions over `&Log`: each backbone's tests run all of them on an empty log.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use drover_proto::RecordRef;
use drover_proto::backbone::v1::Channel;

use crate::{
    Frame, Log, Offset, Producer, ProducerOptions, Reader, Shard, Stream, partition_of, sequence, shard_of,
};

/// A record of tenant `t`.
pub(crate) fn record<'a>(device: &'a str, payload: &'a [u8]) -> RecordRef<'a> {
    RecordRef {
        tenant: "t",
        device,
        channel: Channel::Telemetry,
        content_type: "",
        payload,
        received_us: 1,
        topic: "",
        traceparent: "",
        session: 0,
        packet_id: 0,
    }
}

/// A producer that gives every record a frame of its own.
pub(crate) fn singles(log: &Log) -> Producer {
    Producer::new(log, ProducerOptions { frame_records: 1, ..ProducerOptions::new(1, 1) })
}

pub(crate) fn shard_of_device(log: &Log, device: &str) -> Shard {
    shard_of(partition_of("t", device), log.shards())
}

pub(crate) fn payloads(frame: &Frame) -> Vec<String> {
    let text = |payload: &[u8]| String::from_utf8(payload.to_vec()).unwrap();
    frame.records().map(|record| text(record.unwrap().payload)).collect()
}

/// Everything that a reader has without waiting.
pub(crate) fn drain(reader: &mut Reader) -> Vec<(u64, Vec<String>)> {
    let mut found = Vec::new();
    while let Some((offset, frame)) = reader.try_next().unwrap() {
        found.push((offset.0, payloads(&frame)));
    }
    found
}

/// Runs the whole contract; `open` gives an empty log each time.
pub(crate) async fn all(mut open: impl FnMut() -> Log) {
    records_of_a_device_keep_their_order(&open()).await;
    a_reader_begins_where_it_is_told(&open()).await;
    a_reader_waits_at_the_end(&open()).await;
    a_truncated_log_begins_at_or_below_the_truncation(&open()).await;
    records_of_a_tenant_are_counted_before_the_ticket_resolves(&open()).await;
    positions_grow(&open()).await;
}

async fn records_of_a_device_keep_their_order(log: &Log) {
    let producer = Producer::new(log, ProducerOptions { frame_records: 7, ..ProducerOptions::new(1, 1) });
    let devices = ["a", "b", "c"];
    for number in 0..100 {
        for device in devices {
            let payload = format!("{device}{number}");
            producer.append(Stream::Telemetry, &record(device, payload.as_bytes())).unwrap();
        }
    }
    producer.flush().await.unwrap();
    for device in devices {
        let shard = shard_of_device(log, device);
        let mut reader = log.reader(Stream::Telemetry, shard, Offset(0)).unwrap();
        let all = drain(&mut reader).into_iter().flat_map(|(_, payloads)| payloads);
        let mine: Vec<_> = all.filter(|payload| payload.starts_with(device)).collect();
        let expected: Vec<_> = (0..100).map(|number| format!("{device}{number}")).collect();
        assert_eq!(mine, expected);
    }
    assert_eq!(log.end(Stream::Events, Shard(0)), Offset(0));
}

async fn fill(log: &Log, count: usize) -> Shard {
    let producer = singles(log);
    for number in 0..count {
        producer.append(Stream::Events, &record("d", number.to_string().as_bytes())).unwrap();
    }
    producer.flush().await.unwrap();
    shard_of_device(log, "d")
}

async fn a_reader_begins_where_it_is_told(log: &Log) {
    let shard = fill(log, 20).await;
    assert_eq!(log.end(Stream::Events, shard), Offset(20));
    for from in 0..=20 {
        let mut reader = log.reader(Stream::Events, shard, Offset(from)).unwrap();
        let expected: Vec<_> = (from..20).map(|number| (number, vec![number.to_string()])).collect();
        assert_eq!(drain(&mut reader), expected);
    }
    assert!(log.reader(Stream::Events, Shard(log.shards()), Offset(0)).is_err());
}

async fn a_reader_waits_at_the_end(log: &Log) {
    let shard = fill(log, 1).await;
    let mut reader = log.reader(Stream::Events, shard, Offset(0)).unwrap();
    assert_eq!(payloads(&reader.next().await.unwrap().1), ["0"]);
    assert!(reader.try_next().unwrap().is_none());
    {
        let mut next = pin!(reader.next());
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(next.as_mut().poll(&mut context), Poll::Pending));
    }
    let mut ticket = singles(log).append(Stream::Events, &record("d", b"1")).unwrap();
    let (offset, frame) = reader.next().await.unwrap();
    assert_eq!((offset, payloads(&frame)), (Offset(1), vec!["1".into()]));
    ticket.durable().await.unwrap();
    assert!(ticket.is_durable());
}

async fn a_truncated_log_begins_at_or_below_the_truncation(log: &Log) {
    let shard = fill(log, 300).await;
    log.truncate(Stream::Events, shard, Offset(250));
    fill(log, 1).await;
    let mut reader = log.reader(Stream::Events, shard, Offset(0)).unwrap();
    let offsets: Vec<_> = drain(&mut reader).into_iter().map(|(offset, _)| offset).collect();
    let first = offsets[0];
    assert!(first <= 250);
    assert_eq!(offsets, (first..301).collect::<Vec<_>>());
    let mut reader = log.reader(Stream::Events, shard, Offset(250)).unwrap();
    assert_eq!(drain(&mut reader)[0].0, 250);
}

async fn records_of_a_tenant_are_counted_before_the_ticket_resolves(log: &Log) {
    let producer = singles(log);
    let mut refused = record("d", b"");
    refused.channel = Channel::Refused;
    producer.append(Stream::Telemetry, &refused).unwrap();
    for count in 1..=5 {
        producer.append(Stream::Telemetry, &record("d", b"x")).unwrap().durable().await.unwrap();
        assert_eq!(log.appended("t"), count);
    }
    assert_eq!(log.appended("another"), 0);
}

async fn positions_grow(log: &Log) {
    let shard = fill(log, 50).await;
    let mut reader = log.reader(Stream::Events, shard, Offset(0)).unwrap();
    let mut last = None;
    while let Some((offset, frame)) = reader.try_next().unwrap() {
        for index in 0..frame.len_records() {
            let position = sequence(offset, index);
            assert!(last < Some(position));
            last = Some(position);
        }
    }
}
