//! One reader's way through a content.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body::Frame;
use tokio::time::Instant;

use super::{
    Content, GRACE,
    state::{Interest, State},
};
use crate::{
    cache::Error,
    metrics::Source,
    piece::{ByteRange, PIECE_LEN},
    store::{READ_AHEAD, SMALL_MAX},
    sys::residency::is_resident,
    transmit::{Delivery, Part, SEGMENT_MAX, Segment},
};

/// What a reader does next.
pub(super) enum Step {
    Bytes(Bytes),
    /// So many bytes are in the blob.
    Read(u64),
    Wait,
    End,
    Failed(Error),
}

/// One reader's way through a content. Dropping it tells the content that nobody waits for the rest here.
pub(in crate::cache) struct Reader {
    pub(super) content: Arc<Content>,
    pub(super) id: u64,
    pub(super) start: u64,
    pub(super) at: u64,
    pub(super) end: u64,
    /// How much to ask for beyond `end`.
    pub(super) ahead: u64,
    /// The longest that it waits for one byte, where that is less than anybody may wait.
    pub(super) patience: Option<Duration>,
    /// The content's failure count when this reader last got a byte.
    pub(super) failures: u64,
    pub(super) rereads: u32,
    /// Up to here the disk was asked for bytes: those that are in the page cache now may be gone when they are sent.
    pub(super) cold_until: u64,
    /// Whether the fill may go on when this reader leaves; not so for a reader that is itself what goes on.
    pub(super) lingers: bool,
}

/// What can be had of a reader without waiting.
pub(in crate::cache) enum Now {
    Part(Part, Source),
    End,
    Failed(Error),
    /// Nothing: [`Reader::next`] waits for it, or reads it from disk.
    Later,
}

impl Reader {
    /// The next bytes, if they are in memory.
    pub(in crate::cache) fn now(&mut self, delivery: Delivery) -> Now {
        if let Some(part) = self.settled_now(delivery) {
            self.at += part.len() as u64;
            return Now::Part(part, Source::Store);
        }
        let content = self.content.clone();
        match content.step(self) {
            Step::Bytes(bytes) => Now::Part(Part::Frame(Frame::data(self.moved(bytes))), Source::Upstream),
            Step::Read(len) => match self.stored_now(len, delivery) {
                Some(part) => {
                    self.advanced(part.len() as u64);
                    Now::Part(part, Source::Store)
                }
                None => Now::Later,
            },
            Step::Wait => Now::Later,
            Step::End => Now::End,
            Step::Failed(error) => Now::Failed(error),
        }
    }

    /// The next bytes of a content that nothing was missing of when it was opened: neither runs nor other readers are concerned. `None` also
    /// when something is missing now.
    fn settled_now(&self, delivery: Delivery) -> Option<Part> {
        let is_settled = self.content.was_complete && self.at < self.end && self.end < u64::MAX;
        if is_settled { self.stored_now(self.end - self.at, delivery) } else { None }
    }

    /// Of the next `len` bytes, which are in the blob, those that are in the page cache. A small content is copied, and is in memory then.
    fn stored_now(&self, len: u64, delivery: Delivery) -> Option<Part> {
        let segment = match delivery {
            Delivery::Segments { above } if len > above as u64 && self.end > SMALL_MAX => self.segment(len, above),
            _ => None,
        };
        let copied = || Some(Part::Frame(Frame::data(self.content.blob.read_now(self.at, in_memory(len))?)));
        segment.map(Part::Segment).or_else(copied)
    }

    /// The kernel is to send what is surely in memory: who sends a page that is still being read, or was let go again, waits for the disk, and
    /// with it all connections of its thread. So what was cold a moment ago is copied, which can be asked not to wait.
    fn segment(&self, len: u64, above: usize) -> Option<Segment> {
        let (blob, offset) = (&self.content.blob, self.at);
        if offset < self.cold_until {
            return None;
        }
        let len = in_memory(len.min(blob.checked_until(offset)? - offset)).min(SEGMENT_MAX);
        let file = blob.sendable().filter(|_| len > above)?;
        is_resident(file.file(), offset, len as u64).then_some(Segment { file, offset, len, of: self.end - self.start })
    }

    pub(in crate::cache) fn patient(mut self, patience: Option<Duration>) -> Self {
        self.patience = patience;
        self
    }

    /// The next bytes, at least one; `None` at the end. Dropping the future loses nothing.
    pub(in crate::cache) async fn next(&mut self) -> Result<Option<(Bytes, Source)>, Error> {
        let content = self.content.clone();
        let longest = content.hub.config().reader_timeout;
        let deadline = Instant::now() + self.patience.map_or(longest, |patience| patience.min(longest));
        loop {
            let mut changed = std::pin::pin!(content.changed.notified());
            changed.as_mut().enable();
            match content.step(self) {
                Step::Bytes(bytes) => return Ok(Some((self.moved(bytes), Source::Upstream))),
                Step::Read(len) => match content.blob.read(self.at, in_memory(len)).await {
                    Ok(bytes) => {
                        self.cold_until = self.at + len.min(READ_AHEAD as u64);
                        return Ok(Some((self.moved(bytes), Source::Store)));
                    }
                    // The extent is gone from the map (evicted or rotten): the next step asks the origin for it.
                    Err(error) if self.rereads < REREADS_MAX => {
                        self.rereads += 1;
                        tracing::debug!(%error, content = %content.name(), "read again from upstream");
                    }
                    Err(error) => return Err(error.into()),
                },
                Step::Wait => {
                    if tokio::time::timeout_at(deadline, changed).await.is_err() {
                        return Err(Error::Stalled);
                    }
                }
                Step::End => return Ok(None),
                Step::Failed(error) => return Err(error),
            }
        }
    }

