//! A response body, or a tunnel, that writes its request's record when it ends, however it ends.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::{Instant, SystemTime},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use super::{
    log::{AccessLog, End, Record},
    observe::Tap,
};
use crate::{
    cache::{self, Body},
    metrics::{Held, Source},
    transmit::{Delivery, Part, Parts},
};

/// What will be written of one request: one event with a cause at its end, and all accounting hangs on it. Dropped without an end it was aborted.
pub(super) struct Event {
    /// Taken when it has been written.
    record: Option<Box<Record>>,
    log: AccessLog,
    /// Since the response head was ready; the record's own clock is the wall clock and may jump.
    since: Instant,
    _running: Held,
}

impl Event {
    pub(super) fn new(mut record: Record, log: AccessLog, running: Held) -> Self {
        let since = Instant::now();
        record.duration = SystemTime::now().duration_since(record.started).unwrap_or_default();
        Self { record: Some(Box::new(record)), log, since, _running: running }
    }

    /// Bytes went to the client.
    pub(super) fn sent(&mut self, source: Source, len: u64) {
        let Some(record) = &mut self.record else { return };
        if record.first_byte.is_none() {
            record.first_byte = Some(record.duration + self.since.elapsed());
        }
        record.add(source, len);
        self.log.progress(record);
    }

    /// Bytes came from the client, through a tunnel.
    pub(super) fn received(&mut self, len: u64) {
        let Some(record) = &mut self.record else { return };
        record.add_received(len);
        self.log.progress(record);
    }

    /// Only the first end counts. A reason that the record has already is kept.
    pub(super) fn end(&mut self, end: End, reason: Option<&'static str>) {
        let Some(mut record) = self.record.take() else { return };
        record.duration += self.since.elapsed();
        record.end = end;
        record.reason = record.reason.or(reason);
        self.log.finish(&record);
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        self.end(End::Aborted, None);
    }
}

/// The body of every response.
pub struct Recorded {
    body: Body,
    /// None where a tunnel has taken it over.
    event: Option<Event>,
    /// Where metadata passes. Ends when this is dropped.
    tap: Option<Tap>,
}

impl Recorded {
    pub(super) fn new(body: Body, event: Option<Event>, tap: Option<Tap>) -> Self {
        Self { body, event, tap }
    }

    fn end(&mut self, end: End, reason: Option<&'static str>) {
        if let Some(event) = &mut self.event {
            event.end(end, reason);
        }
    }
}

impl Parts for Recorded {
    fn poll_part(self: Pin<&mut Self>, cx: &mut Context<'_>, delivery: Delivery) -> Poll<Option<Result<Part, cache::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_part(cx, delivery);
        match &polled {
            Poll::Ready(Some(Ok(part))) => {
                if let Some(event) = this.event.as_mut().filter(|_| !part.is_empty()) {
                    event.sent(this.body.source(), part.len() as u64);
                }
                if let (Some(tap), Part::Frame(frame)) = (&mut this.tap, part)
                    && let Some(bytes) = frame.data_ref()
                {
                    tap.see(bytes);
                }
            }
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, "response cut");
                this.end(End::Cut, Some(error.reason()));
            }
            Poll::Ready(None) => this.end(End::Complete, None),
            Poll::Pending => {}
        }
        polled
    }
}

impl http_body::Body for Recorded {
    type Data = Bytes;
    type Error = cache::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, cache::Error>>> {
        self.poll_part(cx, Delivery::Bytes).map_ok(Part::into_frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        // hyper does not poll a body that says it has ended.
        if self.body.is_end_stream() {
            self.end(End::Complete, None);
        }
    }
}
