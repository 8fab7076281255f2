//! What is to be committed: changes gather here until the committer takes them, all at once.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    digest::Digest,
    key::KeyHash,
    object::{BlobId, Object, ObjectId},
    store::{Error, blob::Blob, identity::Sum},
};

/// Changes since the last commit, and those being committed.
#[derive(Debug)]
pub(super) struct Journal {
    inner: Mutex<Inner>,
    wake: Condvar,
    interval: Duration,
}

#[derive(Debug, Default)]
struct Inner {
    pending: Batch,
    /// Kept for lookups until the index has them.
    committing: Option<Arc<Batch>>,
    waiters: Vec<oneshot::Sender<Result<(), Error>>>,
    /// When the oldest pending change came.
    since: Option<Instant>,
    /// After a failed commit: not before.
    not_before: Option<Instant>,
    urgent: bool,
    ended: bool,
}

/// What one commit is about. A later change of the same thing replaces an earlier one.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    pub(super) objects: HashMap<ObjectId, (KeyHash, Option<Arc<Object>>)>,
    pub(super) blobs: HashMap<BlobId, Touched>,
    /// Blobs that go, and the bytes of their files.
    pub(super) removed: Vec<(BlobId, u64)>,
    /// Identities of blobs that became complete.
    pub(super) contents: HashMap<Sum, BlobId>,
}

/// What changed about a blob.
#[derive(Clone, Debug, Default)]
pub(super) struct Touched {
    /// Its map changed. Keeps it open until the commit.
    pub(super) blob: Option<Arc<Blob>>,
    pub(super) pinned: Option<bool>,
    pub(super) verified: Vec<Digest>,
}

/// Who waits for a commit.
pub(super) type Waiters = Vec<oneshot::Sender<Result<(), Error>>>;

/// Changes after which a commit begins at once.
const BATCH_MAX: usize = 1_000;

/// Changes held while commits fail; beyond, responses are served and not stored.
pub(super) const PENDING_MAX: usize = 65_536;

/// Blobs whose changes wait for a commit before a new one waits for it too. Each is an open file; the listener leaves 1,024 to all of weir.
pub(super) const CHANGED_BLOBS_MAX: usize = 256;

/// The same for blobs in packs, which share files.
pub(super) const CHANGED_PACKED_MAX: usize = 8_192;

/// How often the committer looks after the room without any change.
const TICK: Duration = Duration::from_secs(1);

