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

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::Notify, time::Instant};

use super::{
    Error, Filling, Hub, Wanted, ask,
    binding::Binding,
    fill,
    gain::Gain,
    plan::{self, Pace, Running},
    verify,
};
use crate::{
    metrics::Source,
    object::Object,
    piece::{ByteRange, PIECE_LEN},
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
    state: Mutex<State>,
    /// Bytes arrived, or a run ended.
    changed: Notify,
    /// A reader moved on or left: runs whose bytes the store does not take wait for that.
    consumed: Notify,
}

struct State {
    /// Who asked last: its signature is the newest.
    want: Arc<Wanted>,
    /// Where redirects led. The rest is asked for there: the next redirect may lead to a host whose validators are others.
    moved: Option<(Target, String)>,
    /// Known from the start, or since a body of unknown length ended.
    len: Option<u64>,
    runs: Vec<Run>,
    /// Bytes that runs brought.
    arrived: u64,
    readers: HashMap<u64, Interest>,
    next_id: u64,
    /// How many runs failed, and the last one: what it was to bring, and why it did not. A reader that waited for those bytes
    /// and saw the count grow gets the error; one that comes later tries again.
    failures: u64,
    failure: Option<(ByteRange, Error)>,
    /// No byte can be added any more: the origin has another representation now.
    ended: Option<Error>,
    /// Until then a run goes on although nobody reads: the client that asked is being answered.
    grace: Instant,
    /// Where clients stopped reading, to recognise those that read on: client → (end, how often in a row).
    sequences: HashMap<IpAddr, (u64, u32)>,
}

/// What a reader still wants.
#[derive(Clone, Copy)]
struct Interest {
    at: u64,
    /// Exclusive; `u64::MAX` while the length is unknown.
    end: u64,
}

struct Run {
    id: u64,
    at: u64,
    end: Option<u64>,
    /// Bytes that arrived lately, oldest first.
    window: VecDeque<(u64, Bytes)>,
    window_len: usize,
    /// Whether the store takes the bytes; if not, the window is all there is.
    stored: bool,
}

