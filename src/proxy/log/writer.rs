//! The thread that writes the access log, and what wakes it.
//!
//! The log has its own thread and its own file calls: it is no part of the store, and a stuck log pipe must not hold a disk thread.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    metrics::{By, Counter, Queue},
    proxy::log::ring::{self, Batch, Ring},
};

/// The handle: dropped, the thread writes what is queued and ends.
pub(super) struct Writer(Arc<Shared>);

struct Shared {
    /// Tells the logs of one process apart.
    id: u64,
    state: Mutex<State>,
    /// The thread waits for lines. Whoever brings the first one wakes it; the others find this false and pass.
    is_idle: AtomicBool,
    /// Wakes the thread.
    work: Condvar,
    /// Wakes those who wait in `flush`.
    written: Condvar,
    dropped: By<Queue, Counter>,
}

#[derive(Default)]
struct State {
    /// One of each thread that has written to this log.
    rings: Vec<Arc<Ring>>,
    /// Batches the thread has taken, and those it has written.
    taken: u64,
    done: u64,
    is_urgent: bool,
    reopen: bool,
    closed: bool,
    ended: bool,
}

/// How long lines gather before they are written, so that a busy weir makes one system call for many.
const GATHER: Duration = Duration::from_millis(20);

/// How long the last handle waits for the thread when it is dropped: a pipe nobody reads must not hold up the end of weir.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

impl Writer {
    /// `path`: the file to append to; `None`: standard output.
    pub(super) fn start(path: Option<PathBuf>, dropped: By<Queue, Counter>) -> io::Result<Self> {
        let output = match &path {
            Some(path) => Output::new(To::File(open(path)?)),
            None => Output::new(To::Stdout(io::stdout())),
        };
        let shared = Arc::new(Shared::new(dropped));
        let thread = Arc::clone(&shared);
        thread::Builder::new().name("access-log".into()).spawn(move || thread.run(output, path.as_deref()))?;
        Ok(Self(shared))
    }

    /// Appends one line, or counts it as dropped when its queue is full. Never waits for the output.
    pub(super) fn append(&self, queue: Queue, line: impl FnOnce(&mut Vec<u8>)) {
        let appended = ring::with_own(self.0.id, || self.0.new_ring(), |ring| ring.append(queue, line));
        match appended {
            Ok(()) => self.0.rouse(),
            Err(ring::Full) => self.0.dropped[queue].inc(),
        }
    }

    pub(super) fn reopen(&self) {
        let mut state = self.0.lock();
        state.reopen = true;
        state.is_urgent = true;
        self.0.work.notify_one();
    }

    pub(super) fn flush(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.0.lock();
        // What is queued now is in the next batch that the thread takes, or in the one it is writing.
        let batch = state.taken + u64::from(!state.is_empty() || state.reopen);
        state.is_urgent = true;
        self.0.work.notify_one();
        while state.done < batch && !state.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.0.written.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.done >= batch
    }
}

#[cfg(test)]
impl Writer {
    /// A writer whose thread only starts with `release`, so that queues fill.
    pub(super) fn held(dropped: By<Queue, Counter>) -> Self {
        Self(Arc::new(Shared::new(dropped)))
    }

    pub(super) fn release(&self, path: &Path) {
        let (thread, file) = (Arc::clone(&self.0), open(path).expect("a test directory can be written"));
        thread::spawn(move || thread.run(Output::new(To::File(file)), None));
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.0.lock().rings.iter().map(|ring| ring.queued_bytes()).sum()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let deadline = Instant::now() + CLOSE_PATIENCE;
        let mut state = self.0.lock();
        state.closed = true;
        state.is_urgent = true;
        self.0.work.notify_one();
        while !state.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.0.written.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.rings.iter().all(|ring| ring.is_empty())
    }
}

impl Shared {
    fn new(dropped: By<Queue, Counter>) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(0);
        Self {
            id: IDS.fetch_add(1, Relaxed),
            state: Mutex::default(),
            is_idle: AtomicBool::new(false),
            work: Condvar::new(),
            written: Condvar::new(),
            dropped,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_ring(&self) -> Arc<Ring> {
        let ring = Arc::new(Ring::default());
        self.lock().rings.push(Arc::clone(&ring));
        ring
    }

    /// A line was appended. The thread says that it is idle before it looks at the rings for the last time, under their locks, so it either
    /// finds the line or is found idle here.
    #[inline]
    fn rouse(&self) {
        if self.is_idle.load(Relaxed) && self.is_idle.swap(false, Relaxed) {
            let _waits = self.lock();
            self.work.notify_one();
        }
    }

    fn run(&self, mut output: Output, path: Option<&Path>) {
        let mut batches = Vec::new();
        loop {
            let (reopen, closed) = self.take(&mut batches);
            if let Some(path) = path.filter(|_| reopen) {
                output.reopen(path);
            }
            // What is rare and matters most first.
            for &queue in Queue::ALL.iter().rev() {
                for lines in batches.iter().map(|batch| batch.lines(queue)) {
                    if !output.write(&lines.bytes) {
                        self.dropped[queue].add(lines.count);
                    }
                }
            }
            batches.iter_mut().for_each(Batch::clear);
            let mut state = self.lock();
            state.done = state.taken;
            state.ended = closed;
            self.written.notify_all();
            if closed {
                return;
            }
        }
    }

    /// Waits for something to do, lets lines gather a moment, and empties the rings into `batches`.
    fn take(&self, batches: &mut Vec<Batch>) -> (bool, bool) {
        let mut state = self.lock();
        loop {
            self.is_idle.store(true, Relaxed);
            if state.is_urgent || !state.is_empty() {
                break;
            }
            // Without a timeout: there is nothing to write, and whoever brings something notifies.
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.is_idle.store(false, Relaxed);
        let gather = Instant::now() + GATHER;
        while !state.is_urgent {
            let left = gather.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.is_urgent = false;
        batches.resize_with(state.rings.len().max(batches.len()), Batch::default);
        for (ring, batch) in state.rings.iter().zip(batches) {
            ring.take(batch);
        }
        // A thread that has ended brings nothing more; what it brought last may have come after its ring was taken.
        state.rings.retain(|ring| Arc::strong_count(ring) > 1 || !ring.is_empty());
        state.taken += 1;
        (std::mem::take(&mut state.reopen), state.closed)
    }
}

struct Output {
    to: To,
    /// The last write went wrong, perhaps in the middle of a line.
    torn: bool,
}

enum To {
    Stdout(io::Stdout),
    File(File),
}

impl Output {
    fn new(to: To) -> Self {
        Self { to, torn: false }
    }

    /// False: not, or not all of it, was written. Says so once, until it works again.
    fn write(&mut self, lines: &[u8]) -> bool {
        if lines.is_empty() {
            return true;
        }
        let was_torn = std::mem::take(&mut self.torn);
        let written = if was_torn { self.to.write(b"\n").and_then(|()| self.to.write(lines)) } else { self.to.write(lines) };
        let Err(error) = written else { return true };
        if !was_torn {
            tracing::warn!(%error, "access log cannot be written; lines are dropped and counted");
        }
        self.torn = true;
        false
    }

    fn reopen(&mut self, path: &Path) {
        match open(path) {
            Ok(file) => *self = Self::new(To::File(file)),
            Err(error) => tracing::warn!(path = %path.display(), %error, "access log stays in its old file"),
        }
    }
}

impl To {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => {
                let mut stdout = stdout.lock();
                stdout.write_all(bytes)?;
                stdout.flush()
            }
            Self::File(file) => file.write_all(bytes),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}
