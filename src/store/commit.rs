//! The committer: one thread that makes changes durable, in groups. Bytes first, then names, then the index; then files that are of no more use go.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Weak, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use crate::{
    key::KeyHash,
    object::{BlobId, Object, ObjectId},
    store::{
        Error,
        blob::Blob,
        disk::DiskFile,
        format::{self, ObjectHead},
        identity::Sum,
        index::{BlobChange, Changes, Snapshot, join_key},
        journal::{Batch, Journal, Waiters},
        pieces::Run,
        place::{Place, file_number},
        pool::Kind,
        record::Records,
        shared::Shared,
        table::variant_of,
    },
    sys::allocator,
};

/// How long to wait after a failed commit.
const RETRY: Duration = Duration::from_secs(1);

/// Files synced at a time.
const SYNC_THREADS: usize = 4;

/// What a commit took from an open blob, to put back if it fails.
struct Taken {
    blob: Arc<Blob>,
    /// Of a complete content in a pack.
    sum: Option<Sum>,
    rows: BTreeSet<u64>,
    unsynced: Vec<Run>,
}

/// Starts the committer; it ends with the journal, or when the store has gone.
pub(super) fn start(store: &Arc<Shared>) -> io::Result<()> {
    let (weak, journal) = (Arc::downgrade(store), Arc::clone(&store.journal));
    thread::Builder::new().name("weir-commit".into()).spawn(move || run(&weak, &journal)).map(drop)
}

fn run(store: &Weak<Shared>, journal: &Journal) {
    while journal.wait() {
        let Some(store) = store.upgrade() else { return };
        let turn = || {
            store.watch();
            store.commit();
            store.keep_clear();
            store.show();
        };
        // What was taken for this commit is lost with it, for it may be what panics: who waited learns that it failed.
        if catch_unwind(AssertUnwindSafe(turn)).is_err() {
            tracing::error!("a commit panicked, its changes are forgotten");
        }
        if journal.is_empty() {
            allocator::tidy();
        }
    }
}

impl Shared {
    /// Commits what is pending, if it is time.
    pub(super) fn commit(self: &Arc<Self>) {
        let Some((batch, waiters)) = self.journal.take() else { return };
        let began = Instant::now();
        let mut taken = Vec::new();
        let outcome = self.commit_batch(&batch, &mut taken);
        match &outcome {
            Ok((changes, records)) => {
                self.blob_ids.reserved(changes.next_blob);
                self.object_ids.reserved(changes.next_object);
                taken.iter().for_each(Taken::committed);
                self.mark_records(&batch, records);
                self.journal.committed();
                self.metrics.commits.inc();
                self.metrics.commit_seconds.observe(began.elapsed());
                self.recovered();
                self.remove_files(batch.removed.clone());
            }
            Err(error) => {
                tracing::warn!(%error, "a commit of the index failed, it will be tried again");
                taken.iter().for_each(Taken::put_back);
                self.journal.failed(&batch, RETRY);
                self.cannot_write();
            }
        }
        let committed = outcome.is_ok();
        if outcome.is_err_and(|error| error.kind() == io::ErrorKind::InvalidData) {
            self.start_over();
        }
        // Blobs may be closed by these drops, which lead to further changes; who waited shall find them made.
        drop((batch, taken));
        answer(waiters, committed);
    }

    fn commit_batch(self: &Arc<Self>, batch: &Batch, taken: &mut Vec<Taken>) -> io::Result<(Changes, Records)> {
        if !self.is_there() {
            // The index could still be written: a file without a name, that no start would find.
            return Err(io::Error::new(io::ErrorKind::NotFound, "the data directory is gone"));
        }
        let mut changes = Changes {
            removed: batch.removed.iter().map(|(id, _)| *id).collect(),
            next_blob: self.blob_ids.wanted(),
            next_object: self.object_ids.wanted(),
            ..Changes::default()
        };
        let mut directories = BTreeSet::new();
        let open = batch.blobs.values().filter_map(|touched| touched.blob.as_ref());
        let took: Vec<_> = open.filter_map(|blob| self.take_blob(blob, &mut directories)).collect();
        let sums = took.iter().filter_map(|(_, taken)| Some((taken.blob.id, taken.sum?))).collect();
        let mut records = self.write_records(batch, &sums);
        let failures = sync_all(&took, &records);
        self.packs_failed(&failures);
        records.retain(|_, record| !failures.contains_key(&record.pack));
        let mut snapshots = HashMap::new();
        for (snapshot, took) in took {
            match failures.get(&file_number(took.blob.id)).filter(|_| !took.unsynced.is_empty()) {
                Some(error) => self.sync_failed(&took, error),
                None => {
                    snapshots.insert(took.blob.id, snapshot);
                    taken.push(took);
                }
            }
        }
        changes.objects = rows(batch, &records);
        for (id, touched) in &batch.blobs {
            let (snapshot, pinned, verified) = (snapshots.remove(id), touched.pinned, touched.verified.clone());
            changes.blobs.push((*id, BlobChange { snapshot, pinned, verified }));
        }
        directories.iter().try_for_each(|directory| self.disk.sync_dir(directory))?;
        self.apply(&changes, batch)?;
        Ok((changes, records))
    }

