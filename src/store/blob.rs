//! One blob while it is open: its file, its piece map, and what of it is readable.
//!
//! A byte of a blob goes up this ladder and never back, unless its checksum or a sync fails:
//!
//! | step | meaning | who may use it |
//! | --- | --- | --- |
//! | claimed | a writer is writing it | nobody else writes it |
//! | readable | written to the file | readers of this process |
//! | summed | its run has a checksum in the piece map | merging, completion |
//! | durable | synced, and in the index | every later start |

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak, atomic::AtomicBool},
};

use tokio::sync::Notify;

use crate::{
    object::BlobId,
    piece::{ByteRange, ExtentSet},
    store::{
        disk::DiskFile,
        identity::Sum,
        pieces::{PieceMap, Run, row_of},
        shared::Shared,
    },
    sys::{map::Map, send::Sendable},
};

/// The bytes of one content. While an `Arc<Blob>` is held its bytes stay readable, even if it is evicted meanwhile.
#[derive(Debug)]
pub struct Blob {
    pub(super) id: BlobId,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) store: Weak<Shared>,
    state: Mutex<State>,
    /// Found since its place among those kept open was last judged.
    pub(super) used: AtomicBool,
    /// Told whenever `readable` grows.
    pub(super) grown: Notify,
    /// All of it mapped, once somebody sends from it; `None` when that is impossible.
    map: OnceLock<Option<Map>>,
}

/// What changes about an open blob.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) len: Option<u64>,
    pub(super) readable: ExtentSet,
    /// Being written at this moment.
    pub(super) claimed: ExtentSet,
    pub(super) map: PieceMap,
    /// Rows of the piece map that the index does not have like this.
    pub(super) dirty_rows: BTreeSet<u64>,
    /// BLAKE3 of the whole content, known when it is complete. Stays when an extent rots, to be compared with.
    pub(super) content: Option<Sum>,
    /// Complete, and its identity known.
    pub(super) complete: bool,
    /// The identity of the first bytes, if they are all there is: saves reading a short content again.
    pub(super) short: Option<(u64, Sum)>,
    /// A job works towards completion.
    pub(super) finishing: bool,
    /// No longer stored: what is written is for those who hold it.
    pub(super) detached: bool,
    /// An equal content was there; objects point to that now.
    pub(super) merged_into: Option<BlobId>,
    /// The file's name is not synced yet.
    pub(super) is_new: bool,
    /// Its place in a pack is to be given back when it is closed.
    pub(super) is_vacated: bool,
}

