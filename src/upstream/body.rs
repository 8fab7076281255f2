//! The body of a response from upstream: stall timeout, counting, WAN budget, and what becomes of the connection afterwards.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode, Version,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
    response::Parts,
};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::{
    semantics::head,
    upstream::{
        error::Error,
        health::{Object, Upstream},
        pool::Lease,
    },
};

/// A response body from upstream. Ends with an error, never falsely clean, when the connection broke before the framing said so.
/// The stall timeout is inside: a frame that does not come in time is an error. Read to the end, its connection is used again; dropped
/// early, the connection is closed, or of HTTP/2 the stream.
pub struct Body {
    inner: Incoming,
    framing: Framing,
    /// None after the end.
    lease: Option<Lease>,
    upstream: Arc<Upstream>,
    object: Object,
    stall: Stall,
    /// The status by which the server said that it cannot.
    refusal: Option<StatusCode>,
    /// Set while the WAN budget is in debt.
    pause: Option<Pin<Box<Sleep>>>,
    is_budgeted: bool,
}

/// How a response body was framed (decides whether its clean end can be trusted).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
    /// Ends when the connection closes: a cut cannot be told from an end.
    Close,
    /// HTTP/2 END_STREAM.
    Stream,
}

impl Body {
    /// `is_budgeted`: whether it counts against the upstream's WAN budget.
    pub(super) fn wrap(
        response: Response<Incoming>,
        lease: Lease,
        upstream: Arc<Upstream>,
        object: Object,
        stall: Duration,
        is_budgeted: bool,
    ) -> Response<Self> {
        let (mut head, inner) = response.into_parts();
        let framing = Framing::of(&head, &inner);
        say_length_once(&mut head.headers);
        let is_budgeted = is_budgeted && upstream.budget.is_some();
        let refusal = Some(head.status).filter(|status| matches!(status.as_u16(), 502..=504));
        let (lease, stall, pause) = (Some(lease), Stall::new(stall), None);
        let mut body = Self { inner, framing, lease, upstream, object, stall, refusal, pause, is_budgeted };
        body.finish_at_end();
        Response::from_parts(head, body)
    }

    /// Of what arrives here: `Length(0)` where there is no body, as under HEAD.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    fn finish_at_end(&mut self) {
        if self.inner.is_end_stream() {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if let Some(lease) = self.lease.take() {
            match self.refusal {
                None => self.upstream.succeed(),
                Some(status) => self.upstream.refuse(status),
            }
            lease.finish();
        }
    }

    fn received(&mut self, bytes: usize) {
        self.upstream.receive(bytes);
        if let Some(budget) = self.upstream.budget.as_ref().filter(|_| self.is_budgeted) {
            self.pause = budget.take(bytes).map(|pause| Box::pin(sleep(pause)));
        }
        self.finish_at_end();
    }

    fn broke(&mut self, error: &hyper::Error) -> Error {
        let error = Error::Broken { upstream: self.upstream.label(), reason: chain(error).into() };
        self.give_up(error)
    }

    fn give_up(&mut self, error: Error) -> Error {
        self.lease = None;
        self.upstream.fail_body(&error, self.object);
        error
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        // A debt left at the end is paid by whoever reads next.
        if !self.inner.is_end_stream()
            && let Some(pause) = &mut self.pause
        {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        if self.lease.is_none() && !self.inner.is_end_stream() {
            // An error was told already.
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.stall.moved();
                self.received(frame.data_ref().map_or(0, Bytes::len));
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(self.broke(&error)))),
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(self.stall.poll(cx));
                let stalled = Error::Stalled { upstream: self.upstream.label(), after: self.stall.after };
                Poll::Ready(Some(Err(self.give_up(stalled))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Framing {
    /// RFC 9112 §6.3, as hyper has judged it.
    fn of(head: &Parts, body: &Incoming) -> Self {
        match body.size_hint().exact() {
            Some(length) => Self::Length(length),
            None if head.version == Version::HTTP_2 => Self::Stream,
            None if is_chunked(&head.headers) => Self::Chunked,
            None => Self::Close,
        }
    }
}

/// RFC 9110 §8.6: a length said several times, always the same, is handed on as one.
fn say_length_once(fields: &mut HeaderMap) {
    let is_repeated = fields.get_all(CONTENT_LENGTH).iter().count() > 1
        || fields.get(CONTENT_LENGTH).is_some_and(|value| value.as_bytes().contains(&b','));
    if is_repeated && let Ok(Some(length)) = head::content_length(fields) {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// Whether the last transfer coding is chunked; otherwise the body ends with the connection.
fn is_chunked(fields: &HeaderMap) -> bool {
    let last = fields.get_all(TRANSFER_ENCODING).iter().next_back().and_then(|value| value.to_str().ok());
    last.and_then(|codings| codings.rsplit(',').next()).is_some_and(|coding| coding.trim().eq_ignore_ascii_case("chunked"))
}

/// Rings when nothing moved for `after`. Time counts only while somebody waits: a slow reader is no stall.
struct Stall {
    after: Duration,
    waiting_since: Option<Instant>,
    /// May be set earlier than due: it is moved when it rings, not with every frame.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    fn new(after: Duration) -> Self {
        Self { after, waiting_since: None, alarm: None }
    }

    fn moved(&mut self) {
        self.waiting_since = None;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = *self.waiting_since.get_or_insert_with(Instant::now) + self.after;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(due)));
        loop {
            ready!(alarm.as_mut().poll(cx));
            if alarm.deadline() >= due {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(due);
        }
    }
}

/// An error with its causes, as one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
