//! A run: one contiguous range of a content, brought by as many upstream requests as it takes.
//!
//! Its state is its place in [`Fill::drive`]: asking, pouring, pausing before the next attempt. It is a task of its own and
//! belongs to the content; whoever started it may leave. Told to stop it asks for nothing more, but what arrived goes to the store: a client
//! may have it, and thinks it kept.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt;
use rand::RngExt;

use super::{
    Error,
    binding::Continuation,
    bounds::Place,
    content::{Content, Onward},
    stop::StopSignal,
};
use crate::{
    metrics::Purpose,
    piece::ByteRange,
    semantics::range::range_value,
    store::Writer,
    upstream::{self, Body, Fetched},
};

/// A response whose head was judged already, and the place it holds among the running fills.
pub(super) struct Started {
    pub fetched: Fetched,
    /// Bytes that were read from its body already.
    pub begun: VecDeque<Bytes>,
    pub place: Arc<Place>,
    /// Where in the content the body ends, if it says so.
    pub end: Option<u64>,
}

/// Runs `id` from `at` on as a task; `started` is the response that began the content.
pub(super) fn spawn(content: Arc<Content>, id: u64, at: u64, started: Option<Started>) {
    tokio::spawn(async move {
        let ended = Ended { content: content.clone(), id, result: Some(Err(Error::Stopped)) };
        let stop = content.hub.stop.signal();
        let fill = Fill { content, id, start: at, at, writer: None, place: None, stop: stop.clone() };
        ended.with(fill.drive(started).await);
        // Held until now: the cache waits for whoever listens.
        drop(stop);
    });
}

/// Tells the content how the run ended, even if the task panics: readers must not wait for it for ever.
struct Ended {
    content: Arc<Content>,
    id: u64,
    result: Option<Result<(), Error>>,
}

impl Ended {
    fn with(mut self, result: Result<(), Error>) {
        let metrics = &self.content.hub.metrics;
        match &result {
            Ok(()) => metrics.fills_finished.inc(),
            Err(error) => {
                tracing::debug!(content = %self.content.name(), %error, "fill ended early");
                metrics.fills_failed.inc(error.reason());
            }
        }
        self.result = Some(result);
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(result) = self.result.take() {
            self.content.run_ended(self.id, result);
        }
    }
}

struct Fill {
    content: Arc<Content>,
    id: u64,
    start: u64,
    /// The next byte to come.
    at: u64,
    /// `None` before the first byte, and once the store refused one.
    writer: Option<Writer>,
    place: Option<Arc<Place>>,
    stop: StopSignal,
}

/// A body to pour, and where it fits.
struct Answer {
    body: Body,
    begun: VecDeque<Bytes>,
    skip: u64,
    end: Option<u64>,
}

impl Fill {
    async fn drive(mut self, started: Option<Started>) -> Result<(), Error> {
        let _running = self.content.hub.metrics.fills_running.hold();
        self.content.hub.metrics.fills_started.inc();
        self.writer = Some(self.content.blob.writer(self.at));
        let mut next = started.map(|started| {
            self.place = Some(started.place);
            Answer { body: started.fetched.response.into_body(), begun: started.begun, skip: 0, end: started.end }
        });
        let result = self.attempts(&mut next).await;
        let mut unstored = self.writer.is_none();
        if let Some(writer) = self.writer.take()
            && let Err(error) = writer.finish().await
        {
            tracing::debug!(content = %self.content.name(), %error, "the store did not keep the end of a run");
            self.content.unstored(self.id);
            unstored = true;
        }
        if unstored {
            self.stop.unless(self.content.drained(self.id)).await?;
        }
        result
    }

