//! Which keys are being asked for now, so that a change at the origin also reaches the answers that are still on their way.
//!
//! RFC 9111 §4.4 speaks of what is stored. An answer that was asked for before an unsafe request succeeded, and arrives after it, may show
//! what was there before; stored as it is, it would be used as long as it is fresh.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use crate::key::KeyHash;

/// Requests on their way, by key. Bounded by what may be asked at once.
#[derive(Default)]
pub(super) struct Asking {
    running: Mutex<HashMap<KeyHash, Arc<AtomicBool>>>,
}

/// One request on its way; dropped when its answer is judged.
pub(super) struct Asked {
    asking: Arc<Asking>,
    key: KeyHash,
    outdated: Arc<AtomicBool>,
}

impl Asking {
    pub(super) fn begin(self: &Arc<Self>, key: KeyHash) -> Asked {
        let outdated = self.running().entry(key).or_default().clone();
        Asked { asking: self.clone(), key, outdated }
    }

    /// Marks all that was asked for under `key` until now. To be called before what is stored is looked up: what is not stored by then
    /// is stored by somebody who sees the mark.
    pub(super) fn outdate(&self, key: KeyHash) {
        if let Some(outdated) = self.running().remove(&key) {
            outdated.store(true, SeqCst);
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<KeyHash, Arc<AtomicBool>>> {
        self.running.lock().expect("no panic while the table of what is asked for is held")
    }
}

impl Asked {
    /// Whether the resource changed since this began. To be asked (once more) after the answer is stored.
    pub(super) fn is_outdated(&self) -> bool {
        self.outdated.load(SeqCst)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut running = self.asking.running();
        if let Entry::Occupied(entry) = running.entry(self.key)
            && Arc::ptr_eq(entry.get(), &self.outdated)
            // The table's and ours; clones are made only with the table held.
            && Arc::strong_count(&self.outdated) == 2
        {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyHash = KeyHash([7; 16]);

    #[test]
    fn a_change_reaches_what_was_asked_before_it_and_nothing_later() {
        let asking = Arc::new(Asking::default());
        let (first, second) = (asking.begin(KEY), asking.begin(KEY));
        let other = asking.begin(KeyHash([8; 16]));
        drop(first);
        asking.outdate(KEY);
        let later = asking.begin(KEY);
        assert!(second.is_outdated() && !later.is_outdated() && !other.is_outdated());
        drop(second);
        asking.outdate(KEY);
        assert!(later.is_outdated(), "the end of an older one must not take it off the table");
    }

    #[test]
    fn nothing_stays_of_what_has_ended() {
        let asking = Arc::new(Asking::default());
        let (first, second) = (asking.begin(KEY), asking.begin(KEY));
        drop((first, second));
        assert!(asking.running().is_empty());
    }
}
