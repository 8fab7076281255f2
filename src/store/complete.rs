//! What happens when pieces and contents become whole: runs merge, the identity is computed, equal content is stored once.

use std::sync::{Arc, PoisonError};

use crate::{
    digest::Digest,
    object::BlobId,
    piece::{PIECE_LEN, piece_range},
    store::{
        Error,
        blob::{Blob, State},
        identity::{self, Sum},
        pieces::Run,
        pool::Kind,
        shared::Shared,
    },
};

impl Shared {
    /// Several runs that fill a piece become one, with one sum.
    pub(super) fn merge_if_full(self: &Arc<Self>, blob: &Arc<Blob>, piece: u64) {
        if blob.state().to_merge(piece).is_none() {
            return;
        }
        let (store, blob) = (Arc::clone(self), Arc::clone(blob));
        self.pool.spawn(Kind::Background, move || {
            // Rot found here is dropped; whoever wants the bytes fetches them anew.
            let _ = store.merge(&blob, piece);
            store.finish_if_whole(&blob);
        });
    }

    /// Reads the runs of a piece, compares each, and puts one in their place.
    fn merge(self: &Arc<Self>, blob: &Arc<Blob>, piece: u64) -> Result<(), Error> {
        let Some(parts) = blob.state().to_merge(piece) else { return Ok(()) };
        let mut bytes = Vec::with_capacity(PIECE_LEN as usize);
        for part in &parts {
            bytes.extend(blob.read_compared(self, part)?);
        }
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return Ok(()) };
        let mut range = first.range;
        range.end = last.range.end;
        let durable = parts.iter().all(|part| part.durable);
        let merged = Run { range, sum: identity::sum(range.start, &bytes), durable, checked: true };
        blob.state().replace(&parts, merged);
        self.touched(blob);
        Ok(())
    }

    /// Starts the work on a content whose bytes are all summed.
    pub(super) fn finish_if_whole(self: &Arc<Self>, blob: &Arc<Blob>) {
        {
            let mut state = blob.state();
            if state.finishing || state.complete || state.len != Some(state.map.bytes()) {
                return;
            }
            state.finishing = true;
        }
        let (store, blob) = (Arc::clone(self), Arc::clone(blob));
        self.pool.spawn(Kind::Background, move || {
            let finished = store.finish(&blob);
            blob.state().finishing = false;
            if let Err(error) = finished {
                tracing::warn!(blob = %blob.id, error = %error, "a content could not be completed");
            }
            blob.grown.notify_waiters();
        });
    }

    fn finish(self: &Arc<Self>, blob: &Arc<Blob>) -> Result<(), Error> {
        let Some(len) = blob.len() else { return Ok(()) };
        for piece in 0..len.div_ceil(PIECE_LEN) {
            self.merge(blob, piece)?;
        }
        let Some(content) = self.identify(blob, len)? else { return Ok(()) };
        let expected = blob.state().content;
        if expected.is_some_and(|expected| expected != content) {
            tracing::error!(blob = %blob.id, "mended content differs from what it was, its responses are forgotten");
            self.remove_blob(blob.id);
            return Ok(());
        }
        // Two equal blobs may end at once: the second must see the first.
        let _completing = self.completing.lock().unwrap_or_else(PoisonError::into_inner);
        match self.equal_of(blob.id, &content, len)? {
            Some(equal) => self.merge_into(blob, equal, len)?,
            None => self.complete(blob, content),
        }
        Ok(())
    }

    /// The identity of a content whose pieces are one run each.
    fn identify(self: &Arc<Self>, blob: &Arc<Blob>, len: u64) -> Result<Option<Sum>, Error> {
        let (sums, short) = {
            let state = blob.state();
            (state.map.whole_sums(len), state.short)
        };
        let Some(sums) = sums else { return Ok(None) };
        if len > PIECE_LEN {
            return Ok(identity::of_pieces(&sums));
        }
        if let Some((_, identity)) = short.filter(|(end, _)| *end == len) {
            return Ok(Some(identity));
        }
        let run = blob.state().map.covering(0).cloned();
        let bytes = run.map_or(Ok(Vec::new()), |run| blob.read_compared(self, &run))?;
        Ok(Some(identity::of_short(&bytes)))
    }

    /// Another complete blob with the same content.
    fn equal_of(&self, id: BlobId, content: &Sum, len: u64) -> Result<Option<BlobId>, Error> {
        let pending = self.journal.blob_of_content(content);
        let found = match pending {
            Some(found) => Some(found),
            None => self.index.content(content).map_err(|error| self.io_failed("read index", self.layout.index(), error))?,
        };
        let is_whole = |id| self.table.blob(id, |entry| entry.complete && entry.bytes == len) == Some(true);
        Ok(found.filter(|found| *found != id && is_whole(*found)))
    }

    fn merge_into(&self, blob: &Arc<Blob>, equal: BlobId, len: u64) -> Result<(), Error> {
        {
            let mut state = blob.state();
            state.complete = true;
            state.merged_into = Some(equal);
        }
        self.repoint(blob.id, equal)?;
        self.metrics.deduplicated_bytes.add(len);
        tracing::debug!(blob = %blob.id, %equal, len, "equal content is stored once");
        // Without objects it goes when its last holder lets go of it.
        self.open.release(blob.id);
        Ok(())
    }

    fn complete(&self, blob: &Arc<Blob>, content: Sum) {
        let checked = {
            let mut state = blob.state();
            state.complete = true;
            state.content = Some(content);
            state.map.is_all_checked()
        };
        self.table.change_blob(blob.id, |entry| {
            entry.complete = true;
            entry.checked = checked;
        });
        if self.table.blob(blob.id, |_| ()).is_some() {
            self.journal.content(content, blob.id);
            self.touched(blob);
            self.record_again(blob.id);
        }
    }

    /// Records that the whole content matched `digest`.
    pub(super) fn mark_verified(&self, blob: &Blob, digest: &Digest) {
        if !blob.is_complete() {
            return;
        }
        let id = blob.state().merged_into.unwrap_or(blob.id);
        if self.table.blob(id, |_| ()).is_some() {
            self.table.add_digest(*digest, id);
            self.journal.verified(id, *digest);
        }
    }
}

impl State {
    /// The runs of a piece, if they are more than one and fill it.
    fn to_merge(&self, piece: u64) -> Option<Vec<Run>> {
        let whole = piece_range(piece, self.len.unwrap_or(u64::MAX))?;
        let mut at = whole.start;
        for run in self.map.of_piece(piece) {
            if run.range.start != at {
                return None;
            }
            at = run.range.end;
        }
        let runs: Vec<Run> = self.map.of_piece(piece).cloned().collect();
        (at == whole.end && runs.len() > 1).then_some(runs)
    }

    /// Puts `merged` in the place of `parts`, unless one of them has gone meanwhile.
    fn replace(&mut self, parts: &[Run], merged: Run) {
        let still_there = parts.iter().all(|part| self.map.covering(part.range.start).is_some_and(|run| run.sum == part.sum));
        if still_there {
            for part in parts {
                self.map.remove(part.range.start);
            }
            self.add(merged);
        }
    }
}