    /// What the index is to know of a blob once its bytes are synced; `None` if it is no longer stored.
    fn take_blob(&self, blob: &Arc<Blob>, directories: &mut BTreeSet<PathBuf>) -> Option<(Snapshot, Taken)> {
        let mut state = blob.state();
        if state.detached {
            return None;
        }
        if state.is_new {
            directories.extend([self.layout.volume(), self.layout.blob_dir(blob.id)]);
        }
        let rows = std::mem::take(&mut state.dirty_rows);
        let encode = |row: &u64| {
            let is_left = state.map.of_row(*row).next().is_some();
            (*row, is_left.then(|| format::pieces(blob.id.0, *row, state.map.of_row(*row))))
        };
        let snapshot = Snapshot {
            len: state.len,
            present: state.map.bytes(),
            complete: state.complete && state.merged_into.is_none(),
            content: state.content,
            rows: rows.iter().map(encode).collect(),
        };
        let unsynced = rows.iter().flat_map(|row| state.map.of_row(*row)).filter(|run| !run.durable).cloned().collect();
        let sum = if Place::of(blob.id).is_some() && snapshot.complete { state.only_sum() } else { None };
        Some((snapshot, Taken { blob: Arc::clone(blob), sum, rows, unsynced }))
    }

    /// After a failed sync nobody knows what of the unsynced bytes is on the disk, and a later sync would not tell: they are dropped.
    fn sync_failed(self: &Arc<Self>, took: &Taken, error: &io::Error) {
        let blob = &took.blob;
        self.io_failed("sync", blob.path.clone(), io::Error::new(error.kind(), error.to_string()));
        tracing::error!(blob = %blob.id, "a sync failed, what was written since the last one is dropped");
        blob.state().dirty_rows.extend(&took.rows);
        self.drop_unsynced(blob);
    }

    /// The same for whoever else has unsynced bytes in a pack that could not be synced. It gets no more contents.
    fn packs_failed(self: &Arc<Self>, failures: &Failures) {
        for pack in failures.keys().filter(|number| self.packs.holds(**number)) {
            self.packs.retire(*pack);
            self.open.of_pack(*pack).iter().for_each(|blob| self.drop_unsynced(blob));
        }
    }

    fn drop_unsynced(self: &Arc<Self>, blob: &Arc<Blob>) {
        let bytes = {
            let mut state = blob.state();
            state.keep_durable();
            state.map.bytes()
        };
        self.table.change_blob(blob.id, |entry| {
            entry.bytes = bytes;
            entry.complete = false;
        });
        self.touched(blob);
    }

    /// Applies the changes. On a full disk the files that are to go go first, for even forgetting needs room.
    fn apply(&self, changes: &Changes, batch: &Batch) -> io::Result<()> {
        let Err(error) = self.index.apply(changes) else { return Ok(()) };
        self.metrics.errors.inc("commit");
        if error.kind() != io::ErrorKind::StorageFull || batch.removed.is_empty() {
            return Err(error);
        }
        // The index may then name files that are gone: their objects are dropped when met.
        self.unlink(&batch.removed);
        self.hollow_early(&batch.removed);
        self.index.apply(changes)
    }

    /// The index rotted: it is moved aside, and what it knew is fetched anew.
    fn start_over(&self) {
        tracing::error!(kept = %self.layout.bad_index().display(), "the index rotted: it is moved aside and an empty one started");
        let replaced = self.disk.rename(&self.layout.index(), &self.layout.bad_index());
        let replaced = replaced.and_then(|()| self.disk.create(&self.layout.index()));
        if let Err(error) = replaced.and_then(|file| self.index.replace(file)) {
            tracing::error!(%error, "no new index could be started");
            return;
        }
        for id in self.table.blob_ids() {
            self.remove_blob(id);
        }
        self.journal.hurry();
    }