    /// Waits until the next byte is here, for a client that was promised nothing yet. The rest keeps coming until that client reads.
    pub(in crate::cache) async fn begin(mut self) -> Result<(), Error> {
        self.set_begun(false);
        self.arrival().await?;
        self.set_begun(true);
        // From here on this one is not the last that waits: the client itself is about to.
        self.lingers = false;
        self.content.lock().grace = Instant::now() + GRACE;
        self.content.ask_ahead(&self);
        Ok(())
    }

    fn set_begun(&self, has_begun: bool) {
        if let Some(interest) = self.content.lock().readers.get_mut(&self.id) {
            interest.has_begun = has_begun;
        }
    }

    /// Waits until the next byte is here, and takes nothing.
    async fn arrival(&mut self) -> Result<(), Error> {
        let content = self.content.clone();
        let deadline = Instant::now() + content.hub.config().reader_timeout;
        loop {
            let mut changed = std::pin::pin!(content.changed.notified());
            changed.as_mut().enable();
            match content.step(self) {
                Step::Bytes(_) | Step::Read(_) | Step::End => return Ok(()),
                Step::Wait => {
                    if tokio::time::timeout_at(deadline, changed).await.is_err() {
                        return Err(Error::Stalled);
                    }
                }
                Step::Failed(error) => return Err(error),
            }
        }
    }

    fn moved(&mut self, bytes: Bytes) -> Bytes {
        self.advanced(bytes.len() as u64);
        bytes
    }

    fn advanced(&mut self, len: u64) {
        self.at += len;
        self.rereads = 0;
        {
            let mut state = self.content.lock();
            self.failures = state.failures;
            if let Some(interest) = state.readers.get_mut(&self.id) {
                interest.at = self.at;
            }
        }
        self.content.consumed.notify_waiters();
        // Once in a piece: planning costs more than passing on a few bytes.
        if (self.at - len) / PIECE_LEN != self.at / PIECE_LEN {
            self.content.look_ahead(self);
        }
    }

    /// Waits until all that it wants has arrived, or `len_max` bytes of it, for a client that was promised nothing yet.
    pub(in crate::cache) async fn exhaust(mut self, len_max: u64) -> Result<(), Error> {
        self.set_begun(false);
        self.await_rest(len_max).await
    }

    /// Keeps the fill of the rest going until it is there, or weir stops.
    async fn linger(mut self) {
        let stopping = self.content.hub.stop.signal().wait();
        tokio::select! {
            // Nobody hears of the error: nobody reads.
            _ = self.await_rest(u64::MAX) => {}
            () = stopping => {}
        }
    }

    /// Reads nothing, but asks for the rest until it is there, or all before `until`.
    async fn await_rest(&mut self, until: u64) -> Result<(), Error> {
        let content = self.content.clone();
        while self.at < self.end.min(until) {
            let mut changed = std::pin::pin!(content.changed.notified());
            changed.as_mut().enable();
            match content.step(self) {
                Step::Bytes(bytes) => drop(self.moved(bytes)),
                Step::Read(_) => {
                    let present = content.blob.present_until(self.at).unwrap_or(self.at).min(self.end) - self.at;
                    if present == 0 {
                        // Evicted, or found rotten, at this moment.
                        return Err(Error::Short);
                    }
                    self.advanced(present);
                }
                Step::Wait => {
                    if tokio::time::timeout(content.hub.config().reader_timeout, changed).await.is_err() {
                        return Err(Error::Stalled);
                    }
                }
                Step::End => return Ok(()),
                Step::Failed(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the fill of what this reader leaves behind goes on without it: it is under way, nobody else sees to it, and
    /// little remains.
    fn leaves_little(&self, state: &State) -> bool {
        let Some(rest) = ByteRange::new(self.at, self.end.min(state.len.unwrap_or(u64::MAX))) else { return false };
        let under_way =
            state.runs.iter().any(|run| run.stored && run.at < rest.end && run.end.is_none_or(|end| end > rest.start));
        let seen_to = state.readers.values().any(|other| other.at <= rest.start && other.end >= rest.end);
        if !under_way || seen_to {
            return false;
        }
        let config = self.content.hub.config();
        let Some(len) = state.len else { return true };
        let missing: u64 = self.content.blob.missing(rest).iter().map(ByteRange::len).sum();
        missing > 0 && (missing <= config.finish_len || missing <= len / 100 * config.finish_percent)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.content.lock();
        state.readers.remove(&self.id);
        let goes_on = self.lingers && self.leaves_little(&state) && tokio::runtime::Handle::try_current().is_ok();
        let heir = goes_on.then(|| {
            let id = state.id();
            state.readers.insert(id, Interest { at: self.at, end: self.end, has_begun: true });
            let failures = state.failures;
            Reader {
                content: self.content.clone(),
                id,
                start: self.at,
                at: self.at,
                end: self.end,
                ahead: 0,
                patience: None,
                failures,
                rereads: 0,
                cold_until: 0,
                lingers: false,
            }
        });
        drop(state);
        self.content.consumed.notify_waiters();
        if let Some(heir) = heir {
            // Ends by itself: each wait inside has a timeout, and it leaves no heir of its own.
            tokio::spawn(heir.linger());
        }
    }
}

/// A length of content as one of memory; what does not fit is cut.
fn in_memory(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

const REREADS_MAX: u32 = 3;
