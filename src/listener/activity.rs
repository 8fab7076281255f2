//! What a connection is doing, and how long it may go on like that.
//!
//! Streams and bodies note what happens in a few atomics; the one timer of a connection looks at them when it fires. A request that goes well
//! never touches the timer.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    listener::{
        Timeouts,
        admission::RefusedHead,
        cores::{self, Core},
        frames::Flood,
    },
    proxy::connection::Reading,
    transmit::{Delivery, Part, Parts},
};

/// The record of one connection. Times are milliseconds since `began`, one-based so that zero means "not".
#[derive(Debug)]
pub(super) struct Activity {
    timeouts: Arc<Timeouts>,
    framing: Framing,
    began: Instant,
    /// When a byte of a response last left, or a response ended.
    moved: AtomicU64,
    /// When the first byte of a request head arrived that is not complete yet.
    head: AtomicU64,
    /// Since when the client takes nothing although something waits to be sent.
    blocked: AtomicU64,
    /// Requests that were handed to the service, and how many of them when last everything was written and none ran.
    begun: AtomicU64,
    quiet: AtomicU64,
    /// Requests whose response has not ended.
    running: AtomicU32,
    /// Of `running`: those that wait for weir, not for the client.
    ours: AtomicU32,
    received: AtomicU64,
    sent: AtomicU64,
    reading: Arc<Reading>,
    /// The head behind which nothing more is read.
    refused: OnceLock<RefusedHead>,
    /// Of which frames the client sent too many.
    flood: OnceLock<Flood>,
    /// It is a tunnel now, in which nothing is a request.
    is_tunnel: AtomicBool,
    /// Knows which connections have something running; none where all share one runtime.
    core: Option<Arc<Core>>,
}

/// How requests lie on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// One after the other: what comes while none is running is the next head.
    Http1,
    /// Interleaved with frames that mean nothing to anybody's progress.
    Http2,
}

/// What the client was too slow with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slow {
    Head,
    Idle,
    Write,
}

impl Slow {
    /// The reason in metrics and logs.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Idle => "idle",
            Self::Write => "write",
        }
    }
}

/// One request from its head to the end of its response.
#[derive(Debug)]
pub(super) struct Exchange {
    activity: Arc<Activity>,
    is_ours: bool,
}

/// A response body that notes when it waits for weir and when it is over.
pub(super) struct Watched<B> {
    body: B,
    exchange: Exchange,
}

impl Activity {
    /// A connection whose first request head has begun to arrive.
    pub(super) fn new(framing: Framing, timeouts: Arc<Timeouts>) -> Arc<Self> {
        let activity = Self {
            timeouts,
            framing,
            began: Instant::now(),
            moved: AtomicU64::new(1),
            head: AtomicU64::new(if framing == Framing::Http1 { 1 } else { 0 }),
            blocked: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            quiet: AtomicU64::new(0),
            running: AtomicU32::new(0),
            ours: AtomicU32::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            reading: Arc::default(),
            refused: OnceLock::new(),
            flood: OnceLock::new(),
            is_tunnel: AtomicBool::new(false),
            core: cores::here(),
        };
        Arc::new(activity)
    }

    /// A request head is complete.
    pub(super) fn begin(self: &Arc<Self>) -> Exchange {
        self.head.store(0, Relaxed);
        self.begun.fetch_add(1, Relaxed);
        if self.running.fetch_add(1, Relaxed) == 0
            && let Some(core) = &self.core
        {
            core.begins();
        }
        self.ours.fetch_add(1, Relaxed);
        Exchange { activity: Arc::clone(self), is_ours: true }
    }

    pub(super) fn note_read(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
        let begins_head = self.framing == Framing::Http1 && self.running.load(Relaxed) == 0 && self.head.load(Relaxed) == 0;
        if begins_head && bytes > 0 {
            self.head.store(self.now(), Relaxed);
        }
    }

    /// A request of `bytes` came and was answered before anybody waited.
    pub(super) fn note_answered(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
        self.head.store(0, Relaxed);
    }

    pub(super) fn note_written(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
        self.blocked.store(0, Relaxed);
        if self.framing == Framing::Http1 || bytes > CONTROL_FRAMES_MAX {
            self.moved.store(self.now(), Relaxed);
        }
    }

    /// Nothing waits to be sent.
    pub(super) fn note_flushed(&self) {
        self.blocked.store(0, Relaxed);
        if self.running.load(Relaxed) == 0 {
            self.quiet.store(self.begun.load(Relaxed), Relaxed);
        }
    }

    /// Whether all of the `heads` that were handed to the HTTP library were answered, and the answers written: nothing is to be expected of
    /// it until it gets more.
    pub(super) fn is_quiet(&self, heads: u64) -> bool {
        self.running.load(Relaxed) == 0 && self.begun.load(Relaxed) == heads && self.quiet.load(Relaxed) == heads
    }

    pub(super) fn note_blocked(&self) {
        if self.blocked.load(Relaxed) == 0 {
            self.blocked.store(self.now(), Relaxed);
        }
    }

