//! The segments on their way through one connection, and the buffers that stand for them.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use bytes::{Buf, Bytes};

use crate::{
    sys::{placeholder::Reservation, send::Sendable},
    transmit::{Config, SEGMENT_MAX, Strategy},
};

/// A stretch of an open file that is known to be good and in the page cache.
#[derive(Clone, Debug)]
pub struct Segment {
    pub file: Arc<dyn Sendable>,
    /// In bytes from the file's start.
    pub offset: u64,
    /// At most [`SEGMENT_MAX`].
    pub len: usize,
    /// Length in bytes of all that it is a part of: what is sent with it, before and after.
    pub of: u64,
}

/// What a plain HTTP/1.1 connection sends.
#[derive(Debug)]
pub enum Outgoing {
    Bytes(Bytes),
    Placed(Placeholder),
}

/// The way of one connection's segments from body to socket. Clones share it.
#[derive(Clone, Debug)]
pub struct Lane(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: Config,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In the order in which they must be sent, without those that were.
    placed: VecDeque<Entry>,
    /// A segment was given up before it was sent whole: nothing may follow it.
    broken: bool,
}

/// A segment that hyper has a placeholder for.
#[derive(Debug)]
struct Entry {
    slot: usize,
    segment: Segment,
    sent: usize,
}

/// A place for one segment.
#[derive(Debug)]
pub(super) struct Slot(usize);

/// Places that nobody has.
#[derive(Debug, Default)]
struct Free {
    /// Used before.
    recycled: Vec<usize>,
    /// Those from here on were never used.
    fresh: usize,
}

/// A buffer that stands for a segment. Reading it ends the process.
#[derive(Debug)]
pub struct Placeholder {
    lane: Lane,
    slot: Slot,
    at: usize,
    len: usize,
}

/// What a slice of a placeholder stands for, with the bytes sent already taken off.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) segment: Segment,
    slot: usize,
}

/// Slots of the whole process: more segments are never under way at once, each connection having one or two.
const SLOTS: usize = 64 << 10;

static RESERVATION: LazyLock<Option<Reservation>> = LazyLock::new(|| {
    let made = Reservation::new(SLOTS, SEGMENT_MAX);
    made.inspect_err(|error| tracing::warn!(%error, "no address space to send stored bytes by: they are copied")).ok()
});

static FREE: Mutex<Free> = Mutex::new(Free { recycled: Vec::new(), fresh: 0 });

impl Lane {
    pub(super) fn new(config: Config) -> Self {
        Self(Arc::new(Shared { config, state: Mutex::default() }))
    }

    pub(super) fn config(&self) -> &Config {
        &self.0.config
    }

    /// A place for a segment; `None` when stored bytes are to be copied, or all places are taken.
    pub(super) fn slot(&self) -> Option<Slot> {
        if self.0.config.strategy == Strategy::Copy || RESERVATION.is_none() {
            return None;
        }
        locked(&FREE).take().map(Slot)
    }

    /// Puts `segment` at the end of what this connection sends.
    pub(super) fn place(&self, slot: Slot, segment: Segment) -> Placeholder {
        let len = segment.len;
        assert!((1..=SEGMENT_MAX).contains(&len), "invariant: a segment fits its slot");
        locked(&self.0.state).placed.push_back(Entry { slot: slot.0, segment, sent: 0 });
        Placeholder { lane: self.clone(), slot, at: 0, len }
    }

    /// What `slice` stands for; `None` when it is ordinary memory.
    ///
    /// # Errors
    /// It is not what must be sent next on this connection: something above lost, repeated or reordered a slice.
    pub(super) fn standing(&self, slice: &[u8]) -> io::Result<Option<Standing>> {
        if self.0.config.strategy == Strategy::Copy {
            return Ok(None);
        }
        let Some((slot, at)) = RESERVATION.as_ref().and_then(|reservation| reservation.find(slice)) else { return Ok(None) };
        let state = locked(&self.0.state);
        if state.broken {
            return Err(out_of_order("a slice after a segment that was not sent whole"));
        }
        let next =
            state.placed.front().filter(|next| next.slot == slot && next.sent == at && next.segment.len - at >= slice.len());
        let next = next.ok_or_else(|| out_of_order("a slice that is not the next to be sent"))?;
        let Segment { file, offset, of, .. } = &next.segment;
        let segment = Segment { file: Arc::clone(file), offset: offset + at as u64, len: slice.len(), of: *of };
        Ok(Some(Standing { segment, slot }))
    }

    /// `count` bytes of what `standing` is about went into the socket.
    pub(super) fn sent(&self, standing: &Standing, count: usize) {
        let mut state = locked(&self.0.state);
        let Some(next) = state.placed.front_mut().filter(|next| next.slot == standing.slot) else { return };
        next.sent += count;
        if next.sent == next.segment.len {
            state.placed.pop_front();
        }
    }
}

impl Outgoing {
    fn inner(&self) -> &dyn Buf {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Placed(placeholder) => placeholder,
        }
    }
}

impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Placed(placeholder) => placeholder.remaining(),
        }
    }

    fn chunk(&self) -> &[u8] {
        self.inner().chunk()
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Bytes(bytes) => bytes.advance(count),
            Self::Placed(placeholder) => placeholder.advance(count),
        }
    }
}

impl Buf for Placeholder {
    fn remaining(&self) -> usize {
        self.len - self.at
    }

    fn chunk(&self) -> &[u8] {
        let reservation = RESERVATION.as_ref().expect("invariant: a slot exists only with the reservation");
        reservation.slice(self.slot.0, self.at, self.len - self.at)
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.remaining(), "invariant: no more is taken than there is");
        self.at += count;
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        let mut state = locked(&self.lane.0.state);
        // One that was sent whole is no longer there.
        if let Some(place) = state.placed.iter().position(|entry| entry.slot == self.slot.0) {
            state.broken = true;
            state.placed.remove(place);
        }
    }
}

impl Free {
    fn take(&mut self) -> Option<usize> {
        if let Some(slot) = self.recycled.pop() {
            return Some(slot);
        }
        let slot = self.fresh;
        self.fresh += usize::from(slot < SLOTS);
        (slot < SLOTS).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        locked(&FREE).recycled.push(self.0);
    }
}

fn out_of_order(what: &'static str) -> io::Error {
    io::Error::other(what)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
