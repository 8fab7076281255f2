//! A file system in memory that fails on purpose, from a seed.
//!
//! What was not synced may be lost or torn by [`SimDisk::crash`]: each write of a file on its own, each new or removed name on its own.
//! Files opened before a crash are dead after it, as are their holders' locks.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    piece::ByteRange,
    store::disk::{Disk, DiskFile, Entry},
};

/// A simulated file system, or the view of it between two crashes.
#[derive(Clone, Debug)]
pub struct SimDisk {
    world: Arc<World>,
    generation: u64,
}

/// How often calls fail, each as a probability.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Reads that fail with EIO.
    pub read_errors: f64,
    /// Reads that give fewer bytes than asked for.
    pub short_reads: f64,
    /// Writes that fail with EIO, after part of them was written.
    pub write_errors: f64,
    /// Syncs that fail with EIO.
    pub sync_errors: f64,
    /// Only files whose path contains this are concerned.
    pub only: String,
}

#[derive(Debug)]
struct World {
    generation: AtomicU64,
    state: Mutex<State>,
    held: Mutex<Held>,
    let_go: Condvar,
}

/// Writes that wait.
#[derive(Debug, Default)]
struct Held {
    /// Those to files whose path contains this.
    only: Option<String>,
    count: usize,
}

#[derive(Debug)]
struct State {
    random: StdRng,
    live: Names,
    /// What a crash leaves.
    synced: Names,
    faults: Faults,
    capacity: u64,
    syncs: u64,
    /// Calls until everything fails.
    calls_left: u64,
}

#[derive(Clone, Debug, Default)]
struct Names {
    files: BTreeMap<PathBuf, Arc<Inode>>,
    directories: BTreeSet<PathBuf>,
}

#[derive(Debug)]
struct Inode {
    data: Mutex<Data>,
}

#[derive(Debug, Default)]
struct Data {
    live: Vec<u8>,
    synced: Vec<u8>,
    /// Since the last sync, in order.
    unsynced: Vec<Change>,
    /// Blocks that take room: a file may be sparse.
    blocks: BTreeSet<u64>,
    /// The file that holds the lock.
    lock: Weak<()>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Hole(ByteRange),
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    inode: Arc<Inode>,
    /// What the inode's lock points to.
    holder: Arc<()>,
}

const BLOCK_LEN: u64 = 4_096;

/// What a disk writes as a whole or not at all.
const SECTOR_LEN: usize = 512;

impl SimDisk {
    /// An empty file system with the root directory only. The same seed gives the same failures to the same calls.
    pub fn new(seed: u64) -> Self {
        let mut names = Names::default();
        names.directories.insert(PathBuf::from("/"));
        let state = State {
            random: StdRng::seed_from_u64(seed),
            live: names.clone(),
            synced: names,
            faults: Faults::default(),
            capacity: u64::MAX,
            syncs: 0,
            calls_left: u64::MAX,
        };
        let world =
            World { generation: AtomicU64::new(0), state: Mutex::new(state), held: Mutex::default(), let_go: Condvar::new() };
        Self { world: Arc::new(world), generation: 0 }
    }

    /// The power goes: what this disk is after it comes back. Calls through older views and files fail from now on.
    pub fn crash(&self) -> Self {
        let mut state = self.state();
        let generation = self.world.generation.fetch_add(1, Relaxed) + 1;
        let State { random, live, synced, .. } = &mut *state;
        let mut after = Names::default();
        for directory in live.directories.union(&synced.directories) {
            let certain = live.directories.contains(directory) && synced.directories.contains(directory);
            let has_parent = directory.parent().is_none_or(|parent| after.directories.contains(parent));
            if has_parent && (certain || random.random()) {
                after.directories.insert(directory.clone());
            }
        }
        let paths: BTreeSet<&PathBuf> = live.files.keys().chain(synced.files.keys()).collect();
        for path in paths {
            let (new, old) = (live.files.get(path), synced.files.get(path));
            let is_synced = matches!((new, old), (Some(new), Some(old)) if Arc::ptr_eq(new, old));
            let inode = if is_synced || random.random() { new } else { old };
            let has_parent = path.parent().is_some_and(|parent| after.directories.contains(parent));
            if let (Some(inode), true) = (inode, has_parent) {
                after.files.insert(path.clone(), Arc::clone(inode));
            }
        }
        after.files.values().for_each(|inode| inode.crash(random));
        *live = after.clone();
        *synced = after;
        state.calls_left = u64::MAX;
        drop(state);
        Self { world: Arc::clone(&self.world), generation }
    }

    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// From the `calls`th call on every call fails, as if the power went in the middle of it all; [`SimDisk::crash`] ends that.
    pub fn die_after(&self, calls: u64) {
        self.state().calls_left = calls;
    }