/// What a reader does next.
enum Step {
    Bytes(Bytes),
    /// So many bytes are in the blob.
    Read(usize),
    Wait,
    End,
    Failed(Error),
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
        let len = blob.len();
        let state = State {
            want: want.clone(),
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
            state: Mutex::new(state),
            changed,
            consumed,
        })
    }

    /// The whole length, once known.
    pub(super) fn len(&self) -> Option<u64> {
        self.lock().len
    }

    /// Whether all of `range` has arrived: it is in the blob, or on its way there.
    pub(super) fn has(&self, range: ByteRange) -> bool {
        self.gaps_within(range, |run| Some(run.at))
    }

    /// Whether `range` can be read without a request that is not running yet.
    pub(super) fn covers(&self, range: ByteRange) -> bool {
        self.gaps_within(range, |run| run.end)
    }

    /// Whether each gap of `range` lies between the floor of a run and `end` of it (`None`: no end).
    fn gaps_within(&self, range: ByteRange, end: impl Fn(&Run) -> Option<u64>) -> bool {
        let state = self.lock();
        let holds = |run: &Run, gap: &ByteRange| run.floor() <= gap.start && end(run).is_none_or(|end| gap.end <= end);
        self.blob.missing(range).iter().all(|gap| state.runs.iter().any(|run| holds(run, gap)))
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
        let ask = ask::plain(&want);
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

    /// A client's own request replaces the older one: its signature is the newest.
    pub(super) fn renew(&self, want: &Arc<Wanted>) {
        self.lock().want = want.clone();
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
    pub(super) fn reader(self: &Arc<Self>, range: Option<ByteRange>, client: Option<IpAddr>) -> Reader {
        let mut state = self.lock();
        let (at, end) = range.map_or((0, state.len.unwrap_or(u64::MAX)), |range| (range.start, range.end));
        let id = state.id();
        state.readers.insert(id, Interest { at, end });
        state.grace = Instant::now();
        let ahead = client.map_or(0, |client| state.read_ahead(client, at, end));
        Reader { content: self.clone(), id, at, end, ahead, failures: state.failures, rereads: 0, lingers: true }
    }

    /// Enters the run that brings the bytes of a body whose head was just judged.
    pub(super) fn adopt(&self, start: u64, end: Option<u64>) -> u64 {
        self.lock().start_run(start, end)
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
        self.changed.notify_waiters();
        if self.blob.is_complete() {
            verify::start(&self.hub, self.blob.clone(), self.object.clone());
        } else if idle && self.binding.is_none() {
            // Nothing can ever complete it.
            self.hub.store.remove(&self.object);
        }
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
            let len = until.min(reader.end) - reader.at;
            return Step::Read(len.min(READ_LEN) as usize);
        }
        let resumable = self.binding.is_some();
        if state.brings(reader.at, if resumable { FAR } else { u64::MAX }) {
            return Step::Wait;
        }
        if let Some(error) = state.why_not(reader, resumable) {
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
        let room = RUNS_MAX.saturating_sub(state.runs.len());
        let started: Vec<_> =
            requests.into_iter().take(room).map(|range| (state.start_run(range.start, Some(range.end)), range)).collect();
        drop(state);
        for (id, range) in started {
            fill::spawn(self.clone(), id, range.start, None);
        }
    }

    /// Keeps the line busy ahead of a reader that is being served from what is present.
    fn look_ahead(self: &Arc<Self>, reader: &Reader) {
        let state = self.lock();
        let wanted_more = reader.end - reader.at + reader.ahead;
        if self.binding.is_some() && state.ended.is_none() && reader.end != u64::MAX && wanted_more > LOOK_AHEAD_MIN {
            self.start_runs(state, reader);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the state of a content is held")
    }
}

impl State {
    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn start_run(&mut self, start: u64, end: Option<u64>) -> u64 {
        let id = self.id();
        self.runs.push(Run { id, at: start, end, window: VecDeque::new(), window_len: 0, stored: true });
        id
    }

    fn in_window(&self, at: u64, end: u64) -> Option<Bytes> {
        self.runs.iter().find_map(|run| run.take(at, end))
    }

    /// Whether a running request will bring the byte at `offset`, and is no more than `far` bytes away from it.
    fn brings(&self, offset: u64, far: u64) -> bool {
        let mut runs = self.runs.iter();
        runs.any(|run| run.at <= offset && run.end.is_none_or(|end| offset < end) && offset - run.at <= far)
    }

    /// Why no request for the next byte of `reader` is started.
    fn why_not(&self, reader: &Reader, resumable: bool) -> Option<Error> {
        if self.ended.is_some() {
            return self.ended.clone();
        }
        if self.failures > reader.failures
            && let Some((lost, error)) = &self.failure
            && lost.contains(reader.at)
        {
            return Some(error.clone());
        }
        (!resumable || reader.end == u64::MAX).then(|| match &self.failure {
            Some((_, error)) => error.clone(),
            None => Error::Unresumable,
        })
    }

    /// The range of `reader` that is still to be served, with its read-ahead, within the content.
    fn wanted_by(&self, reader: &Reader) -> Option<ByteRange> {
        let end = reader.end.saturating_add(reader.ahead).min(self.len.unwrap_or(u64::MAX)).max(reader.end);
        ByteRange::new(reader.at, end)
    }

    /// Decides whether run `id` goes on: somebody wants what it brings, or the client that asked is not there yet.
    /// What nobody wants ends with its piece, so that no piece is left torn.
    fn onward(&mut self, id: u64, now: Instant) -> Onward {
        let wanted = |run: &Run, end: u64| self.readers.values().any(|reader| reader.at < end && run.at < reader.end);
        let Some(index) = self.runs.iter().position(|run| run.id == id) else { return Onward::Stop };
        let run = &self.runs[index];
        if now >= self.grace && !wanted(run, run.end.unwrap_or(u64::MAX)) {
            let piece_end = run.at.next_multiple_of(PIECE_LEN);
            let end = run.end.map_or(piece_end, |end| end.min(piece_end));
            // A body of unknown length cannot be cut and continued: it goes on or is lost.
            if self.len.is_some() || !run.stored {
                self.runs[index].end = Some(end);
            }
        }
        let run = &self.runs[index];
        if run.end.is_some_and(|end| run.at >= end) { Onward::Stop } else { Onward::Continue }
    }

    /// Whether a reader is within the window of run `id`.
    fn needs_window(&self, id: u64) -> bool {
        let Some(run) = self.runs.iter().find(|run| run.id == id) else { return false };
        self.readers.values().any(|reader| reader.end > run.floor() && (run.floor()..run.at).contains(&reader.at))
    }

    /// `None` while the run has to wait.
    fn make_room(&mut self, id: u64) -> Option<Onward> {
        let Some(index) = self.runs.iter().position(|run| run.id == id) else { return Some(Onward::Stop) };
        let (floor, at, end) = (self.runs[index].floor(), self.runs[index].at, self.runs[index].end.unwrap_or(u64::MAX));
        let fastest =
            self.readers.values().filter(|reader| reader.end > floor && reader.at < end).map(|reader| reader.at.min(at)).max();
        let Some(fastest) = fastest else {
            return Some(if Instant::now() < self.grace { Onward::Continue } else { Onward::Stop });
        };
        let run = &mut self.runs[index];
        while run.window_len > WINDOW_MAX
            && let Some((start, bytes)) = run.window.front()
            && start + bytes.len() as u64 <= fastest
        {
            run.drop_front();
        }
        (run.window_len <= WINDOW_MAX).then_some(Onward::Continue)
    }

    /// How far ahead to ask for a client that reads range after range in order: twice as far each time, within a bound.
    fn read_ahead(&mut self, client: IpAddr, start: u64, end: u64) -> u64 {
        if end == u64::MAX {
            return 0;
        }
        let streak = match self.sequences.get(&client) {
            Some(&(last, streak)) if last == start => streak + 1,
            _ => 0,
        };
        if self.sequences.len() >= SEQUENCES_MAX {
            self.sequences.clear();
        }
        self.sequences.insert(client, (end, streak));
        // The first continuation may be chance; from the second on it is a habit.
        if streak < 2 { 0 } else { ((end - start) << (streak - 1).min(4)).min(READ_AHEAD_MAX) }
    }
}

impl Run {
    /// Where the window begins: bytes before it are in the blob or gone.
    fn floor(&self) -> u64 {
        self.at - self.window_len as u64
    }

    fn take(&self, at: u64, end: u64) -> Option<Bytes> {
        if at < self.floor() || at >= self.at {
            return None;
        }
        // The window is in order: find the last entry that starts at or before `at`.
        let index = self.window.partition_point(|(start, _)| *start <= at).checked_sub(1)?;
        let (start, bytes) = &self.window[index];
        let skip = usize::try_from(at - start).ok()?;
        let take = usize::try_from(end - at).unwrap_or(usize::MAX).min(bytes.len() - skip);
        Some(bytes.slice(skip..skip + take))
    }

    /// Lets go what the blob has, but for a little that readers close behind will want at once.
    fn trim(&mut self, readable: u64) {
        while self.window_len > WINDOW_KEPT
            && let Some((start, bytes)) = self.window.front()
            && start + bytes.len() as u64 <= readable
        {
            self.drop_front();
        }
    }

    fn drop_front(&mut self) {
        if let Some((_, bytes)) = self.window.pop_front() {
            self.window_len -= bytes.len();
        }
    }
}

/// One reader's way through a content. Dropping it tells the content that nobody waits for the rest here.
pub(super) struct Reader {
    content: Arc<Content>,
    id: u64,
    at: u64,
    end: u64,
    /// How much to ask for beyond `end`.
    ahead: u64,
    /// The content's failure count when this reader last got a byte.
    failures: u64,
    rereads: u32,
    /// Whether the fill may go on when this reader leaves; not so for a reader that is itself what goes on.
    lingers: bool,
}

impl Reader {
    /// The next bytes, at least one; `None` at the end. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<(Bytes, Source)>, Error> {
        let content = self.content.clone();
        let deadline = Instant::now() + content.hub.config().reader_timeout;
        loop {
            let mut changed = std::pin::pin!(content.changed.notified());
            changed.as_mut().enable();
            match content.step(self) {
                Step::Bytes(bytes) => return Ok(Some((self.moved(bytes), Source::Upstream))),
                Step::Read(len) => match content.blob.read(self.at, len).await {
                    Ok(bytes) => return Ok(Some((self.moved(bytes), Source::Store))),
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

    fn moved(&mut self, bytes: Bytes) -> Bytes {
        self.at += bytes.len() as u64;
        self.rereads = 0;
        {
            let mut state = self.content.lock();
            self.failures = state.failures;
            if let Some(interest) = state.readers.get_mut(&self.id) {
                interest.at = self.at;
            }
        }
        self.content.consumed.notify_waiters();
        self.content.look_ahead(self);
        bytes
    }

    /// Keeps the fill of the rest going until it is there, or weir stops.
    async fn linger(mut self) {
        let stopping = self.content.hub.stopping();
        tokio::select! {
            () = self.await_rest() => {}
            () = stopping => {}
        }
    }

    /// Reads nothing, but asks for the rest until it is there.
    async fn await_rest(&mut self) {
        let content = self.content.clone();
        while self.at < self.end {
            let mut changed = std::pin::pin!(content.changed.notified());
            changed.as_mut().enable();
            match content.step(self) {
                Step::Bytes(bytes) => drop(self.moved(bytes)),
                Step::Read(_) => {
                    let until = content.blob.present_until(self.at).unwrap_or(self.at).min(self.end);
                    let present = until - self.at;
                    self.at = until;
                    if present == 0 {
                        return;
                    }
                    self.moved(Bytes::new());
                }
                Step::Wait => {
                    if tokio::time::timeout(content.hub.config().reader_timeout, changed).await.is_err() {
                        return;
                    }
                }
                Step::End | Step::Failed(_) => return,
            }
        }
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

impl Drop for Content {
    fn drop(&mut self) {
        self.hub.closed(&self.blob);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.content.lock();
        state.readers.remove(&self.id);
        let goes_on = self.lingers && self.leaves_little(&state) && tokio::runtime::Handle::try_current().is_ok();
        let heir = goes_on.then(|| {
            let id = state.id();
            state.readers.insert(id, Interest { at: self.at, end: self.end });
            let failures = state.failures;
            Reader {
                content: self.content.clone(),
                id,
                at: self.at,
                end: self.end,
                ahead: 0,
                failures,
                rereads: 0,
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

/// What is read from disk at a time. Each connection may hold a few of these.
const READ_LEN: u64 = 64 << 10;
/// Kept of what is in the blob already, for readers close behind the fill.
const WINDOW_KEPT: usize = 256 << 10;
/// The most an unstored run holds for its readers.
const WINDOW_MAX: usize = 2 << 20;
/// A request that is so far away from a byte that is wanted now is not waited for: with 10 Mbit/s it would take longer than
/// Delivery Optimization waits. The price is that these bytes may come twice.
const FAR: u64 = 16 << 20;
/// Requests under way for one content; more are never useful.
const RUNS_MAX: usize = 64;
/// Below this a reader's rest is one request anyway.
const LOOK_AHEAD_MIN: u64 = 2 << 20;
const READ_AHEAD_MAX: u64 = 16 << 20;
const SEQUENCES_MAX: usize = 64;
const REREADS_MAX: u32 = 3;
/// The time between the judgement of a head and the first read of the client that waited for it.
const GRACE: Duration = Duration::from_secs(5);