    /// Whether the client may still be sending what nobody is going to read: a request body that was refused, a head that is no head.
    pub(super) fn leaves_unread(&self) -> bool {
        !self.is_tunnel.load(Relaxed) && (self.reading.is_unread() || self.head.load(Relaxed) > 0)
    }

    pub(super) fn reading(&self) -> &Arc<Reading> {
        &self.reading
    }

    /// A head is malformed: it is to be refused in its turn, and nothing behind it is read.
    pub(super) fn refuse(&self, head: RefusedHead) {
        self.reading.leave_unread();
        _ = self.refused.set(head); // there is no second one
    }

    pub(super) fn refused(&self) -> Option<&RefusedHead> {
        self.refused.get()
    }

    /// The client sends too much of something: nothing more is read.
    pub(super) fn end_flood(&self, flood: Flood) {
        _ = self.flood.set(flood); // the first counts
    }

    pub(super) fn flood(&self) -> Option<Flood> {
        self.flood.get().copied()
    }

    /// A request head has come in part.
    pub(super) fn is_in_head(&self) -> bool {
        self.framing == Framing::Http1
            && self.running.load(Relaxed) == 0
            && self.head.load(Relaxed) > 0
            && self.received.load(Relaxed) > 0
    }

    /// Bytes received and sent so far.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.received.load(Relaxed), self.sent.load(Relaxed))
    }

    /// When patience with the client ends, and for what; `None` while it waits for us.
    fn due(&self) -> Option<(Instant, Slow)> {
        let at = |since: &AtomicU64, patience: Duration| self.began + Duration::from_millis(since.load(Relaxed)) + patience;
        if self.blocked.load(Relaxed) > 0 {
            return Some((at(&self.blocked, self.timeouts.write_stall), Slow::Write));
        }
        if self.running.load(Relaxed) > 0 {
            let waits_for_us = self.ours.load(Relaxed) > 0;
            return (!waits_for_us).then(|| (at(&self.moved, self.timeouts.write_stall), Slow::Write));
        }
        if self.head.load(Relaxed) > 0 {
            return Some((at(&self.head, self.timeouts.head), Slow::Head));
        }
        Some((at(&self.moved, self.timeouts.idle), Slow::Idle))
    }

    /// Resolves when the client was too slow. To be polled by the task that drives the connection, after each round of it.
    pub(super) async fn exhausted(&self) -> Slow {
        let mut alarm = pin!(sleep_until(self.look_again()));
        poll_fn(|cx| self.poll_exhausted(alarm.as_mut(), cx)).await
    }

    fn poll_exhausted(&self, mut alarm: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<Slow> {
        loop {
            let due = self.due();
            // Only a deadline earlier than the alarm moves it; a later one is found out when it fires.
            if let Some((at, _)) = due
                && at < alarm.deadline()
            {
                alarm.as_mut().reset(at);
            }
            ready!(alarm.as_mut().poll(cx));
            match due {
                Some((at, slow)) if at <= Instant::now() => return Poll::Ready(slow),
                Some((at, _)) => alarm.as_mut().reset(at),
                None => alarm.as_mut().reset(self.look_again()),
            }
        }
    }

    /// When to look again at a connection that is not the client's turn now. Tasks of HTTP/2 streams may change that unseen by the connection's
    /// own task, so it is no later than the shortest patience.
    fn look_again(&self) -> Instant {
        Instant::now() + self.timeouts.head.min(self.timeouts.idle).min(self.timeouts.write_stall)
    }

    /// Milliseconds since the connection began, plus one.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }
}

/// More than the frames take that an idle HTTP/2 connection sends to keep itself alive (PING, SETTINGS, WINDOW_UPDATE, their
/// acknowledgements): writing only such is no progress of a response.
const CONTROL_FRAMES_MAX: usize = 64;

impl Exchange {
    pub(super) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// The response turns the connection into a tunnel.
    pub(super) fn becomes_tunnel(&self) {
        self.activity.is_tunnel.store(true, Relaxed);
    }

    fn wait_for_us(&mut self, is_ours: bool) {
        match (self.is_ours, is_ours) {
            (false, true) => self.activity.ours.fetch_add(1, Relaxed),
            (true, false) => self.activity.ours.fetch_sub(1, Relaxed),
            _ => return,
        };
        self.is_ours = is_ours;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.wait_for_us(false);
        self.activity.moved.store(self.activity.now(), Relaxed);
        if self.activity.running.fetch_sub(1, Relaxed) == 1
            && let Some(core) = &self.activity.core
        {
            core.rests();
        }
    }
}

impl<B> Watched<B> {
    pub(super) fn new(body: B, mut exchange: Exchange) -> Self {
        exchange.wait_for_us(false);
        Self { body, exchange }
    }
}

impl<B: Parts + Unpin> Parts for Watched<B> {
    fn poll_part(self: Pin<&mut Self>, cx: &mut Context<'_>, delivery: Delivery) -> Poll<Option<Result<Part, B::Error>>> {
        let this = self.get_mut();
        let part = Pin::new(&mut this.body).poll_part(cx, delivery);
        this.exchange.wait_for_us(part.is_pending());
        part
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        this.exchange.wait_for_us(frame.is_pending());
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
