//! A call on its way to its service: the metadata that goes with it, and its messages, none too long.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use drover_model::Tenant;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use hyper::body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use super::deadline::TIMEOUT_HEADER;

/// Longest message of a caller.
pub const MAX_MESSAGE_BYTES: u32 = 4 << 20;
/// What stands before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// What of a caller's metadata its service sees, beside the tenant.
const PASSED_ON: [HeaderName; 7] = [
    CONTENT_TYPE,
    TE,
    ACCEPT_ENCODING,
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static("grpc-accept-encoding"),
    HeaderName::from_static(TIMEOUT_HEADER),
    HeaderName::from_static("traceparent"),
];

/// The request as its service gets it. The caller's tenant stands in the metadata, and nothing that the caller wrote there itself.
pub fn passed_on(request: Request<Body>, tenant: Option<&Tenant>) -> Request<Body> {
    let (parts, body) = request.into_parts();
    let mut headers = HeaderMap::new();
    for name in PASSED_ON {
        if let Some(value) = parts.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    if let Some(tenant) = tenant {
        let value = HeaderValue::from_str(tenant.as_str()).expect("an id is printable ASCII");
        headers.insert(drover_rpc::TENANT_METADATA, value);
    }
    let mut passed_on = Request::new(Body::new(Bounded { body, prefix: Prefix::default() }));
    *passed_on.method_mut() = parts.method;
    *passed_on.uri_mut() = parts.uri;
    *passed_on.headers_mut() = headers;
    passed_on
}

/// The caller's messages. One that is too long ends them before it is read.
struct Bounded {
    body: Body,
    prefix: Prefix,
}

/// Where in the messages the bytes are that came last.
#[derive(Default)]
struct Prefix {
    bytes: [u8; PREFIX_BYTES],
    /// Bytes of it that are there.
    length: usize,
    /// Bytes of the message behind it that are not there yet.
    message: usize,
}

impl Prefix {
    /// Goes on over bytes; an error when a message begins in them that is too long.
    fn advance(&mut self, mut bytes: &[u8]) -> Result<(), Status> {
        while !bytes.is_empty() {
            let of_message = self.message.min(bytes.len());
            self.message -= of_message;
            let (_, rest) = bytes.split_at(of_message);
            let (begun, rest) = rest.split_at(rest.len().min(PREFIX_BYTES - self.length));
            for (place, byte) in self.bytes.iter_mut().skip(self.length).zip(begun) {
                *place = *byte;
            }
            self.length += begun.len();
            bytes = rest;
            if self.length == PREFIX_BYTES {
                self.length = 0;
                let [_, length @ ..] = self.bytes;
                self.message = checked(u32::from_be_bytes(length))?;
            }
        }
        Ok(())
    }
}

fn checked(length: u32) -> Result<usize, Status> {
    if length > MAX_MESSAGE_BYTES {
        return Err(Status::resource_exhausted(format!(
            "the message has {length} bytes and {MAX_MESSAGE_BYTES} are allowed; send less at a time"
        )));
    }
    usize::try_from(length).map_err(|_| Status::resource_exhausted("the message is too long"))
}

impl hyper::body::Body for Bounded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(bytes) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            self.prefix.advance(bytes)?;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u32) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.resize(bytes.len() + usize::try_from(length.min(64)).unwrap(), 0xff);
        bytes
    }

    #[test]
    fn messages_are_measured_however_they_are_cut() {
        let bytes = [message(0), message(1), message(64), message(0), message(7)].concat();
        for size in 1..=bytes.len() {
            let mut prefix = Prefix::default();
            for piece in bytes.chunks(size) {
                prefix.advance(piece).unwrap();
            }
            assert_eq!((prefix.length, prefix.message), (0, 0), "{size}");
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_refused_at_its_beginning() {
        let mut prefix = Prefix::default();
        prefix.advance(&message(3)).unwrap();
        let refused = prefix.advance(&message(MAX_MESSAGE_BYTES + 1)).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert!(refused.message().contains("4194305 bytes and 4194304 are allowed"), "{refused}");
        assert!(Prefix::default().advance(&message(MAX_MESSAGE_BYTES)).is_ok());
    }
}
