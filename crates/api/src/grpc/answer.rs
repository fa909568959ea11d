//! An answer on its way to the caller: it ends with its stream, or before that with a reason of the front door's own.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Response};
use hyper::body::{Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};

use super::metrics::Call;

/// Metadata key of the outcome.
const STATUS_HEADER: &str = "grpc-status";

/// Resolves when the front door ends the answer.
pub type Ends = Pin<Box<dyn Future<Output = Status> + Send>>;

/// The messages of an answer. Dropping it, as when the caller has gone, ends the work of its service.
struct Answer<P> {
    body: Option<Body>,
    ends: Ends,
    call: Call,
    /// The call's places, as long as it lasts.
    _places: P,
}

/// The response as the caller gets it.
pub fn answer<P: Send + Unpin + 'static>(
    response: Response<Body>,
    ends: Ends,
    mut call: Call,
    places: P,
) -> Response<Body> {
    call.begun();
    if let Some(code) = code_of(response.headers()) {
        call.ended(code);
        return response;
    }
    response.map(|body| Body::new(Answer { body: Some(body), ends, call, _places: places }))
}

/// The response to a call that was refused, as trailers only.
pub fn refusal(status: &Status, mut call: Call) -> Response<Body> {
    call.begun();
    call.ended(status.code());
    status.clone().into_http()
}

fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get(STATUS_HEADER).map(|value| Code::from_bytes(value.as_bytes()))
}

impl<P> Answer<P> {
    /// The last frame.
    fn end(&mut self, status: &Status) -> Frame<Bytes> {
        self.body = None;
        self.call.ended(status.code());
        let mut trailers = HeaderMap::new();
        if status.add_header(&mut trailers).is_err() {
            trailers.insert(STATUS_HEADER, i32::from(status.code()).into());
        }
        Frame::trailers(trailers)
    }
}

impl<P: Unpin> hyper::body::Body for Answer<P> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = match Pin::new(body).poll_frame(context) {
            Poll::Pending => {
                let status = std::task::ready!(self.ends.as_mut().poll(context));
                return Poll::Ready(Some(Ok(self.end(&status))));
            }
            Poll::Ready(frame) => frame,
        };
        match frame {
            Some(Ok(frame)) => {
                if let Some(code) = frame.trailers_ref().and_then(code_of) {
                    self.call.ended(code);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(status)) => Poll::Ready(Some(Ok(self.end(&status)))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(hyper::body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
