//! Content that is open and may still be arriving: its readers, and the requests (runs) that bring its missing bytes.
//!
//! Readers and runs meet only here. A reader takes a byte from where it is: the window of a run (just arrived, perhaps not on
//! disk yet), the blob, or, when nobody brings it, a run that the reader starts. Runs belong to the content, not to the reader
//! that started them: a reader that leaves stops nothing that another still wants.
//!
//! ```text
//!   run      start ........ floor ============ at ------------- end
//!                  (in blob)      (in window)      (still to come)
//! ```

mod reader;
mod run;
mod state;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use tokio::{sync::Notify, time::Instant};

pub(super) use self::reader::{Now, Reader};
use self::{
    reader::Step,
    run::Run,
    state::{Interest, State},
};
use super::{
    Error, Filling, Hub, Wanted, ask,
    binding::Binding,
    fill,
    found::Reading,
    gain::Gain,
    plan::{self, Pace, Running},
    verify,
};
use crate::{
    object::Object,
    piece::{ByteRange, ExtentSet},
    semantics::vary,
    store::Blob,
    upstream::{Ask, Target},
};

/// One open content; all who read or fill it share it.
pub(super) struct Content {
    pub(super) blob: Arc<Blob>,
    pub(super) hub: Arc<Hub>,
    /// What a further answer must show to be of the same representation; `None`: nothing can be added to what the running fill brings.
    pub(super) binding: Option<Binding>,
    pub(super) gain: Arc<Gain>,
    /// The stored response this was opened for. Its fields may have been freshened since; its validator has not.
    object: Arc<Object>,
    opened: Instant,
    /// All of it was there when it was opened, so that there are no runs but to replace what rots.
    was_complete: bool,
    state: Mutex<State>,
    /// Bytes arrived, or a run ended.
    changed: Notify,
    /// A reader moved on or left: runs whose bytes the store does not take wait for that.
    consumed: Notify,
}

/// What a run does after it handed over some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Onward {
    Continue,
    /// Nobody wants the rest.
    Stop,
}

impl Content {
    pub(super) fn new(hub: Arc<Hub>, blob: Arc<Blob>, object: &Arc<Object>, want: &Arc<Wanted>) -> Arc<Self> {
        let binding = Binding::of(&object.meta);
        let gain = hub.gains.of(&object.meta.source);
        let (len, was_complete) = (blob.len(), blob.is_complete());
        let state = State {
            want: want.clone(),
            other: None,
            moved: None,
            len,
            runs: Vec::new(),
            arrived: 0,
            readers: HashMap::new(),
            next_id: 0,
            failures: 0,
            failure: None,
            ended: None,
            grace: Instant::now() + GRACE,
            sequences: HashMap::new(),
        };
        let (changed, consumed) = (Notify::new(), Notify::new());
        Arc::new(Self {
            blob,
            hub,
            binding,
            gain,
            object: object.clone(),
            opened: Instant::now(),
            was_complete,
            state: Mutex::new(state),
            changed,
            consumed,
        })
    }

    /// The whole length, once known.
    pub(super) fn len(&self) -> Option<u64> {
        self.lock().len
    }

    /// The fields of the response it was opened for.
    pub(super) fn fields(&self) -> &HeaderMap {
        &self.object.meta.fields
    }

    /// Whether all of `range` has arrived: it is in the blob, or on its way there.
    pub(super) fn has(&self, range: ByteRange) -> bool {
        self.gaps_within(range, |run| Some(run.at))
    }

    /// Whether `range` can be read without a request that is not running yet.
    pub(super) fn covers(&self, range: ByteRange) -> bool {
        self.gaps_within(range, |run| run.end)
    }

    /// Whether every gap of `range` is within what the runs hold: each from its floor to its `end` (`None`: no end).
    fn gaps_within(&self, range: ByteRange, end: impl Fn(&Run) -> Option<u64>) -> bool {
        let state = self.lock();
        let span = |run: &Run| ByteRange::new(run.floor(), end(run).unwrap_or(u64::MAX));
        let coming: ExtentSet = state.runs.iter().filter_map(span).collect();
        self.blob.missing(range).iter().all(|gap| coming.contains(*gap))
    }

