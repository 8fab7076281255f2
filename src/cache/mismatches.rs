//! Who gave content that did not match its digest, and how often lately: what keeps a lying upstream from keeping disk and line busy.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;

use crate::key::KeyHash;

/// Mismatches of the last hour.
///
/// After the first one of a key its content is fetched once more; after the second it is not stored for an hour. Of each source only so many
/// contents are kept for the administrator, so that one does not drive out what is known of the others.
#[derive(Default)]
pub(super) struct Mismatches(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    keys: Recent<KeyHash>,
    sources: Recent<Box<str>>,
}

/// What becomes of the bytes of a content that did not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remains {
    Quarantined,
    /// Its source has filled its part of the quarantine for this hour.
    Removed,
}

impl Mismatches {
    /// Takes down that content under `key`, given by `source`, did not match.
    pub(super) fn count(&self, key: KeyHash, source: &str, now: Instant) -> Remains {
        let mut tables = self.tables();
        tables.keys.add(key, now);
        let of_source = tables.sources.add(source.into(), now);
        if of_source <= QUARANTINED_MAX { Remains::Quarantined } else { Remains::Removed }
    }

    /// Whether content under `key` failed twice within the hour.
    pub(super) fn bars(&self, key: KeyHash, now: Instant) -> bool {
        self.tables().keys.count(&key, now) >= ATTEMPTS_MAX
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().expect("no panic while the mismatches are held")
    }
}

/// How often each thing happened within the hour, oldest first; beyond a bound the oldest is forgotten.
struct Recent<K> {
    counts: HashMap<K, usize>,
    order: VecDeque<(Instant, K)>,
}

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self { counts: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Clone + Eq + Hash> Recent<K> {
    /// Counts once more, and says how often by now.
    fn add(&mut self, key: K, now: Instant) -> usize {
        self.forget(now);
        if self.order.len() >= EVENTS_MAX {
            self.forget_oldest();
        }
        self.order.push_back((now, key.clone()));
        let count = self.counts.entry(key).or_default();
        *count += 1;
        *count
    }

    fn count(&mut self, key: &K, now: Instant) -> usize {
        self.forget(now);
        self.counts.get(key).copied().unwrap_or(0)
    }

    fn forget(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(since, _)| now.saturating_duration_since(*since) >= HELD_FOR) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((_, key)) = self.order.pop_front() else { return };
        if let Some(count) = self.counts.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&key);
            }
        }
    }
}

/// The first fetch, and one more.
const ATTEMPTS_MAX: usize = 2;
/// An eighth of what the quarantine holds at all.
const QUARANTINED_MAX: usize = 8;
const HELD_FOR: Duration = Duration::from_secs(3600);
/// Mismatches remembered at once.
const EVENTS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(nth: u32) -> KeyHash {
        KeyHash(u128::from(nth).to_le_bytes())
    }

    #[test]
    fn a_key_has_one_more_attempt_within_the_hour() {
        let (mismatches, start) = (Mismatches::default(), Instant::now());
        assert!(!mismatches.bars(key(1), start));
        mismatches.count(key(1), "origin", start);
        assert!(!mismatches.bars(key(1), start), "fetched once more");
        let second = start + Duration::from_secs(1800);
        mismatches.count(key(1), "origin", second);
        assert!(mismatches.bars(key(1), second) && !mismatches.bars(key(2), second));
        assert!(mismatches.bars(key(1), start + HELD_FOR - Duration::from_secs(1)));
        assert!(!mismatches.bars(key(1), start + HELD_FOR), "one of the two is an hour old");
        assert!(mismatches.tables().keys.counts.len() == 1);
        assert!(!mismatches.bars(key(1), second + HELD_FOR));
        assert!(mismatches.tables().keys.counts.is_empty(), "nothing stays");
    }

    #[test]
    fn one_source_does_not_fill_the_quarantine() {
        let (mismatches, start) = (Mismatches::default(), Instant::now());
        let kept = (0..100).filter(|nth| mismatches.count(key(*nth), "liar", start) == Remains::Quarantined).count();
        assert_eq!(kept, QUARANTINED_MAX);
        assert_eq!(mismatches.count(key(100), "another", start), Remains::Quarantined);
        assert_eq!(mismatches.count(key(101), "liar", start + HELD_FOR), Remains::Quarantined);
    }

    #[test]
    fn more_mismatches_than_are_remembered_push_out_the_oldest() {
        let (mismatches, start) = (Mismatches::default(), Instant::now());
        mismatches.count(key(0), "origin", start);
        mismatches.count(key(0), "origin", start);
        for nth in 1..EVENTS_MAX as u32 {
            mismatches.count(key(nth), "origin", start);
        }
        assert!(!mismatches.bars(key(0), start));
        let tables = mismatches.tables();
        assert!(tables.keys.order.len() <= EVENTS_MAX && tables.keys.counts.len() <= EVENTS_MAX);
    }
}
