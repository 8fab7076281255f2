//! The check of a store that is not in use: every indexed byte against its checksum, every file against the index.

use std::{
    collections::{HashMap, HashSet},
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    key::KeyHash,
    object::{BlobId, ObjectId},
    store::{
        Error,
        disk::{Disk, DiskFile},
        format::{self, BlobRow, ObjectHead},
        identity,
        index::{BlobChange, Changes, Counters, Index, Snapshot, join_key, object_parts, split_key},
        layout::{Layout, Upgraded},
        pieces::{PieceMap, Run, row_of},
        place::{self, Place, file_number},
        record,
        recover::{blob_files, pack_files},
    },
};

/// What a check found. Nothing of it is lost work: what is dropped is fetched anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub objects: u64,
    pub blobs: u64,
    /// Extents and bytes compared with their checksums.
    pub extents: u64,
    pub bytes: u64,
    /// The index cannot be read at all; nothing else was checked.
    pub index_unreadable: Option<String>,
    /// Rows of the index that rotted.
    pub bad_rows: u64,
    /// Responses whose fields, which lie beside their content, rotted.
    pub bad_records: u64,
    /// Responses without a blob, and blobs without a response.
    pub unreferenced: u64,
    /// Extents that do not match their checksum, or cannot be read, or lie beyond the end of their file.
    pub bad_extents: u64,
    /// Blobs whose file is not there.
    pub missing_files: u64,
    /// Blobs whose file is longer than their content.
    pub long_files: u64,
    /// Files that the index does not know.
    pub orphans: u64,
    /// The store was of a former format, which a check writes down as any start does.
    pub upgraded: Option<Upgraded>,
    /// What is bad was dropped.
    pub repaired: bool,
}

impl Report {
    /// Nothing is wrong. Orphans and unreferenced rows are what a kill leaves; a start removes them by itself.
    pub fn is_clean(&self) -> bool {
        let wrong = self.bad_rows + self.bad_records + self.bad_extents + self.missing_files + self.long_files;
        wrong == 0 && self.index_unreadable.is_none()
    }
}

impl fmt::Display for Report {
    /// One line for what was looked at, and one for each kind of damage.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} responses, {} contents, {} bytes compared", self.objects, self.blobs, self.bytes)?;
        if let Some(upgraded) = &self.upgraded {
            write!(f, "\n{upgraded}")?;
        }
        if let Some(reason) = &self.index_unreadable {
            write!(f, "\nthe index is unreadable: {reason}")?;
        }
        let found = [
            ("rows of the index are bad", self.bad_rows),
            ("responses have lost their fields", self.bad_records),
            ("extents do not match their checksum", self.bad_extents),
            ("contents have no file", self.missing_files),
            ("files are longer than their content", self.long_files),
            ("responses or contents stand alone (the next start removes them)", self.unreferenced),
            ("files are in no index (the next start removes them)", self.orphans),
        ];
        found.iter().filter(|(_, count)| *count > 0).try_for_each(|(what, count)| write!(f, "\n{count} {what}"))?;
        if self.repaired { write!(f, "\nwhat was bad is dropped") } else { Ok(()) }
    }
}

/// Pages of the index held in memory.
const CACHE_BYTES: usize = 32 << 20;

/// Checks the store in `directory`, and with `repair` drops what is bad. Blocks, and reads every byte.
///
/// # Errors
/// [`Error::Locked`] while a weir uses it; [`Error::Version`]; [`Error::Io`] if there is no store, or the repair cannot be written.
pub fn fsck(directory: &Path, disk: &Arc<dyn Disk>, repair: bool) -> Result<Report, Error> {
    let layout = Layout::new(directory);
    let failed = |op, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { op, path, source }
    };
    // Opened, not created: a check must not make a store.
    let file = disk.open(&layout.index()).map_err(failed("open", &layout.index()))?;
    let claim = layout.claim(&**disk)?;
    let mut report = Report { upgraded: claim.upgraded, ..Report::default() };
    let (index, mut loaded) = match open(file) {
        Ok(opened) => opened,
        Err(error) => {
            report.index_unreadable = Some(error.to_string());
            if repair {
                disk.rename(&layout.index(), &layout.bad_index()).map_err(failed("move aside", &layout.index()))?;
                report.repaired = true;
            }
            return Ok(report);
        }
    };
    report.bad_rows = (loaded.bad_objects.len() + loaded.bad_blobs.len()) as u64;
    let (next_blob, next_object) = (loaded.counters.next_blob, loaded.counters.next_object);
    let (objects, mut changes) = reconcile(&mut loaded);
    report.objects = objects.len() as u64;
    report.blobs = loaded.blobs.len() as u64;
    report.unreferenced = (changes.objects.len() + changes.removed.len()) as u64 - loaded.bad_blobs.len() as u64;
    for (id, row) in &loaded.blobs {
        let found = check_blob(&**disk, &layout, &index, *id, row, &mut report);
        match found.map_err(failed("read", &layout.index()))? {
            Found::Whole => {}
            Found::Missing => {
                changes.removed.push(*id);
                let lost = objects.iter().filter(|(_, _, head)| head.blob == *id);
                changes.objects.extend(lost.map(|(key, object, _)| (*key, *object, None)));
            }
            Found::Rotten(snapshot) => {
                changes.blobs.push((*id, BlobChange { snapshot: Some(snapshot), ..BlobChange::default() }));
            }
        }
    }
    for (key, object, head) in objects.iter().filter(|(_, _, head)| head.in_pack) {
        let file = place::open(&**disk, &layout, head.blob);
        if !file.is_ok_and(|file| record::is_whole(&*file, head.blob, &join_key(*key, *object))) {
            report.bad_records += 1;
            changes.objects.push((*key, *object, None));
        }
    }
    let known: HashSet<BlobId> = loaded.blobs.iter().map(|(id, _)| *id).collect();
    let packs: HashSet<u64> = known.iter().map(|id| file_number(*id)).collect();
    let files = blob_files(&**disk, &layout).into_iter().filter(|id| !known.contains(id)).map(|id| layout.blob(id));
    let orphan_packs = pack_files(&**disk, &layout).into_iter().filter(|pack| !packs.contains(pack));
    let orphans: Vec<PathBuf> = files.chain(orphan_packs.map(|pack| layout.pack(pack))).collect();
    report.orphans = orphans.len() as u64;
    if repair {
        (changes.next_blob, changes.next_object) = (next_blob, next_object);
        index.apply(&changes).map_err(failed("repair", &layout.index()))?;
        for path in orphans {
            disk.unlink(&path).map_err(failed("remove", &path))?;
        }
        report.repaired = true;
    }
    Ok(report)
}