    pub(super) fn is_complete(&self) -> bool {
        self.blob.is_complete()
    }

    /// The request to derive further ones from.
    pub(super) fn ask(&self) -> Ask {
        let (want, moved) = {
            let state = self.lock();
            (state.want.clone(), state.moved.clone())
        };
        let mut ask = ask::plain(&want);
        // The bytes that are missing are those of this variant, whoever asks for them.
        vary::reselect(&self.object.meta.selecting, &mut ask.fields);
        match moved {
            Some((target, path_and_query)) => Ask { target, path_and_query, ..ask },
            None => ask,
        }
    }

    /// Where redirects led, or that it is of no use any more.
    pub(super) fn moved(&self, moved: Option<(Target, String)>) {
        self.lock().moved = moved;
    }

    /// Whether there was a place that redirects had led to; it is forgotten.
    pub(super) fn forget_moved(&self) -> bool {
        self.lock().moved.take().is_some()
    }

    /// A client asks that may have a newer signature, or the only good one.
    pub(super) fn renew(&self, want: &Arc<Wanted>) {
        self.lock().renew(want);
    }

    /// Whether there is another client's signature to try after the origin refused this one.
    pub(super) fn try_other_signature(&self) -> bool {
        let mut state = self.lock();
        let Some(other) = state.other.take() else { return false };
        state.want = other;
        true
    }

    /// What log lines and the status page call it: host and path, without the query and its secrets.
    pub(super) fn name(&self) -> Box<str> {
        let want = self.lock().want.clone();
        want.name()
    }

    /// What the status page shows, if anything is being fetched.
    pub(super) fn filling(&self) -> Option<Filling> {
        let state = self.lock();
        let at = state.runs.iter().map(|run| run.at).max()?;
        let present = match state.len.and_then(|len| ByteRange::new(0, len)) {
            Some(whole) => whole.len() - self.blob.missing(whole).iter().map(ByteRange::len).sum::<u64>(),
            None => at,
        };
        let running = self.opened.elapsed();
        Some(Filling {
            name: state.want.name(),
            len: state.len,
            present,
            readers: state.readers.len(),
            requests: state.runs.len(),
            source: self.object.meta.source.clone(),
            bytes_per_second: (state.arrived as f64 / running.as_secs_f64().max(0.001)) as u64,
            running,
        })
    }

    /// A reader of `range`; of all there is when `None`.
    pub(super) fn reader(self: &Arc<Self>, range: Option<ByteRange>, reading: Option<Reading>) -> Reader {
        let mut state = self.lock();
        let (at, end) = range.map_or((0, state.len.unwrap_or(u64::MAX)), |range| (range.start, range.end));
        let id = state.id();
        state.readers.insert(id, Interest { at, end, has_begun: true });
        state.grace = Instant::now();
        let ahead = reading.map_or(0, |reading| state.read_ahead(reading.client, at, end));
        let patience = reading.and_then(|reading| reading.patience);
        Reader {
            content: self.clone(),
            id,
            start: at,
            at,
            end,
            ahead,
            patience,
            failures: state.failures,
            rereads: 0,
            cold_until: 0,
            lingers: true,
        }
    }

    /// Whether the byte at `offset` is here, or on its way in an answer that was judged to be of this representation.
    pub(super) fn is_certain(&self, offset: u64) -> bool {
        let state = self.lock();
        state.len.is_some_and(|len| offset >= len)
            || state.in_window(offset, offset + 1).is_some()
            || self.blob.present_until(offset).is_some()
            || state.promises(offset, self.far())
    }

    /// How far a run may be away from a byte that is wanted now.
    fn far(&self) -> u64 {
        if self.binding.is_some() { FAR } else { u64::MAX }
    }

    /// Enters the run that brings the bytes of a body whose head was just judged.
    pub(super) fn adopt(&self, start: u64, end: Option<u64>) -> u64 {
        let mut state = self.lock();
        let id = state.start_run(start, end);
        state.judged(id, true);
        id
    }

    /// The answer that run `id` had broke. Whether it is worth asking for the byte at `at` again and again: not so while everybody
    /// who waits for it can be told of the error instead.
    pub(super) fn broke(&self, id: u64, at: u64) -> bool {
        let mut state = self.lock();
        state.judged(id, false);
        state.is_owed(id, at)
    }

