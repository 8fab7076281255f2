//! The bounded queues between one thread that serves and the thread that writes the access log.
//!
//! Each serving thread has a ring of its own, so that threads never wait for one another, and its lines stay in order.

use std::{
    cell::RefCell,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::metrics::{Label as _, Queue};

/// Whole lines of one thread, by [`Queue`]. Its lock is the thread's own but for the moment in which a batch is taken.
#[derive(Debug, Default)]
pub(super) struct Ring(Mutex<Batch>);

/// What is taken from a ring at once.
#[derive(Debug, Default)]
pub(super) struct Batch([Lines; Queue::ALL.len()]);

#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) bytes: Vec<u8>,
    pub(super) count: u64,
}

/// The queue is full: the line is not in it.
#[derive(Debug)]
pub(super) struct Full;

/// Bytes queued at most: some 3,000 lines of hits; a few hundred of everything rarer.
fn len_max(queue: Queue) -> usize {
    match queue {
        Queue::Served => 1024 * 1024,
        Queue::Refused | Queue::Failed | Queue::Administration => 128 * 1024,
    }
}

impl Ring {
    /// Lets `write` append one line where it stays until it is written.
    pub(super) fn append(&self, queue: Queue, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Full> {
        let mut batch = self.lock();
        let lines = &mut batch.0[queue.index()];
        let before = lines.bytes.len();
        if before >= len_max(queue) {
            return Err(Full);
        }
        write(&mut lines.bytes);
        if lines.bytes.len() > len_max(queue) {
            lines.bytes.truncate(before);
            return Err(Full);
        }
        lines.count += 1;
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Takes everything, against the empty `batch`, whose room is used again.
    pub(super) fn take(&self, batch: &mut Batch) {
        std::mem::swap(&mut *self.lock(), batch);
    }

    #[cfg(test)]
    pub(super) fn queued_bytes(&self) -> usize {
        self.lock().0.iter().map(|lines| lines.bytes.len()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Batch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.0.iter().all(|lines| lines.bytes.is_empty())
    }

    pub(super) fn lines(&self, queue: Queue) -> &Lines {
        &self.0[queue.index()]
    }

    /// Forgets the lines and keeps their room.
    pub(super) fn clear(&mut self) {
        for lines in &mut self.0 {
            lines.bytes.clear();
            lines.count = 0;
        }
    }
}

thread_local! {
    /// This thread's ring for each log it has written to: one, outside of tests.
    static OWN: RefCell<Vec<(u64, Arc<Ring>)>> = const { RefCell::new(Vec::new()) };
}

/// Calls `with` with this thread's ring for the log `id`; `make` makes it at the first time.
pub(super) fn with_own<T>(id: u64, make: impl FnOnce() -> Arc<Ring>, with: impl FnOnce(&Ring) -> T) -> T {
    OWN.with_borrow_mut(|own| {
        if let Some((_, ring)) = own.iter().find(|(log, _)| *log == id) {
            return with(ring);
        }
        // Nobody else holds the rings of logs that have ended.
        own.retain(|(_, ring)| Arc::strong_count(ring) > 1);
        let ring = make();
        own.push((id, Arc::clone(&ring)));
        with(&ring)
    })
}
