//! Writing: a run of bytes goes into a blob in order, through the disk pool, and is summed on the way.
//!
//! Bytes are gathered until they fill a stretch of [`STEP`] bytes of the file. Linux keeps what is written in one call in one piece of the page cache, as
//! far as its place in the file allows, and whoever sends it later pays for each piece: 1 MiB ranges of a file that was written 16 KiB at a time are
//! sent at 2.9 GB/s, of one written 256 KiB at a time at 4.1.
//!
//! A byte that is readable is never overwritten: two writers of one representation bring the same bytes, and readers may be at them.

use std::{
    collections::VecDeque,
    io::IoSlice,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Release},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::Notify, time::timeout};

use crate::{
    piece::{ByteRange, PIECE_LEN},
    store::{
        Error,
        blob::Blob,
        identity::RunHasher,
        pieces::Run,
        pool::Kind,
        room::Allotment,
        shared::{Shared, Writing},
    },
};

/// Writes one contiguous run of bytes into a blob. Dropped without `finish`, what was accepted may or may not be kept:
/// whole checksummed extents are, a torn tail is not.
#[derive(Debug)]
pub struct Writer {
    lane: Arc<Lane>,
}

/// What writer and disk pool share. At most one job of the pool works on a lane at a time.
#[derive(Debug)]
struct Lane {
    blob: Arc<Blob>,
    queue: Mutex<Queue>,
    /// Told when the queue shrank, the lane ended, or failed.
    changed: Notify,
    /// Up to where the run is readable.
    readable: AtomicU64,
}

#[derive(Debug)]
struct Queue {
    parts: VecDeque<Bytes>,
    queued: usize,
    /// Where the first of `parts` goes.
    offset: u64,
    /// Room for what is queued, being written, or written and not summed.
    allotted: Allotment,
    /// A job is queued or running.
    scheduled: bool,
    /// What is queued is to be written, whether it fills a step or not.
    pressed: bool,
    /// No more parts will come.
    ended: bool,
    /// The last job is done.
    closed: bool,
    error: Option<Error>,
    /// Held by the job while it works.
    cursor: Option<Cursor>,
}

/// Where the run stands, and what of it is not summed yet.
#[derive(Debug)]
struct Cursor {
    offset: u64,
    /// From where on nothing was told to the disk yet.
    kept_back: u64,
    open: Option<OpenRun>,
    _writing: Option<Writing>,
}

/// The bytes since the last piece boundary or gap.
#[derive(Debug)]
struct OpenRun {
    range: ByteRange,
    hasher: HasherBox,
}

/// A hasher is 1.9 kB: on the heap.
type HasherBox = Box<RunHasher>;

/// Bytes of one run that may wait for the disk.
const QUEUED_MAX: usize = 1 << 20;

/// Bytes written in one go; then another lane has its turn.
const BATCH_LEN: u64 = 1 << 20;

/// A run that goes on is written up to multiples of this offset: waking a thread of the disk pool for each part that arrives would cost more than
/// writing it. Until then its readers have the bytes from memory.
const STEP: u64 = 512 << 10;

/// What is handed to the disk at a time: long enough for a disk that seeks, a few milliseconds of one that does not.
const WRITE_BACK_LEN: u64 = 4 << 20;

/// A disk that takes nothing for so long is broken, whatever it says.
const STALL: Duration = Duration::from_secs(60);

impl std::fmt::Debug for RunHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RunHasher")
    }
}

impl Blob {
    /// A writer for the run of bytes that starts at `offset`.
    pub fn writer(self: &Arc<Self>, offset: u64) -> Writer {
        let writing = self.store.upgrade().map(|store| store.begin_writing(self.id));
        let cursor = Cursor { offset, kept_back: offset, open: None, _writing: writing };
        let queue = Queue {
            parts: VecDeque::new(),
            queued: 0,
            offset,
            allotted: Allotment::none(self),
            scheduled: false,
            pressed: false,
            ended: false,
            closed: false,
            error: None,
            cursor: Some(cursor),
        };
        let lane =
            Lane { blob: Arc::clone(self), queue: Mutex::new(queue), changed: Notify::new(), readable: AtomicU64::new(offset) };
        Writer { lane: Arc::new(lane) }
    }
}