/// What became of one blob.
enum Found {
    Whole,
    Missing,
    /// What it is without the bad extents.
    Rotten(Snapshot),
}

/// All rows of the small tables.
#[derive(Default)]
struct Rows {
    objects: Objects,
    blobs: Vec<(BlobId, BlobRow)>,
    counters: Counters,
    bad_objects: Vec<[u8; 24]>,
    bad_blobs: Vec<BlobId>,
}

type Objects = Vec<(KeyHash, ObjectId, ObjectHead)>;

fn open(file: Arc<dyn DiskFile>) -> io::Result<(Index, Rows)> {
    let index = Index::open(file, CACHE_BYTES)?;
    let mut rows = Rows { counters: index.counters()?, ..Rows::default() };
    for part in object_parts(1) {
        index.objects_in(part, |key, head| match (split_key(&key), head) {
            ((hash, id), Some(head)) => rows.objects.push((hash, id, head)),
            (_, None) => rows.bad_objects.push(key),
        })?;
    }
    index.blobs_in(0..=u64::MAX, |id, row| match row {
        Some(row) => rows.blobs.push((id, row)),
        None => rows.bad_blobs.push(id),
    })?;
    Ok((index, rows))
}

/// Keeps objects and blobs that have one another; the rest is to be removed from the index.
fn reconcile(loaded: &mut Rows) -> (Objects, Changes) {
    let mut changes = Changes { bad_objects: std::mem::take(&mut loaded.bad_objects), ..Changes::default() };
    let mut references: HashMap<BlobId, bool> = loaded.blobs.iter().map(|(id, _)| (*id, false)).collect();
    let mut kept = Vec::with_capacity(loaded.objects.len());
    for (key, id, head) in loaded.objects.drain(..) {
        match references.get_mut(&head.blob) {
            Some(referred) => {
                *referred = true;
                kept.push((key, id, head));
            }
            None => changes.objects.push((key, id, None)),
        }
    }
    loaded.blobs.retain(|(id, row)| references[id] || row.pinned);
    let unused = references.into_iter().filter(|(_, referred)| !referred).map(|(id, _)| id);
    changes.removed = unused.chain(loaded.bad_blobs.drain(..)).collect();
    (kept, changes)
}

fn check_blob(
    disk: &dyn Disk,
    layout: &Layout,
    index: &Index,
    id: BlobId,
    row: &BlobRow,
    report: &mut Report,
) -> io::Result<Found> {
    let Ok(file) = place::open(disk, layout, id) else {
        report.missing_files += 1;
        return Ok(Found::Missing);
    };
    let is_alone = Place::of(id).is_none();
    if is_alone && row.len.is_some_and(|len| file.len().is_ok_and(|there| there > len)) {
        report.long_files += 1;
    }
    let runs = index.blob(id)?.map_or_else(Vec::new, |(_, runs)| runs);
    let (mut kept, mut bad) = (PieceMap::default(), Vec::new());
    let indexed: u64 = runs.iter().map(|run| run.range.len()).sum();
    for run in runs {
        report.extents += 1;
        report.bytes += run.range.len();
        if is_good(&*file, &run) && kept.insert(run.clone()) {
            continue;
        }
        report.bad_extents += 1;
        bad.push(row_of(run.range.start));
    }
    // A row of pieces that rotted is missing from `indexed`.
    report.bad_rows += u64::from(indexed != row.present);
    if bad.is_empty() && indexed == row.present {
        return Ok(Found::Whole);
    }
    bad.sort_unstable();
    bad.dedup();
    let encoded = |number: &u64| {
        let is_left = kept.of_row(*number).next().is_some();
        (*number, is_left.then(|| format::pieces(id.0, *number, kept.of_row(*number))))
    };
    let rows = bad.iter().map(encoded).collect();
    Ok(Found::Rotten(Snapshot { len: row.len, present: kept.bytes(), complete: false, content: row.content, rows }))
}

fn is_good(file: &dyn DiskFile, run: &Run) -> bool {
    let mut bytes = vec![0; usize::try_from(run.range.len()).unwrap_or(0)];
    file.read_exact_at(run.range.start, &mut bytes).is_ok() && identity::sum(run.range.start, &bytes) == run.sum
}