impl Journal {
    pub(super) fn new(interval: Duration) -> Self {
        Self { inner: Mutex::default(), wake: Condvar::new(), interval }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Batch)) {
        let mut inner = self.lock();
        change(&mut inner.pending);
        let first = inner.since.is_none();
        inner.since.get_or_insert_with(Instant::now);
        if first || inner.pending.len() == BATCH_MAX {
            self.wake.notify_one();
        }
    }

    pub(super) fn put_object(&self, key: KeyHash, object: Arc<Object>) {
        self.change(|batch| drop(batch.objects.insert(object.id, (key, Some(object)))));
    }

    pub(super) fn remove_object(&self, key: KeyHash, id: ObjectId) {
        self.change(|batch| drop(batch.objects.insert(id, (key, None))));
    }

    pub(super) fn touch(&self, blob: &Arc<Blob>) {
        // The old Arc is the same blob, so dropping it here can never be the last drop.
        self.change(|batch| batch.blobs.entry(blob.id).or_default().blob = Some(Arc::clone(blob)));
    }

    pub(super) fn pin(&self, id: BlobId, pinned: bool) {
        self.change(|batch| batch.blobs.entry(id).or_default().pinned = Some(pinned));
    }

    pub(super) fn verified(&self, id: BlobId, digest: Digest) {
        self.change(|batch| batch.blobs.entry(id).or_default().verified.push(digest));
    }

    pub(super) fn content(&self, content: Sum, id: BlobId) {
        self.change(|batch| {
            batch.contents.insert(content, id);
        });
    }

    pub(super) fn remove_blob(&self, id: BlobId, bytes: u64) {
        self.change(|batch| batch.removed.push((id, bytes)));
    }

    /// An object that the index may not have yet. Outer `None`: nothing is pending about it.
    pub(super) fn object(&self, id: ObjectId) -> Option<Option<Arc<Object>>> {
        let inner = self.lock();
        let batches = std::iter::once(&inner.pending).chain(inner.committing.as_deref());
        batches.into_iter().find_map(|batch| batch.objects.get(&id).map(|(_, object)| object.clone()))
    }

    /// A blob that became complete with this identity and may not be in the index yet.
    pub(super) fn blob_of_content(&self, content: &Sum) -> Option<BlobId> {
        let inner = self.lock();
        let batches = std::iter::once(&inner.pending).chain(inner.committing.as_deref());
        batches.into_iter().find_map(|batch| batch.contents.get(content).copied())
    }

    /// No more is taken in: commits keep failing.
    pub(super) fn is_full(&self) -> bool {
        self.lock().pending.len() >= PENDING_MAX
    }

    /// Blobs that are open because a commit has yet to take their changes.
    pub(super) fn changed_blobs(&self) -> usize {
        let inner = self.lock();
        inner.pending.blobs.len() + inner.committing.as_ref().map_or(0, |batch| batch.blobs.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().pending.len() == 0
    }

    /// Resolves with the outcome of a commit that begins after this call.
    pub(super) fn flush(&self) -> oneshot::Receiver<Result<(), Error>> {
        let (done, outcome) = oneshot::channel();
        let mut inner = self.lock();
        if inner.ended {
            return outcome;
        }
        inner.waiters.push(done);
        inner.urgent = true;
        self.wake.notify_one();
        outcome
    }

    /// Has the next commit begin now.
    pub(super) fn hurry(&self) {
        self.lock().urgent = true;
        self.wake.notify_one();
    }

    pub(super) fn end(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        inner.waiters.clear();
        drop(inner);
        self.wake.notify_one();
    }

    /// Waits for something to commit, or a second; `false` at the end.
    pub(super) fn wait(&self) -> bool {
        let mut inner = self.lock();
        let ticked = Instant::now() + TICK;
        loop {
            if inner.ended {
                return false;
            }
            let now = Instant::now();
            let due = inner.due(self.interval).map_or(ticked, |due| due.min(ticked));
            if due <= now || inner.urgent {
                return true;
            }
            inner = self.wake.wait_timeout(inner, due - now).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes what is pending, if it is time; it stays visible to lookups until [`Journal::committed`] or [`Journal::failed`].
    pub(super) fn take(&self) -> Option<(Arc<Batch>, Waiters)> {
        let mut inner = self.lock();
        let due = inner.due(self.interval).is_some_and(|due| due <= Instant::now());
        if !due && !inner.urgent {
            return None;
        }
        inner.urgent = false;
        inner.since = None;
        let batch = Arc::new(std::mem::take(&mut inner.pending));
        inner.committing = Some(Arc::clone(&batch));
        Some((batch, std::mem::take(&mut inner.waiters)))
    }

    pub(super) fn committed(&self) {
        let mut inner = self.lock();
        let batch = inner.committing.take();
        inner.not_before = None;
        drop(inner);
        // Blobs may be closed by this drop: never under the lock.
        drop(batch);
    }

    /// Puts a batch back that could not be committed; what changed since wins.
    pub(super) fn failed(&self, batch: &Batch, retry: Duration) {
        let mut inner = self.lock();
        let old = inner.committing.take();
        let newer = std::mem::take(&mut inner.pending);
        inner.pending = batch.clone();
        inner.pending.merge(newer);
        inner.since = Some(Instant::now());
        inner.not_before = Some(Instant::now() + retry);
        drop(inner);
        drop(old);
    }
}

impl Inner {
    /// When the pending changes are to be committed.
    fn due(&self, interval: Duration) -> Option<Instant> {
        let since = self.since?;
        let due = if self.pending.len() >= BATCH_MAX { since } else { since + interval };
        Some(self.not_before.map_or(due, |earliest| due.max(earliest)))
    }
}

impl Batch {
    fn len(&self) -> usize {
        self.objects.len() + self.blobs.len() + self.removed.len()
    }

    fn merge(&mut self, newer: Self) {
        self.objects.extend(newer.objects);
        for (id, newer) in newer.blobs {
            let touched = self.blobs.entry(id).or_default();
            touched.blob = newer.blob.or(touched.blob.take());
            touched.pinned = newer.pinned.or(touched.pinned);
            touched.verified.extend(newer.verified);
        }
        self.removed.extend(newer.removed);
        self.contents.extend(newer.contents);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyHash = KeyHash([1; 16]);

    fn journal() -> Journal {
        Journal::new(Duration::from_secs(60))
    }

    #[test]
    fn nothing_is_taken_before_its_time_except_for_a_flush() {
        let journal = journal();
        journal.remove_object(KEY, ObjectId(1));
        assert!(journal.take().is_none());
        let _outcome = journal.flush();
        let (batch, waiters) = journal.take().unwrap();
        assert_eq!((batch.objects.len(), waiters.len()), (1, 1));
        assert!(journal.take().is_none(), "it is taken once");
    }

    #[test]
    fn a_full_batch_is_taken_at_once() {
        let journal = journal();
        (0..BATCH_MAX as u64).for_each(|id| journal.remove_object(KEY, ObjectId(id)));
        assert_eq!(journal.take().unwrap().0.objects.len(), BATCH_MAX);
    }

    #[test]
    fn what_is_being_committed_is_still_found_and_after_a_failure_the_newer_change_wins() {
        let journal = journal();
        journal.pin(BlobId(1), true);
        journal.content([7; 32], BlobId(1));
        journal.hurry();
        let (batch, _) = journal.take().unwrap();
        assert_eq!(journal.blob_of_content(&[7; 32]), Some(BlobId(1)));
        journal.pin(BlobId(1), false);
        journal.failed(&batch, Duration::ZERO);
        journal.hurry();
        let (batch, _) = journal.take().unwrap();
        assert_eq!(batch.blobs[&BlobId(1)].pinned, Some(false));
        assert_eq!(batch.contents.len(), 1);
        journal.committed();
        assert_eq!(journal.blob_of_content(&[7; 32]), None);
    }

    #[tokio::test]
    async fn who_flushes_after_the_end_is_told_so() {
        let journal = journal();
        let before = journal.flush();
        journal.end();
        assert!(before.await.is_err() && journal.flush().await.is_err());
        assert!(!journal.wait());
    }
}
