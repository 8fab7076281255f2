//! The body of every response: bytes in memory, stored or arriving content, or an upstream body handed on.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    vec,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{
    Error,
    content::{Content, Now, Reader},
    found::Reading,
};
use crate::{
    metrics::Source,
    piece::ByteRange,
    transmit::{Delivery, Part, Parts},
    upstream,
};

/// A response body. An error in it means that the response cannot be completed and must be cut.
pub struct Body {
    kind: Kind,
    /// An error that waits until what was written before it is on its way.
    failed: Option<Error>,
    /// Where the bytes of the last frame came from.
    source: Source,
    /// Bytes given since others had their turn.
    given: usize,
}

/// What one response may send before the others on its thread have their turn: with 200 clients at once the last one's first byte waits for as
/// much of each other. A socket takes several MiB at once, which would be half a second.
const TURN_LEN: usize = 256 << 10;

enum Kind {
    Empty,
    Whole(Bytes),
    Stretches {
        stretches: Stretches,
        /// Bytes still to come; `None` when the length is unknown.
        rest: Option<u64>,
    },
    Relayed(Box<dyn Relayed>),
}

/// An upstream body, as it comes or as somebody made it.
trait Relayed: http_body::Body<Data = Bytes, Error = upstream::Error> + Send + Unpin {}

impl<B: http_body::Body<Data = Bytes, Error = upstream::Error> + Send + Unpin> Relayed for B {}

/// A stretch of a stored response's body.
pub(super) enum Stretch {
    Bytes(Bytes),
    Content(Reader),
}

/// Stretches, given one after the other.
struct Stretches {
    to_come: vec::IntoIter<Stretch>,
    /// Where a reader is while it waits.
    waiting: Option<Waiting>,
}

/// A reader that waits for bytes, with what came of it.
type Waiting = Pin<Box<dyn Future<Output = (Reader, Result<Option<(Bytes, Source)>, Error>)> + Send>>;

impl Body {
    pub fn empty() -> Self {
        Self::new(Kind::Empty, Source::Own)
    }

    fn new(kind: Kind, source: Source) -> Self {
        Self { kind, failed: None, source, given: 0 }
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

    /// An upstream body, or what is made of one, with its trailers.
    pub fn relayed<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes, Error = upstream::Error> + Send + Unpin + 'static,
    {
        Self::new(Kind::Relayed(Box::new(body)), Source::Relayed)
    }

    /// Where the bytes of the last frame came from.
    pub fn source(&self) -> Source {
        self.source
    }

    /// All of it, if it is in memory and nothing of it was given yet.
    pub fn in_memory(&self) -> Option<Bytes> {
        match &self.kind {
            Kind::Empty => Some(Bytes::new()),
            Kind::Whole(bytes) => Some(bytes.clone()),
            Kind::Stretches { .. } | Kind::Relayed(_) => None,
        }
    }

    pub(super) fn stretches(stretches: Vec<Stretch>, len: Option<u64>) -> Self {
        let stretches = Stretches { to_come: stretches.into_iter(), waiting: None };
        Self::new(Kind::Stretches { stretches, rest: len }, Source::Own)
    }

    /// All of `content`, or `range` of it.
    pub(super) fn of_content(reader: Reader, len: Option<u64>) -> Self {
        Self::stretches(vec![Stretch::Content(reader)], len)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, delivery: Delivery) -> Poll<Option<Result<Part, Error>>> {
        match &mut self.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = Kind::Empty;
                Poll::Ready(Some(Ok(Part::Frame(Frame::data(bytes)))))
            }
            Kind::Stretches { stretches, rest } => stretches.poll_next(cx, delivery).map(|next| match next {
                Some(Ok((part, source))) => {
                    self.source = source;
                    *rest = rest.map(|rest| rest.saturating_sub(part.len() as u64));
                    Some(Ok(part))
                }
                Some(Err(error)) => Some(Err(error)),
                // The stretches are exactly what the head promises: fewer bytes are an error, never an early end.
                None if rest.is_some_and(|rest| rest > 0) => Some(Err(Error::Short)),
                None => None,
            }),
            Kind::Relayed(body) => {
                let frame = http_body::Body::poll_frame(Pin::new(&mut **body), cx);
                frame.map_ok(Part::Frame).map_err(Error::Upstream)
            }
        }
    }
}

/// The stretches of a multipart body. All readers exist from the start, so that nothing that a later part wants is given up meanwhile.
pub(super) fn parts(content: &Arc<Content>, reading: Reading, parts: Vec<(Bytes, ByteRange)>, tail: Bytes) -> Vec<Stretch> {
    let mut stretches = Vec::with_capacity(parts.len() * 2 + 1);
    for (head, range) in parts {
        stretches.push(Stretch::Bytes(head));
        stretches.push(Stretch::Content(content.reader(Some(range), None).patient(reading.patience)));
    }
    stretches.push(Stretch::Bytes(tail));
    stretches
}

