//! The last packet of a connection, and a close that lets it arrive.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use drover_mqtt_codec::{Disconnect, DisconnectProperties, Packet, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::answers::Answers;
use crate::error::End;
use crate::metrics::Metrics;
use crate::outbound::Outbound;
use crate::transport::Transport;

/// How long a client may take to receive the last packet, and then to close.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes of the client read at a time while it closes.
const SINK_BYTES: usize = 512;

/// Gives the client that has left the answers to what it sent before, as far as they come in time.
pub(crate) async fn answer(
    transport: &mut Transport,
    outbound: &Outbound,
    (answers, metrics): (&mut Answers, &Metrics),
    mut unsent: BytesMut,
) {
    let _ = tokio::time::timeout(LINGER, async {
        poll_fn(|cx| match answers.write(cx, outbound, metrics, &mut unsent) {
            Ok(_) if !answers.is_empty() => Poll::Pending,
            // Of what the log could not keep there is nothing to say any more.
            Ok(_) | Err(_) => Poll::Ready(()),
        })
        .await;
        transport.write_all(&unsent).await?;
        transport.flush().await
    })
    .await;
}

/// Sends what was unsent and, in MQTT 5, why the connection ends; then closes.
pub(crate) async fn say(transport: &mut Transport, outbound: &Outbound, mut unsent: BytesMut, end: &End) {
    if outbound.limits.version == Version::V5 {
        put_disconnect(outbound, end, &mut unsent);
    }
    let _ = tokio::time::timeout(LINGER, async {
        transport.write_all(&unsent).await?;
        transport.flush().await
    })
    .await;
    linger(transport).await;
}

fn put_disconnect(outbound: &Outbound, end: &End, output: &mut BytesMut) {
    let Some(reason) = end.reason() else { return };
    if outbound.limits.problem_information {
        let properties =
            DisconnectProperties { reason_string: Some(end.to_string()), ..DisconnectProperties::default() };
        let packet = Packet::Disconnect(Disconnect { reason, properties: Some(Box::new(properties)) });
        // MQTT 5, 3.14.2.2.3: left out when it makes the packet too long.
        if outbound.control(&packet, output) {
            return;
        }
    }
    outbound.control(&Packet::Disconnect(Disconnect { reason, properties: None }), output);
}

/// Closes the sending side and reads to the end for a moment: closing with unread bytes would make the kernel send a reset, which
/// can overtake the last packet.
pub(crate) async fn linger(transport: &mut Transport) {
    let _ = tokio::time::timeout(LINGER, async {
        transport.shutdown().await?;
        let mut sink = BytesMut::with_capacity(SINK_BYTES);
        while transport.read_buf(&mut sink).await? > 0 {
            sink.clear();
        }
        std::io::Result::Ok(())
    })
    .await;
}