    /// Asks until the run is complete or weir stops, resuming at the missing byte. Attempts that bring something do not count. A run that brought
    /// nothing and that no client was promised ends with its first error: they hear of it.
    async fn attempts(&mut self, next: &mut Option<Answer>) -> Result<(), Error> {
        let stop = self.stop.clone();
        let (mut attempt, mut reached) = (0, self.at);
        loop {
            let outcome = match next.take() {
                Some(answer) => self.pour(answer).await,
                None => match stop.unless(self.ask()).await? {
                    Ok(answer) => self.pour(answer).await,
                    Err(error) => Err(error),
                },
            };
            let error = match outcome {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match error {
                Error::Changed => {
                    self.content.outdated();
                    return Err(error);
                }
                Error::Stopped => return Err(error),
                _ => {}
            }
            if self.at > reached {
                (attempt, reached) = (0, self.at);
            }
            attempt += 1;
            // A place that redirects led to may be gone or its signature over: the name that clients know leads to a new one.
            let elsewhere = match error {
                Error::Answered(_) if self.content.forget_moved() => true,
                Error::Answered(StatusCode::FORBIDDEN) => self.content.try_other_signature(),
                _ => false,
            };
            let is_owed = self.content.broke(self.id, self.at) || self.at > self.start;
            if !is_owed && !elsewhere {
                return Err(error);
            }
            if (!error.is_passing() && !elsewhere) || attempt >= ATTEMPTS_MAX || self.content.binding.is_none() {
                return Err(error);
            }
            tracing::debug!(content = %self.content.name(), at = self.at, attempt, %error, "resuming a fill");
            stop.unless(tokio::time::sleep(pause(attempt))).await?;
            if self.content.arrived(self.id, Bytes::new()) == Onward::Stop {
                return Ok(());
            }
        }
    }

    /// One request for the rest of the run.
    async fn ask(&mut self) -> Result<Answer, Error> {
        let content = self.content.clone();
        if self.place.is_none() {
            self.place = Some(Arc::new(content.hub.bounds.enter(None).await?));
        }
        let binding = content.binding.as_ref().ok_or(Error::Unresumable)?;
        let end = content.run_end(self.id).or(content.len()).ok_or(Error::Unresumable)?;
        let Some(range) = ByteRange::new(self.at, end) else { return Err(Error::Unresumable) };
        let mut ask = content.ask();
        ask.fields.insert(header::RANGE, range_value(range));
        if let Some(if_range) = binding.if_range() {
            ask.fields.insert(header::IF_RANGE, if_range);
        }
        let fetched = content.hub.upstreams.fetch(ask).await?;
        let Continuation { skip, end } = binding.admit(&fetched.response, &fetched.source, self.at)?;
        Ok(Answer { body: fetched.response.into_body(), begun: VecDeque::new(), skip, end: Some(end) })
    }

    /// Passes a body on to readers and store until it ends or nobody wants more.
    async fn pour(&mut self, answer: Answer) -> Result<(), Error> {
        let Answer { mut body, mut begun, mut skip, end } = answer;
        loop {
            let mut bytes = match begun.pop_front() {
                Some(bytes) => bytes,
                None => match self.stop.unless(self.frame(&mut body)).await? {
                    Some(frame) => frame?.into_data().unwrap_or_default(),
                    None => break,
                },
            };
            self.content.hub.metrics.upstream_bytes[Purpose::Demand].add(bytes.len() as u64);
            let skipped = skip.min(bytes.len() as u64);
            skip -= skipped;
            bytes = bytes.split_off(skipped as usize);
            if let Some(end) = self.content.run_end(self.id) {
                bytes.truncate(usize::try_from(end.saturating_sub(self.at)).unwrap_or(usize::MAX));
            }
            if !bytes.is_empty() && self.take(bytes).await == Onward::Stop {
                self.finish_quietly(body, end).await;
                return Ok(());
            }
        }
        self.ended(end)
    }

    /// The next frame of `body`. Where it takes a while, what came before goes to the disk meanwhile.
    async fn frame(&self, body: &mut Body) -> Option<Result<Frame<Bytes>, upstream::Error>> {
        let mut frame = body.frame();
        if let Ok(frame) = tokio::time::timeout(LULL, &mut frame).await {
            return frame;
        }
        if let Some(writer) = &self.writer
            && let Err(error) = writer.flush()
        {
            // The next write meets it, too, and says what follows.
            tracing::debug!(content = %self.content.name(), %error, "what arrived cannot be written");
        }
        frame.await
    }

    async fn take(&mut self, bytes: Bytes) -> Onward {
        self.at += bytes.len() as u64;
        // Readers first: nobody waits for the disk.
        let onward = self.content.arrived(self.id, bytes.clone());
        if let Some(writer) = &mut self.writer {
            match writer.write(bytes).await {
                Ok(()) => {
                    let readable = writer.readable_until();
                    self.content.readable(self.id, readable);
                }
                Err(error) => {
                    tracing::debug!(content = %self.content.name(), %error, "passing on without storing");
                    self.writer = None;
                    self.content.unstored(self.id);
                }
            }
        }
        if onward == Onward::Continue && self.writer.is_none() {
            // Stopped is stopped, for want of room or otherwise.
            return self.stop.unless(self.content.room(self.id)).await.unwrap_or(Onward::Stop);
        }
        onward
    }

    /// The run has all it is to bring. If the body ends here too, its end is read, so that the connection can be used again.
    async fn finish_quietly(&self, mut body: Body, end: Option<u64>) {
        if end == Some(self.at) {
            let rest = async { while let Some(Ok(_)) = body.frame().await {} };
            _ = tokio::time::timeout(QUIET_END, rest).await;
        } else if end.is_some_and(|end| end > self.at) {
            self.content.hub.metrics.fills_aborted.inc();
        }
    }

    /// The body ended cleanly by its own framing: was that all?
    fn ended(&self, end: Option<u64>) -> Result<(), Error> {
        match end {
            Some(end) if self.at < end.min(self.content.run_end(self.id).unwrap_or(u64::MAX)) => Err(Error::Short),
            // The answer was shorter than asked for: the rest is asked for anew.
            Some(_) if self.content.run_end(self.id).is_some_and(|wanted| self.at < wanted) => Err(Error::Short),
            Some(_) => Ok(()),
            None => {
                self.content.ended_at(self.at);
                Ok(())
            }
        }
    }
}

/// Doubling from 100 ms, with jitter, so that the fills of a broken line do not all come back at once.
fn pause(attempt: u32) -> Duration {
    let base = Duration::from_millis(100) * 2u32.saturating_pow(attempt - 1).min(20);
    base.mul_f64(rand::rng().random_range(0.5..1.5))
}

/// Bytes wait so long for more to be written with. Longer than the pauses of a download that flows, which come with each round trip: what is written
/// in small portions lies in the page cache in small pieces. Readers have it from memory meanwhile.
const LULL: Duration = Duration::from_millis(250);

/// In a row without a single byte: with the pauses between them about half a minute of a dead line.
const ATTEMPTS_MAX: u32 = 10;
/// The frames after the last byte carry none.
const QUIET_END: Duration = Duration::from_secs(1);
