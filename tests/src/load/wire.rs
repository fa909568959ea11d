//! The few MQTT 3.1.1 packets that a load generator needs, as bytes, with as little CPU as can be.

use bytes::{Buf as _, BufMut as _, BytesMut};

/// Appends a CONNECT with clean session.
pub fn connect(out: &mut BytesMut, client: &str, login: Option<(&str, &str)>, keep_alive_s: u16) {
    let text = |out: &mut BytesMut, text: &str| {
        out.put_u16(u16::try_from(text.len()).expect("short text"));
        out.put_slice(text.as_bytes());
    };
    let mut body = BytesMut::new();
    text(&mut body, "MQTT");
    body.put_u8(4);
    body.put_u8(if login.is_some() { 0xc2 } else { 0x02 });
    body.put_u16(keep_alive_s);
    text(&mut body, client);
    if let Some((user, password)) = login {
        text(&mut body, user);
        text(&mut body, password);
    }
    out.put_u8(0x10);
    remaining_length(out, body.len());
    out.put_slice(&body);
}

/// Appends a PUBLISH; `packet_id` at QoS 1, none at QoS 0.
pub fn publish(out: &mut BytesMut, topic: &str, packet_id: Option<u16>, payload: &[u8]) {
    out.put_u8(if packet_id.is_some() { 0x32 } else { 0x30 });
    remaining_length(out, 2 + topic.len() + if packet_id.is_some() { 2 } else { 0 } + payload.len());
    out.put_u16(u16::try_from(topic.len()).expect("short topic"));
    out.put_slice(topic.as_bytes());
    if let Some(id) = packet_id {
        out.put_u16(id);
    }
    out.put_slice(payload);
}

fn remaining_length(out: &mut BytesMut, mut length: usize) {
    loop {
        let low = u8::try_from(length & 0x7f).expect("seven bits");
        length >>= 7;
        out.put_u8(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            return;
        }
    }
}

/// What a server sends to a publisher.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// CONNACK with its return code.
    Connected(u8),
    /// PUBACK.
    Acknowledged(u16),
    /// Anything else.
    Other(u8),
}

/// Takes one packet off the front when it is there as a whole.
pub fn take(input: &mut BytesMut) -> Option<Answer> {
    let (&first, mut rest) = input.split_first()?;
    let (mut length, mut shift, mut header) = (0usize, 0, 1);
    loop {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        header += 1;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let body = rest.get(..length)?;
    let answer = match (first >> 4, body) {
        (2, [_, code, ..]) => Answer::Connected(*code),
        (4, [high, low, ..]) => Answer::Acknowledged(u16::from_be_bytes([*high, *low])),
        _ => Answer::Other(first),
    };
    input.advance(header + length);
    Some(answer)
}