    /// Writes to files whose path contains `only` wait from now on, as on a disk that is too slow; with `None` all go on.
    pub fn hold_writes(&self, only: Option<&str>) {
        self.held().only = only.map(str::to_owned);
        self.world.let_go.notify_all();
    }

    /// How many writes wait.
    pub fn held_writes(&self) -> usize {
        self.held().count
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.world.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while_held(&self, path: &Path) {
        let mut held = self.held();
        held.count += 1;
        while held.only.as_ref().is_some_and(|only| path.to_string_lossy().contains(only)) {
            held = self.world.let_go.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        held.count -= 1;
    }

    /// How many bytes may be allocated in all; sparse files take only what was written.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Bytes allocated by the files that have names.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// Bytes allocated by the files below `directory`.
    pub fn used_below(&self, directory: &Path) -> u64 {
        let state = self.state();
        let files = state.live.files.iter().filter(|(path, _)| path.starts_with(directory));
        files.map(|(_, inode)| inode.lock().blocks.len() as u64 * BLOCK_LEN).sum()
    }

    /// Removes a directory with all that is in it, as `rm -r` does; who has a file open goes on using it.
    pub fn remove_tree(&self, directory: &Path) {
        let mut state = self.state();
        state.live.files.retain(|path, _| !path.starts_with(directory));
        state.live.directories.retain(|path| !path.starts_with(directory));
    }

    /// Turns one bit of a file around, as rot does. `false` if the file is not so long.
    pub fn flip_bit(&self, path: &Path, offset: u64) -> bool {
        let Some(inode) = self.state().live.files.get(path).cloned() else { return false };
        let mut data = inode.lock();
        let Data { live, synced, .. } = &mut *data;
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        [live, synced].into_iter().filter_map(|bytes| bytes.get_mut(at)).map(|byte| *byte ^= 0x10).count() > 0
    }

    /// All files there are.
    pub fn files(&self) -> Vec<PathBuf> {
        self.state().live.files.keys().cloned().collect()
    }

    /// How many files were synced so far.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.world.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, for a call of this generation.
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if self.generation != self.world.generation.load(Relaxed) || state.calls_left == 0 {
            return Err(broken());
        }
        state.calls_left -= 1;
        Ok(state)
    }

    fn file(&self, path: &Path, inode: Arc<Inode>) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { disk: self.clone(), path: path.to_owned(), inode, holder: Arc::default() })
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.alive()?.live.files.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(path, inode))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inode = {
            let mut state = self.alive()?;
            if !path.parent().is_some_and(|parent| state.live.directories.contains(parent)) {
                return Err(io::ErrorKind::NotFound.into());
            }
            let new = || Arc::new(Inode { data: Mutex::default() });
            Arc::clone(state.live.files.entry(path.to_owned()).or_insert_with(new))
        };
        Ok(self.file(path, inode))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        if !path.parent().is_some_and(|parent| state.live.directories.contains(parent)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.live.directories.insert(path.to_owned());
        Ok(())
    }

    fn create_dirs(&self, path: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        state.live.directories.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let state = self.alive()?;
        if !state.live.directories.contains(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let entry = |path: &PathBuf, is_dir, len| Entry {
            name: path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            is_dir,
            len,
        };
        let inside = |path: &&PathBuf| path.parent() == Some(directory);
        let files = state.live.files.iter().filter(|(path, _)| inside(path));
        let files = files.map(|(path, inode)| entry(path, false, inode.lock().live.len() as u64));
        let directories = state.live.directories.iter().filter(inside).map(|path| entry(path, true, 0));
        Ok(files.chain(directories).collect())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let removed = self.alive()?.live.files.remove(path);
        removed.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        let inode = state.live.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        let replaced = state.live.files.insert(to.to_owned(), inode);
        drop(state);
        drop(replaced);
        Ok(())
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        state.check_sync(directory)?;
        let State { live, synced, .. } = &mut *state;
        let inside = |path: &Path| path.parent() == Some(directory);
        synced.files.retain(|path, _| !inside(path));
        synced.directories.retain(|path| !inside(path));
        let files = live.files.iter().filter(|(path, _)| inside(path));
        synced.files.extend(files.map(|(path, inode)| (path.clone(), Arc::clone(inode))));
        synced.directories.extend(live.directories.iter().filter(|path| inside(path)).cloned());
        Ok(())
    }

    fn free_space(&self, _: &Path) -> io::Result<u64> {
        let state = self.alive()?;
        Ok(state.capacity.saturating_sub(state.used()))
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let share = {
            let mut state = self.disk.alive()?;
            if state.strikes(&self.path, |faults| faults.read_errors) {
                return Err(broken());
            }
            if state.strikes(&self.path, |faults| faults.short_reads) { 2 } else { 1 }
        };
        let data = self.inode.lock();
        let Some(rest) = usize::try_from(offset).ok().and_then(|at| data.live.get(at..)) else { return Ok(0) };
        let count = rest.len().min(buffer.len().div_ceil(share));
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        self.disk.wait_while_held(&self.path);
        let mut bytes = parts.iter().map(|part| &**part).collect::<Vec<&[u8]>>().concat();
        let (fails, free) = {
            let mut state = self.disk.alive()?;
            let fails = state.strikes(&self.path, |faults| faults.write_errors);
            if fails {
                let kept = state.random.random_range(0..=bytes.len());
                bytes.truncate(kept);
            }
            (fails, if state.capacity == u64::MAX { u64::MAX } else { state.capacity.saturating_sub(state.used()) })
        };
        self.inode.lock().allocate(offset, bytes.len() as u64, free)?;
        self.inode.change(Change::Write(offset, bytes));
        if fails { Err(broken()) } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        let failed = {
            let mut state = self.disk.alive()?;
            state.syncs += 1;
            state.check_sync(&self.path)
        };
        let mut data = self.inode.lock();
        let changes = std::mem::take(&mut data.unsynced);
        // As on Linux: after a failed sync the changes count as clean, and a later sync does not write them.
        failed?;
        changes.iter().for_each(|change| change.apply(&mut data.synced));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        drop(self.disk.alive()?);
        Ok(self.inode.lock().live.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        drop(self.disk.alive()?);
        self.inode.change(Change::SetLen(len));
        Ok(())
    }

    fn punch_hole(&self, range: ByteRange) -> io::Result<()> {
        drop(self.disk.alive()?);
        let whole = range.start.div_ceil(BLOCK_LEN)..range.end / BLOCK_LEN;
        self.inode.lock().blocks.retain(|block| !whole.contains(block));
        self.inode.change(Change::Hole(range));
        Ok(())
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        Ok(self.disk.alive()?.live.files.get(path).is_some_and(|inode| Arc::ptr_eq(inode, &self.inode)))
    }

    fn try_lock(&self) -> io::Result<bool> {
        drop(self.disk.alive()?);
        let mut data = self.inode.lock();
        let free = data.lock.strong_count() == 0;
        if free {
            data.lock = Arc::downgrade(&self.holder);
        }
        Ok(free)
    }
}

impl State {
    fn strikes(&mut self, path: &Path, probability: impl Fn(&Faults) -> f64) -> bool {
        let concerned = path.to_string_lossy().contains(&self.faults.only);
        let probability = probability(&self.faults);
        concerned && probability > 0.0 && self.random.random_bool(probability.min(1.0))
    }

    fn used(&self) -> u64 {
        self.live.files.values().map(|inode| inode.lock().blocks.len() as u64 * BLOCK_LEN).sum()
    }

    fn check_sync(&mut self, path: &Path) -> io::Result<()> {
        if self.strikes(path, |faults| faults.sync_errors) { Err(broken()) } else { Ok(()) }
    }
}

impl Inode {
    fn lock(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: Change) {
        let mut data = self.lock();
        change.apply(&mut data.live);
        data.unsynced.push(change);
    }

    /// Of what was not synced, each change survives, is torn, or is lost.
    fn crash(&self, random: &mut StdRng) {
        let mut data = self.lock();
        let changes = std::mem::take(&mut data.unsynced);
        for mut change in changes {
            if let Change::Write(_, bytes) = &mut change
                && random.random_ratio(1, 4)
            {
                let sectors = random.random_range(0..=bytes.len() / SECTOR_LEN);
                bytes.truncate(sectors * SECTOR_LEN);
            }
            if random.random() {
                change.apply(&mut data.synced);
            }
        }
        data.live = data.synced.clone();
        data.lock = Weak::new();
    }
}

impl Data {
    fn allocate(&mut self, offset: u64, len: u64, free: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let blocks = offset / BLOCK_LEN..=(offset + len - 1) / BLOCK_LEN;
        let new: Vec<u64> = blocks.filter(|block| !self.blocks.contains(block)).collect();
        let more = new.len() as u64 * BLOCK_LEN;
        if more > free {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.blocks.extend(new);
        Ok(())
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::SetLen(len) => bytes.resize(usize::try_from(*len).unwrap_or(usize::MAX), 0),
            Self::Write(offset, new) => {
                let start = usize::try_from(*offset).unwrap_or(usize::MAX);
                let end = start + new.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[start..end].copy_from_slice(new);
            }
            Self::Hole(range) => {
                let (start, end) = (range.start as usize, bytes.len().min(range.end as usize));
                if let Some(hole) = bytes.get_mut(start..end) {
                    hole.fill(0);
                }
            }
        }
    }
}

fn broken() -> io::Error {
    io::Error::other("simulated disk failure")
}
