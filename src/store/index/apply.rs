//! One group commit: many changes, one durable transaction.

use std::io;

use redb::{Durability, ReadableTable, Table, WriteTransaction};

use crate::{
    digest::Digest,
    key::KeyHash,
    object::{BlobId, ObjectId},
    store::{
        format::{self, BlobRow, VERIFIED_MAX},
        identity::Sum,
        index::{
            BLOBS, CONTENTS, COUNTERS, DIGESTS, Index, NEXT_BLOB, NEXT_OBJECT, OBJECTS, PIECES, digest_key, join_key, other,
        },
    },
};

/// What one commit does. The bytes it speaks of are synced before.
#[derive(Debug, Default)]
pub(in crate::store) struct Changes {
    /// Encoded rows; `None` removes.
    pub(in crate::store) objects: Vec<(KeyHash, ObjectId, Option<Vec<u8>>)>,
    pub(in crate::store) blobs: Vec<(BlobId, BlobChange)>,
    pub(in crate::store) removed: Vec<BlobId>,
    /// Keys of rotten rows.
    pub(in crate::store) bad_objects: Vec<[u8; 24]>,
    /// Ids below these may be given away from now on.
    pub(in crate::store) next_blob: u64,
    pub(in crate::store) next_object: u64,
}

/// What changed about one blob.
#[derive(Debug, Default)]
pub(in crate::store) struct BlobChange {
    pub(in crate::store) snapshot: Option<Snapshot>,
    pub(in crate::store) pinned: Option<bool>,
    /// Digests the content was found to match.
    pub(in crate::store) verified: Vec<Digest>,
}

/// A blob as it was when its commit began.
#[derive(Debug, Default)]
pub(in crate::store) struct Snapshot {
    pub(in crate::store) len: Option<u64>,
    pub(in crate::store) present: u64,
    pub(in crate::store) complete: bool,
    pub(in crate::store) content: Option<Sum>,
    /// Encoded rows of pieces that changed; `None` where none of their runs is left.
    pub(in crate::store) rows: Vec<(u64, Option<Vec<u8>>)>,
}

impl Index {
    /// Makes all of `changes` durable, or none of them. [`io::ErrorKind::InvalidData`] means that the index rotted.
    pub(in crate::store) fn apply(&self, changes: &Changes) -> io::Result<()> {
        self.ensure_writable()?;
        let applied = self.guarded(|database| {
            let mut write = database.begin_write().map_err(other)?;
            write.set_durability(Durability::Immediate).map_err(io::Error::other)?;
            // Costs a little in each commit; without it a start after a kill reads the whole index.
            write.set_quick_repair(true);
            changes.write(&write)?;
            write.commit().map_err(other)
        });
        applied.inspect_err(|_| self.discard())
    }
}

impl Changes {
    fn write(&self, write: &WriteTransaction) -> io::Result<()> {
        let mut objects = write.open_table(OBJECTS).map_err(other)?;
        for (hash, id, row) in &self.objects {
            let key = join_key(*hash, *id);
            match row {
                Some(row) => drop(objects.insert(&key, row.as_slice()).map_err(other)?),
                None => drop(objects.remove(&key).map_err(other)?),
            }
        }
        for key in &self.bad_objects {
            objects.remove(key).map_err(other)?;
        }
        let mut tables = BlobTables::open(write)?;
        for (id, change) in &self.blobs {
            tables.change(*id, change)?;
        }
        for id in &self.removed {
            tables.remove(*id)?;
        }
        let mut counters = write.open_table(COUNTERS).map_err(other)?;
        counters.insert(NEXT_BLOB, self.next_blob).map_err(other)?;
        counters.insert(NEXT_OBJECT, self.next_object).map_err(other)?;
        Ok(())
    }
}

/// The tables that speak of blobs, kept in agreement.
struct BlobTables<'a> {
    blobs: Table<'a, u64, &'static [u8]>,
    pieces: Table<'a, (u64, u64), &'static [u8]>,
    contents: Table<'a, &'static [u8; 32], u64>,
    digests: Table<'a, &'static [u8], u64>,
}

impl<'a> BlobTables<'a> {
    fn open(write: &'a WriteTransaction) -> io::Result<Self> {
        Ok(Self {
            blobs: write.open_table(BLOBS).map_err(other)?,
            pieces: write.open_table(PIECES).map_err(other)?,
            contents: write.open_table(CONTENTS).map_err(other)?,
            digests: write.open_table(DIGESTS).map_err(other)?,
        })
    }

    fn change(&mut self, id: BlobId, change: &BlobChange) -> io::Result<()> {
        let mut row = match (self.row(id)?, &change.snapshot) {
            (Some(row), _) => row,
            (None, Some(_)) => BlobRow::default(),
            // Pinned or verified while it was being removed.
            (None, None) => return Ok(()),
        };
        if let Some(snapshot) = &change.snapshot {
            self.take_snapshot(id, &mut row, snapshot)?;
        }
        row.pinned = change.pinned.unwrap_or(row.pinned);
        for digest in &change.verified {
            if !row.verified.contains(digest) && row.verified.len() < VERIFIED_MAX {
                row.verified.push(*digest);
                self.digests.insert(digest_key(digest), id.0).map_err(other)?;
            }
        }
        self.blobs.insert(id.0, format::blob(id.0, &row).as_slice()).map_err(other)?;
        Ok(())
    }

    fn take_snapshot(&mut self, id: BlobId, row: &mut BlobRow, snapshot: &Snapshot) -> io::Result<()> {
        for (number, bytes) in &snapshot.rows {
            match bytes {
                Some(bytes) => drop(self.pieces.insert((id.0, *number), bytes.as_slice()).map_err(other)?),
                None => drop(self.pieces.remove((id.0, *number)).map_err(other)?),
            }
        }
        row.len = snapshot.len;
        row.present = snapshot.present;
        row.complete = snapshot.complete;
        row.content = snapshot.content;
        if let (true, Some(content)) = (row.complete, row.content) {
            self.contents.insert(&content, id.0).map_err(other)?;
        }
        Ok(())
    }

    fn remove(&mut self, id: BlobId) -> io::Result<()> {
        if let Some(row) = self.row(id)? {
            if let Some(content) = row.content
                && self.contents.get(&content).map_err(other)?.is_some_and(|there| there.value() == id.0)
            {
                self.contents.remove(&content).map_err(other)?;
            }
            for digest in &row.verified {
                let key = digest_key(digest);
                if self.digests.get(key).map_err(other)?.is_some_and(|there| there.value() == id.0) {
                    self.digests.remove(key).map_err(other)?;
                }
            }
        }
        self.blobs.remove(id.0).map_err(other)?;
        self.pieces.retain_in((id.0, 0)..=(id.0, u64::MAX), |_, _| false).map_err(other)
    }

    fn row(&self, id: BlobId) -> io::Result<Option<BlobRow>> {
        Ok(self.blobs.get(id.0).map_err(other)?.and_then(|row| format::blob_of(id.0, row.value())))
    }
}