    /// Takes bytes of run `id` and passes them to waiting readers.
    pub(super) fn arrived(&self, id: u64, bytes: Bytes) -> Onward {
        let mut state = self.lock();
        let now = Instant::now();
        let running = state.runs.len();
        self.gain.record(bytes.len() as u64, running, now);
        let len = bytes.len();
        state.arrived += len as u64;
        let Some(run) = state.runs.iter_mut().find(|run| run.id == id) else { return Onward::Stop };
        if len > 0 {
            run.window.push_back((run.at, bytes));
            run.window_len += len;
            run.at += len as u64;
        }
        let onward = state.onward(id, now);
        drop(state);
        self.changed.notify_waiters();
        onward
    }

    /// The bytes of run `id` up to `readable` are in the blob: the window may let them go.
    pub(super) fn readable(&self, id: u64, readable: u64) {
        let mut state = self.lock();
        if let Some(run) = state.runs.iter_mut().find(|run| run.id == id) {
            run.trim(readable);
        }
    }

    /// The store does not take the bytes of run `id` any more: from here on its window is all there is.
    pub(super) fn unstored(&self, id: u64) {
        let mut state = self.lock();
        if let Some(run) = state.runs.iter_mut().find(|run| run.id == id) {
            run.stored = false;
        }
    }

    /// Waits until the window of an unstored run has room: until the fastest of its readers moved on. `Stop` when none is left.
    pub(super) async fn room(&self, id: u64) -> Onward {
        let deadline = Instant::now() + self.hub.config().reader_timeout;
        loop {
            let mut consumed = std::pin::pin!(self.consumed.notified());
            consumed.as_mut().enable();
            let onward = self.lock().make_room(id);
            if let Some(onward) = onward {
                return onward;
            }
            if tokio::time::timeout_at(deadline, consumed).await.is_err() {
                return Onward::Stop;
            }
        }
    }

    /// Waits until nobody needs the window of an unstored run any more, so that the run may go.
    pub(super) async fn drained(&self, id: u64) {
        let deadline = Instant::now() + self.hub.config().reader_timeout;
        loop {
            let mut consumed = std::pin::pin!(self.consumed.notified());
            consumed.as_mut().enable();
            let needed = self.lock().needs_window(id);
            if !needed || tokio::time::timeout_at(deadline, consumed).await.is_err() {
                return;
            }
        }
    }

