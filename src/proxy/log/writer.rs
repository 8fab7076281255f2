//! The thread that writes the access log, and the bounded queues before it.
//!
//! The log has its own thread and its own file calls: it is no part of the store, and a stuck log pipe must not hold a disk thread.

use std::{
    cell::RefCell,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::metrics::{By, Counter, Label, Queue};

/// The handle: dropped, the thread writes what is queued and ends.
pub(super) struct Writer(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Wakes the thread.
    work: Condvar,
    /// Wakes those who wait in `flush`.
    written: Condvar,
    dropped: By<Queue, Counter>,
}

#[derive(Default)]
struct State {
    /// Whole lines, by [`Queue`].
    queues: [Lines; Queue::ALL.len()],
    /// Batches the thread has taken, and those it has written.
    taken: u64,
    done: u64,
    is_idle: bool,
    is_urgent: bool,
    reopen: bool,
    closed: bool,
    ended: bool,
}

#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    count: u64,
}

/// Bytes queued at most: some 3,000 lines of hits; a few hundred of everything rarer.
fn len_max(queue: Queue) -> usize {
    match queue {
        Queue::Served => 1024 * 1024,
        Queue::Refused | Queue::Failed | Queue::Administration => 128 * 1024,
    }
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
        let shared = Arc::new(Shared { state: Mutex::default(), work: Condvar::new(), written: Condvar::new(), dropped });
        let thread = Arc::clone(&shared);
        thread::Builder::new().name("access-log".into()).spawn(move || thread.run(output, path.as_deref()))?;
        Ok(Self(shared))
    }

    /// Appends one line, or counts it as dropped when its queue is full. Never waits for the output.
    pub(super) fn append(&self, queue: Queue, line: impl FnOnce(&mut Vec<u8>)) {
        LINE.with_borrow_mut(|buffer| {
            buffer.clear();
            line(buffer);
            self.0.push(queue, buffer);
        });
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

thread_local! {
    /// Each serving thread makes its lines in a buffer of its own, outside the lock.
    static LINE: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(1024));
}

#[cfg(test)]
impl Writer {
    /// A writer whose thread only starts with `release`, so that queues fill.
    pub(super) fn held(dropped: By<Queue, Counter>) -> Self {
        let shared = Shared { state: Mutex::default(), work: Condvar::new(), written: Condvar::new(), dropped };
        Self(Arc::new(shared))
    }

    pub(super) fn release(&self, path: &Path) {
        let (thread, file) = (Arc::clone(&self.0), open(path).expect("a test directory can be written"));
        thread::spawn(move || thread.run(Output::new(To::File(file)), None));
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.0.lock().queues.iter().map(|lines| lines.bytes.len()).sum()
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
        self.queues.iter().all(|lines| lines.bytes.is_empty())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, queue: Queue, line: &[u8]) {
        let mut state = self.lock();
        let lines = &mut state.queues[queue.index()];
        if lines.bytes.len() + line.len() > len_max(queue) {
            drop(state);
            return self.dropped[queue].inc();
        }
        lines.bytes.extend_from_slice(line);
        lines.count += 1;
        if std::mem::take(&mut state.is_idle) {
            self.work.notify_one();
        }
    }

    fn run(&self, mut output: Output, path: Option<&Path>) {
        let mut batch: [Lines; Queue::ALL.len()] = Default::default();
        loop {
            let (reopen, closed) = self.take(&mut batch);
            if let Some(path) = path.filter(|_| reopen) {
                output.reopen(path);
            }
            // What is rare and matters most first.
            for (queue, lines) in Queue::ALL.iter().zip(&mut batch).rev() {
                if !output.write(&lines.bytes) {
                    self.dropped[*queue].add(lines.count);
                }
                lines.bytes.clear();
                lines.count = 0;
            }
            let mut state = self.lock();
            state.done = state.taken;
            state.ended = closed;
            self.written.notify_all();
            if closed {
                return;
            }
        }
    }

    /// Waits for something to do, lets lines gather a moment, and swaps the queues with the empty `batch`.
    fn take(&self, batch: &mut [Lines; Queue::ALL.len()]) -> (bool, bool) {
        let mut state = self.lock();
        while state.is_empty() && !state.is_urgent {
            state.is_idle = true;
            // Without a timeout: there is nothing to write, and whoever brings something notifies.
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.is_idle = false;
        let gather = Instant::now() + GATHER;
        while !state.is_urgent {
            let left = gather.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.is_urgent = false;
        std::mem::swap(&mut state.queues, batch);
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
