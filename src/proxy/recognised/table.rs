//! Prepared answers by head, in shards of which each is bounded in bytes.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Scope;

/// All shards. Clients choose heads, so the hash is keyed; what it finds is compared byte by byte.
pub(super) struct Table<T> {
    shards: Box<[Mutex<Shard<T>>]>,
    hasher: RandomState,
}

pub(super) enum Seen<T> {
    Known(Arc<T>),
    /// Not known, but asked for some time ago.
    Lately,
    Never,
}

/// Evicts as a clock does: what was found since the hand was last there stays for another round.
struct Shard<T> {
    entries: HashMap<u64, Entry<T>>,
    /// Each entry once, in the order in which the hand comes to them.
    clock: VecDeque<u64>,
    bytes: usize,
    bytes_max: usize,
    /// A few bits each of hashes that were not found. Later ones take the places of others.
    missed: Box<[u16]>,
}

struct Entry<T> {
    scope: Scope,
    head: Box<[u8]>,
    answer: Arc<T>,
    /// What it costs in all.
    bytes: usize,
    is_used: bool,
}

const SHARDS: usize = 16;
/// Misses remembered in each shard. A head that comes again before so many others did is worth its memory.
const MISSED: usize = 1024;
/// What an entry costs beside its texts, about.
const ENTRY_BYTES: usize = 128;
/// Longer heads hold what is different each time.
const HEAD_MAX: usize = 4 << 10;

impl<T> Table<T> {
    pub(super) fn new(bytes_max: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(Shard::new(bytes_max / SHARDS))).collect();
        Self { shards, hasher: RandomState::new() }
    }

    /// What is known of `head`. That it was asked for is remembered for the next time.
    pub(super) fn find(&self, scope: &Scope, head: &[u8]) -> Seen<T> {
        if head.len() > HEAD_MAX {
            return Seen::Never;
        }
        let hash = self.hash(scope, head);
        self.shard(hash).find(hash, scope, head)
    }

    /// Takes an answer of `bytes` in, unless it is too large for a shard.
    pub(super) fn insert(&self, scope: &Scope, head: Box<[u8]>, answer: T, bytes: usize) {
        let hash = self.hash(scope, &head);
        let bytes = ENTRY_BYTES + head.len() + bytes;
        let entry = Entry { scope: scope.clone(), head, answer: Arc::new(answer), bytes, is_used: false };
        self.shard(hash).insert(hash, entry);
    }

    fn hash(&self, scope: &Scope, head: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        (scope.local.port(), scope.is_tls).hash(&mut hasher);
        hasher.write(head);
        hasher.finish()
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard<T>> {
        self.shards[hash as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Shard<T> {
    fn new(bytes_max: usize) -> Self {
        let missed = vec![0; MISSED].into();
        Self { entries: HashMap::new(), clock: VecDeque::new(), bytes: 0, bytes_max, missed }
    }

    fn find(&mut self, hash: u64, scope: &Scope, head: &[u8]) -> Seen<T> {
        if let Some(entry) = self.entries.get_mut(&hash).filter(|entry| *entry.head == *head && entry.scope == *scope) {
            entry.is_used = true;
            return Seen::Known(Arc::clone(&entry.answer));
        }
        let (place, mark) = ((hash >> 16) as usize % MISSED, (hash >> 32) as u16);
        if std::mem::replace(&mut self.missed[place], mark) == mark { Seen::Lately } else { Seen::Never }
    }

    fn insert(&mut self, hash: u64, entry: Entry<T>) {
        let bytes = entry.bytes;
        if bytes > self.bytes_max {
            return;
        }
        match self.entries.insert(hash, entry) {
            // It keeps its place in the clock.
            Some(replaced) => self.bytes -= replaced.bytes,
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
                self.bytes -= entry.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::Door;

    fn scope(port: u16) -> Scope {
        Scope { doors: Arc::new([Door::Reverse]), is_tls: false, local: ([127, 0, 0, 1], port).into() }
    }

    fn head(number: u32) -> Box<[u8]> {
        format!("GET /{number} HTTP/1.1\r\n\r\n").into_bytes().into()
    }

    fn known(table: &Table<u32>, scope: &Scope, head: &[u8]) -> Option<u32> {
        match table.find(scope, head) {
            Seen::Known(answer) => Some(*answer),
            Seen::Lately | Seen::Never => None,
        }
    }

    #[test]
    fn a_head_is_known_to_the_last_byte_and_through_its_own_way_in_only() {
        let table = Table::new(1 << 20);
        table.insert(&scope(80), head(1), 1, 0);
        assert_eq!(known(&table, &scope(80), &head(1)), Some(1));
        let others = [Scope { is_tls: true, ..scope(80) }, Scope { doors: Arc::new([Door::Forward]), ..scope(80) }, scope(81)];
        for other in others {
            assert_eq!(known(&table, &other, &head(1)), None, "{other:?}");
        }
        for at in 0..head(1).len() {
            let mut other = head(1);
            other[at] ^= 0x20;
            assert_eq!(known(&table, &scope(80), &other), None, "{at}");
        }
        table.insert(&scope(80), head(1), 2, 0);
        assert_eq!(known(&table, &scope(80), &head(1)), Some(2));
    }

    #[test]
    fn a_head_is_worth_remembering_when_it_comes_again() {
        let table = Table::<u32>::new(1 << 20);
        assert!(matches!(table.find(&scope(80), &head(1)), Seen::Never));
        assert!(matches!(table.find(&scope(80), &head(1)), Seen::Lately));
        let long = vec![b'a'; HEAD_MAX + 1];
        assert!((0..2).all(|_| matches!(table.find(&scope(80), &long), Seen::Never)));
    }

    #[test]
    fn memory_is_bounded_and_what_is_asked_for_stays() {
        const BYTES_MAX: usize = SHARDS * (16 << 10);
        let table = Table::new(BYTES_MAX);
        for number in 0..10_000 {
            table.insert(&scope(80), head(number), number, 1_000);
            assert_eq!(known(&table, &scope(80), &head(0)), Some(0), "after {number}");
        }
        let kept = (0..10_000).filter(|&number| known(&table, &scope(80), &head(number)).is_some()).count();
        assert!((SHARDS * 10..=BYTES_MAX / 1_000).contains(&kept), "{kept}");
        table.insert(&scope(80), head(1), 1, BYTES_MAX);
        assert_eq!(known(&table, &scope(80), &head(0)), Some(0), "what is too large pushes nothing out");
    }
}