    /// Waits until all of it is stored, asking for what is missing; or until `len_max` bytes of a content of unknown length are.
    ///
    /// # Errors
    /// Why it cannot be completed; [`Error::Unverified`] when the store did not take all of it.
    pub(super) async fn complete(self: &Arc<Self>, len_max: u64) -> Result<(), Error> {
        self.reader(None, None).exhaust(len_max).await?;
        let deadline = Instant::now() + self.hub.config().reader_timeout;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.len().is_none_or(|len| len > len_max) || self.is_complete() {
                return Ok(());
            }
            // The last bytes are on their way to the disk as long as the run that brought them has not ended.
            if self.lock().runs.is_empty() {
                return if self.is_complete() { Ok(()) } else { Err(Error::Unverified) };
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Err(Error::Stalled);
            }
        }
    }

    /// Where run `id` shall end, as planned or as shortened since.
    pub(super) fn run_end(&self, id: u64) -> Option<u64> {
        self.lock().runs.iter().find(|run| run.id == id).and_then(|run| run.end)
    }

    /// A body of unknown length ended cleanly at `len`.
    pub(super) fn ended_at(&self, len: u64) {
        self.blob.set_len(len);
        self.lock().len = Some(len);
    }

    /// Nothing more can come for this representation; who still waits for bytes gets `error`.
    pub(super) fn end(&self, error: Error) {
        self.lock().ended = Some(error);
        self.changed.notify_waiters();
    }

    /// The origin has another representation now: what is stored of this one is of no use any more.
    pub(super) fn outdated(&self) {
        self.hub.store.remove(&self.object);
        self.end(Error::Changed);
    }

    pub(super) fn run_ended(&self, id: u64, result: Result<(), Error>) {
        let mut state = self.lock();
        let index = state.runs.iter().position(|run| run.id == id);
        let run = index.map(|index| state.runs.swap_remove(index));
        if let (Some(run), Err(error)) = (run, result) {
            state.failures += 1;
            let lost = ByteRange { start: run.at, end: run.end.unwrap_or(u64::MAX).max(run.at + 1) };
            state.failure = Some((lost, error));
        }
        let idle = state.runs.is_empty();
        drop(state);
        if self.blob.is_complete() {
            verify::completed(&self.hub, &self.blob, &self.object);
        } else if idle && self.binding.is_none() {
            // Nothing can ever complete it. Gone before readers hear of the end: who asks again then shall not find it.
            self.hub.store.remove(&self.object);
        }
        self.changed.notify_waiters();
    }

    fn step(self: &Arc<Self>, reader: &mut Reader) -> Step {
        let state = self.lock();
        if reader.end == u64::MAX
            && let Some(len) = state.len
        {
            reader.end = len;
        }
        if reader.at >= reader.end {
            return Step::End;
        }
        if let Some(bytes) = state.in_window(reader.at, reader.end) {
            drop(state);
            return Step::Bytes(bytes);
        }
        if let Some(until) = self.blob.present_until(reader.at) {
            return Step::Read(until.min(reader.end) - reader.at);
        }
        if state.brings(reader.at, self.far()) {
            return Step::Wait;
        }
        if let Some(error) = state.why_not(reader, self.binding.is_some()) {
            return Step::Failed(error);
        }
        if state.runs.len() >= RUNS_MAX {
            return Step::Wait;
        }
        self.start_runs(state, reader);
        Step::Wait
    }

    /// Starts what `reader` needs next; called when a byte is missing and whenever the reader has moved on a good deal.
    fn start_runs(self: &Arc<Self>, mut state: MutexGuard<'_, State>, reader: &Reader) {
        let Some(wanted) = state.wanted_by(reader) else { return };
        let pace = Pace { level: self.gain.level(), segment_len: self.hub.config().segment_len };
        let near = |run: &&Run| state.brings(reader.at, FAR) || !(run.at..run.end.unwrap_or(u64::MAX)).contains(&reader.at);
        let running: Vec<Running> =
            state.runs.iter().filter(near).map(|run| Running { floor: run.floor(), at: run.at, end: run.end }).collect();
        let missing = self.blob.missing(wanted);
        let requests = plan::next_requests(wanted, &missing, &running, pace);
        // Nobody knows whether the origin answers: one request finds out.
        let useful = if state.has_begun(reader) { RUNS_MAX } else { state.runs.len() + 1 };
        let room = useful.min(RUNS_MAX).saturating_sub(state.runs.len());
        let started: Vec<_> =
            requests.into_iter().take(room).map(|range| (state.start_run(range.start, Some(range.end)), range)).collect();
        drop(state);
        for (id, range) in started {
            fill::spawn(self.clone(), id, range.start, None);
        }
    }

    /// Keeps the line busy ahead of a reader that is being served from what is present.
    fn look_ahead(self: &Arc<Self>, reader: &Reader) {
        if reader.end - reader.at + reader.ahead > LOOK_AHEAD_MIN {
            self.ask_ahead(reader);
        }
    }

    /// Starts what `reader` needs although its next byte is here.
    fn ask_ahead(self: &Arc<Self>, reader: &Reader) {
        let state = self.lock();
        if self.binding.is_some() && state.ended.is_none() && reader.end != u64::MAX {
            self.start_runs(state, reader);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the state of a content is held")
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        self.hub.closed(&self.blob);
    }
}

/// A request that is so far away from a byte that is wanted now is not waited for: with 10 Mbit/s it would take longer than
/// Delivery Optimization waits. The price is that these bytes may come twice.
const FAR: u64 = 16 << 20;
/// Requests under way for one content; more are never useful.
const RUNS_MAX: usize = 64;
/// Below this a reader's rest is one request anyway.
const LOOK_AHEAD_MIN: u64 = 2 << 20;
/// The time between the judgement of a head and the first read of the client that waited for it.
const GRACE: Duration = Duration::from_secs(5);