impl Stretches {
    /// The next part and where it came from. What is in memory is given at once; only waiting costs an allocation.
    fn poll_next(&mut self, cx: &mut Context<'_>, delivery: Delivery) -> Poll<Option<Result<(Part, Source), Error>>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                let (reader, came) = ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
                self.put_back(reader);
                match came {
                    Ok(Some((bytes, source))) => return Poll::Ready(Some(Ok((Part::Frame(Frame::data(bytes)), source)))),
                    Ok(None) => {}
                    Err(error) => return self.failed(error),
                }
            }
            match self.to_come.as_mut_slice().first_mut() {
                None => return Poll::Ready(None),
                Some(Stretch::Bytes(bytes)) if !bytes.is_empty() => {
                    let bytes = Frame::data(std::mem::take(bytes));
                    return Poll::Ready(Some(Ok((Part::Frame(bytes), Source::Own))));
                }
                Some(Stretch::Bytes(_)) => _ = self.to_come.next(),
                Some(Stretch::Content(reader)) => match reader.now(delivery) {
                    Now::Part(part, source) => return Poll::Ready(Some(Ok((part, source)))),
                    Now::End => _ = self.to_come.next(),
                    Now::Failed(error) => return self.failed(error),
                    Now::Later => self.wait(),
                },
            }
        }
    }

    /// Has the reader in front wait for its bytes.
    fn wait(&mut self) {
        let Some(first) = self.to_come.as_mut_slice().first_mut() else { return };
        if let Stretch::Content(mut reader) = std::mem::replace(first, Stretch::Bytes(Bytes::new())) {
            self.waiting = Some(Box::pin(async move {
                let came = reader.next().await;
                (reader, came)
            }));
        }
    }

    fn put_back(&mut self, reader: Reader) {
        if let Some(first) = self.to_come.as_mut_slice().first_mut() {
            *first = Stretch::Content(reader);
        }
    }

    fn failed(&mut self, error: Error) -> Poll<Option<Result<(Part, Source), Error>>> {
        self.to_come = Vec::new().into_iter();
        Poll::Ready(Some(Err(error)))
    }
}

impl Parts for Body {
    fn poll_part(self: Pin<&mut Self>, cx: &mut Context<'_>, delivery: Delivery) -> Poll<Option<Result<Part, Error>>> {
        let this = self.get_mut();
        if let Some(error) = this.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if this.given >= TURN_LEN {
            this.given = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Poll::Ready(part) = this.poll_next(cx, delivery) else {
            this.given = 0;
            return Poll::Pending;
        };
        match part {
            // hyper drops what it has not flushed when a body fails, the response head included, and flushes when a body has to be
            // waited for: a client then sees the head of an answer that was cut, instead of a server that hung up.
            Some(Err(error)) => {
                this.failed = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Ok(part)) => {
                this.given += part.len();
                Poll::Ready(Some(Ok(part)))
            }
            None => Poll::Ready(None),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.poll_part(cx, Delivery::Bytes).map_ok(Part::into_frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Whole(_) => false,
            Kind::Stretches { rest, .. } => *rest == Some(0),
            Kind::Relayed(body) => http_body::Body::is_end_stream(&**body),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stretches { rest, .. } => rest.map_or_else(SizeHint::default, SizeHint::with_exact),
            Kind::Relayed(body) => http_body::Body::size_hint(&**body),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http_body::Body as _;

    use super::*;

    #[test]
    fn a_long_body_lets_others_have_their_turn() {
        let half = || Stretch::Bytes(vec![b'w'; TURN_LEN / 2].into());
        let mut body = Body::stretches((0..5).map(|_| half()).collect(), Some(5 * (TURN_LEN / 2) as u64));
        let mut context = Context::from_waker(Waker::noop());
        let turns: Vec<bool> = (0..8).map(|_| Pin::new(&mut body).poll_frame(&mut context).is_ready()).collect();
        assert_eq!(turns, [true, true, false, true, true, false, true, true]);
    }

    #[test]
    fn an_error_lets_what_was_written_before_it_leave_first() {
        let mut body = Body::stretches(vec![Stretch::Bytes("a".into())], Some(2));
        let mut context = Context::from_waker(Waker::noop());
        let mut poll = || Pin::new(&mut body).poll_frame(&mut context);
        assert!(matches!(poll(), Poll::Ready(Some(Ok(_)))));
        assert!(poll().is_pending(), "hyper flushes now");
        assert!(matches!(poll(), Poll::Ready(Some(Err(Error::Short)))));
    }
}
