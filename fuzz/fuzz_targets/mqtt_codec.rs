//! Any bytes as a stream of packets: decoding never panics, and what decodes is encoded to bytes that decode to the
//! same packet. The first byte chooses whether the stream starts at CONNECT or after it, in which version.

#![no_main]

use bytes::BytesMut;
use drover_mqtt_codec::{Packet, Version, decode, encode, encoded_len, needed};
use libfuzzer_sys::fuzz_target;

const MAX_PACKET_BYTES: u32 = 1 << 16;

fuzz_target!(|data: &[u8]| {
    let Some((choice, stream)) = data.split_first() else { return };
    let mut version = match choice % 3 {
        0 => None,
        1 => Some(Version::V4),
        _ => Some(Version::V5),
    };
    let mut buf = BytesMut::from(stream);
    loop {
        let claimed = needed(&buf);
        let before = buf.len();
        let Ok(Some(packet)) = decode(&mut buf, version, MAX_PACKET_BYTES) else { return };
        assert_eq!(claimed, Ok(Some(before - buf.len())));
        let known = version;
        if let Packet::Connect(connect) = &packet {
            version = Some(connect.version);
        }
        let encode_as = version.expect("CONNECT came first");
        let mut again = BytesMut::new();
        encode(&packet, encode_as, &mut again).expect("what decodes can be encoded");
        assert_eq!(encoded_len(&packet, encode_as), Ok(again.len()));
        assert_eq!(decode(&mut again, known, MAX_PACKET_BYTES), Ok(Some(packet)));
        assert!(again.is_empty());
    }
});