impl Blob {
    pub(super) fn new(id: BlobId, path: PathBuf, file: Arc<dyn DiskFile>, store: Weak<Shared>, state: State) -> Arc<Self> {
        Arc::new(Self {
            id,
            path,
            file,
            store,
            state: Mutex::new(state),
            used: AtomicBool::new(false),
            grown: Notify::new(),
            map: OnceLock::new(),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn id(&self) -> BlobId {
        self.id
    }

    /// Length of the whole content, once known.
    #[expect(clippy::len_without_is_empty, reason = "an unknown length is neither empty nor not")]
    pub fn len(&self) -> Option<u64> {
        self.state().len
    }

    /// Says how long the content is (a length learnt from `Content-Range`, or the clean end of a chunked body).
    /// Bytes beyond it are dropped. The first length said stays: other content is another blob.
    pub fn set_len(self: &Arc<Self>, len: u64) {
        {
            let mut state = self.state();
            if state.len.is_some() {
                return;
            }
            state.len = Some(len);
            state.cut(len);
        }
        if let Some(store) = self.store.upgrade() {
            store.touched(self);
            store.finish_if_whole(self);
        }
    }

    /// All bytes readable.
    pub fn is_complete(&self) -> bool {
        let state = self.state();
        state.len.is_some_and(|len| state.readable_len() == len)
    }

    /// The end of the contiguous readable bytes that start at `offset`; `None` when that byte is not readable now.
    pub fn present_until(&self, offset: u64) -> Option<u64> {
        self.state().readable.covering(offset).map(|extent| extent.end)
    }

    /// What of `range` is not readable now, in order.
    pub fn missing(&self, range: ByteRange) -> Vec<ByteRange> {
        self.state().readable.gaps(range)
    }

    /// Bytes readable now.
    pub fn present(&self) -> u64 {
        self.state().readable.bytes()
    }

    /// Resolves when something became readable after this was called. Call, look, then await: nothing is missed between.
    pub fn grown(&self) -> impl Future<Output = ()> + '_ {
        let mut grown = Box::pin(self.grown.notified());
        grown.as_mut().enable();
        grown
    }

    /// The end of the contiguous readable bytes from `offset` that were also compared with their checksums since the start
    /// (or written since): they may be sent from [`Blob::file`] without `read`.
    pub fn checked_until(&self, offset: u64) -> Option<u64> {
        self.state().checked_until(offset)
    }

    /// Itself as a file to send from; `None` if it lies in a pack, or on a simulated disk. A byte's offset in the content is its offset in the file.
    pub fn sendable(self: &Arc<Self>) -> Option<Arc<dyn Sendable>> {
        self.file.as_std()?;
        Some(Arc::clone(self) as Arc<dyn Sendable>)
    }
}

impl Sendable for Blob {
    fn file(&self) -> &fs::File {
        self.file.as_std().expect("invariant: `sendable` looked whether there is one")
    }

    fn map(&self) -> Option<&Map> {
        // Of a length that is known all is mapped at once, also what is still to come: what is sent is there by then.
        let len = self.len()?;
        self.map.get_or_init(|| Map::of(self.file(), len).ok()).as_ref()
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        if let Some(store) = self.store.upgrade() {
            store.closed_blob(self);
        }
    }
}

impl State {
    /// A blob as the index knows it.
    pub(super) fn loaded(len: Option<u64>, runs: Vec<Run>, checked: bool) -> Self {
        let mut state = Self { len, ..Self::default() };
        for mut run in runs {
            run.checked = checked;
            let range = run.range;
            if len.is_none_or(|len| range.end <= len) && state.map.insert(run) {
                state.readable.insert(range);
            }
        }
        state
    }

    /// The readable bytes, if they are one extent from the start; else 0.
    fn readable_len(&self) -> u64 {
        self.readable.covering(0).map_or(0, |extent| extent.end)
    }

    pub(super) fn checked_until(&self, offset: u64) -> Option<u64> {
        let extent = self.readable.covering(offset)?;
        if self.map.is_all_checked() {
            return Some(extent.end);
        }
        let mut at = offset;
        while at < extent.end {
            match self.map.covering(at) {
                Some(run) if run.checked => at = run.range.end,
                Some(_) => break,
                // Not summed yet: written by this process.
                None => at = self.map.next_start(at).map_or(extent.end, |start| start.min(extent.end)),
            }
        }
        (at > offset).then_some(at)
    }

    /// The checksum of the whole content, if it is one run.
    pub(super) fn only_sum(&self) -> Option<Sum> {
        self.map.covering(0).filter(|run| Some(run.range.end) == self.len).map(|run| run.sum)
    }

    /// Adds a summed run.
    pub(super) fn add(&mut self, run: Run) {
        let row = row_of(run.range.start);
        if self.map.insert(run) {
            self.dirty_rows.insert(row);
        }
    }

    /// Takes a run out: its bytes are no longer readable.
    pub(super) fn drop_run(&mut self, range: ByteRange) {
        self.map.remove(range.start);
        self.readable.remove(range);
        self.dirty_rows.insert(row_of(range.start));
        self.complete = false;
        self.short = None;
    }

    /// Drops everything that is not known to be synced, bytes without a sum too; an open run that loses bytes gets no sum any more.
    pub(super) fn keep_durable(&mut self) {
        let unsynced: Vec<_> = self.map.iter().filter(|run| !run.durable).map(|run| run.range).collect();
        unsynced.into_iter().for_each(|range| self.drop_run(range));
        self.readable = self.map.iter().map(|run| run.range).collect();
        self.complete &= self.len == Some(self.map.bytes());
    }

    /// Drops what lies beyond `len`, and the run that crosses it: sums cannot be cut.
    fn cut(&mut self, len: u64) {
        let beyond: Vec<_> = self.map.iter().rev().map(|run| run.range).take_while(|range| range.end > len).collect();
        beyond.into_iter().for_each(|range| self.drop_run(range));
        if let Some(rest) = ByteRange::new(len, u64::MAX) {
            self.readable.remove(rest);
        }
    }
}
