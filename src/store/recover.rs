//! The start: the directory is claimed, the index opened and loaded. Blobs are not looked at; what no index knows goes in the background.

use std::{
    io,
    sync::{Arc, Mutex, atomic::AtomicBool},
};

use crate::{
    metrics,
    object::BlobId,
    store::{
        Config, Error, Store,
        buffers::Buffers,
        commit,
        disk::Disk,
        index::Index,
        journal::Journal,
        layout::{Claim, Layout, blob_id, pack_number},
        load::{Loaded, load},
        memory::{Memory, index_cache_bytes},
        open::OpenBlobs,
        packs::{self, Packs},
        pool::{Kind, Pool},
        room::Room,
        shared::{IDS_RESERVED, Ids, Shared},
    },
};

/// Opens the store in `config.directory`, which is made if it does not exist. A store that rotted or was killed opens with what is whole.
///
/// # Errors
/// [`Error::Locked`], [`Error::Version`], or [`Error::Io`] if the directory cannot be used at all.
pub async fn open(config: Config, disk: Arc<dyn Disk>, metrics: metrics::Store) -> Result<Store, Error> {
    let failed = |source| Error::Io { op: "start threads", path: Default::default(), source };
    let pool = Pool::start(config.disk_threads).map_err(failed)?;
    let (send, opened) = tokio::sync::oneshot::channel();
    // A thread of its own: the pool becomes part of what is opened.
    let work = move || drop(send.send(open_now(config, disk, metrics, pool)));
    std::thread::Builder::new().name("weir-open".into()).spawn(work).map_err(failed)?;
    opened.await.unwrap_or(Err(Error::Closed))
}

fn open_now(mut config: Config, disk: Arc<dyn Disk>, metrics: metrics::Store, pool: Pool) -> Result<Store, Error> {
    let layout = Layout::new(&config.directory);
    let Claim { lock, upgraded } = layout.claim(&*disk)?;
    if let Some(upgraded) = upgraded {
        tracing::info!("{upgraded}");
    }
    let (index, mut loaded) = open_index(&*disk, &layout, index_cache_bytes(config.memory))?;
    loaded.changes.next_blob = loaded.next_blob + IDS_RESERVED;
    loaded.changes.next_object = loaded.next_object + IDS_RESERVED;
    let reserved = index.apply(&loaded.changes);
    if let Err(error) = &reserved {
        tracing::error!(%error, "the index cannot be written");
        // Without reserved ids nothing is stored until a commit succeeds.
    }
    let reserve = if reserved.is_ok() { IDS_RESERVED } else { 0 };
    let free = disk.free_space(layout.directory()).unwrap_or(0);
    if config.pack_max > 0 && !packs::are_possible(&*disk, &layout) {
        tracing::info!("files on this file system cannot have holes: small contents get files of their own");
        config.pack_max = 0;
    }
    let shared = Arc::new(Shared {
        pool,
        index,
        table: loaded.table,
        memory: Memory::new(config.memory),
        journal: Arc::new(Journal::new(config.commit_interval)),
        room: Room::new(free),
        buffers: Buffers::default(),
        packs: Packs::default(),
        blob_ids: Ids::new(loaded.next_blob, loaded.next_blob + reserve),
        object_ids: Ids::new(loaded.next_object, loaded.next_object + reserve),
        open: OpenBlobs::default(),
        completing: Mutex::default(),
        closed: AtomicBool::new(false),
        lock: Mutex::new(Some(lock)),
        config,
        disk,
        layout,
        metrics,
    });
    if reserved.is_err() {
        shared.room.enter(crate::store::State::Degraded, &shared.metrics);
        shared.journal.hurry();
    }
    shared.packs.restore(&loaded.ids);
    shared.room.restore(loaded.ids.iter().copied());
    commit::start(&shared).map_err(|source| Error::Io {
        op: "start threads",
        path: shared.layout.directory().to_owned(),
        source,
    })?;
    let (orphans, first_new, ids) = (Arc::clone(&shared), loaded.next_blob, loaded.ids);
    shared.pool.spawn(Kind::Background, move || {
        orphans.remove_orphans(first_new);
        orphans.hollow_gaps(&ids);
    });
    Ok(Store { shared })
}