impl Writer {
    /// Takes the next bytes of the run. Returns as soon as they are queued; waits while more than a bounded amount
    /// (1 MiB) of this run is queued, and a bounded time for room. Bytes are written once they fill 512 KiB of the file, or with
    /// [`Writer::flush`]. An error means the store cannot keep this run (disk full, failed): stop writing, the reason was counted.
    /// Dropping the future before it returned leaves the bytes out.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        let store = self.lane.blob.store.upgrade().ok_or(Error::Closed)?;
        let allotment = store.allot(bytes.len() as u64).await?;
        drop(store);
        let mut taken = Some((bytes, allotment));
        self.lane
            .wait(|queue| {
                if queue.queued >= QUEUED_MAX {
                    return None;
                }
                let (bytes, allotment) = taken.take()?;
                queue.allotted.add(allotment);
                queue.queued += bytes.len();
                queue.parts.push_back(bytes);
                Some(())
            })
            .await?;
        if self.lane.lock().due() > 0 { Lane::schedule(&self.lane) } else { Ok(()) }
    }

    /// Has what was taken written soon, however little it is: more may be long in coming.
    pub fn flush(&self) -> Result<(), Error> {
        {
            let mut queue = self.lane.lock();
            queue.pressed = queue.queued > 0;
            if !queue.pressed {
                return Ok(());
            }
        }
        Lane::schedule(&self.lane)
    }

    /// Up to where the run's bytes are readable from the blob.
    pub fn readable_until(&self) -> u64 {
        self.lane.readable.load(std::sync::atomic::Ordering::Acquire)
    }

    /// Resolves when all that was taken is readable (written to the file; durable with the next commit).
    pub async fn finish(self) -> Result<(), Error> {
        self.lane.lock().ended = true;
        Lane::schedule(&self.lane)?;
        self.lane.wait(|queue| queue.closed.then_some(())).await
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.lane.lock().ended = true;
        // Without a store there is nothing to keep.
        let _ = Lane::schedule(&self.lane);
    }
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready` has an answer, or the lane failed.
    async fn wait<T>(&self, mut ready: impl FnMut(&mut Queue) -> Option<T>) -> Result<T, Error> {
        loop {
            let changed = self.changed.notified();
            {
                let mut queue = self.lock();
                if let Some(error) = &queue.error {
                    return Err(error.again());
                }
                if let Some(answer) = ready(&mut queue) {
                    return Ok(answer);
                }
            }
            timeout(STALL, changed).await.map_err(|_| Error::Degraded)?;
        }
    }

    /// Has the pool work on the lane, unless it does.
    fn schedule(lane: &Arc<Self>) -> Result<(), Error> {
        {
            let mut queue = lane.lock();
            if queue.scheduled || queue.closed {
                return Ok(());
            }
            queue.scheduled = true;
        }
        let store = lane.blob.store.upgrade().ok_or(Error::Closed)?;
        let job = (Arc::clone(lane), Arc::clone(&store));
        store.pool.spawn(Kind::Write, move || {
            let (lane, store) = job;
            lane.work(&store);
        });
        Ok(())
    }

    /// One turn in the disk pool: a batch is written; then the lane rests, ends, or queues for its next turn.
    fn work(self: Arc<Self>, store: &Arc<Shared>) {
        let (parts, mut cursor, failed) = {
            let mut queue = self.lock();
            let Some(cursor) = queue.cursor.take() else { return };
            (queue.take_batch(), cursor, queue.error.is_some())
        };
        let mut outcome = Ok(());
        if !failed {
            outcome = cursor.write(&self.blob, store, parts.into());
            self.readable.store(cursor.offset, Release);
            self.blob.grown.notify_waiters();
        }
        let mut queue = self.lock();
        if let Err(error) = outcome {
            queue.fail(error);
        }
        let unsummed = queue.queued as u64 + cursor.unsummed();
        queue.allotted.keep(unsummed);
        if queue.due() > 0 {
            queue.cursor = Some(cursor);
            drop(queue);
            self.changed.notify_waiters();
            let again = Arc::clone(store);
            store.pool.spawn(Kind::Write, move || self.work(&again));
            return;
        }
        if queue.ended {
            drop(queue);
            cursor.close(&self.blob, store);
            drop(cursor);
            queue = self.lock();
            queue.allotted.keep(0);
            queue.closed = true;
        } else {
            queue.cursor = Some(cursor);
        }
        queue.scheduled = false;
        // The end may have come while the last batch was written, or the bytes that fill a step.
        let once_more = !queue.closed && (queue.ended || queue.due() > 0);
        drop(queue);
        self.changed.notify_waiters();
        if once_more {
            let _ = Self::schedule(&self);
        }
    }
}

impl Queue {
    /// How many bytes are to be written now: to the end of the last full step, or all.
    fn due(&self) -> u64 {
        let end = self.offset + self.queued as u64;
        let until = if self.ended || self.pressed { end } else { end - end % STEP };
        until.saturating_sub(self.offset)
    }

    fn take_batch(&mut self) -> Vec<Bytes> {
        let whole = (self.offset + BATCH_LEN) / STEP * STEP - self.offset;
        let len = self.due().min(whole);
        let batch = take(&mut self.parts, len);
        let len: usize = batch.iter().map(Bytes::len).sum();
        self.queued -= len;
        self.offset += len as u64;
        self.pressed &= self.queued > 0;
        batch
    }

    fn fail(&mut self, error: Error) {
        self.parts.clear();
        self.queued = 0;
        self.error = Some(error);
    }
}

impl Cursor {
    fn write(&mut self, blob: &Arc<Blob>, store: &Arc<Shared>, mut parts: VecDeque<Bytes>) -> Result<(), Error> {
        let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let Some(range) = ByteRange::new(self.offset, self.offset + len) else { return Ok(()) };
        store.admit_bytes(blob, range)?;
        let mut gaps = blob.claim(range).into_iter();
        while let Some(gap) = gaps.next() {
            drop(take(&mut parts, gap.start - self.offset));
            self.offset = gap.start;
            let taken = take(&mut parts, gap.len());
            let written = write_parts(blob, gap.start, &taken);
            blob.release(gap, written.is_ok());
            if let Err(source) = written {
                gaps.for_each(|gap| blob.release(gap, false));
                return Err(store.write_failed(blob, range.len(), source));
            }
            store.metrics.written_bytes.add(gap.len());
            self.sum(blob, store, gap, taken);
            self.offset = gap.end;
        }
        self.offset = range.end;
        self.write_back(blob);
        Ok(())
    }

    /// Has the disk begin with what was written, some at a time: left to the next sync it would come all at once, and what others read would
    /// wait behind it.
    fn write_back(&mut self, blob: &Blob) {
        if let Some(range) = ByteRange::new(self.kept_back, self.offset).filter(|range| range.len() >= WRITE_BACK_LEN) {
            blob.file.write_back(range);
            self.kept_back = self.offset;
        }
    }

    /// Bytes written that count as stored only when their run is summed.
    fn unsummed(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.range.len())
    }

    /// Sums what was written at `gap`, run by run.
    fn sum(&mut self, blob: &Arc<Blob>, store: &Arc<Shared>, gap: ByteRange, parts: Vec<Bytes>) {
        let mut at = gap.start;
        for mut part in parts {
            while !part.is_empty() {
                let room = PIECE_LEN - at % PIECE_LEN;
                let bytes = part.split_to(part.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
                if self.open.as_ref().is_some_and(|open| open.range.end != at) {
                    self.close(blob, store);
                }
                let open = self.open.get_or_insert_with(|| OpenRun::at(at));
                open.hasher.update(&bytes);
                at += bytes.len() as u64;
                open.range.end = at;
                if at.is_multiple_of(PIECE_LEN) || blob.len() == Some(at) {
                    self.close(blob, store);
                }
            }
        }
    }

    /// Ends the open run and enters its sum.
    fn close(&mut self, blob: &Arc<Blob>, store: &Arc<Shared>) {
        let Some(open) = self.open.take() else { return };
        let run = Run { range: open.range, sum: open.hasher.sum(), durable: false, checked: true };
        store.add_run(blob, run, open.hasher.identity());
    }
}

impl OpenRun {
    fn at(offset: u64) -> Self {
        Self { range: ByteRange { start: offset, end: offset }, hasher: Box::new(RunHasher::new(offset)) }
    }
}

impl Blob {
    /// What of `range` nobody has written or is writing: it is now the caller's to write.
    fn claim(&self, range: ByteRange) -> Vec<ByteRange> {
        let mut state = self.state();
        let gaps: Vec<_> = state.readable.gaps(range).into_iter().flat_map(|gap| state.claimed.gaps(gap)).collect();
        gaps.iter().for_each(|gap| state.claimed.insert(*gap));
        gaps
    }

    /// Ends a claim; what was written is readable, as far as the content goes.
    fn release(&self, gap: ByteRange, written: bool) {
        let mut state = self.state();
        state.claimed.remove(gap);
        let end = state.len.map_or(gap.end, |len| len.min(gap.end));
        if let (true, Some(readable)) = (written, ByteRange::new(gap.start, end)) {
            state.readable.insert(readable);
        }
    }
}

fn write_parts(blob: &Blob, offset: u64, parts: &[Bytes]) -> std::io::Result<()> {
    let mut at = offset;
    // The system takes 1,024 slices in one call.
    for parts in parts.chunks(1_024) {
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        blob.file.write_at(at, &slices)?;
        at += parts.iter().map(|part| part.len() as u64).sum::<u64>();
    }
    Ok(())
}

/// The first `count` bytes of `parts`, which keeps the rest.
fn take(parts: &mut VecDeque<Bytes>, count: u64) -> Vec<Bytes> {
    let mut left = usize::try_from(count).unwrap_or(usize::MAX);
    let mut taken = Vec::new();
    while left > 0
        && let Some(mut part) = parts.pop_front()
    {
        let first = part.split_to(part.len().min(left));
        if !part.is_empty() {
            parts.push_front(part);
        }
        left -= first.len();
        taken.push(first);
    }
    taken
}
