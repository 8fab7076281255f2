//! Prepared answers by head, in shards of which each is bounded in bytes.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Prepared, Scope};

/// All shards. Clients choose heads, so the hash is keyed; what it finds is compared byte by byte.
pub(super) struct Table {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
}

pub(super) enum Seen {
    Known(Arc<Prepared>),
    /// Not known, but asked for some time ago.
    Lately,
    Never,
}

/// Evicts as a clock does: what was found since the hand was last there stays for another round.
struct Shard {
    entries: HashMap<u64, Entry>,
    /// Each entry once, in the order in which the hand comes to them.
    clock: VecDeque<u64>,
    bytes: usize,
    bytes_max: usize,
    /// A few bits each of hashes that were not found. Later ones take the places of others.
    missed: Box<[u16]>,
}

struct Entry {
    scope: Scope,
    head: Box<[u8]>,
    prepared: Arc<Prepared>,
    is_used: bool,
}

const SHARDS: usize = 16;
/// Misses remembered in each shard. A head that comes again before so many others did is worth its memory.
const MISSED: usize = 1024;
/// What an entry costs beside its texts, about.
const ENTRY_BYTES: usize = 128;
/// Longer heads hold what is different each time.
const HEAD_MAX: usize = 4 << 10;

impl Table {
    pub(super) fn new(bytes_max: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(Shard::new(bytes_max / SHARDS))).collect();
        Self { shards, hasher: RandomState::new() }
    }

    /// What is known of `head`. That it was asked for is remembered for the next time.
    pub(super) fn find(&self, scope: &Scope, head: &[u8]) -> Seen {
        if head.len() > HEAD_MAX {
            return Seen::Never;
        }
        let hash = self.hash(scope, head);
        self.shard(hash).find(hash, scope, head)
    }

    /// Takes an answer in, unless it is too large for a shard.
    pub(super) fn insert(&self, scope: &Scope, head: Box<[u8]>, prepared: Prepared) {
        let hash = self.hash(scope, &head);
        let entry = Entry { scope: scope.clone(), head, prepared: Arc::new(prepared), is_used: true };
        self.shard(hash).insert(hash, entry);
    }

    fn hash(&self, scope: &Scope, head: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        (scope.local.port(), scope.is_tls).hash(&mut hasher);
        hasher.write(head);
        hasher.finish()
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        self.shards[hash as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn new(bytes_max: usize) -> Self {
        let missed = vec![0; MISSED].into();
        Self { entries: HashMap::new(), clock: VecDeque::new(), bytes: 0, bytes_max, missed }
    }

    fn find(&mut self, hash: u64, scope: &Scope, head: &[u8]) -> Seen {
        if let Some(entry) = self.entries.get_mut(&hash).filter(|entry| *entry.head == *head && entry.scope == *scope) {
            entry.is_used = true;
            return Seen::Known(Arc::clone(&entry.prepared));
        }
        let (place, mark) = ((hash >> 16) as usize % MISSED, (hash >> 32) as u16);
        if std::mem::replace(&mut self.missed[place], mark) == mark { Seen::Lately } else { Seen::Never }
    }

    fn insert(&mut self, hash: u64, entry: Entry) {
        let bytes = entry.bytes();
        if bytes > self.bytes_max {
            return;
        }
        match self.entries.insert(hash, entry) {
            // It keeps its place in the clock.
            Some(replaced) => self.bytes -= replaced.bytes(),
            None => self.clock.push_back(hash),
        }
        self.bytes += bytes;
        self.evict();
    }

    /// Ends: each step takes an entry out, or a mark that nobody sets meanwhile.
    fn evict(&mut self) {
        while self.bytes > self.bytes_max {
            let Some(hash) = self.clock.pop_front() else { return };
            if self.entries.get_mut(&hash).is_some_and(|entry| std::mem::take(&mut entry.is_used)) {
                self.clock.push_back(hash);
            } else if let Some(entry) = self.entries.remove(&hash) {
                self.bytes -= entry.bytes();
            }
        }
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.head.len() + self.prepared.memory_bytes()
    }
}