    fn remove_files(self: &Arc<Self>, removed: Vec<(BlobId, u64)>) {
        if removed.is_empty() {
            return;
        }
        let store = Arc::clone(self);
        self.pool.spawn(Kind::Background, move || {
            store.unlink(&removed);
            store.vacate(&removed);
            store.room.freed(&removed);
            store.table.forget_digests(removed.len() as u64);
        });
    }

    fn unlink(&self, removed: &[(BlobId, u64)]) {
        for (id, _) in removed.iter().filter(|(id, _)| Place::of(*id).is_none()) {
            self.unlink_file(&self.layout.blob(*id));
        }
    }

    pub(super) fn unlink_file(&self, path: &Path) {
        match self.disk.unlink(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // An orphan: the next start removes it.
                tracing::warn!(path = %path.display(), %error, "a file could not be removed");
                self.metrics.errors.inc("unlink");
            }
            _ => {}
        }
    }

    /// Brings the gauges up to date.
    fn show(&self) {
        self.metrics.objects.set(self.table.objects.load(Relaxed));
        self.metrics.blobs.set(self.table.blob_count());
        self.metrics.used_bytes.set(self.table.used.load(Relaxed));
        self.metrics.limit_bytes.set(self.config.size);
        self.metrics.memory_used_bytes.set(self.memory.used_bytes());
    }
}

/// The rows of a batch's responses; those that have a record have no fields.
fn rows(batch: &Batch, records: &Records) -> Vec<(KeyHash, ObjectId, Option<Vec<u8>>)> {
    let row = |key: KeyHash, object: &Object| {
        let variant = variant_of(&object.meta.selecting);
        let head = ObjectHead { blob: object.meta.blob, variant, in_pack: records.contains_key(&object.id) };
        format::object(&join_key(key, object.id), head, &object.meta)
    };
    batch.objects.iter().map(|(id, (key, object))| (*key, *id, object.as_ref().map(|object| row(*key, object)))).collect()
}

/// Why files could not be synced, by their numbers.
type Failures = BTreeMap<u64, io::Error>;

/// Syncs the files that have unsynced bytes, each once and several at a time: a file system syncs many as fast as few.
fn sync_all(took: &[(Snapshot, Taken)], records: &Records) -> Failures {
    let unsynced = took.iter().filter(|(_, taken)| !taken.unsynced.is_empty());
    let unsynced = unsynced.map(|(_, taken)| (file_number(taken.blob.id), &taken.blob.file));
    let files: BTreeMap<u64, &Arc<dyn DiskFile>> =
        unsynced.chain(records.values().map(|record| (record.pack, &record.file))).collect();
    let files: Vec<_> = files.into_iter().collect();
    let sync = |(number, file): &(u64, &Arc<dyn DiskFile>)| file.sync_data().err().map(|error| (*number, error));
    let share = files.len().div_ceil(SYNC_THREADS).max(1);
    thread::scope(|scope| {
        let mut shares = files.chunks(share);
        let own = shares.next().unwrap_or_default();
        let started = shares.map(|share| (share, scope.spawn(move || share.iter().filter_map(sync).collect::<Vec<_>>())));
        let others: Vec<_> = started.collect();
        let mut failed: Failures = own.iter().filter_map(sync).collect();
        for (share, other) in others {
            // A sync that panicked is one that failed; which of its share did is not known.
            let panicked = |_| share.iter().map(|(number, _)| (*number, io::Error::other("a sync panicked"))).collect();
            failed.extend(other.join().unwrap_or_else(panicked));
        }
        failed
    })
}

impl Taken {
    fn committed(&self) {
        let mut state = self.blob.state();
        self.unsynced.iter().for_each(|run| state.map.mark_durable(run));
        state.is_new = false;
    }

    fn put_back(&self) {
        let mut state = self.blob.state();
        state.dirty_rows.extend(&self.rows);
    }
}

fn answer(waiters: Waiters, committed: bool) {
    for waiter in waiters {
        // Who no longer listens does not need to know.
        let _ = waiter.send(if committed { Ok(()) } else { Err(Error::Degraded) });
    }
}
