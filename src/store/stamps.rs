//! Whether anything changed under a key, told without looking it up: who remembers what a lookup found asks here whether it still holds.

use std::{
    fmt,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Release},
    },
};

use crate::key::KeyHash;

/// What was stored under a key at one moment. As long as the store gives an equal stamp for the key, a lookup finds the same responses in the
/// same states. The reverse is not promised: keys share stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(u64);

/// The stamps of all keys.
pub(super) struct Stamps(Box<[AtomicU64]>);

/// Stamps that all keys share: 32 KiB. A store that takes in 1,000 objects a second changes each of them every four seconds.
const STAMPS: usize = 4096;

impl Stamps {
    /// To be taken before the lookup that it shall vouch for.
    pub(super) fn of(&self, key: KeyHash) -> Stamp {
        Stamp(self.cell(key).load(Acquire))
    }

    /// Something changed under `key`. To be called when the change can be seen by lookups, and before anybody is told that it is done.
    pub(super) fn change(&self, key: KeyHash) {
        self.cell(key).fetch_add(1, Release);
    }

    fn cell(&self, key: KeyHash) -> &AtomicU64 {
        // Bytes that neither the shards nor their maps go by.
        &self.0[usize::from(u16::from_le_bytes([key.0[12], key.0[13]])) % STAMPS]
    }
}

impl Default for Stamps {
    fn default() -> Self {
        Self((0..STAMPS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl fmt::Debug for Stamps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stamps").field(&self.0.len()).finish()
    }
}
