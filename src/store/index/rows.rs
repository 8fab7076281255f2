//! All rows of the index, for a start and for a check: of the small tables only. Rows of pieces are read when their blob is opened.

use std::{io, ops::RangeInclusive};

use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata};

use crate::{
    object::BlobId,
    store::{
        format::{self, BlobRow, ObjectHead},
        index::{BLOBS, COUNTERS, Index, NEXT_BLOB, NEXT_OBJECT, OBJECTS, other, present},
        place::PACKED_MIN,
    },
};

/// What the index says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::store) struct Counters {
    /// The first ids that are not reserved; 0: the counters are missing, as they are in a new index.
    pub(in crate::store) next_blob: u64,
    pub(in crate::store) next_object: u64,
    /// Rows that there may be, to make room for. Not to be counted on.
    pub(in crate::store) objects: usize,
    pub(in crate::store) blobs: usize,
}

/// Keys of a part of the table of objects.
pub(in crate::store) type ObjectKeys = RangeInclusive<[u8; 24]>;

/// Room is made at once for so many rows at most.
const ROWS_EXPECTED_MAX: u64 = 10_000_000;

impl Index {
    pub(in crate::store) fn counters(&self) -> io::Result<Counters> {
        self.guarded(|database| {
            let read = database.begin_read().map_err(other)?;
            let mut counters = Counters::default();
            if let Some(table) = present(read.open_table(COUNTERS))? {
                let counter = |name| Ok::<_, io::Error>(table.get(name).map_err(other)?.map_or(0, |value| value.value()));
                counters.next_blob = counter(NEXT_BLOB)?;
                counters.next_object = counter(NEXT_OBJECT)?;
            }
            if let Some(table) = present(read.open_table(OBJECTS))? {
                counters.objects = expected(&table);
            }
            if let Some(table) = present(read.open_table(BLOBS))? {
                counters.blobs = expected(&table);
            }
            Ok(counters)
        })
    }

    /// Calls `each` with the objects of a part, in the order of their keys; `None`: the row rotted.
    pub(in crate::store) fn objects_in(
        &self,
        keys: ObjectKeys,
        mut each: impl FnMut([u8; 24], Option<ObjectHead>),
    ) -> io::Result<()> {
        self.guarded(|database| {
            let read = database.begin_read().map_err(other)?;
            let Some(table) = present(read.open_table(OBJECTS))? else { return Ok(()) };
            for entry in table.range::<&[u8; 24]>(keys.start()..=keys.end()).map_err(other)? {
                let (key, row) = entry.map_err(other)?;
                each(*key.value(), format::object_head(key.value(), row.value()));
            }
            Ok(())
        })
    }

    /// The same of blobs.
    pub(in crate::store) fn blobs_in(
        &self,
        ids: RangeInclusive<u64>,
        mut each: impl FnMut(BlobId, Option<BlobRow>),
    ) -> io::Result<()> {
        self.guarded(|database| {
            let read = database.begin_read().map_err(other)?;
            let Some(table) = present(read.open_table(BLOBS))? else { return Ok(()) };
            for entry in table.range(ids).map_err(other)? {
                let (id, row) = entry.map_err(other)?;
                each(BlobId(id.value()), format::blob_of(id.value(), row.value()));
            }
            Ok(())
        })
    }

    /// All ids of blobs in about `parts` parts, in order: first those that have files of their own, then shares of the packs.
    pub(in crate::store) fn blob_parts(&self, parts: u64) -> io::Result<Vec<RangeInclusive<u64>>> {
        let packed = self.guarded(|database| {
            let read = database.begin_read().map_err(other)?;
            let Some(table) = present(read.open_table(BLOBS))? else { return Ok(None) };
            let first = table.range(PACKED_MIN..).map_err(other)?.next().transpose().map_err(other)?;
            let last = table.last().map_err(other)?;
            Ok(first.zip(last).map(|((first, _), (last, _))| (first.value(), last.value())))
        })?;
        let mut all = vec![0..=PACKED_MIN - 1];
        if let Some((first, last)) = packed {
            let share = (last - first) / parts + 1;
            let starts = (0..parts).filter_map(|part| first.checked_add(part * share));
            all.extend(starts.take_while(|start| *start <= last).map(|start| start..=start.saturating_add(share - 1).min(last)));
        }
        Ok(all)
    }
}

/// All keys of objects in `parts` parts, at most 256, in order.
pub(in crate::store) fn object_parts(parts: usize) -> Vec<ObjectKeys> {
    let bound = |part: usize| part * 256 / parts;
    let filled = |first: usize, rest: u8| {
        let mut key = [rest; 24];
        key[0] = first as u8;
        key
    };
    (0..parts).map(|part| filled(bound(part), 0)..=filled(bound(part + 1) - 1, u8::MAX)).collect()
}

/// How many rows a table says that it has.
fn expected(table: &impl ReadableTableMetadata) -> usize {
    table.len().map_or(0, |rows| rows.min(ROWS_EXPECTED_MAX) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_all_keys_leave_nothing_out() {
        for parts in [1, 3, 4, 256] {
            let all = object_parts(parts);
            assert_eq!((*all[0].start(), *all[parts - 1].end()), ([0; 24], [u8::MAX; 24]));
            for pair in all.windows(2) {
                assert_eq!(u16::from(pair[0].end()[0]) + 1, u16::from(pair[1].start()[0]));
            }
        }
    }
}
