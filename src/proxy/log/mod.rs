//! The access log: one JSON object per response, written when its body has ended.
//!
//! A record is turned into its line by the thread that ended the response, in a bounded queue of that thread; a thread of its own writes
//! the queues of all out. Nobody who serves waits for another, or for the log's disk or pipe: what does not fit is dropped and counted. Refusals, failures and
//! administration have queues of their own, so that a flood of hits cannot push them out. The last few of them are kept in memory for the
//! status page.

mod line;
mod redact;
mod ring;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    io,
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use http::{HeaderValue, Method, StatusCode, Uri, Version, header, request};

use crate::{
    classify::Door,
    metrics::{self, Class, Label as _, Queue, Source, StatusClass, Verdict},
    proxy::log::writer::Writer,
    semantics::fields,
};

/// Where the lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Destination {
    #[default]
    Stdout,
    /// Appended to; opened anew by [`AccessLog::reopen`]. Created with mode 0640.
    File(PathBuf),
    /// Counted and shown on the status page, but not written.
    Nowhere,
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All of it was handed to the connection.
    Complete,
    /// The client went away before the end.
    Aborted,
    /// It could not be completed, so the connection was closed in the middle.
    Cut,
}

impl End {
    pub fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Aborted => "aborted",
            Self::Cut => "cut",
        }
    }
}

/// One answered request: filled in along the way, counted and written at its end by [`AccessLog::finish`].
///
/// What comes from the request is held as the library's shared slices, so that making a record copies nothing.
#[derive(Clone, Debug)]
pub struct Record {
    /// When the request head was there.
    pub started: SystemTime,
    /// Told to nobody; joins the lines of one request in all logs.
    pub id: u64,
    pub client: IpAddr,
    /// `None` while, or because, none was found.
    pub door: Option<Door>,
    pub class: Class,
    pub method: Method,
    pub uri: Uri,
    pub host: Option<HeaderValue>,
    pub version: Version,
    /// The `Range` field as asked.
    pub range: Option<HeaderValue>,
    pub agent: Option<HeaderValue>,
    pub status: StatusCode,
    pub verdict: Verdict,
    /// The value of `Cache-Status` (RFC 9211) as sent.
    pub cache_status: Option<HeaderValue>,
    /// Body bytes sent, and how many of them were counted before the end.
    sent: [u64; Source::ALL.len()],
    counted: [u64; Source::ALL.len()],
    /// Bytes received through a tunnel, and how many of them were counted before the end.
    received: u64,
    received_counted: u64,
    /// From `started` to the end of the body, and to its first byte.
    pub duration: Duration,
    pub first_byte: Option<Duration>,
    pub end: End,
    /// Why it was refused, failed or cut: a word of the code, the same in log, metric and page.
    pub reason: Option<&'static str>,
    /// What the reason is about (a host, an address): may hold words of the client, never secrets.
    pub detail: Option<Box<str>>,
}

impl Record {
    /// The same without the buffer that its request was read into, of which it holds slices: for who keeps it long. `None` if the URI cannot be
    /// written and read again.
    pub(in crate::proxy) fn detached(&self) -> Option<Self> {
        let mut own = self.clone();
        own.uri = Uri::try_from(self.uri.to_string()).ok().filter(|uri| *uri == self.uri)?;
        for value in [&mut own.host, &mut own.agent, &mut own.range].into_iter().flatten() {
            *value = fields::detached_value(value);
        }
        Some(own)
    }

    /// The record of a request of which only the head is known: class `Refuse`, verdict `Error`, status 500 until said otherwise.
    pub fn new(id: u64, started: SystemTime, client: IpAddr, head: &request::Parts) -> Self {
        Self {
            started,
            id,
            client,
            door: None,
            class: Class::Refuse,
            method: head.method.clone(),
            uri: head.uri.clone(),
            host: head.headers.get(header::HOST).cloned(),
            version: head.version,
            range: head.headers.get(header::RANGE).cloned(),
            agent: head.headers.get(header::USER_AGENT).cloned(),
            status: StatusCode::INTERNAL_SERVER_ERROR,
            verdict: Verdict::Error,
            cache_status: None,
            sent: Default::default(),
            counted: Default::default(),
            received: 0,
            received_counted: 0,
            duration: Duration::ZERO,
            first_byte: None,
            end: End::Complete,
            reason: None,
            detail: None,
        }
    }

