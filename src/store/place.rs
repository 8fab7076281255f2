//! Where a small content lies in a pack, as its blob's id says it. Pure.
//!
//! ```text
//! id   1 | pack 45 bits | block 14 bits | blocks - 1, 4 bits
//! ```
//!
//! So no lookup is needed to find it, and nothing beside the id to keep. Packs have numbers from the same row as other blobs.

use std::{io, sync::Arc};

use crate::{
    object::BlobId,
    piece::ByteRange,
    store::{
        disk::{Disk, DiskFile, Part},
        layout::Layout,
    },
};

/// Whole blocks of one pack. Never given to two contents, not even after one has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) pack: u64,
    pub(super) block: u64,
    pub(super) blocks: u64,
}

/// What a place starts at and is a multiple of: the block of nearly every file system, so that a hole gives room back.
pub(super) const BLOCK_LEN: u64 = 4_096;

/// The longest content that fits into a place.
pub(super) const PLACE_LEN_MAX: u64 = BLOCK_LEN << BLOCKS_BITS;

/// Blocks of one pack, 64 MiB: few files for many contents, and none so large that its last contents keep much.
pub(super) const PACK_BLOCKS: u64 = 1 << BLOCK_BITS;

/// The ids of all contents in packs are this or more.
pub(super) const PACKED_MIN: u64 = 1 << 63;

const BLOCK_BITS: u32 = 14;
const BLOCKS_BITS: u32 = 4;

impl Place {
    /// The place of `id`; `None`: it has a file of its own.
    pub(super) fn of(id: BlobId) -> Option<Self> {
        (id.0 & PACKED_MIN != 0).then(|| Self {
            pack: (id.0 & !PACKED_MIN) >> (BLOCK_BITS + BLOCKS_BITS),
            block: id.0 >> BLOCKS_BITS & (PACK_BLOCKS - 1),
            blocks: (id.0 & ((1 << BLOCKS_BITS) - 1)) + 1,
        })
    }

    pub(super) fn id(self) -> BlobId {
        BlobId(PACKED_MIN | self.pack << (BLOCK_BITS + BLOCKS_BITS) | self.block << BLOCKS_BITS | (self.blocks - 1))
    }

    /// Its bytes in the pack.
    pub(super) fn range(self) -> ByteRange {
        ByteRange { start: self.block * BLOCK_LEN, end: (self.block + self.blocks) * BLOCK_LEN }
    }

    /// The file that has only these bytes of the pack `file`.
    pub(super) fn part(self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(Part::new(file, self.range()))
    }
}

/// The number of the file that holds the bytes of `id`: of its pack, or its own.
pub(super) fn file_number(id: BlobId) -> u64 {
    Place::of(id).map_or(id.0, |place| place.pack)
}

/// Opens the bytes of `id`.
pub(super) fn open(disk: &dyn Disk, layout: &Layout, id: BlobId) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.open(&layout.blob(id))?;
    Ok(match Place::of(id) {
        Some(place) => place.part(file),
        None => file,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_where_its_content_lies() {
        for place in [
            Place { pack: 1, block: 0, blocks: 1 },
            Place { pack: (1 << 45) - 1, block: PACK_BLOCKS - 1, blocks: 1 },
            Place { pack: 77, block: 123, blocks: 16 },
        ] {
            assert_eq!(Place::of(place.id()), Some(place));
            assert_eq!(file_number(place.id()), place.pack);
        }
        assert_eq!(Place::of(BlobId(5)), None);
        assert_eq!(file_number(BlobId(5)), 5);
        assert_eq!(PLACE_LEN_MAX, 64 << 10);
    }
}
