//! What to evict: S3-FIFO, three queues of blobs.
//!
//! New content enters *small*. What was used again moves to *main* when it reaches the end of small; what was not is evicted and its
//! key remembered in *ghost*. Content whose key is in ghost enters main at once. So a monthly rollout passes through small and
//! leaves main alone (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023).
//! Pure: says what to evict, and somebody else does it.

use std::collections::{HashSet, VecDeque};

use crate::object::BlobId;

/// The three queues. The oldest stand in front.
#[derive(Debug, Default)]
pub(super) struct Queues {
    small: VecDeque<BlobId>,
    main: VecDeque<BlobId>,
    ghost: VecDeque<u64>,
    ghosts: HashSet<u64>,
}

/// What the store says of a blob at the end of a queue. Asking makes the store forget one use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// No longer stored: leaves its queue.
    Gone,
    /// Pinned, or being written: stays, whatever its uses.
    Kept,
    /// Used since it was last asked about.
    Used,
    /// Not used: may go. `ghost` is remembered.
    Unused { bytes: u64, ghost: u64 },
}

impl Queues {
    /// Takes in new content; `ghost` names it across its blobs (a hash of its cache key).
    pub(super) fn admit(&mut self, id: BlobId, ghost: u64) {
        let queue = if self.ghosts.remove(&ghost) { &mut self.main } else { &mut self.small };
        queue.push_back(id);
    }

    /// Takes in what was stored before the start: it has stood a test already.
    pub(super) fn restore(&mut self, id: BlobId) {
        self.main.push_back(id);
    }

    /// What to evict for `bytes` to become free: as much as that, or less if nothing more may go.
    ///
    /// Ends after each blob was asked a bounded number of times, even if all of them are kept.
    pub(super) fn evict(&mut self, bytes: u64, mut standing: impl FnMut(BlobId) -> Standing) -> Vec<BlobId> {
        let (mut out, mut freed) = (Vec::new(), 0);
        let mut budget = (self.small.len() + self.main.len()).saturating_mul(ROUNDS_MAX);
        let mut kept_small = 0;
        while freed < bytes && budget > 0 {
            budget -= 1;
            // Small holds a tenth of all blobs; when all in it are kept, main is next.
            let from_small = (self.small.len() * 10 > self.main.len() && kept_small < self.small.len()) || self.main.is_empty();
            let queue = if from_small { &mut self.small } else { &mut self.main };
            let Some(id) = queue.pop_front() else { break };
            match standing(id) {
                Standing::Gone => {}
                Standing::Kept => {
                    kept_small += usize::from(from_small);
                    queue.push_back(id);
                }
                Standing::Used => self.main.push_back(id),
                Standing::Unused { bytes, ghost } => {
                    freed += bytes;
                    out.push(id);
                    if from_small {
                        self.remember(ghost);
                    }
                }
            }
        }
        out
    }

    /// Keeps as many ghosts as there are blobs, at least a few.
    fn remember(&mut self, ghost: u64) {
        let most = (self.small.len() + self.main.len()).max(GHOSTS_MIN);
        if self.ghosts.insert(ghost) {
            self.ghost.push_back(ghost);
        }
        while self.ghost.len() > most {
            if let Some(oldest) = self.ghost.pop_front() {
                self.ghosts.remove(&oldest);
            }
        }
    }
}

/// Uses are counted up to 3, so a blob is asked at most four times before it is unused.
const ROUNDS_MAX: usize = 5;

/// Ghosts kept even by a nearly empty store.
const GHOSTS_MIN: usize = 1_024;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// A cache of `capacity` blobs of one byte, driven as the store drives the queues.
    struct Cache {
        queues: Queues,
        uses: HashMap<u64, u8>,
        capacity: usize,
    }

    impl Cache {
        fn new(capacity: usize) -> Self {
            Self { queues: Queues::default(), uses: HashMap::new(), capacity }
        }

        /// Whether it was a hit.
        fn request(&mut self, key: u64) -> bool {
            if let Some(uses) = self.uses.get_mut(&key) {
                *uses = (*uses + 1).min(3);
                return true;
            }
            if self.uses.len() >= self.capacity {
                let uses = &mut self.uses;
                let out = self.queues.evict(1, |id| match uses.get_mut(&id.0) {
                    None => Standing::Gone,
                    Some(0) => Standing::Unused { bytes: 1, ghost: id.0 },
                    Some(left) => {
                        *left -= 1;
                        Standing::Used
                    }
                });
                self.uses.retain(|key, _| !out.contains(&BlobId(*key)));
            }
            self.uses.insert(key, 0);
            self.queues.admit(BlobId(key), key);
            false
        }
    }

    #[test]
    fn a_scan_does_not_flush_what_is_used_daily() {
        let mut cache = Cache::new(100);
        for key in (0..50).cycle().take(250).chain(1_000..5_000) {
            cache.request(key);
        }
        let hits = (0..50).filter(|key| cache.request(*key)).count();
        assert!(hits >= 45, "{hits} of 50 survived the scan");
    }

    #[test]
    fn what_comes_back_soon_after_its_eviction_is_kept_longer() {
        let mut queues = Queues::default();
        queues.admit(BlobId(1), 7);
        assert_eq!(queues.evict(1, |_| Standing::Unused { bytes: 1, ghost: 7 }), [BlobId(1)]);
        queues.admit(BlobId(2), 7);
        queues.admit(BlobId(3), 8);
        assert_eq!((queues.main.len(), queues.small.len()), (1, 1));
    }

    #[test]
    fn asking_ends_when_everything_is_kept() {
        let mut queues = Queues::default();
        (0..10).for_each(|id| queues.admit(BlobId(id), id));
        (10..20).for_each(|id| queues.restore(BlobId(id)));
        assert_eq!(queues.evict(1, |_| Standing::Kept), []);
        assert_eq!(queues.evict(1, |_| Standing::Used), []);
        let evicted = queues.evict(3, |id| match id.0 {
            15 => Standing::Unused { bytes: 5, ghost: 0 },
            _ => Standing::Kept,
        });
        assert_eq!(evicted, [BlobId(15)]);
    }

    #[test]
    fn ghosts_are_bounded() {
        let mut queues = Queues::default();
        for id in 0..5_000 {
            queues.admit(BlobId(id), id);
            queues.evict(1, |id| Standing::Unused { bytes: 1, ghost: id.0 });
        }
        assert!(queues.ghosts.len() <= GHOSTS_MIN && queues.ghost.len() <= GHOSTS_MIN);
    }
}