    /// Body bytes were sent that came from `source`.
    #[inline]
    pub fn add(&mut self, source: Source, bytes: u64) {
        self.sent[source.index()] += bytes;
    }

    /// Bytes came from the client through a tunnel.
    pub fn add_received(&mut self, bytes: u64) {
        self.received += bytes;
    }

    /// Bytes received through a tunnel.
    pub fn received_bytes(&self) -> u64 {
        self.received
    }

    /// Body bytes sent in all.
    pub fn sent_bytes(&self) -> u64 {
        self.sent.iter().sum()
    }

    /// Body bytes sent that came from `source`.
    pub fn bytes_from(&self, source: Source) -> u64 {
        self.sent[source.index()]
    }

    fn count_bytes(&self, metrics: &metrics::Proxy) {
        for &source in Source::ALL {
            let bytes = self.sent[source.index()] - self.counted[source.index()];
            if bytes > 0 {
                metrics.sent_bytes[(self.metrics_door(), self.class, source)].add(bytes);
            }
        }
        if self.received > self.received_counted {
            metrics.received_bytes[(self.metrics_door(), self.class)].add(self.received - self.received_counted);
        }
    }

    fn metrics_door(&self) -> metrics::Door {
        self.door.map_or(metrics::Door::Unknown, metrics::Door::from)
    }

    fn queue(&self) -> Queue {
        match (self.class, self.verdict) {
            (Class::Refuse, _) | (_, Verdict::Refused) => Queue::Refused,
            (_, Verdict::Error) => Queue::Failed,
            _ if self.end == End::Cut => Queue::Failed,
            _ => Queue::Served,
        }
    }

    fn count(&self, metrics: &metrics::Proxy) {
        let door = self.metrics_door();
        metrics.requests[(door, self.class, self.verdict)].inc();
        metrics.responses[(door, StatusClass::of(self.status.as_u16()))].inc();
        self.count_bytes(metrics);
        metrics.duration[(door, self.class)].observe(self.duration);
        if let Some(first_byte) = self.first_byte {
            metrics.first_byte[(door, self.verdict)].observe(first_byte);
        }
        if self.end == End::Aborted {
            metrics.aborted[door].inc();
        }
        match self.queue() {
            Queue::Refused => metrics.refusals.inc(self.reason.unwrap_or("unnamed")),
            Queue::Failed => metrics.errors.inc(self.reason.unwrap_or("unnamed")),
            Queue::Served | Queue::Administration => {}
        }
    }
}

impl From<Door> for metrics::Door {
    fn from(door: Door) -> Self {
        match door {
            Door::Reverse => Self::Reverse,
            Door::Wsus => Self::Wsus,
            Door::Delivery => Self::Delivery,
            Door::Transparent => Self::Transparent,
            Door::Forward => Self::Forward,
        }
    }
}

/// Something an administrator did, or tried to.
#[derive(Clone, Debug)]
pub struct Administration<'a> {
    pub at: SystemTime,
    /// An address, or `unix` with the user id.
    pub who: &'a str,
    /// `purge`, `pin`, `reload`, …
    pub action: &'static str,
    /// What it was done to.
    pub target: &'a str,
    /// What came of it.
    pub outcome: &'a str,
}

/// A refusal or failure that is remembered for the status page.
#[derive(Clone, Debug)]
pub struct Remembered {
    pub at: SystemTime,
    pub client: IpAddr,
    pub status: u16,
    pub reason: &'static str,
    /// Host and path without secrets, cut to a bounded length.
    pub what: String,
    pub detail: Option<Box<str>>,
}