/// Opens and reads the index. One that rotted is moved aside: what it knew is fetched anew.
fn open_index(disk: &dyn Disk, layout: &Layout, cache_bytes: usize) -> Result<(Index, Loaded), Error> {
    let path = layout.index();
    let failed = |op| {
        let path = path.clone();
        move |source| Error::Io { op, path, source }
    };
    let open = || -> io::Result<(Index, Loaded)> {
        let file = match disk.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = disk.create(&path)?;
                disk.sync_dir(layout.directory())?;
                file
            }
            there => there?,
        };
        let index = Index::open(file, cache_bytes)?;
        let loaded = load(&index)?;
        Ok((index, loaded))
    };
    match open() {
        Ok((index, mut loaded)) => {
            if loaded.next_blob == 0 {
                // New, or its counters rotted: no id of a file that exists may be given away.
                loaded.next_blob = first_free_id(disk, layout, &loaded);
                loaded.next_object = loaded.above_objects.max(1);
            }
            Ok((index, loaded))
        }
        Err(error) => {
            tracing::warn!(%error, kept = %layout.bad_index().display(), "the index is unreadable: it is moved aside and an empty one started");
            disk.rename(&path, &layout.bad_index()).map_err(failed("move aside"))?;
            let (index, mut loaded) = open().map_err(failed("open"))?;
            loaded.next_blob = first_free_id(disk, layout, &loaded);
            loaded.next_object = 1;
            Ok((index, loaded))
        }
    }
}

/// Above every blob the index or a file name knows.
fn first_free_id(disk: &dyn Disk, layout: &Layout, loaded: &Loaded) -> u64 {
    let files = blob_files(disk, layout).into_iter().map(|id| id.0);
    let above_files = files.chain(pack_files(disk, layout)).max().map_or(1, |highest| highest.saturating_add(1));
    above_files.max(loaded.above_files)
}

/// The ids of all blob files there are.
pub(super) fn blob_files(disk: &dyn Disk, layout: &Layout) -> Vec<BlobId> {
    files_named(disk, layout, blob_id)
}

/// The numbers of all packs there are.
pub(super) fn pack_files(disk: &dyn Disk, layout: &Layout) -> Vec<u64> {
    files_named(disk, layout, pack_number)
}

fn files_named<T>(disk: &dyn Disk, layout: &Layout, meaning: impl Fn(&str) -> Option<T>) -> Vec<T> {
    let directories = disk.list(&layout.volume()).unwrap_or_default();
    let mut found = Vec::new();
    for directory in directories.into_iter().filter(|entry| entry.is_dir) {
        let files = disk.list(&layout.volume().join(&directory.name)).unwrap_or_default();
        found.extend(files.iter().filter_map(|file| meaning(&file.name)));
    }
    found
}

impl Shared {
    /// Removes files that the index does not know and that are not new.
    fn remove_orphans(&self, first_new: u64) {
        let mut removed = 0;
        for id in blob_files(&*self.disk, &self.layout) {
            if id.0 < first_new && self.table.blob(id, |_| ()).is_none() && self.disk.unlink(&self.layout.blob(id)).is_ok() {
                removed += 1;
            }
        }
        for pack in pack_files(&*self.disk, &self.layout) {
            if pack < first_new && !self.packs.holds(pack) && self.disk.unlink(&self.layout.pack(pack)).is_ok() {
                removed += 1;
            }
        }
        if removed > 0 {
            tracing::info!(removed, "files that the index does not know were removed");
            self.metrics.orphans_removed.add(removed);
        }
    }
}
