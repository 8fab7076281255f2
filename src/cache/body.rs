//! The body of every response: bytes in memory, stored or arriving content, or an upstream body handed on.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use http_body::{Frame, SizeHint};

use super::{
    Error,
    content::{Content, Reader},
};
use crate::{metrics::Source, piece::ByteRange, upstream};

/// A response body. An error in it means that the response cannot be completed and must be cut.
pub struct Body {
    kind: Kind,
    /// An error that waits until what was written before it is on its way.
    failed: Option<Error>,
    /// Where the bytes of the last frame came from.
    source: Source,
}

enum Kind {
    Empty,
    Whole(Bytes),
    Segments {
        segments: Segments,
        /// Bytes still to come; `None` when the length is unknown.
        rest: Option<u64>,
    },
    Relayed(Box<upstream::Body>),
}

/// Bytes with where they came from, one stretch after the other.
type Segments = Pin<Box<dyn Stream<Item = Result<(Bytes, Source), Error>> + Send>>;

/// A stretch of a stored response's body.
pub(super) enum Segment {
    Bytes(Bytes),
    Content(Reader),
}

impl Body {
    pub fn empty() -> Self {
        Self::new(Kind::Empty, Source::Own)
    }

    fn new(kind: Kind, source: Source) -> Self {
        Self { kind, failed: None, source }
    }

    /// Bytes that weir makes itself.
    pub fn own(bytes: impl Into<Bytes>) -> Self {
        Self { source: Source::Own, ..Self::stored(bytes.into()) }
    }

    /// Stored bytes that are in memory.
    pub(super) fn stored(bytes: Bytes) -> Self {
        let kind = if bytes.is_empty() { Kind::Empty } else { Kind::Whole(bytes) };
        Self::new(kind, Source::Store)
    }

    /// An upstream body, with its trailers.
    pub fn relayed(body: upstream::Body) -> Self {
        Self::new(Kind::Relayed(Box::new(body)), Source::Relayed)
    }

    /// Where the bytes of the last frame came from.
    pub fn source(&self) -> Source {
        self.source
    }

    pub(super) fn segments(segments: Vec<Segment>, len: Option<u64>) -> Self {
        let segments = stream::unfold(segments.into_iter(), |mut segments| async move {
            loop {
                match segments.as_mut_slice().first_mut()? {
                    Segment::Bytes(bytes) if !bytes.is_empty() => {
                        return Some((Ok((std::mem::take(bytes), Source::Own)), segments));
                    }
                    Segment::Bytes(_) => {}
                    Segment::Content(reader) => match reader.next().await {
                        Ok(Some(bytes)) => return Some((Ok(bytes), segments)),
                        Ok(None) => {}
                        Err(error) => return Some((Err(error), Vec::new().into_iter())),
                    },
                }
                segments.next();
            }
        });
        Self::new(Kind::Segments { segments: Box::pin(segments), rest: len }, Source::Own)
    }

    /// All of `content`, or `range` of it.
    pub(super) fn of_content(reader: Reader, len: Option<u64>) -> Self {
        Self::segments(vec![Segment::Content(reader)], len)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Segments { segments, rest } => segments.as_mut().poll_next(cx).map(|next| match next {
                Some(Ok((bytes, source))) => {
                    self.source = source;
                    *rest = rest.map(|rest| rest.saturating_sub(bytes.len() as u64));
                    Some(Ok(Frame::data(bytes)))
                }
                Some(Err(error)) => Some(Err(error)),
                // The segments are exactly what the head promises: fewer bytes are an error, never an early end.
                None if rest.is_some_and(|rest| rest > 0) => Some(Err(Error::Short)),
                None => None,
            }),
            Kind::Relayed(body) => http_body::Body::poll_frame(Pin::new(&mut **body), cx).map_err(Error::Upstream),
        }
    }
}

/// The segments of a multipart body. All readers exist from the start, so that nothing that a later part wants is given up meanwhile.
pub(super) fn parts(content: &std::sync::Arc<Content>, parts: Vec<(Bytes, ByteRange)>, tail: Bytes) -> Vec<Segment> {
    let mut segments = Vec::with_capacity(parts.len() * 2 + 1);
    for (head, range) in parts {
        segments.push(Segment::Bytes(head));
        segments.push(Segment::Content(content.reader(Some(range), None)));
    }
    segments.push(Segment::Bytes(tail));
    segments
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if let Some(error) = this.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match ready!(this.poll_next(cx)) {
            // hyper drops what it has not flushed when a body fails, the response head included, and flushes when a body has to be
            // waited for: a client then sees the head of an answer that was cut, instead of a server that hung up.
            Some(Err(error)) => {
                this.failed = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            frame => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Whole(_) => false,
            Kind::Segments { rest, .. } => *rest == Some(0),
            Kind::Relayed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Segments { rest, .. } => rest.map_or_else(SizeHint::default, SizeHint::with_exact),
            Kind::Relayed(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http_body::Body as _;

    use super::*;

    #[test]
    fn an_error_lets_what_was_written_before_it_leave_first() {
        let mut body = Body::segments(vec![Segment::Bytes("a".into())], Some(2));
        let mut context = Context::from_waker(Waker::noop());
        let mut poll = || Pin::new(&mut body).poll_frame(&mut context);
        assert!(matches!(poll(), Poll::Ready(Some(Ok(_)))));
        assert!(poll().is_pending(), "hyper flushes now");
        assert!(matches!(poll(), Poll::Ready(Some(Err(Error::Short)))));
        assert!(matches!(poll(), Poll::Ready(_)));
    }
}