/// Handle to the access log; clones share it. The writer ends, with all that was queued written, when the last handle is dropped.
#[derive(Clone)]
pub struct AccessLog(Arc<Shared>);

struct Shared {
    metrics: metrics::Proxy,
    writer: Option<Writer>,
    ids: AtomicU64,
    refused: Mutex<VecDeque<Remembered>>,
    failed: Mutex<VecDeque<Remembered>>,
}

/// Bytes of one response that are counted together. Small enough for a smooth graph, large enough to cost nothing.
const PROGRESS_LEN: u64 = 4 * 1024 * 1024;

/// Refusals and failures remembered, each.
const REMEMBERED_MAX: usize = 50;

impl AccessLog {
    /// Opens the destination and starts the writer thread.
    ///
    /// # Errors
    /// The file cannot be opened for appending, or the thread not started.
    pub fn open(destination: Destination, metrics: metrics::Proxy) -> io::Result<Self> {
        let writer = match destination {
            Destination::Nowhere => None,
            Destination::Stdout => Some(Writer::start(None, metrics.log_dropped.clone())?),
            Destination::File(path) => Some(Writer::start(Some(path), metrics.log_dropped.clone())?),
        };
        let (refused, failed) = (Mutex::default(), Mutex::default());
        Ok(Self(Arc::new(Shared { metrics, writer, ids: AtomicU64::new(rand::random()), refused, failed })))
    }

    /// An id for the next request: unique in this run, unlikely to repeat in another.
    pub fn next_id(&self) -> u64 {
        self.0.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts what was sent so far, now and then: a long download must not appear all at once, at its end.
    #[inline]
    pub fn progress(&self, record: &mut Record) {
        let new = record.sent_bytes() - record.counted.iter().sum::<u64>() + record.received - record.received_counted;
        if new >= PROGRESS_LEN {
            record.count_bytes(&self.0.metrics);
            (record.counted, record.received_counted) = (record.sent, record.received);
        }
    }

    /// Counts and writes a record: the one event at the end of a response.
    pub fn finish(&self, record: &Record) {
        record.count(&self.0.metrics);
        let queue = record.queue();
        if let Some(writer) = &self.0.writer {
            writer.append(queue, |line| line::response(record, line));
        }
        match queue {
            Queue::Refused => remember(&self.0.refused, record),
            Queue::Failed => remember(&self.0.failed, record),
            Queue::Served | Queue::Administration => {}
        }
    }

    pub fn administration(&self, record: &Administration<'_>) {
        if let Some(writer) = &self.0.writer {
            writer.append(Queue::Administration, |line| line::administration(record, line));
        }
    }

    /// Asks the writer to open its file anew, after a log rotation has renamed it. If that fails the old file stays in use.
    pub fn reopen(&self) {
        if let Some(writer) = &self.0.writer {
            writer.reopen();
        }
    }

    /// Waits until everything finished before this call is written, at most `patience`; false: it was not. Blocks; not for async code.
    pub fn flush(&self, patience: Duration) -> bool {
        self.0.writer.as_ref().is_none_or(|writer| writer.flush(patience))
    }

    /// The last refusals, newest first.
    pub fn refused(&self) -> Vec<Remembered> {
        newest_first(&self.0.refused)
    }

    /// The last failures, newest first.
    pub fn failed(&self) -> Vec<Remembered> {
        newest_first(&self.0.failed)
    }
}

fn remember(ring: &Mutex<VecDeque<Remembered>>, record: &Record) {
    let remembered = Remembered {
        at: record.started,
        client: record.client,
        status: record.status.as_u16(),
        reason: record.reason.unwrap_or("unnamed"),
        what: line::what(record),
        detail: record.detail.clone(),
    };
    let mut ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
    if ring.len() >= REMEMBERED_MAX {
        ring.pop_front();
    }
    ring.push_back(remembered);
}

fn newest_first(ring: &Mutex<VecDeque<Remembered>>) -> Vec<Remembered> {
    ring.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
}
