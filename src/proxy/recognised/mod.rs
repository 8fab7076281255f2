//! Requests that were answered before, recognised by the bytes of their heads.
//!
//! Clients send the same head again and again: over one connection, and as many computers with the same software. What answers it is
//! decided once, on the whole way through the proxy. If that was a hit whose content is in memory, everything the decision rested on is kept
//! with the answer, ready to be written: when exactly these bytes come again, and nothing of what it rested on has changed, the
//! listener writes the answer without anybody parsing the request. So there is no second parser, and nothing that could be read in two ways:
//! one byte more or less, and a request goes the whole way.
//!
//! What a decision rests on: the head; the way in ([`Scope`]); the rules in force, which are counted; and the stored response, whose
//! [`Standing`] also knows how fresh it is. What differs between two answers is the moment: `Age`, and `ttl` in Cache-Status.

mod prepared;
mod table;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::SystemTime,
};

use bytes::Bytes;
use http::{HeaderMap, Response, Version, header};

pub use self::prepared::{Again, Prepared};
use self::table::{Seen, Table};
use crate::{
    cache::{Body, Standing},
    classify::Door,
    metrics::Counter,
    proxy::log::{AccessLog, Record},
};

/// The answers that are ready to be given again. Bounded in bytes; what was not asked for lately goes first.
pub struct Recognised {
    table: Table<Prepared>,
    /// Counts the rules: an answer that was prepared under older ones is none any more.
    rules: AtomicU64,
    log: AccessLog,
    given: Counter,
}

/// Of a connection what decisions about its requests depend on. The client's own address does not count: it is recorded, never judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub doors: Arc<[Door]>,
    pub is_tls: bool,
    pub local: SocketAddr,
}

/// What is known of a request head.
pub enum Recognition {
    /// Its answer is ready, unless what it rests on has changed.
    Known(Arc<Prepared>),
    /// It came lately: worth being remembered.
    Repeated,
    New,
}

/// Where one connection's listener and service meet to have an answer remembered. Of HTTP/1, where one request is answered at a time.
#[derive(Debug, Default)]
pub struct Learning {
    is_wanted: AtomicBool,
    rules: AtomicU64,
    lesson: Mutex<Option<Lesson>>,
}

/// An answer that can be given again, and the head that it has this time.
#[derive(Debug)]
pub struct Lesson {
    pub prepared: Prepared,
    /// As it has to be on the wire; if it is not, somebody on the way thought otherwise, and the answer is not to be remembered.
    pub head: Vec<u8>,
}

/// Memory for heads, prepared answers and their content, in bytes: a few thousand small ones. What is hot is few.
const BYTES_MAX: usize = 16 << 20;

impl Recognised {
    /// `given` counts the answers that were given again.
    pub(super) fn new(log: AccessLog, given: Counter) -> Self {
        Self { table: Table::new(BYTES_MAX), rules: AtomicU64::new(0), log, given }
    }

    /// What is known of `head`, the bytes of one request head with its empty line.
    pub fn find(&self, scope: &Scope, head: &[u8]) -> Recognition {
        match self.table.find(scope, head) {
            Seen::Known(prepared) => Recognition::Known(prepared),
            Seen::Lately => Recognition::Repeated,
            Seen::Never => Recognition::New,
        }
    }

    /// Puts the head of the answer at the end of `out`, counts and records the answer, and returns its content. `None`, and nothing done, if what
    /// it rests on has changed: the request is to go the whole way.
    pub fn give(&self, again: &mut Again, now: SystemTime, out: &mut Vec<u8>) -> Option<Bytes> {
        if again.prepared.rules != self.rules.load(Acquire) {
            return None;
        }
        let current = again.prepared.standing.at(now)?;
        self.log.finish(again.record(self.log.next_id(), now, current));
        self.given.inc();
        again.prepared.standing.used(now, !again.prepared.content.is_empty());
        again.prepared.head.write(current, out);
        Some(again.prepared.content.clone())
    }

    /// Has the answer to `head` prepared when its request comes to the service of the connection that `learning` belongs to.
    pub fn want(&self, learning: &Learning) {
        learning.rules.store(self.rules.load(Acquire), Relaxed);
        learning.is_wanted.store(true, Release);
    }

    /// Answers `head` like that from now on.
    pub fn remember(&self, scope: &Scope, head: Box<[u8]>, prepared: Prepared) {
        let bytes = prepared.memory_bytes();
        self.table.insert(scope, head, prepared, bytes);
    }

    /// Other rules are in force. To be called when no request can be judged by the old ones any more.
    pub(super) fn rules_changed(&self) {
        self.rules.fetch_add(1, Release);
    }
}

impl Learning {
    /// Whether the answer to the request that is being served is to be prepared.
    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted.load(Acquire)
    }

    /// The rules that were in force before the request was judged.
    fn rules(&self) -> u64 {
        self.rules.load(Relaxed)
    }

    /// Prepares `response`, which rests on `standing`, has `behind` behind it and is recorded by `record`.
    pub(super) fn prepare(&self, (standing, behind): (Standing, Behind), response: &Response<Body>, record: &Record) {
        let lesson = Prepared::lesson(self.rules(), standing, behind, response, record);
        *self.lesson.lock().unwrap_or_else(PoisonError::into_inner) = lesson;
    }

    /// What came of the wish, which ends with this.
    pub fn take(&self) -> Option<Lesson> {
        self.is_wanted.store(false, Release);
        self.lesson.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What becomes of the connection behind an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// It goes on.
    More,
    /// It ends: the client asked for that.
    End,
}

/// What comes behind the answer to a request; `None` if the request cannot be answered by bytes alone, because something comes before its answer
/// or the connection is to become something else.
pub(super) fn behind(version: Version, fields: &HeaderMap) -> Option<Behind> {
    let is_plain = [header::EXPECT, header::UPGRADE, header::TRANSFER_ENCODING].iter().all(|name| !fields.contains_key(name));
    let mut options = fields.get_all(header::CONNECTION).iter();
    let says = |value: &http::HeaderValue, option: &str| value.as_bytes().eq_ignore_ascii_case(option.as_bytes());
    let behind = match (options.next(), options.next()) {
        (Some(value), None) if says(value, "close") => Behind::End,
        _ if fields.get_all(header::CONNECTION).iter().all(|value| says(value, "keep-alive")) => Behind::More,
        _ => return None,
    };
    (version == Version::HTTP_11 && is_plain).then_some(behind)
}
